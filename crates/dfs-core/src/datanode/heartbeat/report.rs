//! What is told to the masters about replicas: all of them in parts, or what changed.

use crate::datanode::Shared;
use crate::datanode::store::{Changes, ReplicaSummary, StoreError};
use crate::proto::cluster::{self, ChunkReport, ReportKind};
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::{ChunkId, NodeEpoch, NodeId};

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) node: NodeId,
    pub(super) epoch: NodeEpoch,
}

/// The part of a full report that begins at `from`.
///
/// # Errors
/// The store cannot say what it has; then nothing must be said.
pub(super) async fn full_part(
    shared: &Shared,
    incarnation: Incarnation,
    from: ChunkId,
) -> Result<ChunkReport, StoreError> {
    let replicas = shared.store.list(from, ENTRIES_PER_REPLY_MAX).await?;
    let until = match replicas.last() {
        Some(last) if replicas.len() >= ENTRIES_PER_REPLY_MAX => {
            last.chunk.0.checked_add(1).map(ChunkId)
        }
        _ => None,
    };
    let mut corrupt = shared.corrupt.in_range(from, until);
    corrupt.truncate(ENTRIES_PER_REPLY_MAX);
    let sound = replicas
        .into_iter()
        .filter(|r| !shared.corrupt.contains(r.chunk));
    Ok(ChunkReport {
        node: incarnation.node,
        epoch: incarnation.epoch,
        kind: ReportKind::Full { from, until },
        present: sound.map(summary).collect(),
        absent: Vec::new(),
        corrupt,
    })
}

/// What changed since the last report, and how to take it back if it cannot be delivered.
pub(super) struct Delta {
    pub(super) report: ChunkReport,
    /// Too much changed to remember it: a full report is due.
    pub(super) overflowed: bool,
    changes: Changes,
    found: Vec<ChunkId>,
}

/// Takes what changed; none if nothing did.
pub(super) async fn take_delta(shared: &Shared, incarnation: Incarnation) -> Option<Delta> {
    let changes = shared.store.take_changes(ENTRIES_PER_REPLY_MAX / 2).await;
    // What went, or went to quarantine, is no longer in its place. (What came is not looked at:
    // it may have been found corrupt since.)
    for chunk in changes.absent.iter().chain(&changes.corrupt) {
        shared.corrupt.clear(*chunk);
    }
    let found = shared.corrupt.unreported(ENTRIES_PER_REPLY_MAX / 2);
    if changes.is_empty() && found.is_empty() {
        return None;
    }
    let report = ChunkReport {
        node: incarnation.node,
        epoch: incarnation.epoch,
        kind: ReportKind::Delta,
        present: changes.present.iter().copied().map(summary).collect(),
        absent: changes.absent.clone(),
        corrupt: changes.corrupt.iter().chain(&found).copied().collect(),
    };
    Some(Delta {
        report,
        overflowed: changes.overflowed,
        changes,
        found,
    })
}

impl Delta {
    /// The masters have it.
    pub(super) fn delivered(self, shared: &Shared) {
        shared.corrupt.set_reported(&self.found);
    }

    /// The masters may not have it: it is said again.
    pub(super) fn put_back(self, shared: &Shared) {
        shared.store.put_back_changes(self.changes);
    }
}

fn summary(replica: ReplicaSummary) -> cluster::ReplicaSummary {
    let ReplicaSummary {
        chunk,
        length,
        checksum,
    } = replica;
    cluster::ReplicaSummary {
        chunk,
        length,
        checksum,
    }
}

/// Where the part after one of this kind begins.
pub(super) fn next_part(kind: ReportKind) -> Option<ChunkId> {
    match kind {
        ReportKind::Full { until, .. } => until,
        ReportKind::Delta => None,
    }
}
