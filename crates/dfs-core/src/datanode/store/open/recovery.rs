//! What a crash left, looked through and compared with the index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::RecoveryReport;
use super::adopted::Adopted;
use super::scan::{Found, scan_segment};
use crate::datanode::store::Shared;
use crate::datanode::store::commit::Removed;
use crate::datanode::store::error::{StoreError, is_shortage};
use crate::datanode::store::index::{Entry, Intent, Place, Scanned};
use crate::datanode::store::layout::{
    FAN_OUT, HEADER_LEN, NEIGHBOUR_DIRECTORIES, NEIGHBOURS, PAGE_LEN, RecordState, ReplicaHeader,
    file_name, is_part_name, parse_name,
};
use crate::datanode::store::quarantine;
use crate::datanode::store::replica::{Opened, read_header};
use crate::env::{Entry as Listed, OpenMode};
use crate::planted::{self, Bug};
use crate::types::ChunkId;

/// Files of ours in the root.
const OWN_FILES: &[&str] = &[
    "LOCK",
    "stamp",
    "stamp.new",
    "index.redb",
    "volumes",
    "volumes.new",
    "scrub",
    "scrub.new",
];
/// Index rows looked at in one go.
const PAGE_ROWS: usize = 4096;

/// Recovery at work.
pub(super) struct Recovery<'a> {
    shared: &'a Arc<Shared>,
    report: RecoveryReport,
    /// Records in use, by segment.
    live: BTreeMap<u64, u64>,
    /// Replicas that may not be on the disk yet.
    adopted: Adopted,
}

impl<'a> Recovery<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        report: RecoveryReport,
        live: BTreeMap<u64, u64>,
    ) -> Recovery<'a> {
        Recovery {
            shared,
            report,
            live,
            adopted: Adopted::default(),
        }
    }

    /// What was found, and the records in use, by segment.
    pub(super) fn into_parts(self) -> (RecoveryReport, BTreeMap<u64, u64>) {
        (self.report, self.live)
    }

    /// Returns the number of the next segment.
    pub(super) fn run(&mut self, scanned: Scanned) -> Result<u64, StoreError> {
        self.foreign()?;
        self.incoming()?;
        let last = self.segments(scanned)?.max(scanned.segment);
        if !self.report.clean {
            self.chunks()?;
        }
        self.adopted.make_durable(self.shared)?;
        // From now on the index is not clean, and has all that there is.
        let everything = Scanned {
            segment: last,
            offset: u64::MAX,
        };
        self.shared.index.flush(everything, &[], false)?;
        let kept = self.list(&self.shared.paths.quarantine())?;
        self.report.quarantine_bytes = kept.iter().map(|entry| entry.length).sum();
        // The number is larger than any the index has ever seen, even if those are gone.
        Ok(last + 1)
    }

    /// Finishes deletions that a crash cut short.
    pub(super) fn mark_deleted(&self, intents: &[Intent]) -> Result<(), StoreError> {
        Removed::find(self.shared, intents)?.mark()
    }

    /// What is in the root that we did not put there, and which of our directories are gone.
    fn foreign(&mut self) -> Result<(), StoreError> {
        let paths = &self.shared.paths;
        let chunks = self.list(&paths.chunks())?;
        let mut missing: BTreeSet<String> = (0..FAN_OUT).map(|f| format!("{f:02x}")).collect();
        let is_ours = |entry: &Listed| match entry.is_directory {
            true => ["incoming", "chunks", "segments", "quarantine", "lost+found"]
                .iter()
                .chain(NEIGHBOUR_DIRECTORIES)
                .any(|own| *own == entry.name),
            false => OWN_FILES
                .iter()
                .chain(NEIGHBOURS)
                .any(|own| *own == entry.name),
        };
        let mut found = Vec::new();
        for entry in self.list(&paths.root)?.iter().filter(|e| !is_ours(e)) {
            found.push((entry.name.clone(), "not a name of ours"));
        }
        for entry in &chunks {
            if !entry.is_directory || !missing.remove(&entry.name) {
                found.push((format!("chunks/{}", entry.name), "not a name of ours"));
            }
        }
        for name in missing {
            found.push((format!("chunks/{name}"), "the directory is gone"));
        }
        for (what, reason) in found {
            self.report.noticed += 1;
            self.report.find(what, reason);
        }
        Ok(())
    }

    /// Half-written files. One without a header was never complete, so nobody was told of it.
    fn incoming(&mut self) -> Result<(), StoreError> {
        let directory = self.shared.paths.incoming();
        let entries = self.list(&directory)?;
        for entry in &entries {
            let path = directory.join(&entry.name);
            match is_part_name(&entry.name) && self.has_no_header(&path)? {
                true => self.remove(&path)?,
                false => self.set_aside(&path, "it was not finished")?,
            }
        }
        if !entries.is_empty() {
            self.sync(&directory)?;
        }
        Ok(())
    }

    /// Whether nothing was ever written where a replica's header is.
    fn has_no_header(&self, path: &Path) -> Result<bool, StoreError> {
        let file = match self.shared.env.disk.open(path, OpenMode::Read) {
            Err(e) if is_shortage(&e) => return Err(StoreError::Busy(e.to_string())),
            Err(_) => return Ok(false),
            Ok(file) => file,
        };
        let mut header = [0; HEADER_LEN];
        let read = file.read_at(&mut header, 0);
        let empty = file.len().is_ok_and(|length| length == 0);
        Ok(empty || read.is_ok() && header == [0; HEADER_LEN])
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let removed = self.shared.env.disk.remove_file(path);
        removed.map_err(|e| StoreError::from_write(&e, path))?;
        info!(file = %path.display(), "removed what was left of an unfinished replica");
        Ok(())
    }

    /// Looks through segments for records the index lacks; returns the last segment's number.
    fn segments(&mut self, scanned: Scanned) -> Result<u64, StoreError> {
        let directory = self.shared.paths.segments();
        let mut numbers = Vec::new();
        let mut moved = false;
        for entry in self.list(&directory)? {
            match parse_name(&entry.name, ".seg") {
                Some(number) if !entry.is_directory => numbers.push(number),
                _ => {
                    self.set_aside(&directory.join(&entry.name), "not a name of ours")?;
                    moved = true;
                }
            }
        }
        let known = self.live.len();
        self.live
            .retain(|number, _| numbers.binary_search(number).is_ok());
        if self.live.len() < known {
            // Files are gone, so a clean stop is no reason to believe the index.
            self.report.clean = false;
        }
        let last = numbers.last().copied().unwrap_or(0);
        for number in numbers {
            self.live.entry(number).or_default();
            let from = match number.cmp(&scanned.segment) {
                _ if self.report.index_rebuilt => PAGE_LEN,
                std::cmp::Ordering::Less => continue,
                std::cmp::Ordering::Equal => scanned.offset,
                std::cmp::Ordering::Greater => PAGE_LEN,
            };
            // Only what was being written when it stopped can be torn, or not on the disk.
            let fresh = !self.report.index_rebuilt || number == last;
            if from != u64::MAX && !planted::active(Bug::SmallChunkIndexTrusted) {
                moved |= self.segment(number, from, fresh)?;
            }
        }
        if moved {
            self.sync(&directory)?;
        }
        self.live.keys().for_each(|number| self.trim(*number));
        Ok(last)
    }

    /// Gives back what was reserved for a segment: nothing is appended to it any more.
    fn trim(&self, segment: u64) {
        let path = self.shared.paths.segment(segment);
        let file = self.shared.env.disk.open(&path, OpenMode::ReadWrite);
        let trimmed = file.and_then(|file| file.set_len(file.len()?));
        if let Err(error) = trimmed {
            warn!(%error, segment, "room that is reserved for a segment is not given back");
        }
    }

    /// Adopts the records of a segment. Returns whether the file was moved away.
    fn segment(&mut self, number: u64, from: u64, fresh: bool) -> Result<bool, StoreError> {
        let path = self.shared.paths.segment(number);
        let found = match scan_segment(&*self.shared.env.disk, &path, from) {
            Ok(found) => found,
            Err(e @ StoreError::Busy(_)) => return Err(e),
            Err(e) if self.live.get(&number).is_some_and(|live| *live > 0) => {
                self.report.noticed += 1;
                self.report.find(file_name(&path), e.to_string());
                return Ok(false);
            }
            Err(e) => {
                self.live.remove(&number);
                self.set_aside(&path, &e.to_string())?;
                return Ok(true);
            }
        };
        for found in found {
            match found {
                Found::Record { header, .. } if header.state == RecordState::Deleted => {}
                Found::Record { offset, header } => {
                    self.record(number, offset, &header, fresh)?;
                }
                Found::Damage { offset, length } => {
                    self.report.noticed += 1;
                    let what = format!("{length} bytes at {offset} are no record");
                    self.report.find(file_name(&path), what);
                }
            }
        }
        Ok(false)
    }

    fn record(
        &mut self,
        segment: u64,
        offset: u64,
        header: &ReplicaHeader,
        fresh: bool,
    ) -> Result<(), StoreError> {
        let chunk = header.chunk;
        let entry = Entry {
            place: Place::Small { segment, offset },
            length: header.length,
            checksum: header.checksum,
            data_offset: header.data_offset,
        };
        let known = self.shared.index.get(chunk)?;
        if known == Some(entry) {
            return Ok(());
        }
        let sound = Opened::open(self.shared, chunk, entry).and_then(|opened| match fresh {
            true => opened.verify_at_rest(self.shared, chunk),
            false => Ok(()),
        });
        let wrong = match (sound, known) {
            (Err(e @ StoreError::Busy(_)), _) => return Err(e),
            (Err(e), _) => e.to_string(),
            (Ok(()), Some(_)) => "it is here twice".into(),
            (Ok(()), None) => {
                self.adopt(chunk, entry, fresh);
                return Ok(());
            }
        };
        self.set_record_aside(chunk, entry, &wrong)
    }

    /// Takes a replica into the index; a fresh one may not be on the disk yet.
    fn adopt(&mut self, chunk: ChunkId, entry: Entry, fresh: bool) {
        self.shared.index.insert(chunk, entry, None);
        if fresh {
            self.adopted.add(self.shared, chunk, &entry);
        }
        if let Place::Small { segment, .. } = entry.place {
            *self.live.entry(segment).or_default() += 1;
        }
        self.report.adopted += 1;
    }

    /// Copies a torn record to quarantine and marks it, so that no later rebuild takes it for a
    /// good one.
    fn set_record_aside(
        &mut self,
        chunk: ChunkId,
        entry: Entry,
        reason: &str,
    ) -> Result<(), StoreError> {
        match quarantine::copy_record(self.shared, chunk, entry, reason) {
            Ok(name) => {
                self.report.quarantined += 1;
                self.report.find(name, reason);
            }
            Err(StoreError::OutOfSpace(e)) => {
                self.report.noticed += 1;
                self.report.find(
                    chunk.to_string(),
                    format!("{reason}; no room for a copy: {e}"),
                );
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        let (path, base) = self.shared.locate(chunk, entry.place);
        let failed = |e| StoreError::Failed(format!("{}: {e}", path.display()));
        let file = self
            .shared
            .env
            .disk
            .open(&path, OpenMode::ReadWrite)
            .map_err(failed)?;
        let mut bytes = [0; HEADER_LEN];
        file.read_at(&mut bytes, base).map_err(failed)?;
        if let Ok(mut header) = ReplicaHeader::decode(&bytes, None) {
            header.state = RecordState::Deleted;
            file.write_at(&header.encode(), base).map_err(failed)?;
            file.sync().map_err(failed)?;
        }
        Ok(())
    }

    /// Compares the names of chunk files with the index.
    fn chunks(&mut self) -> Result<(), StoreError> {
        let mut present = Vec::new();
        for fan in 0..FAN_OUT {
            self.fan_out(fan, &mut present)?;
        }
        present.sort_unstable();
        let mut lost = Vec::new();
        let mut from = ChunkId(0);
        loop {
            let rows = self.shared.index.list(from, PAGE_ROWS)?;
            for (chunk, entry) in &rows {
                let gone = match entry.place {
                    Place::Large => present.binary_search(&chunk.0).is_err(),
                    Place::Small { segment, .. } => !self.live.contains_key(&segment),
                };
                if gone {
                    lost.push((*chunk, *entry));
                }
            }
            match rows.last() {
                Some((chunk, _)) if chunk.0 < u64::MAX => from = ChunkId(chunk.0 + 1),
                _ => break,
            }
        }
        for (chunk, entry) in lost {
            self.report.lost += 1;
            self.report
                .find(chunk.to_string(), "the index has it, its file is gone");
            self.shared.index.remove(chunk, entry);
        }
        Ok(())
    }

    fn fan_out(&mut self, fan: u64, present: &mut Vec<u64>) -> Result<(), StoreError> {
        let directory = self.shared.paths.fan_out(fan);
        let mut moved = false;
        for name in self.list(&directory)? {
            let path = directory.join(&name.name);
            let chunk = parse_name(&name.name, ".chunk").map(ChunkId);
            let chunk = chunk.filter(|c| self.shared.paths.chunk(*c) == path && !name.is_directory);
            let wrong = match chunk {
                None => "not a name of ours, or not its place".to_owned(),
                Some(chunk) => match self.chunk(chunk, name.length)? {
                    Ok(()) => {
                        present.push(chunk.0);
                        continue;
                    }
                    Err(wrong) => wrong,
                },
            };
            self.set_aside(&path, &wrong)?;
            moved = true;
        }
        match moved {
            true => self.sync(&directory),
            false => Ok(()),
        }
    }

    /// Adopts a chunk file unless the index has it; says what is wrong with it, if anything is.
    fn chunk(&mut self, chunk: ChunkId, length: u64) -> Result<Result<(), String>, StoreError> {
        match self.shared.index.get(chunk)?.map(|entry| entry.place) {
            Some(Place::Large) => return Ok(Ok(())),
            Some(Place::Small { .. }) => return Ok(Err("it is in a segment as well".into())),
            None => {}
        }
        let path = self.shared.paths.chunk(chunk);
        let file = match self.shared.env.disk.open(&path, OpenMode::Read) {
            Err(e) if is_shortage(&e) => return Err(StoreError::Busy(e.to_string())),
            opened => opened.map_err(|e| e.to_string()),
        };
        let header = file.and_then(|file| read_header(&*file, 0));
        let header = match header {
            Ok((header, _)) => header,
            Err(e) => return Ok(Err(e)),
        };
        if header.chunk != chunk || u64::from(header.data_offset) + header.length != length {
            return Ok(Err(
                "its header does not agree with its name or length".into()
            ));
        }
        let entry = Entry {
            place: Place::Large,
            length: header.length,
            checksum: header.checksum,
            data_offset: header.data_offset,
        };
        self.adopt(chunk, entry, true);
        Ok(Ok(()))
    }

    fn list(&self, directory: &Path) -> Result<Vec<Listed>, StoreError> {
        let entries = self.shared.env.disk.list(directory);
        entries.map_err(|e| StoreError::Failed(format!("{}: {e}", directory.display())))
    }

    fn set_aside(&mut self, path: &Path, reason: &str) -> Result<(), StoreError> {
        if planted::active(Bug::UnknownFilesDeleted) {
            return self.remove(path);
        }
        let name = quarantine::move_file(self.shared, path, reason)?;
        self.report.quarantined += 1;
        self.report.find(name, reason);
        Ok(())
    }

    fn sync(&self, directory: &Path) -> Result<(), StoreError> {
        let synced = self.shared.env.disk.sync_directory(directory);
        synced.map_err(|e| StoreError::from_sync(&e, directory))
    }
}
