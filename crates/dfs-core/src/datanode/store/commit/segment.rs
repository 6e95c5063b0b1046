//! Segments: small chunks packed one after the other.
//!
//! One segment is being appended to; it is begun anew at every start, so that what a crash left
//! at the end of the one before is never written over. Only the committer appends and deletes.
//! All calls block.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::info;

use super::dead;
use super::queue::Packed;
use crate::datanode::store::error::{StoreError, is_out_of_space};
use crate::datanode::store::index::{Entry, Place, Scanned};
use crate::datanode::store::layout::{
    PAGE_LEN, RecordState, ReplicaHeader, SegmentHeader, encode_crcs, header_len,
};
use crate::datanode::store::open::{Found, scan_segment};
use crate::datanode::store::quarantine;
use crate::datanode::store::{Shared, sync_once};
use crate::env::{DiskFile, OpenMode};
use crate::planted::{self, Bug};

/// Least room that is reserved for a segment.
const ROOM_MIN: u64 = 1 << 20;

pub(in crate::datanode::store) struct Segments {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Records in use, by segment, of all segment files.
    live: BTreeMap<u64, u64>,
    /// How many there were when the deleted ones were joined last, of those that lost some since.
    joined: BTreeMap<u64, u64>,
    next: u64,
}

struct Active {
    number: u64,
    salt: u64,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Where the next record goes; everything before is synced.
    end: u64,
}

impl Segments {
    /// `live` has every segment file; `next` is larger than any segment there ever was.
    pub(in crate::datanode::store) fn new(
        shared: Arc<Shared>,
        live: BTreeMap<u64, u64>,
        next: u64,
    ) -> Segments {
        Segments {
            shared,
            active: None,
            live,
            joined: BTreeMap::new(),
            next,
        }
    }

    /// Every record before this is in the index, once the index has what was appended.
    pub(in crate::datanode::store) fn scanned(&self) -> Scanned {
        match &self.active {
            Some(active) => Scanned {
                segment: active.number,
                offset: active.end,
            },
            None => Scanned {
                segment: self.next.saturating_sub(1),
                offset: u64::MAX,
            },
        }
    }

    /// Appends records and syncs them, all or none, and says where they are.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`]: nothing was kept. [`StoreError::Failed`].
    pub(in crate::datanode::store) fn append(
        &mut self,
        records: &[&Packed],
    ) -> Result<Vec<Entry>, StoreError> {
        if let Some(active) = &self.active
            && active.end >= self.shared.config.segment_size
        {
            self.seal()?;
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(begin(&self.shared, self.next)?),
        };
        if self.next == active.number {
            self.next += 1;
            self.live.insert(active.number, 0);
        }
        let mut bytes = Vec::new();
        let entries: Vec<Entry> = records
            .iter()
            .map(|record| active.lay_out(record, &mut bytes))
            .collect();
        let write = |e| StoreError::from_write(&e, &active.path);
        if let Err(e) = active.file.write_at(&bytes, active.end) {
            let error = write(e);
            // What was begun was not promised to anyone; nothing is to stand behind the end.
            active.file.set_len(active.end).map_err(|e| {
                StoreError::Failed(format!("{}: {e}, after {error}", active.path.display()))
            })?;
            return Err(error);
        }
        let sync = |e| StoreError::from_sync(&e, &active.path);
        if !planted::active(Bug::SmallChunkWithoutFsync) {
            sync_once(&*active.file).map_err(sync)?;
        }
        active.end += bytes.len() as u64;
        *self.live.entry(active.number).or_default() += entries.len() as u64;
        Ok(entries)
    }

    /// Ends the active segment and gives back what was reserved for it.
    fn seal(&mut self) -> Result<(), StoreError> {
        if let Some(active) = self.active.take() {
            let end = active.end;
            let trimmed = active.file.set_len(end);
            trimmed.map_err(|e| StoreError::from_write(&e, &active.path))?;
        }
        Ok(())
    }

    /// Counts a record out.
    pub(in crate::datanode::store) fn forget(&mut self, segment: u64) {
        if let Some(live) = self.live.get_mut(&segment) {
            self.joined.entry(segment).or_insert(*live);
            *live = live.saturating_sub(1);
        }
    }

    /// Joins the deleted records of segments that have lost half of their records since the last
    /// time: to read through all headers is worth it then.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(in crate::datanode::store) fn join_dead(&mut self) -> Result<(), StoreError> {
        let active = self.active.as_ref().map(|active| active.number);
        let due = self.joined.iter().filter(|(number, before)| {
            let live = self.live.get(number).copied().unwrap_or(0);
            live > 0 && live <= **before / 2 && Some(**number) != active
        });
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        for number in due {
            match dead::join_dead(&self.shared, number) {
                // Another time.
                Err(StoreError::Busy(_)) => continue,
                joined => joined?,
            }
            if let Some(live) = self.live.get(&number) {
                self.joined.insert(number, *live);
            }
        }
        self.joined
            .retain(|number, _| self.live.contains_key(number));
        Ok(())
    }

    /// Whether there is such a segment.
    pub(in crate::datanode::store) fn exists(&self, segment: u64) -> bool {
        self.live.contains_key(&segment)
    }

    /// Removes segments without records in use. One that has something in it that the index
    /// does not know goes to quarantine instead.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(in crate::datanode::store) fn remove_empty(&mut self) -> Result<(), StoreError> {
        let active = self.active.as_ref().map(|a| a.number);
        let empty = self
            .live
            .iter()
            .filter(|(n, l)| **l == 0 && Some(**n) != active);
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        for number in &empty {
            let path = self.shared.paths.segment(*number);
            let disk = &self.shared.env.disk;
            let failed = |e| StoreError::Failed(format!("{}: {e}", path.display()));
            let scan = scan_segment(&**disk, &path, PAGE_LEN);
            let unknown = match scan {
                Ok(found) => found.iter().find_map(|found| match found {
                    Found::Record { header, .. } if header.state == RecordState::Live => Some(
                        format!("it holds {}, which the index does not know", header.chunk),
                    ),
                    Found::Record { .. } => None,
                    Found::Damage { offset, .. } => Some(format!("damage at {offset}")),
                }),
                // Another time.
                Err(StoreError::Busy(_)) => continue,
                Err(e) => Some(e.to_string()),
            };
            match unknown {
                Some(reason) => {
                    quarantine::move_file(&self.shared, &path, &reason)?;
                }
                None => {
                    disk.remove_file(&path).map_err(failed)?;
                    info!(segment = number, "removed an empty segment");
                }
            }
            self.live.remove(number);
        }
        if !empty.is_empty() {
            let directory = self.shared.paths.segments();
            let synced = self.shared.env.disk.sync_directory(&directory);
            synced.map_err(|e| StoreError::from_sync(&e, &directory))?;
        }
        Ok(())
    }
}

impl Active {
    fn lay_out(&self, record: &Packed, bytes: &mut Vec<u8>) -> Entry {
        let offset = self.end + bytes.len() as u64;
        let data_offset = header_len(record.crcs.len() as u64) as u32;
        let header = ReplicaHeader::new(
            record.chunk,
            record.length,
            &record.crcs,
            self.salt,
            data_offset,
        );
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&encode_crcs(&record.crcs));
        for part in &record.data {
            bytes.extend_from_slice(part);
        }
        bytes.resize((offset - self.end + header.record_len()) as usize, 0);
        Entry {
            place: Place::Small {
                segment: self.number,
                offset,
            },
            length: record.length,
            checksum: header.checksum,
            data_offset,
        }
    }
}

/// Reserves room for a segment, or for a part of one on a disk that is nearly full.
fn reserve(file: &dyn DiskFile, most: u64) -> io::Result<()> {
    let mut room = most;
    loop {
        match file.reserve(room) {
            Err(e) if is_out_of_space(&e) && room / 2 >= ROOM_MIN => room /= 2,
            reserved => return reserved,
        }
    }
}

/// Makes a new segment, durable before anything is in it.
fn begin(shared: &Shared, number: u64) -> Result<Active, StoreError> {
    let path = shared.paths.segment(number);
    let disk = &shared.env.disk;
    let write = |e| StoreError::from_write(&e, &path);
    let header = SegmentHeader {
        number,
        salt: shared.env.random.next_u64(),
    };
    let open = |e| StoreError::from_open(&e, &path);
    let file = disk.open(&path, OpenMode::CreateNew).map_err(open)?;
    let prepared = file
        .set_len(PAGE_LEN)
        .and_then(|()| reserve(&*file, shared.config.segment_size))
        .and_then(|()| file.write_at(&header.encode(), 0));
    if let Err(e) = prepared {
        disk.remove_file(&path).map_err(write)?;
        return Err(write(e));
    }
    file.sync().map_err(|e| StoreError::from_sync(&e, &path))?;
    let directory = shared.paths.segments();
    disk.sync_directory(&directory)
        .map_err(|e| StoreError::from_sync(&e, &directory))?;
    Ok(Active {
        number,
        salt: header.salt,
        file,
        path,
        end: PAGE_LEN,
    })
}
