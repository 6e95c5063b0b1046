//! Which bytes of files are to be kept otherwise than they are: in stripes, because nobody has
//! changed the file for as long as its policy says; or in one chunk, because they are in many
//! short ones.
//!
//! ```text
//! |- 64 MiB -|- 64 MiB -|-- 20 MiB --|    ─▶ three stripes, of 4+2 after 30 days
//! |1|2|1|1|3|…|1|2|---- 64 MiB ----|      ─▶ |------|---- 64 MiB ----|
//! ```
//!
//! Each rewrite leaves fewer extents, or turns copies into a stripe, so there is an end to it.
//!
//! What others have, too, is freed only when they let go of it, so what is gained decides:
//!
//! - Short chunks become one where neither another file nor a snapshot has them. Else nothing would
//!   be freed that does not go anyway, and until then the bytes would be there twice.
//! - Copies become a stripe though a snapshot has them: both are kept until it goes, and the stripe
//!   alone from then on. A directory of which there is always some snapshot would never come into
//!   stripes otherwise. They do not where another file has them: they stay for that one, and two
//!   stripes are no less than the copies that both share.
//!
//! What could not be rewritten is left alone for a while, longer each time ([`Setbacks`]), and
//! what follows it goes on.
//!
//! The map is read bit by bit, a page of extents at a time; what a page cuts in two is looked at
//! again with the next. A data node does the work, and the state machine compares once more.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wait::Wait;
use crate::meta::query::Others;
use crate::types::limits::STRIPE_LEN_MIN;
use crate::types::{ChunkId, InodeId, Policy, StripeShape, Timestamp};

/// Fewer extents than this are not worth the work.
pub const FRAGMENTS_MIN: usize = 16;
/// Most extents that are rewritten at once: the permit to read them names their chunks.
pub const FRAGMENTS_MAX: usize = 64;
/// Most bytes that are rewritten at once: a data node has them in memory.
pub const REWRITE_LEN_MAX: u64 = 96 << 20;

/// How long what data nodes could not rewrite is left alone at most.
pub const PAUSE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Most runs of bytes that are left alone.
const SETBACKS_MAX: usize = 4096;

/// When files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewriteBudget {
    /// Many short chunks become one when the file was not changed for so long.
    pub compact_after: Duration,
    /// How long bytes are left alone that could not be rewritten; twice as long each time. Nothing
    /// at all is begun for so long when as many in a row failed as may be under way.
    pub rests_for: Duration,
    /// Rewrites under way in the cluster; each data node does one at a time.
    pub rewrites: usize,
    /// Extents looked at in one tick.
    pub extents_per_tick: usize,
}

impl RewriteBudget {
    /// Ten minutes, half a minute, 4 at a time, 1024 extents.
    pub const DEFAULT: RewriteBudget = RewriteBudget {
        compact_after: Duration::from_secs(600),
        rests_for: Duration::from_secs(30),
        rewrites: 4,
        extents_per_tick: 1024,
    };
}

/// An extent of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Which chunk.
    pub chunk: ChunkId,
    /// Where in it.
    pub chunk_offset: u64,
    /// Bytes of the stripe that the chunk is a member of, if it is.
    pub stripe: Option<u64>,
    /// Who else has the chunk, or any of its stripe.
    pub others: Others,
}

impl Run {
    /// Whether it is a small part of what a chunk may be, or its stripe is.
    fn is_short(&self, policy: &Policy) -> bool {
        self.stripe.unwrap_or(self.length) < policy.chunk_size / 4
    }
}

/// Extents of a file that follow each other in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// Which file.
    pub inode: InodeId,
    /// How its bytes are to be kept.
    pub policy: Policy,
    /// When it was changed.
    pub modified: Timestamp,
    /// Its extents that are chunks, by offset.
    pub runs: Vec<Run>,
    /// Whether these are all that there are after the first.
    pub is_end: bool,
}

/// Bytes to rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRewrite {
    /// Of which file.
    pub inode: InodeId,
    /// What they are now, one after the other.
    pub runs: Vec<Run>,
    /// The stripe that they are to be; none for one chunk.
    pub shape: Option<StripeShape>,
}

impl PlannedRewrite {
    /// How many bytes.
    pub fn length(&self) -> u64 {
        self.runs.iter().map(|run| run.length).sum()
    }

    /// The first byte, and the first one after the last.
    pub fn range(&self) -> (u64, u64) {
        let from = self.runs.first().map_or(0, |run| run.offset);
        (from, from.saturating_add(self.length()))
    }
}

/// Bytes that could not be rewritten. They keep neither what follows them waiting nor others.
#[derive(Debug, Default)]
pub struct Setbacks {
    /// By file and first byte: up to where, and how long.
    bytes: BTreeMap<(InodeId, u64), (u64, Wait)>,
}

impl Setbacks {
    /// Leaves the bytes `from..to` of a file alone for a while, longer each time up to `most`.
    pub fn set_back(
        &mut self,
        inode: InodeId,
        (from, to): (u64, u64),
        now: Duration,
        (least, most): (Duration, Duration),
    ) {
        let key = (inode, from);
        if self.bytes.len() >= SETBACKS_MAX && !self.bytes.contains_key(&key) {
            let soonest = self.bytes.iter().min_by_key(|(_, (_, wait))| wait.again());
            if let Some(soonest) = soonest.map(|(key, _)| *key) {
                self.bytes.remove(&soonest);
            }
        }
        let (end, wait) = self.bytes.entry(key).or_default();
        *end = to;
        wait.grow(now, (least, most));
    }

    /// Forgets that bytes could not be rewritten: they were.
    pub fn forget(&mut self, inode: InodeId, (from, to): (u64, u64)) {
        let range = (inode, from)..(inode, to);
        let gone: Vec<_> = self.bytes.range(range).map(|(key, _)| *key).collect();
        for key in gone {
            self.bytes.remove(&key);
        }
    }

    /// Whether bytes of a file, those of `run`, are left alone.
    pub fn holds(&self, inode: InodeId, run: &Run, now: Duration) -> bool {
        // What begins before this does not reach so far.
        let from = run.offset.saturating_sub(REWRITE_LEN_MAX);
        let range = (inode, from)..(inode, run.offset.saturating_add(run.length));
        let mut set_back = self.bytes.range(range).map(|(_, waiting)| waiting);
        set_back.any(|(end, wait)| *end > run.offset && !wait.left(now).is_zero())
    }
}

/// The first bytes of a part of a file that are to be rewritten, if any, of those that `may`.
pub fn plan(
    part: &FilePart,
    now: Timestamp,
    budget: &RewriteBudget,
    may: &dyn Fn(&Run) -> bool,
) -> Option<PlannedRewrite> {
    let age = now.since(part.modified);
    let convert = match (part.policy.ec, part.policy.ec_after) {
        (Some(shape), Some(after)) if age >= after => Some(shape),
        _ => None,
    };
    if let Some(shape) = convert
        && let Some(found) = to_convert(part, shape, may)
    {
        return Some(found);
    }
    let is_quiet = age >= budget.compact_after;
    // What is to be in stripes only later is in copies until then.
    let shape = part.policy.ec.filter(|_| part.policy.ec_after.is_none());
    is_quiet
        .then(|| to_compact(part, convert.or(shape), may))
        .flatten()
}

/// Bytes that are in copies and are to be in a stripe.
fn to_convert(
    part: &FilePart,
    shape: StripeShape,
    may: &dyn Fn(&Run) -> bool,
) -> Option<PlannedRewrite> {
    let full = shape
        .shard_length(part.policy.chunk_size)
        .saturating_mul(shape.data.into());
    let full = full.min(REWRITE_LEN_MAX);
    let is_copied = |run: &Run| run.stripe.is_none() && run.others < Others::Files;
    let groups = groups(part, |run| is_copied(run) && may(run));
    groups.into_iter().find_map(|(runs, is_whole)| {
        let runs = first_bytes(runs, full);
        let found = PlannedRewrite {
            inode: part.inode,
            runs,
            shape: Some(shape),
        };
        let length = found.length();
        // The rest of a file is short; what only the page has cut comes with the next.
        let is_enough = length >= full || is_whole;
        (is_enough && length >= STRIPE_LEN_MIN).then_some(found)
    })
}

/// Bytes that are in many short chunks.
fn to_compact(
    part: &FilePart,
    shape: Option<StripeShape>,
    may: &dyn Fn(&Run) -> bool,
) -> Option<PlannedRewrite> {
    let most = part.policy.chunk_size.min(REWRITE_LEN_MAX);
    let is_freed = |run: &Run| run.others == Others::Nobody;
    let groups = groups(part, |run| {
        run.is_short(&part.policy) && is_freed(run) && may(run)
    });
    groups.into_iter().find_map(|(runs, _)| {
        let runs = first_bytes(runs, most);
        let found = PlannedRewrite {
            inode: part.inode,
            runs,
            shape: None,
        };
        let shape = shape.filter(|_| found.length() >= STRIPE_LEN_MIN);
        let becomes = shape.map_or(1, |shape| shape.data());
        let is_worth_it = found.runs.len() >= FRAGMENTS_MIN && found.runs.len() > becomes;
        is_worth_it.then_some(PlannedRewrite { shape, ..found })
    })
}

/// Runs that pass and follow each other without a gap, and whether nothing more can follow them.
fn groups(part: &FilePart, pass: impl Fn(&Run) -> bool) -> Vec<(&[Run], bool)> {
    let mut groups = Vec::new();
    let mut rest = part.runs.as_slice();
    while let Some(first) = rest.iter().position(&pass) {
        rest = rest.get(first..).unwrap_or_default();
        let follows = |pair: &[Run]| match pair {
            [a, b] => a.offset + a.length == b.offset && pass(b),
            _ => false,
        };
        let pairs = rest.windows(2).take_while(|pair| follows(pair)).count();
        let (group, after) = rest.split_at((pairs + 1).min(rest.len()));
        groups.push((group, part.is_end || !after.is_empty()));
        rest = after;
    }
    groups
}

/// The first `most` bytes; the last run is cut.
fn first_bytes(runs: &[Run], most: u64) -> Vec<Run> {
    let (mut first, mut left) = (Vec::new(), most);
    for run in runs.iter().take(FRAGMENTS_MAX) {
        if left == 0 {
            break;
        }
        let length = run.length.min(left);
        left -= length;
        first.push(Run {
            length,
            ..run.clone()
        });
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const MIB: u64 = 1 << 20;

    /// Runs of these lengths in MiB, one after the other from the beginning.
    fn part(policy: Policy, lengths: &[u64]) -> FilePart {
        let mut offset = 0;
        let run = |(chunk, mib): (u64, &u64)| {
            let run = Run {
                offset,
                length: mib * MIB,
                chunk: ChunkId(chunk),
                chunk_offset: 0,
                stripe: None,
                others: Others::Nobody,
            };
            offset += run.length;
            run
        };
        FilePart {
            inode: InodeId(9),
            policy,
            modified: Timestamp(0),
            runs: (1..).zip(lengths).map(run).collect(),
            is_end: true,
        }
    }

    fn later() -> Policy {
        Policy {
            ec: Some(StripeShape { data: 4, parity: 2 }),
            ec_after: Some(DAY),
            ..Policy::DEFAULT
        }
    }

    /// The MiB of each run that is to be rewritten after a time, and whether into a stripe.
    fn planned(part: &FilePart, age: Duration) -> Option<(Vec<u64>, bool)> {
        let now = Timestamp(0).saturating_add(age);
        let found = plan(part, now, &RewriteBudget::DEFAULT, &|_| true)?;
        let lengths = found.runs.iter().map(|run| run.length / MIB);
        Some((lengths.collect(), found.shape.is_some()))
    }

    #[test]
    fn copies_become_stripes_when_nobody_changed_the_file_for_so_long() {
        let part = part(later(), &[64, 64, 20]);
        assert_eq!(planned(&part, DAY / 2), None);
        assert_eq!(planned(&part, DAY), Some((vec![64], true)));
        let never = Policy {
            ec: None,
            ..later()
        };
        let part = FilePart {
            policy: never,
            ..part
        };
        assert_eq!(planned(&part, DAY * 99), None);
    }

    #[test]
    fn a_stripe_has_the_bytes_of_chunks_of_any_length_and_no_more_than_it_can() {
        let part = part(later(), &[40, 40, 40]);
        assert_eq!(planned(&part, DAY), Some((vec![40, 24], true)));
    }

    #[test]
    fn what_is_in_stripes_is_passed_over_and_the_rest_of_a_file_is_taken() {
        let mut part = part(later(), &[64, 64, 3]);
        part.runs
            .iter_mut()
            .take(2)
            .for_each(|run| run.stripe = Some(64 * MIB));
        assert_eq!(planned(&part, DAY), Some((vec![3], true)));
        // Its end is on the next page.
        part.is_end = false;
        assert_eq!(planned(&part, DAY), None);
        part.runs
            .iter_mut()
            .for_each(|run| run.stripe = Some(3 * MIB));
        part.is_end = true;
        assert_eq!(planned(&part, DAY), None);
    }

    #[test]
    fn a_hole_ends_what_is_rewritten_at_once() {
        let mut part = part(later(), &[5, 5]);
        part.runs.iter_mut().skip(1).for_each(|run| run.offset += 1);
        assert_eq!(planned(&part, DAY), Some((vec![5], true)));
    }

    #[test]
    fn many_short_chunks_become_one_and_few_or_long_ones_stay() {
        let short = [1; 20];
        let quiet = RewriteBudget::DEFAULT.compact_after;
        assert_eq!(planned(&part(Policy::DEFAULT, &short), quiet / 2), None);
        let all = Some((short.to_vec(), false));
        assert_eq!(planned(&part(Policy::DEFAULT, &short), quiet), all);
        assert_eq!(planned(&part(Policy::DEFAULT, &[1; 15]), quiet), None);
        assert_eq!(planned(&part(Policy::DEFAULT, &[16; 20]), quiet), None);
        // A long one between them belongs to neither side.
        let mixed = [vec![1; 10], vec![20], vec![2; 17]].concat();
        let found = planned(&part(Policy::DEFAULT, &mixed), quiet);
        assert_eq!(found, Some((vec![2; 17], false)));
    }

    #[test]
    fn many_short_chunks_of_a_file_in_stripes_become_a_stripe() {
        let policy = Policy {
            ec_after: None,
            ..later()
        };
        let found = planned(&part(policy, &[1; 20]), DAY);
        assert_eq!(found, Some((vec![1; 20], true)));
    }

    #[test]
    fn stripes_are_put_together_only_if_they_are_short_and_become_fewer() {
        let policy = Policy {
            ec: Some(StripeShape {
                data: 20,
                parity: 4,
            }),
            ec_after: None,
            ..Policy::DEFAULT
        };
        // Each of these is a chunk of a stripe of so many MiB.
        let of = |mib: u64, count: usize| {
            let mut part = part(policy, &vec![1; count]);
            part.runs
                .iter_mut()
                .for_each(|run| run.stripe = Some(mib * MIB));
            planned(&part, DAY).map(|(runs, _)| runs.len())
        };
        assert_eq!(of(15, 40), Some(40));
        assert_eq!(of(15, 20), None);
        assert_eq!(of(16, 40), None);
    }

    #[test]
    fn bytes_that_another_file_has_stay_and_what_only_snapshots_have_too_becomes_stripes_alone() {
        let shared = |policy, lengths: &[u64], others| {
            let mut part = part(policy, lengths);
            part.runs.iter_mut().for_each(|run| run.others = others);
            planned(&part, DAY)
        };
        let short = [1; 20];
        for others in [Others::Snapshots, Others::Files] {
            assert_eq!(shared(Policy::DEFAULT, &short, others), None);
        }
        let found = shared(later(), &[64], Others::Snapshots);
        assert_eq!(found, Some((vec![64], true)));
        assert_eq!(shared(later(), &[64], Others::Files), None);
    }

    #[test]
    fn what_is_this_files_alone_is_put_together_around_what_is_shared() {
        let mut part = part(Policy::DEFAULT, &[[1; 20], [2; 20], [3; 20]].concat());
        part.runs
            .iter_mut()
            .take(30)
            .for_each(|run| run.others = Others::Files);
        let found = planned(&part, DAY);
        assert_eq!(
            found,
            Some(([vec![2; 10], vec![3; 14], vec![2]].concat(), false))
        );
    }

    #[test]
    fn what_could_not_be_rewritten_waits_longer_each_time_and_what_follows_goes_on() {
        let (least, inode) = (Duration::from_secs(30), InodeId(9));
        let waits = (least, PAUSE_MAX);
        let (mut setbacks, mut now) = (Setbacks::default(), Duration::from_secs(1));
        let part = part(later(), &[64, 64, 64]);
        let first = |setbacks: &Setbacks, now| {
            let may = |run: &Run| !setbacks.holds(inode, run, now);
            let found = plan(&part, Timestamp(u64::MAX), &RewriteBudget::DEFAULT, &may)?;
            found.runs.first().map(|run| run.offset / MIB)
        };
        for pause in [1, 2, 4] {
            assert_eq!(first(&setbacks, now), Some(0));
            setbacks.set_back(inode, (0, 64 * MIB), now, waits);
            now += least * pause - Duration::from_millis(1);
            assert_eq!(first(&setbacks, now), Some(64));
            now += Duration::from_millis(1);
        }
        // Any byte of a run will do.
        setbacks.set_back(inode, (0, 65 * MIB), now, waits);
        assert_eq!(first(&setbacks, now), Some(128));
        setbacks.forget(inode, (0, 64 * MIB));
        assert_eq!(first(&setbacks, now), Some(0));
    }

    #[test]
    fn no_more_is_left_alone_than_is_kept_and_what_waits_longest_stays() {
        let (mut setbacks, now) = (Setbacks::default(), Duration::from_secs(1));
        let waits = (Duration::from_secs(30), PAUSE_MAX);
        let often = InodeId(0);
        (0..2).for_each(|_| setbacks.set_back(often, (0, 1), now, waits));
        for inode in 1..=SETBACKS_MAX as u64 {
            setbacks.set_back(InodeId(inode), (0, 1), now, waits);
        }
        assert_eq!(setbacks.bytes.len(), SETBACKS_MAX);
        assert!(setbacks.bytes.contains_key(&(often, 0)));
    }
}
