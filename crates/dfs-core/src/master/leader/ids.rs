//! Chunk ids set aside for write grants, held in memory by the leader that reserved them.
//!
//! A new leader reserves new ones; what is left of the old ones expires with its range.

use crate::meta::command::ChunkIds;
use crate::types::limits::GRANT_TTL;
use crate::types::{ChunkId, Timestamp};

/// The ids this leader can hand out.
#[derive(Debug, Default)]
pub(crate) struct ChunkIdPool {
    ranges: Vec<ChunkIds>,
}

impl ChunkIdPool {
    /// Adds a range that was reserved.
    pub(crate) fn add(&mut self, range: ChunkIds) {
        self.ranges.push(range);
    }

    /// How many are left.
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(left).sum()
    }

    /// Takes `count` ids and says until when they can be committed; nothing if there are not so
    /// many that live for a whole grant.
    pub(crate) fn take(&mut self, count: u32, now: Timestamp) -> Option<(Vec<ChunkId>, Timestamp)> {
        let wanted = now.saturating_add(GRANT_TTL);
        self.ranges
            .retain(|range| left(range) > 0 && range.expires > wanted);
        if self.len() < u64::from(count) {
            return None;
        }
        let mut ids = Vec::new();
        for range in &mut self.ranges {
            while ids.len() < count as usize && left(range) > 0 {
                ids.push(range.start);
                range.start = ChunkId(range.start.0 + 1);
            }
        }
        Some((ids, wanted))
    }
}

fn left(range: &ChunkIds) -> u64 {
    range.end.0.saturating_sub(range.start.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::limits::CHUNK_RANGE_TTL;

    fn range(start: u64, end: u64) -> ChunkIds {
        ChunkIds {
            start: ChunkId(start),
            end: ChunkId(end),
            expires: Timestamp(0).saturating_add(CHUNK_RANGE_TTL),
        }
    }

    #[test]
    fn no_id_is_handed_out_twice() {
        let mut pool = ChunkIdPool::default();
        pool.add(range(1, 3));
        pool.add(range(7, 9));
        let mut take = |count| pool.take(count, Timestamp(0)).map(|(ids, _)| ids);
        assert_eq!(take(3), Some([1, 2, 7].map(ChunkId).to_vec()));
        assert_eq!(take(2), None);
        assert_eq!(take(1), Some(vec![ChunkId(8)]));
    }

    #[test]
    fn an_id_whose_range_ends_before_a_grant_would_is_not_handed_out() {
        let mut pool = ChunkIdPool::default();
        pool.add(range(1, 100));
        let late = Timestamp(0).saturating_add(CHUNK_RANGE_TTL - GRANT_TTL);
        assert_eq!(pool.take(1, late), None);
    }
}
