//! The log as a row of segments: what is written in one commit, and how it is read back.
//!
//! ```text
//! log-4 ──▶ log-5 ──▶ log-6 ──▶ …           a full segment is followed by a new one
//!   │                    └ commits are written and fsynced here
//!   └ holds only purged entries: becomes log-spare, and then log-7
//! ```
//!
//! - A segment gets its name when its first frame, which says all that is still true of the
//!   segments before it, is on disk. So any suffix of the row is a log.
//! - Segments go one by one, oldest first, each after its entries are purged on disk.
//! - After a write or an fsync has failed nothing is written any more: the replica stops.
//!
//! Not done here: recovery.rs reads the segments when a log is opened.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::codec::decode_entry;
use super::super::directory::{Directory, Stamp, disk_failed, segment_name};
use super::index::{Index, Located};
use super::recovery;
use super::segment::{Change, Header, encode_frame};
use crate::env::{DiskFile, OpenMode, Random};
use crate::error::Fatal;
use crate::machine::Rev;
use crate::planted::{self, Bug};
use crate::types::{Entry, Vote};

/// The file that becomes the next segment.
const SPARE: &str = "log-spare";

/// Zeros written at once while a segment is made.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What is true of a log besides its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<Rev>,
    pub(crate) purged: Option<Rev>,
    pub(crate) stamp: Option<Stamp>,
}

/// What was in a log when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) notes: Notes,
    pub(crate) last: Option<Rev>,
    /// Bytes and number of its entries.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// The log of a directory. All its methods block.
pub(crate) struct LogFile {
    directory: Arc<Directory>,
    random: Arc<dyn Random>,
    segment_bytes: u64,
    tail: Mutex<Tail>,
    index: Mutex<Index>,
}

/// More than the header and the first frame of a segment take, in bytes.
const FIRST_FRAME_MAX: u64 = 1024;

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) header: Header,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) length: u64,
    /// Where the next frame goes, and its sequence.
    pub(super) offset: u64,
    pub(super) sequence: u64,
    pub(super) notes: Notes,
    /// A file of the usual length that was a segment.
    pub(super) spare: Option<Arc<dyn DiskFile>>,
    /// Something went wrong on the way to the disk: what is there is known at the next start.
    pub(super) failed: bool,
}

impl Notes {
    /// Takes in what a change says.
    pub(super) fn note(&mut self, change: &Change) {
        match change {
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(rev) => self.committed = *rev,
            Change::Purge(rev) => self.purged = self.purged.max(Some(*rev)),
            Change::Stamp(stamp) => self.stamp = Some(*stamp),
            Change::Append { .. } | Change::Truncate { .. } | Change::Begin { .. } => {}
        }
    }

    /// The changes that say all of this.
    fn changes(&self) -> impl Iterator<Item = Change> {
        let stamp = self.stamp.map(Change::Stamp);
        let purged = self.purged.map(Change::Purge);
        let committed = self.committed.map(|rev| Change::Committed(Some(rev)));
        let vote = self.vote.map(Change::Vote);
        [stamp, purged, committed, vote].into_iter().flatten()
    }
}

impl LogFile {
    /// Opens the log of a directory, or begins one if there is none. Segments have
    /// `segment_bytes`, or as many more as a single commit needs.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged, or of a newer format.
    pub(crate) fn open(
        directory: Arc<Directory>,
        random: Arc<dyn Random>,
        segment_bytes: u64,
    ) -> Result<(LogFile, Contents), Fatal> {
        let segments = directory.segments().map_err(|e| disk_failed("log", e))?;
        // It may be half way from a segment to a spare file; another is soon made.
        directory
            .remove_if_there(SPARE)
            .map_err(|e| disk_failed(SPARE, e))?;
        let (tail, index) = if segments.is_empty() {
            let first = NewSegment {
                number: 1,
                sequence: 1,
                next: 0,
                notes: Notes::default(),
                length: segment_bytes,
            };
            let first = first.begin(&directory, &*random, None)?;
            let mut index = Index::default();
            index.segments.insert(1, first.file.clone());
            (first, index)
        } else {
            recovery::recover(&directory, &segments)?
        };
        let log = LogFile {
            directory,
            random,
            segment_bytes,
            tail: Mutex::new(tail),
            index: Mutex::new(index),
        };
        let contents = log.contents()?;
        Ok((log, contents))
    }

    fn contents(&self) -> Result<Contents, Fatal> {
        let notes = self.tail().notes;
        let (first, next, entries, bytes) = {
            let index = self.index();
            (index.first(), index.next(), index.entries(), index.bytes())
        };
        let expected = notes.purged.map_or(0, |rev| rev.index + 1);
        if first > expected {
            return Err(Fatal::new(format!("the log lacks entry {expected}")));
        }
        let last = match self.read(next.saturating_sub(1)..=next, usize::MAX)?.pop() {
            Some(entry) => Some(crate::types::rev(&entry.log_id)),
            None => notes.purged,
        };
        Ok(Contents {
            notes,
            last,
            bytes,
            entries,
        })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes in their order, in one commit, which is on disk when this returns.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<(), Fatal> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut tail = self.tail();
        if tail.failed {
            return Err(Fatal::new("the log failed before, nothing more is written"));
        }
        self.index().check(changes)?;
        let written = self.write(&mut tail, changes);
        tail.failed = written.is_err();
        written
    }

    fn write(&self, tail: &mut Tail, changes: &[Change]) -> Result<(), Fatal> {
        let mut frame = encode_frame(tail.header.salt, tail.sequence, changes)?;
        if tail.offset + frame.bytes.len() as u64 > tail.length {
            self.follow_with_new_segment(tail, frame.bytes.len())?;
            frame = encode_frame(tail.header.salt, tail.sequence, changes)?;
        }
        let number = tail.header.number;
        let written = tail.file.write_at(&frame.bytes, tail.offset);
        written
            .and_then(|()| sync(&*tail.file, changes))
            .map_err(|e| disk_failed(&segment_name(number), e))?;
        {
            let mut index = self.index();
            for (change, place) in changes.iter().zip(frame.places) {
                tail.notes.note(change);
                index.change(change, number, place.after(tail.offset))?;
            }
        }
        tail.offset += frame.bytes.len() as u64;
        tail.sequence += 1;
        if changes.iter().any(|c| matches!(c, Change::Purge(_))) {
            self.drop_unused(tail)?;
        }
        Ok(())
    }

    fn follow_with_new_segment(&self, tail: &mut Tail, frame: usize) -> Result<(), Fatal> {
        let room = frame as u64 + FIRST_FRAME_MAX;
        let new = NewSegment {
            number: tail.header.number + 1,
            sequence: tail.sequence,
            next: self.index().next(),
            notes: tail.notes,
            length: self.segment_bytes.max(room),
        };
        let mut spare = tail.spare.take();
        if new.length != self.segment_bytes && spare.take().is_some() {
            // Another file is about to have its name.
            self.directory
                .remove(SPARE)
                .and_then(|()| self.directory.sync())
                .map_err(|e| disk_failed(SPARE, e))?;
        }
        let new = new.begin(&self.directory, &*self.random, spare)?;
        let segments = &mut self.index().segments;
        segments.insert(new.header.number, new.file.clone());
        *tail = new;
        Ok(())
    }

    /// Gives up segments that hold nothing any more.
    fn drop_unused(&self, tail: &mut Tail) -> Result<(), Fatal> {
        loop {
            let Some((number, file)) = self.index().take_unused(tail.header.number) else {
                return Ok(());
            };
            let name = segment_name(number);
            let failed = |e| disk_failed(&name, e);
            // A file that is being read now must stay as it is.
            let is_free = Arc::strong_count(&file) == 1;
            let usual = file.len().map_err(failed)? == self.segment_bytes;
            if tail.spare.is_none() && is_free && usual {
                self.directory.rename(&name, SPARE).map_err(failed)?;
                tail.spare = Some(file);
            } else {
                self.directory.remove(&name).map_err(failed)?;
            }
            // A younger one must not go before it.
            self.directory.sync().map_err(failed)?;
        }
    }

    /// The entries of a range, each verified, until their sizes exceed `bytes_max`.
    pub(crate) fn read(
        &self,
        range: RangeInclusive<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, Fatal> {
        let located = self.index().locate(range, bytes_max);
        let read = |entry: Located| {
            let mut stored = vec![0; entry.place.length];
            entry
                .file
                .read_at(&mut stored, entry.place.offset)
                .map_err(|e| disk_failed("log", e))?;
            decode_entry(entry.index, &stored)
        };
        located.into_iter().map(read).collect()
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile").finish_non_exhaustive()
    }
}

/// A segment that is about to begin.
struct NewSegment {
    number: u64,
    sequence: u64,
    next: u64,
    notes: Notes,
    length: u64,
}

impl NewSegment {
    /// Makes it, from a file that was a segment of the same length if there is one.
    fn begin(
        self,
        directory: &Arc<Directory>,
        random: &dyn Random,
        spare: Option<Arc<dyn DiskFile>>,
    ) -> Result<Tail, Fatal> {
        let header = Header {
            number: self.number,
            sequence: self.sequence,
            salt: random.next_u64(),
        };
        let begin = Change::Begin { next: self.next };
        let changes: Vec<Change> = [begin].into_iter().chain(self.notes.changes()).collect();
        let mut bytes = header.encode();
        bytes.extend(encode_frame(header.salt, header.sequence, &changes)?.bytes);
        let name = segment_name(self.number);
        let write = || {
            let file = match spare {
                Some(file) => file,
                None => fill(
                    directory.open_file(SPARE, OpenMode::CreateNew)?,
                    self.length,
                )?,
            };
            file.write_at(&bytes, 0)?;
            file.sync()?;
            directory.rename(SPARE, &name)?;
            directory.sync()?;
            Ok(file)
        };
        let file = write().map_err(|e| disk_failed(&name, e))?;
        Ok(Tail {
            header,
            file,
            length: self.length,
            offset: bytes.len() as u64,
            sequence: self.sequence + 1,
            notes: self.notes,
            spare: None,
            failed: false,
        })
    }
}

/// Makes durable what was written.
fn sync(file: &dyn DiskFile, changes: &[Change]) -> io::Result<()> {
    let appends = |change: &Change| matches!(change, Change::Append { .. });
    if planted::active(Bug::LogWithoutFsync) && changes.iter().any(appends) {
        return Ok(());
    }
    match file.sync() {
        Err(_) if planted::active(Bug::FailedLogFsyncRetried) => file.sync(),
        synced => synced,
    }
}

/// Writes zeros, so that the file system has no more to do when they are replaced.
fn fill(file: Arc<dyn DiskFile>, length: u64) -> io::Result<Arc<dyn DiskFile>> {
    for offset in (0..length).step_by(ZEROS.len()) {
        let piece = (length - offset).min(ZEROS.len() as u64) as usize;
        file.write_at(ZEROS.get(..piece).unwrap_or(&ZEROS), offset)?;
    }
    file.sync()?;
    Ok(file)
}
