//! Ranges of chunk ids set aside for write grants, and the orphan rule.
//!
//! A new chunk can be committed only while its range lives, in log time, and replicas that no
//! file refers to can be given up only afterwards. So a late commit and a reclaim never meet.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::command::ChunkIds;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::purge::Budget;
use crate::meta::tables::{Meta, RANGES, SPENT};
use crate::types::limits::{CHUNK_RANGE_LEN_MAX, CHUNK_RANGE_TTL};
use crate::types::{ChunkId, RefusalKind, Timestamp};

/// A row of RANGES: chunk ids from the key on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRange {
    /// The first id that is no longer part.
    pub end: ChunkId,
    /// From this log time on its ids are good for nothing.
    pub expires: Timestamp,
}

dfs_raft::postcard_values!(1: ChunkRange);

/// What is known of a chunk id's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeState {
    /// The id was never reserved here: a replica under it is foreign.
    Unreserved,
    /// It can be committed before this time.
    Open(Timestamp),
    /// It can be committed no more.
    Expired,
}

/// Sets chunk ids aside.
pub(crate) fn reserve(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    count: u32,
) -> Result<ChunkIds, Stop> {
    if !(1..=CHUNK_RANGE_LEN_MAX).contains(&count) {
        return refuse(RefusalKind::Invalid, format!("{count} chunk ids"));
    }
    let start = ChunkId(counters::take(state, Meta::NextChunk, u64::from(count))?);
    let end = ChunkId(start.0 + u64::from(count));
    let expires = now.saturating_add(CHUNK_RANGE_TTL);
    state.put(RANGES, &start, &ChunkRange { end, expires })?;
    Ok(ChunkIds {
        start,
        end,
        expires,
    })
}

/// The state of a chunk id's range at a log time.
///
/// # Errors
/// The state cannot be read.
pub fn range_state(
    state: &impl ReadState,
    chunk: ChunkId,
    now: Timestamp,
) -> Result<RangeState, Fatal> {
    Ok(match range_of(state, chunk)? {
        Some(range) if now < range.expires => RangeState::Open(range.expires),
        Some(_) => RangeState::Expired,
        None if is_foreign(state, chunk)? => RangeState::Unreserved,
        None if chunk.0 != 0 && chunk.0 < counters::number(state, Meta::NextChunk)? => {
            RangeState::Expired
        }
        None => RangeState::Unreserved,
    })
}

/// Whether an id may have been granted by the cluster before it was restored from a backup, and
/// mean something that this one never knew.
fn is_foreign(state: &impl ReadState, chunk: ChunkId) -> Result<bool, Fatal> {
    let from = counters::number(state, Meta::ForeignFrom)?;
    let to = counters::number(state, Meta::ForeignTo)?;
    Ok((from..to).contains(&chunk.0))
}

/// Chunk ids that can still be committed at a log time, ranges of them, but for those of
/// [`spent`]: each from the first id on, without the second.
///
/// # Errors
/// The state cannot be read.
pub fn open_ranges(
    state: &impl ReadState,
    now: Timestamp,
) -> Result<Vec<(ChunkId, ChunkId)>, Fatal> {
    let mut open = Vec::new();
    for row in state.scan(RANGES, ..)? {
        let (start, range) = row?;
        if now < range.expires {
            open.push((start, range.end));
        }
    }
    Ok(open)
}

/// Chunk ids of living ranges whose chunk was freed.
///
/// # Errors
/// The state cannot be read.
pub fn spent(state: &impl ReadState) -> Result<Vec<ChunkId>, Fatal> {
    let rows = state.scan(SPENT, ..)?;
    rows.map(|row| Ok(row?.0)).collect()
}

/// The range that has a chunk id, unless it is removed already.
pub(crate) fn range_of(
    state: &impl ReadState,
    chunk: ChunkId,
) -> Result<Option<ChunkRange>, Fatal> {
    let row = state.scan_back(RANGES, ..=chunk)?.next().transpose()?;
    Ok(row
        .map(|(_, range)| range)
        .filter(|range| chunk < range.end))
}

/// Whether a range is to be removed. Ranges are made in order of time.
pub(crate) fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    let oldest = state.scan(RANGES, ..)?.next().transpose()?;
    Ok(oldest.is_some_and(|(_, range)| now >= range.expires))
}

/// Removes expired ranges, with what was noted of their ids, as far as the budget goes.
pub(crate) fn expire(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent() && is_due(state, now)? {
        let Some((start, range)) = state.scan(RANGES, ..)?.next().transpose()? else {
            return Ok(());
        };
        let spent = state.scan(SPENT, start..range.end)?.take(budget.left());
        let spent: Vec<_> = spent.map(|row| Ok(row?.0)).collect::<Result<_, Fatal>>()?;
        for chunk in &spent {
            state.remove(SPENT, chunk)?;
        }
        budget.spend(spent.len());
        if budget.is_spent() {
            return Ok(());
        }
        state.remove(RANGES, &start)?;
        budget.spend(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::tests::fixture::Machine;
    use crate::meta::{Command, Reply};

    #[test]
    fn ids_are_open_until_their_range_expires_and_spent_ones_are_told_apart() {
        let mut machine = Machine::lenient();
        let reply = machine.apply(Command::ReserveChunkIds { count: 20 });
        let Reply::ChunkIds(Ok(ids)) = reply else {
            panic!("{reply:?}");
        };
        let open = |now| open_ranges(&machine.view(), now).unwrap();
        assert_eq!(open(Timestamp(ids.expires.0 - 1)), [(ids.start, ids.end)]);
        assert_eq!(open(ids.expires), []);
        machine.edit(|state| state.put(SPENT, &ids.start, &()));
        assert_eq!(spent(&machine.view()).unwrap(), [ids.start]);
    }
}
