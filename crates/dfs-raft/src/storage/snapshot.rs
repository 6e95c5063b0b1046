//! Snapshots: a view on one side, a new file on the other, frames in between.
//!
//! ```text
//! frame = postcard (table name, [(key, sealed row)]), CRC-32C over sequence number and bytes
//! ```
//!
//! A frame holds at most about a mebibyte. Both sides verify each row's own checksum, and at the
//! end the digest of all rows, so that damage is found where it is: a sender stops over its own
//! rows, a receiver refuses what others sent.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::apply::Position;
use super::directory::{Directory, Uncounted, disk_failed, state_name};
use crate::env::OpenMode;
use crate::error::Fatal;
use crate::planted::{self, Bug};
use crate::state::{Digest, StateDb, View, decode_postcard, encode_postcard, seal, unseal};

/// Rows in one frame, in bytes; one more row may follow.
const FRAME_BYTES: usize = 512 << 10;

/// Received bytes after which the new file is made durable, so that no frame and not
/// the end takes long.
const DURABLE_BYTES: usize = 4 << 20;

const FRAME: &str = "snapshot frame";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rows {
    pub(crate) table: String,
    pub(crate) rows: Vec<(Bytes, Bytes)>,
}

/// The bytes of a frame with a number.
pub(crate) fn seal_frame(sequence: u64, encoded: Vec<u8>) -> Vec<u8> {
    seal(FRAME, &sequence.to_be_bytes(), encoded)
}

/// The rows in a frame with a number, whose own checksums are still to be verified.
///
/// # Errors
/// It is no such frame.
pub(crate) fn decode_frame(sequence: u64, frame: &[u8]) -> Result<Rows, Fatal> {
    decode_postcard(unseal(FRAME, &sequence.to_be_bytes(), frame)?)
}

/// What a snapshot is to openraft.
pub(crate) enum SnapshotData {
    /// A state at one position, unchanged by later writes.
    View(SnapshotView),
    /// A complete state in a file of its own that does not count yet.
    Received(Received),
}

/// A state at one position.
#[derive(Clone)]
pub(crate) struct SnapshotView {
    pub(crate) view: View,
    pub(crate) digest: Digest,
    pub(crate) position: Position,
}

/// How far a view was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    table: usize,
    after: Option<Vec<u8>>,
    pub(crate) sequence: u64,
    pub(crate) rows: u64,
    /// Of the rows that were sent.
    pub(crate) digest: Digest,
}

impl SnapshotView {
    /// The next frame, `None` after the last. An error says that this state is damaged. Blocks.
    pub(crate) fn next_frame(&self, cursor: &mut Cursor) -> Result<Option<Vec<u8>>, Fatal> {
        while let Some(name) = self.view.names().get(cursor.table) {
            let start = match &cursor.after {
                Some(key) => Bound::Excluded(key.as_slice()),
                None => Bound::Unbounded,
            };
            let mut rows = Vec::new();
            let mut bytes = 0;
            for row in self.view.sealed_rows(cursor.table, start)? {
                let (key, sealed) = row?;
                unseal(name, &key, &sealed)?;
                if planted::leaves_out(name, &key) {
                    continue;
                }
                cursor.digest.add(name, &key, &sealed);
                bytes += key.len() + sealed.len();
                rows.push((Bytes::from(key), Bytes::from(sealed)));
                if bytes >= FRAME_BYTES {
                    break;
                }
            }
            let Some((last, _)) = rows.last() else {
                cursor.table += 1;
                cursor.after = None;
                continue;
            };
            cursor.after = Some(last.to_vec());
            cursor.rows += rows.len() as u64;
            let table = (*name).to_owned();
            let mut encoded = Vec::with_capacity(bytes + bytes / 8 + 64);
            encode_postcard(&Rows { table, rows }, &mut encoded)?;
            let frame = seal_frame(cursor.sequence, encoded);
            cursor.sequence += 1;
            return Ok(Some(frame));
        }
        let left_out = planted::active(Bug::DedupLostInSnapshot)
            || planted::active(Bug::IdCounterNotInSnapshot);
        if !left_out {
            cursor.digest.check(self.digest)?;
        }
        Ok(None)
    }
}

/// A snapshot while it arrives. All its methods block, and dropping it does.
pub(crate) struct Receiver {
    directory: Arc<Directory>,
    db: Arc<StateDb>,
    file: Uncounted,
    rows: u64,
    /// The table and the key of the last row.
    last: Option<(usize, Bytes)>,
    sequence: u64,
    unsynced: usize,
}

/// A snapshot that arrived. If it is not installed nothing of it stays.
pub(crate) struct Received {
    pub(crate) db: Arc<StateDb>,
    pub(crate) file: Uncounted,
    pub(crate) position: Position,
}

impl Receiver {
    /// Begins a new file; what an earlier try left under its number is lost.
    pub(crate) fn create(
        directory: Arc<Directory>,
        number: u64,
        tables: &'static [&'static str],
        cache: usize,
    ) -> Result<Receiver, Fatal> {
        let name = state_name(number);
        let file = directory
            .open_file(&name, OpenMode::CreateNew)
            .map_err(|e| disk_failed(&name, e))?;
        let uncounted = Uncounted::new(directory.clone(), number);
        Ok(Receiver {
            directory,
            db: Arc::new(StateDb::open(file, tables, cache)?),
            file: uncounted,
            rows: 0,
            last: None,
            sequence: 0,
            unsynced: 0,
        })
    }

    /// Writes the rows of the next frame.
    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        let refused = |e: Fatal| FrameError::Refused(e.to_string());
        let Rows { table, rows } = decode_frame(self.sequence, frame).map_err(refused)?;
        let Some(index) = self.db.table_index(&table) else {
            return Err(FrameError::Refused(format!(
                "the snapshot has a table `{table}` that this program does not know"
            )));
        };
        for (key, sealed) in &rows {
            unseal(&table, key, sealed).map_err(refused)?;
            let row = Some((index, key.clone()));
            if row <= self.last {
                let why = format!("the rows of table `{table}` are out of order");
                return Err(FrameError::Refused(why));
            }
            self.last = row;
        }
        if planted::active(Bug::PartialSnapshotInstall) && self.sequence >= 3 {
            self.sequence += 1;
            return Ok(());
        }
        self.unsynced += frame.len();
        let durable = self.unsynced >= DURABLE_BYTES;
        let batch = rows
            .iter()
            .map(|(key, sealed)| (index, key.as_ref(), sealed.as_ref()));
        self.db.restore(durable, batch).map_err(FrameError::Fatal)?;
        if durable {
            self.unsynced = 0;
        }
        self.rows += rows.len() as u64;
        self.sequence += 1;
        Ok(())
    }

    /// The number of the next frame.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Verifies that all arrived and makes it durable, under a name that does not count yet.
    pub(crate) fn finish(
        self,
        rows: u64,
        digest: Digest,
        position: Position,
    ) -> Result<Received, FrameError> {
        let found = self.db.digest().map_err(FrameError::Fatal)?;
        let complete = (self.rows, found) == (rows, digest);
        if !complete && !planted::active(Bug::PartialSnapshotInstall) {
            return Err(FrameError::Refused(format!(
                "the snapshot has {rows} rows with digest {digest}, {} with {found} arrived",
                self.rows
            )));
        }
        let finish = || {
            self.db.write(true, |_, notes| position.write(notes))?;
            let sync = self.directory.sync();
            sync.map_err(|e| disk_failed("directory", e))
        };
        finish().map_err(FrameError::Fatal)?;
        Ok(Received {
            db: self.db,
            file: self.file,
            position,
        })
    }
}

/// Why a frame was not written.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The frame is at fault: the sender may start again.
    Refused(String),
    /// This replica is at fault.
    Fatal(Fatal),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    const TABLES: &[&str] = &["first", "second"];

    fn receive(rows: &[(&str, &str, &[u8])]) -> Result<(), Box<dyn std::error::Error>> {
        let path = tempfile::tempdir()?;
        let directory = Directory::open(Env::real().disk, path.path())?;
        let mut receiver = Receiver::create(directory, 1, TABLES, 1 << 20)?;
        for (sequence, (table, key, sealed)) in (0_u64..).zip(rows) {
            let (key, sealed) = (key.as_bytes(), sealed);
            let row = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(sealed));
            let (table, rows) = ((*table).to_owned(), vec![row]);
            let mut encoded = Vec::new();
            encode_postcard(&Rows { table, rows }, &mut encoded)?;
            match receiver.frame(&seal(FRAME, &sequence.to_be_bytes(), encoded)) {
                Ok(()) => {}
                Err(FrameError::Refused(why)) => return Err(why.into()),
                Err(FrameError::Fatal(fatal)) => panic!("it takes it for its own: {fatal}"),
            }
        }
        Ok(())
    }

    #[test]
    fn rows_that_were_sent_damaged_are_refused_and_not_taken_for_the_receivers_own() {
        let row = |table, key: &str| seal(table, key.as_bytes(), b"value".to_vec());
        let good = [
            ("first", "a", &*row("first", "a")),
            ("second", "a", &*row("second", "a")),
        ];
        assert!(receive(&good).is_ok());
        let why = receive(&[("first", "b", &row("first", "a"))]).unwrap_err();
        assert!(why.to_string().contains("checksum"), "{why}");
        let why = receive(&[good[0], good[1], good[0]]).unwrap_err();
        assert!(why.to_string().contains("out of order"), "{why}");
    }

    #[test]
    fn a_sender_whose_rows_are_not_those_of_its_digest_says_so() -> Result<(), Fatal> {
        let db = StateDb::in_memory(TABLES)?;
        let sent = |digest| {
            let (view, position) = (db.view()?, Position::default());
            let view = SnapshotView {
                view,
                digest,
                position,
            };
            view.next_frame(&mut Cursor::default())
        };
        assert_eq!(sent(db.digest()?)?, None);
        assert!(sent(Digest(7)).is_err());
        Ok(())
    }
}
