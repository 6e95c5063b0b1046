//! What people decide about data nodes: which are emptied, rest, and are nodes no more.
//!
//! ```text
//! in service ──▶ draining ──▶ drained ──▶ removed
//!     ▲  │           │           │
//!     │  └─▶ maintenance         │        the leader says that a node is drained, time that it
//!     │      │                   │        has rested, people all else
//!     └──────┴───────┴───────────┘
//! ```
//!
//! A node is drained when it is not meant to have any replica, and only then it can be removed:
//! each of them was put elsewhere before, verified. Whoever looks at what a decision would mean is
//! given a number, and the decision made with it is refused once others have come between.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::enrolled;
use super::nodes::{self, Node};
use crate::meta::counters::{self, number};
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::purge::Budget;
use crate::meta::tables::{
    DEPARTED, Meta, Moment, NODE_LOADS, NODE_RECLAIM, NODES, RECLAIM, WIDTHS,
};
use crate::types::node::NodeDuties;
use crate::types::{AdminState, ChunkId, NodeId, RefusalKind, Timestamp};

/// Decides what a data node is to be, and if it is to rest until when.
pub(crate) fn decide(
    state: &mut StateTxn<'_>,
    node: NodeId,
    (to, rests_until): (AdminState, Option<Timestamp>),
    plan: Option<u64>,
) -> Result<(), Stop> {
    let Some(mut row) = nodes::find(state, node)? else {
        return refuse(RefusalKind::NotFound, format!("data node {node}"));
    };
    let now = number(state, Meta::Decisions)?;
    if plan.is_some_and(|plan| plan != now) {
        return refuse(
            RefusalKind::Conflict,
            format!("plan {}: it is {now} by now", plan.unwrap_or_default()),
        );
    }
    match (row.admin, to) {
        (from, to) if from == to && row.rests_until == rests_until => return Ok(()),
        (AdminState::Maintenance, AdminState::Maintenance) => {}
        (_, AdminState::InService) => {}
        (AdminState::InService | AdminState::Maintenance, AdminState::Draining) => {
            require_others(state, node)?;
        }
        (AdminState::InService, AdminState::Maintenance) => {}
        (AdminState::Draining, AdminState::Drained) => require_empty(state, node)?,
        (AdminState::Draining | AdminState::Drained, AdminState::Removed) => {
            require_empty(state, node)?;
            depart(state, node)?;
            enrolled::revoke_if_enrolled(state, row.key)?;
        }
        (from, to) => {
            let subject = format!("{node}: it is {from}, and does not become {to} at once");
            return refuse(RefusalKind::Invalid, subject);
        }
    }
    row.admin = to;
    row.rests_until = rests_until;
    state.put(NODES, &node, &row)?;
    Ok(counters::add(state, Meta::Decisions, 1)?)
}

/// What is to be known before something is decided about a data node.
pub(crate) fn duties(state: &impl ReadState, node: NodeId) -> Result<NodeDuties, Stop> {
    let Some(row) = nodes::find(state, node)? else {
        return refuse(RefusalKind::NotFound, format!("data node {node}"));
    };
    let load = state.get(NODE_LOADS, &node)?.unwrap_or_default();
    let (widest, widest_chunks) = widest(state)?;
    Ok(NodeDuties {
        plan: number(state, Meta::Decisions)?,
        state: row.admin,
        replicas: load.replicas,
        bytes: load.bytes,
        others: others(state, node)?,
        widest,
        widest_chunks,
    })
}

/// Counts the chunks that are to be on so many data nodes, one more or less.
pub(crate) fn count_width(
    state: &mut StateTxn<'_>,
    nodes: u64,
    change: impl FnOnce(u64) -> Option<u64>,
) -> Result<(), Fatal> {
    let before = state.get(WIDTHS, &nodes)?.unwrap_or(0);
    match change(before) {
        Some(0) => state.remove(WIDTHS, &nodes),
        Some(after) => state.put(WIDTHS, &nodes, &after),
        None => Err(Fatal::new(format!(
            "of {before} chunks on {nodes} nodes each one too many goes"
        ))),
    }
}

/// How many data nodes the most widely spread chunks are to be on, and how many chunks these are.
fn widest(state: &impl ReadState) -> Result<(u32, u64), Fatal> {
    let last = state.scan_back(WIDTHS, ..)?.next().transpose()?;
    let (nodes, chunks) = last.unwrap_or_default();
    Ok((u32::try_from(nodes).unwrap_or(u32::MAX), chunks))
}

/// Data nodes in service besides this one.
fn others(state: &impl ReadState, node: NodeId) -> Result<u32, Fatal> {
    let mut others = 0;
    for row in state.scan(NODES, ..)? {
        let (id, row) = row?;
        others += u32::from(id != node && row.admin == AdminState::InService);
    }
    Ok(others)
}

/// Refuses to empty a node that the most widely spread chunks cannot do without.
fn require_others(state: &impl ReadState, node: NodeId) -> Result<(), Stop> {
    let (widest, chunks) = widest(state)?;
    let others = others(state, node)?;
    if others >= widest {
        return Ok(());
    }
    refuse(
        RefusalKind::StillNeeded,
        format!(
            "{node}: {widest} data nodes are needed, for {chunks} of all chunks; others in \
             service: {others}"
        ),
    )
}

fn require_empty(state: &impl ReadState, node: NodeId) -> Result<(), Stop> {
    let load = state.get(NODE_LOADS, &node)?.unwrap_or_default();
    match load.replicas {
        0 => Ok(()),
        left => refuse(
            RefusalKind::StillNeeded,
            format!("{node}: it is meant to have {left} replicas"),
        ),
    }
}

fn depart(state: &mut StateTxn<'_>, node: NodeId) -> Result<(), Fatal> {
    state.remove(NODE_LOADS, &node)?;
    state.put(DEPARTED, &node, &())
}

/// Whether there are removed nodes of which something is left, or nodes that have rested.
pub(crate) fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    let departed = state.scan(DEPARTED, ..)?.next().transpose()?.is_some();
    Ok(departed || rested(state, now)?.is_some())
}

/// A node whose time to rest is over.
fn rested(state: &impl ReadState, now: Timestamp) -> Result<Option<(NodeId, Node)>, Fatal> {
    for row in state.scan(NODES, ..)? {
        let (node, row) = row?;
        if row.rests_until.is_some_and(|until| until <= now) {
            return Ok(Some((node, row)));
        }
    }
    Ok(None)
}

/// Takes those back into service whose time to rest is over: what they had is repaired if they
/// are still away.
pub(crate) fn end_rests(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some((node, mut row)) = rested(state, now)?
    {
        row.admin = AdminState::InService;
        row.rests_until = None;
        state.put(NODES, &node, &row)?;
        counters::add(state, Meta::Decisions, 1)?;
        budget.spend(1);
    }
    Ok(())
}

/// Forgets what removed nodes were to delete: nobody will hear of it.
pub(crate) fn forget_departed(state: &mut StateTxn<'_>, budget: &mut Budget) -> Result<(), Fatal> {
    while !budget.is_spent() {
        let Some((node, ())) = state.scan(DEPARTED, ..)?.next().transpose()? else {
            return Ok(());
        };
        let first = (node, Moment(Timestamp(0)), ChunkId(0));
        let last = (node, Moment(Timestamp(u64::MAX)), ChunkId(u64::MAX));
        let rows = state.scan(NODE_RECLAIM, first..=last)?.take(budget.left());
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        for (key, ()) in &rows {
            state.remove(NODE_RECLAIM, key)?;
            state.remove(RECLAIM, &(key.2, node))?;
        }
        if rows.len() < budget.left() {
            state.remove(DEPARTED, &node)?;
        }
        budget.spend(2 * rows.len() + 1);
    }
    Ok(())
}
