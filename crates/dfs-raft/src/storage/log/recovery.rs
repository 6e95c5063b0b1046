//! Reads the segments of a log when it is opened.

use std::sync::Arc;

use super::super::directory::{Directory, disk_failed, segment_name};
use super::file::{Notes, Tail};
use super::index::Index;
use super::segment::{HEADER_LEN, Header, decode_frame, has_later_frame};
use crate::env::{DiskFile, OpenMode};
use crate::error::Fatal;
use crate::planted::{self, Bug};

/// Reads all segments, each frame verified, and makes sure that what was read is on disk.
pub(super) fn recover(directory: &Arc<Directory>, numbers: &[u64]) -> Result<(Tail, Index), Fatal> {
    let (mut index, mut notes) = (Index::default(), Notes::default());
    let mut last: Option<Segment> = None;
    for &number in numbers {
        let damaged = |e: Fatal| Fatal::with_source(format!("`{}`", segment_name(number)), e);
        if let Some(before) = &last {
            before.check_complete(number)?;
        }
        let mut segment = Segment::open(directory, number, last.as_ref()).map_err(damaged)?;
        index.segments.insert(number, segment.file.clone());
        segment.replay(&mut index, &mut notes).map_err(damaged)?;
        last = Some(segment);
    }
    let last = last.ok_or_else(|| Fatal::new("a log without segments"))?;
    last.check_end()?;
    last.make_durable(directory)?;
    let tail = Tail {
        header: last.header,
        file: last.file,
        length: last.bytes.len() as u64,
        offset: last.offset as u64,
        sequence: last.sequence,
        notes,
        spare: None,
        failed: false,
    };
    Ok((tail, index))
}

struct Segment {
    header: Header,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
    /// Where the last frame that was read begins, and what follows it.
    last: usize,
    offset: usize,
    sequence: u64,
}

impl Segment {
    fn open(
        directory: &Arc<Directory>,
        number: u64,
        before: Option<&Segment>,
    ) -> Result<Segment, Fatal> {
        let name = segment_name(number);
        let read = || {
            let file = directory.open_file(&name, OpenMode::ReadWrite)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
            file.read_at(&mut bytes, 0)?;
            Ok((file, bytes))
        };
        let (file, bytes) = read().map_err(|e| disk_failed(&name, e))?;
        Segment::begin(number, (file, bytes), before)
    }

    fn begin(
        number: u64,
        (file, bytes): (Arc<dyn DiskFile>, Vec<u8>),
        before: Option<&Segment>,
    ) -> Result<Segment, Fatal> {
        let header = Header::decode(&bytes)?;
        if header.number != number {
            let other = segment_name(header.number);
            return Err(Fatal::new(format!("it is `{other}` by another name")));
        }
        if before.is_some_and(|before| before.sequence != header.sequence) {
            return Err(Fatal::new(
                "commits between it and the segment before are missing or damaged",
            ));
        }
        Ok(Segment {
            header,
            file,
            bytes,
            last: HEADER_LEN,
            offset: HEADER_LEN,
            sequence: header.sequence,
        })
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// Takes in all frames up to the first that is not there.
    fn replay(&mut self, index: &mut Index, notes: &mut Notes) -> Result<(), Fatal> {
        while let Some(frame) = decode_frame(self.header.salt, self.sequence, self.rest())? {
            for (change, place) in &frame.changes {
                notes.note(change);
                let place = place.after(self.offset as u64);
                index.change(change, self.header.number, place)?;
            }
            self.last = self.offset;
            self.offset += frame.length;
            self.sequence += 1;
        }
        if self.sequence == self.header.sequence {
            return Err(Fatal::new("its first commit fails its checksum"));
        }
        Ok(())
    }

    fn check_complete(&self, next: u64) -> Result<(), Fatal> {
        match self.header.number + 1 == next {
            true => Ok(()),
            false => Err(Fatal::new(format!(
                "`{}` of the log is missing",
                segment_name(self.header.number + 1)
            ))),
        }
    }

    /// Where the last segment ends there may be what a crash left of one commit that nobody was
    /// told of; a whole one behind it was told of, and so was the one before it.
    fn check_end(&self) -> Result<(), Fatal> {
        match has_later_frame(self.header.salt, self.sequence, self.rest()) {
            false => Ok(()),
            true if planted::active(Bug::LogCutAtDamage) => Ok(()),
            true => Err(Fatal::new(format!(
                "`{}` is damaged at byte {}: later commits are there",
                segment_name(self.header.number),
                self.offset
            ))),
        }
    }

    /// Writes the last commit again: all before it were on disk, but this one may never have
    /// been, and after an fsync that failed the operating system may show bytes that the disk
    /// does not have.
    fn make_durable(&self, directory: &Directory) -> Result<(), Fatal> {
        let frame = self.bytes.get(self.last..self.offset).unwrap_or_default();
        let write = || {
            self.file.write_at(frame, self.last as u64)?;
            self.file.sync()?;
            directory.sync()
        };
        write().map_err(|e| disk_failed(&segment_name(self.header.number), e))
    }
}

/// Reads a log of one segment, with these bytes, as it is read when it is opened.
///
/// # Errors
/// It is damaged.
#[cfg(feature = "testing")]
pub(crate) fn read_alone(file: Arc<dyn DiskFile>, bytes: Vec<u8>) -> Result<(), Fatal> {
    let (mut index, mut notes) = (Index::default(), Notes::default());
    index.segments.insert(1, file.clone());
    let mut segment = Segment::begin(1, (file, bytes), None)?;
    segment.replay(&mut index, &mut notes)?;
    segment.check_end()
}
