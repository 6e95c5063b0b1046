//! Records that are to go: their marks, and the holes that are made of them.
//!
//! A mark changes a record's header in place. Neighbours that go together become one deleted
//! record: the header of the first grows over the others, so that one write marks them all and
//! one hole takes them all. That is allowed only once the index has durably forgotten them and
//! noted them as intents, for the others are then found by nobody but recovery, which marks them
//! if the first header did not reach the disk.
//!
//! ```text
//! before   │header a│data a│header b│data b│header c│data c│
//! after    │header a: deleted, to here ─────────────────── ▶│   all but its first page a hole
//! ```

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use crate::datanode::store::Shared;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::index::Intent;
use crate::datanode::store::layout::{HEADER_LEN, PAGE_LEN, RecordState, ReplicaHeader};
use crate::env::{DiskFile, OpenMode};

/// Records of small chunks that are to go, and the files they are in. All calls block.
pub(in crate::datanode::store) struct Removed<'a> {
    shared: &'a Shared,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    records: BTreeMap<(u64, u64), ReplicaHeader>,
}

impl Removed<'_> {
    /// Finds the records. Of those that are not there, nothing is to be marked.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Busy`].
    pub(in crate::datanode::store) fn find<'a>(
        shared: &'a Shared,
        intents: &[Intent],
    ) -> Result<Removed<'a>, StoreError> {
        let mut removed = Removed {
            shared,
            files: BTreeMap::new(),
            records: BTreeMap::new(),
        };
        for intent in intents {
            let Some(file) = removed.file(intent.segment)? else {
                continue;
            };
            let mut bytes = [0; HEADER_LEN];
            if file.read_at(&mut bytes, intent.offset).is_err() {
                // What cannot be read is not found by a rebuilt index either.
                continue;
            }
            if let Ok(header) = ReplicaHeader::decode(&bytes, None)
                && header.chunk == intent.chunk
            {
                let place = (intent.segment, intent.offset);
                removed.records.insert(place, header);
            }
        }
        Ok(removed)
    }

    fn file(&mut self, segment: u64) -> Result<Option<&Arc<dyn DiskFile>>, StoreError> {
        let path = self.shared.paths.segment(segment);
        let failed = |e| match StoreError::from_open(&e, &path) {
            busy @ StoreError::Busy(_) => busy,
            // Marking takes no room.
            _ => StoreError::Failed(format!("{}: {e}", path.display())),
        };
        let disk = &self.shared.env.disk;
        match self.files.entry(segment) {
            btree_map::Entry::Occupied(opened) => Ok(Some(opened.into_mut())),
            btree_map::Entry::Vacant(_) if !disk.exists(&path).map_err(failed)? => Ok(None),
            btree_map::Entry::Vacant(vacant) => {
                let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
                Ok(Some(vacant.insert(file)))
            }
        }
    }

    /// Joins neighbours. Only for what the index has durably forgotten.
    pub(super) fn join(&mut self) {
        let mut joined: BTreeMap<(u64, u64), ReplicaHeader> = BTreeMap::new();
        for ((segment, offset), header) in std::mem::take(&mut self.records) {
            if let Some(mut last) = joined.last_entry()
                && last.key().0 == segment
                && last.key().1 + last.get().record_len() == offset
            {
                let length = last.get().record_len() + header.record_len();
                // Marked as live still, so that it is written.
                last.get_mut().state = RecordState::Live;
                last.get_mut().cover(length);
                continue;
            }
            joined.insert((segment, offset), header);
        }
        self.records = joined;
    }

    /// Marks the records as deleted and makes that durable.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(in crate::datanode::store) fn mark(&mut self) -> Result<(), StoreError> {
        for ((segment, offset), header) in &mut self.records {
            if header.state == RecordState::Live
                && let Some(file) = self.files.get(segment)
            {
                header.state = RecordState::Deleted;
                // In place and within a sector: it needs no room and touches no other record.
                let written = file.write_at(&header.encode(), *offset);
                let path = self.shared.paths.segment(*segment);
                written.map_err(|e| StoreError::Failed(format!("{}: {e}", path.display())))?;
            }
        }
        for (segment, file) in &self.files {
            let path = self.shared.paths.segment(*segment);
            file.sync().map_err(|e| StoreError::from_sync(&e, &path))?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Makes holes of all but the first pages of the records, in segments that still exist.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(super) fn punch(&self, exists: impl Fn(u64) -> bool) -> Result<(), StoreError> {
        for ((segment, offset), header) in &self.records {
            let length = header.record_len().saturating_sub(PAGE_LEN);
            if let Some(file) = self.files.get(segment)
                && length > 0
                && exists(*segment)
            {
                let punched = file.punch_hole(offset + PAGE_LEN, length);
                let path = self.shared.paths.segment(*segment);
                punched.map_err(|e| StoreError::from_write(&e, &path))?;
            }
        }
        Ok(())
    }
}
