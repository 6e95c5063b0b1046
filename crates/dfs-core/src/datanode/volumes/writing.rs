//! Replicas that are being written, each to one volume at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::datanode::store::{ReplicaSummary, ReplicaWriter, StoreError};
use crate::types::ChunkId;

/// On which volume chunks are being written, and how often.
#[derive(Debug, Clone, Default)]
pub(super) struct Writing(Arc<Mutex<BTreeMap<ChunkId, (usize, usize)>>>);

impl Writing {
    /// Takes a place for a chunk: where it is being written already, or else `at`.
    pub(super) fn take(&self, chunk: ChunkId, at: usize) -> (usize, WritePlace) {
        let mut all = self.all();
        let taken = all.entry(chunk).or_insert((at, 0));
        taken.1 += 1;
        let place = WritePlace {
            writing: self.clone(),
            chunk,
        };
        (taken.0, place)
    }

    /// Whether nothing is being written.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ChunkId, (usize, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A replica that is being written to a volume. See [`ReplicaWriter`].
#[derive(Debug)]
pub(in crate::datanode) struct VolumeWriter {
    replica: ReplicaWriter,
    _place: Option<WritePlace>,
}

impl VolumeWriter {
    pub(super) fn new(replica: ReplicaWriter, place: Option<WritePlace>) -> VolumeWriter {
        VolumeWriter {
            replica,
            _place: place,
        }
    }

    /// Bytes written so far.
    pub(in crate::datanode) fn length(&self) -> u64 {
        self.replica.length()
    }

    /// See [`ReplicaWriter::write`].
    pub(in crate::datanode) async fn write(
        &mut self,
        blocks: Bytes,
        crcs: &[u32],
    ) -> Result<(), StoreError> {
        self.replica.write(blocks, crcs).await
    }

    /// See [`ReplicaWriter::finish`].
    pub(in crate::datanode) async fn finish(self) -> Result<ReplicaSummary, StoreError> {
        self.replica.finish().await
    }
}

/// Keeps others from writing the chunk to another volume.
#[derive(Debug)]
pub(super) struct WritePlace {
    writing: Writing,
    chunk: ChunkId,
}

impl Drop for WritePlace {
    fn drop(&mut self) {
        let mut writing = self.writing.all();
        if let Entry::Occupied(mut taken) = writing.entry(self.chunk) {
            taken.get_mut().1 = taken.get().1.saturating_sub(1);
            if taken.get().1 == 0 {
                taken.remove();
            }
        }
    }
}
