//! What recovery adopts, made durable before the index is.
//!
//! A process that was killed, or whose sync failed, may leave bytes and names that the operating
//! system shows and the disk does not have. After a sync that failed, another one does nothing
//! for what was lost. So records are written again, where they are, and then synced. A file with
//! a name was synced before it got it; only the name may be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::datanode::store::Shared;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::index::{Entry, Place};
use crate::env::OpenMode;
use crate::types::ChunkId;

/// Replicas that may not be on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    /// Where records begin and how long they are, by segment.
    records: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Where chunk files have got their names.
    directories: BTreeSet<PathBuf>,
}

impl Adopted {
    /// Takes in a replica.
    pub(super) fn add(&mut self, shared: &Shared, chunk: ChunkId, entry: &Entry) {
        match entry.place {
            Place::Large => {
                let directory = shared.paths.chunk_directory(chunk);
                self.directories.insert(directory);
            }
            Place::Small { segment, offset } => {
                let records = self.records.entry(segment).or_default();
                records.push((offset, entry.stored_len()));
            }
        }
    }

    /// Makes all of them durable. Blocks.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], [`StoreError::Failed`].
    pub(super) fn make_durable(&self, shared: &Shared) -> Result<(), StoreError> {
        let disk = &shared.env.disk;
        for (segment, records) in &self.records {
            let path = shared.paths.segment(*segment);
            let failed = |e| StoreError::from_write(&e, &path);
            let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
            for (offset, length) in records {
                let mut bytes = vec![0; usize::try_from(*length).unwrap_or(usize::MAX)];
                file.read_at(&mut bytes, *offset).map_err(failed)?;
                file.write_at(&bytes, *offset).map_err(failed)?;
            }
            file.sync().map_err(|e| StoreError::from_sync(&e, &path))?;
        }
        for directory in &self.directories {
            let synced = disk.sync_directory(directory);
            synced.map_err(|e| StoreError::from_sync(&e, directory))?;
        }
        Ok(())
    }
}
