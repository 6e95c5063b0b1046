//! Which deletions still stand. An order that has not begun is void once the masters want the
//! replica again, so that none comes true after its chunk was counted on.
//!
//! ```text
//! order ─▶ ordered ─▶ begin ─▶ begun ─▶ end
//!             └── wanted ─▶ void
//! ```

use std::collections::BTreeSet;

use crate::planted::{self, Bug};
use crate::types::ChunkId;

/// Chunks whose replicas here are to be deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    ordered: BTreeSet<ChunkId>,
    begun: BTreeSet<ChunkId>,
}

impl Deletions {
    /// Takes an order.
    pub(super) fn order(&mut self, chunks: &[ChunkId]) {
        self.ordered.extend(chunks);
    }

    /// The replica is wanted: an order that has not begun is void.
    pub(super) fn want(&mut self, chunk: ChunkId) {
        if planted::active(Bug::DeletionNotWithdrawn) {
            return;
        }
        self.ordered.remove(&chunk);
    }

    /// Begins to carry out an order, and says what of it still stands.
    pub(super) fn begin(&mut self, chunks: &[ChunkId]) -> Vec<ChunkId> {
        let standing = chunks.iter().copied();
        let standing: Vec<_> = standing.filter(|c| self.ordered.remove(c)).collect();
        self.begun.extend(&standing);
        standing
    }

    /// It is carried out, or failed.
    pub(super) fn end(&mut self, chunks: &[ChunkId]) {
        for chunk in chunks {
            self.begun.remove(chunk);
        }
    }

    /// Whether the replica is being deleted now.
    pub(super) fn is_begun(&self, chunk: ChunkId) -> bool {
        self.begun.contains(&chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ChunkId = ChunkId(1);
    const B: ChunkId = ChunkId(2);

    #[test]
    fn an_order_stands_until_the_replica_is_wanted() {
        let mut deletions = Deletions::default();
        deletions.order(&[A, B]);
        deletions.want(A);
        assert_eq!(deletions.begin(&[A, B]), [B]);
        assert!(deletions.is_begun(B) && !deletions.is_begun(A));
        deletions.end(&[B]);
        assert!(!deletions.is_begun(B));
        assert_eq!(deletions.begin(&[B]), []);
    }
}
