//! Replicas to delete: each waits for the grace to end, is ordered deleted, and is forgotten
//! when its data node confirms, however long that takes.
//!
//! A row is made only here, by a command that re-checked that the replica is not needed. If the
//! chunk is part of a file, the replica may come to be needed while it waits: the command that
//! records a copy on its data node takes the row back. Before it made that copy, or verified what
//! it has, the data node has let earlier orders to delete it lapse.
//! Rows that a deposed leader still sees do no harm: data nodes obey nobody older than the newest
//! leader they have heard.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::grant::{RangeState, range_state};
use super::replicas::require_node_and_count;
use crate::meta::machine::Stop;
use crate::meta::tables::{CHUNKS, Moment, NODE_RECLAIM, RECLAIM, SPENT};
use crate::planted::{self, Bug};
use crate::types::{ChunkId, NodeId, Timestamp};

/// Queues a replica for deletion.
pub(crate) fn queue(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    chunk: ChunkId,
    node: NodeId,
) -> Result<(), Fatal> {
    if state.get(RECLAIM, &(chunk, node))?.is_some() {
        return Ok(());
    }
    state.put(RECLAIM, &(chunk, node), &Moment(now))?;
    state.put(NODE_RECLAIM, &(node, Moment(now), chunk), &())
}

/// Whether a replica waits for its deletion.
pub(crate) fn is_queued(
    state: &impl ReadState,
    chunk: ChunkId,
    node: NodeId,
) -> Result<bool, Fatal> {
    Ok(state.get(RECLAIM, &(chunk, node))?.is_some())
}

/// Takes a replica off the queue: it is deleted, or wanted again.
pub(crate) fn forget(state: &mut StateTxn<'_>, chunk: ChunkId, node: NodeId) -> Result<(), Fatal> {
    if let Some(since) = state.get(RECLAIM, &(chunk, node))? {
        state.remove(RECLAIM, &(chunk, node))?;
        state.remove(NODE_RECLAIM, &(node, since, chunk))?;
    }
    Ok(())
}

/// Gives up replicas of chunks that no file has and no commit can name any more: those that were
/// freed, and those whose range has expired. Ids never reserved here are left alone: what is
/// foreign is for a person to judge.
pub(crate) fn drop_orphans(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    node: NodeId,
    chunks: &[ChunkId],
) -> Result<Vec<ChunkId>, Stop> {
    require_node_and_count(state, node, chunks.len())?;
    let mut dropped = Vec::new();
    for chunk in chunks {
        let is_over = planted::active(Bug::ReclaimIgnoresGrants)
            || state.get(SPENT, chunk)?.is_some()
            || range_state(state, *chunk, now)? == RangeState::Expired;
        if is_over && state.get(CHUNKS, chunk)?.is_none() {
            queue(state, now, *chunk, node)?;
            dropped.push(*chunk);
        }
    }
    Ok(dropped)
}

/// Forgets replicas that a data node has deleted.
pub(crate) fn reclaimed(
    state: &mut StateTxn<'_>,
    node: NodeId,
    chunks: &[ChunkId],
) -> Result<(), Stop> {
    require_node_and_count(state, node, chunks.len())?;
    for chunk in chunks {
        forget(state, *chunk, node)?;
    }
    Ok(())
}
