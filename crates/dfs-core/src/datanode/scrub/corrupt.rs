//! Replicas that failed a checksum while they were read, and are still in their place.
//!
//! They are reported, and their good blocks served: no other replica may have those. What becomes
//! of them the masters decide: a new copy, which puts them in quarantine once it is complete, or
//! a second look.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::types::ChunkId;

/// The set of them, and whether the masters know.
#[derive(Debug, Default)]
pub(in crate::datanode) struct CorruptReplicas {
    reported: Mutex<BTreeMap<ChunkId, bool>>,
    found: Notify,
}

impl CorruptReplicas {
    /// Adds one.
    pub(in crate::datanode) fn mark(&self, chunk: ChunkId) {
        self.all().entry(chunk).or_insert(false);
        self.found.notify_one();
    }

    /// Takes one out: it is gone, replaced, or right after all.
    pub(in crate::datanode) fn clear(&self, chunk: ChunkId) {
        self.all().remove(&chunk);
    }

    /// Whether a chunk's replica is known to be corrupt.
    pub(in crate::datanode) fn contains(&self, chunk: ChunkId) -> bool {
        self.all().contains_key(&chunk)
    }

    /// Those in `from..until` (no end: all from `from` on).
    pub(in crate::datanode) fn in_range(
        &self,
        from: ChunkId,
        until: Option<ChunkId>,
    ) -> Vec<ChunkId> {
        let all = self.all();
        let from_on = all.range(from..).map(|(chunk, _)| *chunk);
        from_on
            .take_while(|chunk| until.is_none_or(|end| *chunk < end))
            .collect()
    }

    /// Up to `limit` that the masters do not know of.
    pub(in crate::datanode) fn unreported(&self, limit: usize) -> Vec<ChunkId> {
        let all = self.all();
        let unknown = all.iter().filter(|(_, reported)| !**reported);
        unknown.map(|(chunk, _)| *chunk).take(limit).collect()
    }

    /// Notes that the masters know.
    pub(in crate::datanode) fn set_reported(&self, chunks: &[ChunkId]) {
        let mut all = self.all();
        for chunk in chunks {
            if let Some(reported) = all.get_mut(chunk) {
                *reported = true;
            }
        }
    }

    /// Waits until one is found.
    pub(in crate::datanode) async fn wait(&self) {
        self.found.notified().await;
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<ChunkId, bool>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
