//! Intended replicas: which data nodes are meant to have a chunk.
//!
//! The rule of all of them: an intended replica leaves the list only when another, verified one
//! takes its place, or when enough others are both intended and confirmed. The last one never.
//!
//! No data node is meant to have two members of one stripe: a stripe that is on fewer nodes than
//! it has members can lose fewer of them than its shape says. A commit has each member on a node
//! of its own, and none comes to where another is. There is no exception for a cluster of few
//! nodes: where no node is free a member waits.

use std::collections::BTreeSet;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::reclaim;
use super::references::Chunk;
use super::stripes::{self, Membership};
use crate::meta::command::ReplicaDrop;
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::nodes;
use crate::meta::tables::{CHUNKS, NODE_CHUNKS, NODE_LOADS};
use crate::planted::{self, Bug};
use crate::types::limits::{REPLICAS_MAX, REPLICAS_PER_COMMAND_MAX};
use crate::types::{ChunkId, NodeId, RefusalKind, StripeId, Timestamp};

/// Adds a chunk to what a data node is meant to have.
pub(crate) fn list(
    state: &mut StateTxn<'_>,
    node: NodeId,
    chunk: ChunkId,
    length: u64,
) -> Result<(), Fatal> {
    state.put(NODE_CHUNKS, &(node, chunk), &())?;
    let mut load = state.get(NODE_LOADS, &node)?.unwrap_or_default();
    load.replicas += 1;
    load.bytes = load.bytes.saturating_add(length);
    state.put(NODE_LOADS, &node, &load)
}

/// Takes a chunk off what a data node is meant to have.
pub(crate) fn unlist(
    state: &mut StateTxn<'_>,
    node: NodeId,
    chunk: ChunkId,
    length: u64,
) -> Result<(), Fatal> {
    state.remove(NODE_CHUNKS, &(node, chunk))?;
    let mut load = state.get(NODE_LOADS, &node)?.unwrap_or_default();
    load.replicas = load.replicas.saturating_sub(1);
    load.bytes = load.bytes.saturating_sub(length);
    state.put(NODE_LOADS, &node, &load)
}

/// Checks what all commands about a data node's replicas have in common.
pub(crate) fn require_node_and_count(
    state: &impl ReadState,
    node: NodeId,
    count: usize,
) -> Result<(), Stop> {
    if count > REPLICAS_PER_COMMAND_MAX {
        return refuse(
            RefusalKind::TooLarge,
            format!("{count} replicas in one command"),
        );
    }
    if !nodes::is_registered(state, node)? {
        return refuse(RefusalKind::NotFound, node);
    }
    Ok(())
}

/// Makes confirmed replicas intended ones where there are fewer than the target. Not one that
/// waits for its deletion, which may have been ordered: only its node can tell, by a copy.
pub(crate) fn adopt(
    state: &mut StateTxn<'_>,
    node: NodeId,
    chunks: &[ChunkId],
) -> Result<Vec<ChunkId>, Stop> {
    require_node_and_count(state, node, chunks.len())?;
    let mut adopted = Vec::new();
    for id in chunks {
        let Some(mut chunk) = state.get(CHUNKS, id)? else {
            continue;
        };
        if chunk.replicas.contains(&node) {
            adopted.push(*id);
            continue;
        }
        if chunk.replicas.len() >= usize::from(chunk.target.0) {
            continue;
        }
        if reclaim::is_queued(state, *id, node)? || neighbour(state, *id, &chunk, node)?.is_some() {
            continue;
        }
        chunk.replicas.push(node);
        state.put(CHUNKS, id, &chunk)?;
        list(state, node, *id, chunk.length)?;
        adopted.push(*id);
    }
    Ok(adopted)
}

/// The other member of a chunk's stripe that a data node is meant to have, and of which stripe.
fn neighbour(
    state: &impl ReadState,
    id: ChunkId,
    chunk: &Chunk,
    node: NodeId,
) -> Result<Option<(ChunkId, StripeId)>, Fatal> {
    let Some(Membership { stripe, .. }) = chunk.stripe else {
        return Ok(None);
    };
    let other = stripes::member_on(state, stripe, id, node)?;
    Ok(other.map(|other| (other, stripe)))
}

/// Records a verified new replica on `add`, in the place of that on `remove` or as one more. If
/// it waited for its deletion, it waits no longer. What `remove` has is not given up by this: if
/// it is there, it is surplus, and may be needed again.
///
/// A member of a stripe does not come to where another of it is: refused as `Exists`.
pub(crate) fn replace(
    state: &mut StateTxn<'_>,
    id: ChunkId,
    remove: Option<NodeId>,
    add: NodeId,
) -> Result<(), Stop> {
    require_node_and_count(state, add, 1)?;
    let Some(mut chunk) = state.get(CHUNKS, &id)? else {
        return refuse(RefusalKind::NotFound, id);
    };
    if chunk.replicas.contains(&add) {
        return refuse(RefusalKind::Exists, format!("{id} on {add}"));
    }
    if let Some((other, stripe)) = neighbour(state, id, &chunk, add)? {
        let subject = format!("{stripe} on {add}, which is to have its member {other}, not {id}");
        return refuse(RefusalKind::Exists, subject);
    }
    match remove {
        Some(remove) => {
            let Some(slot) = chunk.replicas.iter_mut().find(|node| **node == remove) else {
                return refuse(
                    RefusalKind::Conflict,
                    format!("{id} is not meant to be on {remove}"),
                );
            };
            *slot = add;
            unlist(state, remove, id, chunk.length)?;
        }
        None if chunk.replicas.len() >= usize::from(REPLICAS_MAX) => {
            return refuse(
                RefusalKind::TooLarge,
                format!("{id} with more than {REPLICAS_MAX} replicas"),
            );
        }
        None => chunk.replicas.push(add),
    }
    state.put(CHUNKS, &id, &chunk)?;
    list(state, add, id, chunk.length)?;
    reclaim::forget(state, id, add)?;
    Ok(())
}

/// Gives up surplus replicas of `node`: of each chunk only if its target is met by other
/// replicas that are intended and that the leader knows to be good.
pub(crate) fn drop_surplus(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    node: NodeId,
    drops: &[ReplicaDrop],
) -> Result<Vec<ChunkId>, Stop> {
    require_node_and_count(state, node, drops.len())?;
    let mut dropped = Vec::new();
    for ReplicaDrop {
        chunk: id,
        confirmed,
    } in drops
    {
        let Some(mut chunk) = state.get(CHUNKS, id)? else {
            continue;
        };
        let confirmed: BTreeSet<_> = confirmed.iter().collect();
        let others = chunk
            .replicas
            .iter()
            .filter(|n| **n != node && confirmed.contains(n));
        let enough = others.count() >= usize::from(chunk.target.0.max(1));
        if !enough && !planted::active(Bug::LastCopyDeleted) {
            continue;
        }
        if chunk.replicas.contains(&node) {
            chunk.replicas.retain(|n| *n != node);
            state.put(CHUNKS, id, &chunk)?;
            unlist(state, node, *id, chunk.length)?;
        }
        reclaim::queue(state, now, *id, node)?;
        dropped.push(*id);
    }
    Ok(dropped)
}
