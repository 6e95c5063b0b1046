//! Data nodes: who they are, and what people decided about them.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::command::RegisteredNode;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{Meta, NODE_KEYS, NODES};
use crate::types::limits::LABEL_LEN_MAX;
use crate::types::topology::{AdminState, Space, Topology};
use crate::types::{NodeEpoch, NodeId, NodeKey, RefusalKind, Timestamp};

/// A row of NODES.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What its directory is stamped with.
    pub key: NodeKey,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its failure domains.
    pub topology: Topology,
    /// Its incarnation.
    pub epoch: NodeEpoch,
    /// What people decided.
    pub admin: AdminState,
    /// Room on it when it registered.
    pub space: Space,
    /// When this incarnation registered.
    pub registered: Timestamp,
    /// If it rests: when that ends by itself.
    pub rests_until: Option<Timestamp>,
}

/// A row of NODE_LOADS: what a data node is meant to have. No row is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Intended replicas.
    pub replicas: u64,
    /// The sum of their lengths.
    pub bytes: u64,
}

dfs_raft::postcard_values!(1: Node, NodeLoad);

/// What a data node says of itself when it starts.
pub(crate) struct Registration {
    pub(crate) key: NodeKey,
    pub(crate) node: Option<NodeId>,
    pub(crate) address: String,
    pub(crate) topology: Topology,
    pub(crate) space: Space,
}

/// Begins an incarnation: of the data node with that key, or of a new one.
///
/// A node that was given an id shows it, so that a directory whose key we do not know, as of
/// another cluster or from before a restored backup, is refused and not taken for an empty one.
pub(crate) fn register(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    registration: Registration,
) -> Result<RegisteredNode, Stop> {
    let Registration {
        key,
        node: claimed,
        address,
        topology,
        space,
    } = registration;
    let labels = [&address, &topology.zone, &topology.rack, &topology.host];
    if address.is_empty() || labels.iter().any(|label| label.len() > LABEL_LEN_MAX) {
        return refuse(
            RefusalKind::Invalid,
            format!("the address or topology of {key}"),
        );
    }
    let known = state.get(NODE_KEYS, &key)?;
    let (node, epoch, admin, rests_until) = match (known, claimed) {
        (Some(known), Some(claimed)) if known != claimed => {
            return refuse(
                RefusalKind::Conflict,
                format!("{claimed}: its key is that of {known}"),
            );
        }
        (None, Some(claimed)) => {
            return refuse(
                RefusalKind::NotFound,
                format!("{claimed}: its key is unknown"),
            );
        }
        (Some(known), _) => {
            let before = require(state, known)?;
            if before.admin == AdminState::Removed {
                return refuse(
                    RefusalKind::NotPermitted,
                    format!("{known}: it was removed; with an empty directory it joins as another"),
                );
            }
            (
                known,
                NodeEpoch(before.epoch.0.saturating_add(1)),
                before.admin,
                before.rests_until,
            )
        }
        (None, None) => {
            let id = counters::take(state, Meta::NextNode, 1)?;
            let id = u32::try_from(id).map_err(|_| Fatal::new("all data node ids are used"))?;
            state.put(NODE_KEYS, &key, &NodeId(id))?;
            counters::add(state, Meta::Decisions, 1)?;
            (NodeId(id), NodeEpoch(1), AdminState::InService, None)
        }
    };
    let row = Node {
        key,
        address,
        topology,
        epoch,
        admin,
        space,
        registered: now,
        rests_until,
    };
    state.put(NODES, &node, &row)?;
    Ok(RegisteredNode { node, epoch })
}

/// Whether this is a data node, and was not removed.
pub(crate) fn is_registered(state: &impl ReadState, node: NodeId) -> Result<bool, Fatal> {
    Ok(find(state, node)?.is_some())
}

/// A data node, if it is one and was not removed.
pub(crate) fn find(state: &impl ReadState, node: NodeId) -> Result<Option<Node>, Fatal> {
    let row = state.get(NODES, &node)?;
    Ok(row.filter(|row| row.admin != AdminState::Removed))
}

fn require(state: &impl ReadState, node: NodeId) -> Result<Node, Fatal> {
    state
        .get(NODES, &node)?
        .ok_or_else(|| Fatal::new(format!("{node} has a key and is not registered")))
}
