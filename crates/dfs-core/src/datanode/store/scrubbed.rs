//! How far the replicas of a store were read through, kept in a file beside them.
//!
//! A pass goes through all replicas by id. What is before its position it has read; what is
//! behind was read by the pass before, or written since. Steps say roughly when that was, so that
//! the age of the oldest check is known closer than to a whole pass. What was found corrupt and
//! is still in its place is noted, too, so that a restart does not forget it.
//!
//! To lose the file costs another pass and no replica.

use std::path::Path;
use std::time::Duration;

use super::error::{StoreError, is_shortage};
use super::layout::{Fields, Fixed, FormatError, Paths};
use super::open::stamp;
use crate::env::{Disk, OpenMode, Timestamp};
use crate::types::ChunkId;

pub(super) const MAGIC: &[u8; 8] = b"DFSSCRUB";
pub(super) const LEN: usize = 2048;
/// Steps that are kept of a pass.
const STEPS_MAX: usize = 32;
/// Corrupt replicas that are noted.
const CORRUPT_MAX: usize = 64;

/// Replicas with ids from `from` on were read, or written, at `at` or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    from: ChunkId,
    at: Timestamp,
}

/// How far the replicas of a store were read through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// When the pass began that is under way, or else the last; zero before the first.
    begun: Timestamp,
    /// Where the pass goes on; none between two.
    position: Option<ChunkId>,
    replicas: u64,
    bytes: u64,
    /// Of the pass before, or between two of the last; none if not all was ever read.
    former: Vec<Step>,
    present: Vec<Step>,
    corrupt: Vec<ChunkId>,
}

impl Scrubbed {
    /// Before the first pass. Of an empty store all is known.
    pub(super) fn new(now: Timestamp, is_empty: bool) -> Scrubbed {
        let all = Step {
            from: ChunkId(0),
            at: now,
        };
        Scrubbed {
            begun: now,
            position: (!is_empty).then_some(ChunkId(0)),
            replicas: 0,
            bytes: 0,
            former: if is_empty { vec![all] } else { Vec::new() },
            present: vec![all],
            corrupt: Vec::new(),
        }
    }

    /// How long ago the pass began that is under way, or else the last. One that began in the
    /// future, by a clock that was put back, begins now.
    pub fn elapsed(&mut self, now: Timestamp) -> Duration {
        self.begun = self.begun.min(now);
        now.since(self.begun)
    }

    /// Where the pass goes on; none between two.
    pub fn position(&self) -> Option<ChunkId> {
        self.position
    }

    /// Replicas and bytes read in this pass, or between two in the last.
    pub fn read(&self) -> (u64, u64) {
        (self.replicas, self.bytes)
    }

    /// How long ago every replica was read through, or written, at the latest. None if some were
    /// never read.
    pub fn unchecked(&self, now: Timestamp) -> Option<Duration> {
        let next = self.position.unwrap_or_default();
        let before = self.former.iter().take_while(|step| step.from <= next);
        before.last().map(|step| now.since(step.at))
    }

    /// Replicas that were found corrupt and were in their place when this was noted.
    pub fn corrupt(&self) -> &[ChunkId] {
        &self.corrupt
    }

    /// Begins a pass.
    pub fn begin(&mut self, now: Timestamp) {
        self.begun = now;
        self.position = Some(ChunkId(0));
        (self.replicas, self.bytes) = (0, 0);
        self.present = vec![Step {
            from: ChunkId(0),
            at: now,
        }];
    }

    /// Notes that a replica was read, or need not be, and with it all before. Steps are `spacing`
    /// apart, or more.
    pub fn passed(&mut self, chunk: ChunkId, length: u64, now: Timestamp, spacing: Duration) {
        self.replicas = self.replicas.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length);
        let next = ChunkId(chunk.0.saturating_add(1));
        self.position = Some(next);
        let due = |last: &Step| now.since(last.at) >= spacing;
        if self.present.last().is_none_or(due) {
            if self.present.len() >= STEPS_MAX {
                let mut is_kept = false;
                self.present.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
            }
            self.present.push(Step {
                from: next,
                at: now,
            });
        }
    }

    /// Ends a pass that has come to the end.
    pub fn end(&mut self) {
        self.position = None;
        self.former = std::mem::take(&mut self.present);
    }

    /// Notes what is corrupt. If that is too much, the pass goes on where it would be found again.
    pub fn note_corrupt(&mut self, mut corrupt: Vec<ChunkId>) {
        corrupt.sort_unstable();
        if let Some(first) = corrupt.get(CORRUPT_MAX) {
            self.position = self.position.map(|position| position.min(*first));
        }
        corrupt.truncate(CORRUPT_MAX);
        self.corrupt = corrupt;
    }

    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut out = Fixed::new(MAGIC);
        let state: u16 = if self.position.is_some() { 1 } else { 2 };
        out.put(&state.to_le_bytes());
        out.put(&0u32.to_le_bytes());
        for number in [
            self.begun.0,
            self.position.unwrap_or_default().0,
            self.replicas,
            self.bytes,
        ] {
            out.put(&number.to_le_bytes());
        }
        for count in [self.former.len(), self.present.len(), self.corrupt.len(), 0] {
            out.put(&(count as u16).to_le_bytes());
        }
        for step in self.former.iter().chain(&self.present) {
            out.put(&step.from.0.to_le_bytes());
            out.put(&step.at.0.to_le_bytes());
        }
        for chunk in &self.corrupt {
            out.put(&chunk.0.to_le_bytes());
        }
        out.seal()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Scrubbed, FormatError> {
        let mut fields = Fields::open_sized::<LEN>(bytes, MAGIC)?;
        let state = fields.u16()?;
        fields.u32()?;
        let begun = Timestamp(fields.u64()?);
        let position = ChunkId(fields.u64()?);
        let (replicas, bytes) = (fields.u64()?, fields.u64()?);
        let counts = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
        fields.u16()?;
        let [former, present, corrupt] = counts;
        if former.max(present) > STEPS_MAX || corrupt > CORRUPT_MAX {
            return Err(FormatError::Damaged("too many steps"));
        }
        let mut steps = |count| -> Result<Vec<Step>, FormatError> {
            let mut step = || {
                Ok(Step {
                    from: ChunkId(fields.u64()?),
                    at: Timestamp(fields.u64()?),
                })
            };
            (0..count).map(|_| step()).collect()
        };
        let (former, present) = (steps(former)?, steps(present)?);
        let corrupt = (0..corrupt).map(|_| fields.u64().map(ChunkId));
        Ok(Scrubbed {
            begun,
            position: match state {
                1 => Some(position),
                2 => None,
                _ => return Err(FormatError::Damaged("unknown state")),
            },
            replicas,
            bytes,
            former,
            present,
            corrupt: corrupt.collect::<Result<_, _>>()?,
        })
    }
}

/// Reads the file, if there is one. Blocks.
///
/// # Errors
/// Why it is of no use.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Scrubbed>, String> {
    if !disk.exists(path).map_err(|e| e.to_string())? {
        return Ok(None);
    }
    let file = disk.open(path, OpenMode::Read).map_err(|e| e.to_string())?;
    let mut bytes = [0; LEN];
    file.read_at(&mut bytes, 0).map_err(|e| e.to_string())?;
    let scrubbed = Scrubbed::decode(&bytes).map_err(|e| e.to_string())?;
    Ok(Some(scrubbed))
}

/// Writes the file so that after a crash there is the old one or the new one. Blocks.
///
/// # Errors
/// [`StoreError::OutOfSpace`], [`StoreError::Busy`], [`StoreError::Failed`].
pub(super) fn write(disk: &dyn Disk, paths: &Paths, scrubbed: &Scrubbed) -> Result<(), StoreError> {
    stamp::require(disk, paths)?;
    let (new, path) = (paths.new_scrub(), paths.scrub());
    stamp::replace(disk, &new, &path, &scrubbed.encode())?;
    // A name that may be lost again costs what was noted since the last one, and no bytes.
    disk.sync_directory(&paths.root)
        .map_err(|e| match is_shortage(&e) {
            true => StoreError::from_open(&e, &paths.root),
            false => StoreError::from_sync(&e, &paths.root),
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn hour(hours: u64) -> Timestamp {
        Timestamp(0).saturating_add(HOUR * u32::try_from(hours).unwrap())
    }

    /// Reads replicas 1..=100, one an hour, from an hour on.
    fn pass(scrubbed: &mut Scrubbed, begun: u64) {
        scrubbed.begin(hour(begun));
        for chunk in 1..=100 {
            scrubbed.passed(ChunkId(chunk), 10, hour(begun + chunk), HOUR);
        }
    }

    #[test]
    fn what_was_written_is_known_from_then_on_and_what_was_found_only_when_it_was_read() {
        let empty = Scrubbed::new(hour(1), true);
        assert_eq!(empty.unchecked(hour(5)), Some(4 * HOUR));
        assert_eq!(empty.position(), None);
        let mut found = Scrubbed::new(hour(1), false);
        assert_eq!(found.unchecked(hour(5)), None);
        pass(&mut found, 1);
        assert_eq!(found.unchecked(hour(101)), None, "it is not over yet");
        found.end();
        assert_eq!(found.unchecked(hour(101)), Some(100 * HOUR));
    }

    #[test]
    fn the_oldest_check_is_known_to_a_few_steps_while_a_pass_follows_another() {
        let mut scrubbed = Scrubbed::new(hour(0), true);
        pass(&mut scrubbed, 0);
        scrubbed.end();
        pass(&mut scrubbed, 100);
        // The next is 101, which is as old as the end of the pass before.
        let age = scrubbed.unchecked(hour(200)).unwrap();
        assert!(age >= 100 * HOUR && age <= 108 * HOUR, "{age:?}");
        assert_eq!(scrubbed.read(), (100, 1000));
        assert!(scrubbed.present.len() <= STEPS_MAX);
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_put_the_next_pass_off_for_longer() {
        let mut scrubbed = Scrubbed::new(hour(500), true);
        assert_eq!(scrubbed.elapsed(hour(100)), Duration::ZERO);
        assert_eq!(scrubbed.elapsed(hour(110)), 10 * HOUR);
    }

    #[test]
    fn it_is_read_back_as_it_was_written_and_no_bit_of_it_may_flip() {
        let mut scrubbed = Scrubbed::new(hour(0), true);
        pass(&mut scrubbed, 0);
        scrubbed.end();
        pass(&mut scrubbed, 100);
        scrubbed.note_corrupt(vec![ChunkId(7), ChunkId(3)]);
        let bytes = scrubbed.encode();
        assert_eq!(Scrubbed::decode(&bytes), Ok(scrubbed));
        for at in 0..LEN {
            let mut bytes = bytes;
            bytes[at] ^= 4;
            assert!(Scrubbed::decode(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn corrupt_replicas_that_cannot_be_noted_are_found_again() {
        let mut scrubbed = Scrubbed::new(hour(0), true);
        pass(&mut scrubbed, 0);
        let corrupt: Vec<ChunkId> = (1..=CORRUPT_MAX as u64 + 5).map(ChunkId).collect();
        scrubbed.note_corrupt(corrupt);
        assert_eq!(scrubbed.corrupt().len(), CORRUPT_MAX);
        assert_eq!(scrubbed.position(), Some(ChunkId(CORRUPT_MAX as u64 + 1)));
    }
}
