//! Who is in the cluster, as the leader knows them.

use dfs_raft::Role;

use crate::master::leader::Leading;
use crate::master::shared::Shared;
use crate::master::view::NodeView;
use crate::proto::error::RpcError;
use crate::proto::metadata::{MasterInfo, NodeInfo};

/// All data nodes.
pub(super) fn nodes(shared: &Shared) -> Result<Vec<NodeInfo>, RpcError> {
    let info = |leading: &Leading, node: &NodeView| NodeInfo {
        node: node.row.node,
        key: node.row.key,
        address: node.row.address.clone(),
        epoch: node.row.epoch,
        topology: node.row.topology.clone(),
        admin: node.row.admin,
        liveness: node.liveness,
        space: node.space,
        replicas: node.row.replicas,
        bytes: node.row.bytes,
        volumes: node.volumes.clone(),
        rests_until: node.row.rests_until,
        held_down_by: leading.accusers(node.row.node),
    };
    shared.leading(|leading| {
        let nodes = leading.view.nodes();
        nodes.map(|node| info(leading, node)).collect()
    })
}

/// The masters, and the term in which one of them leads.
pub(super) fn masters(shared: &Shared) -> Result<(Vec<MasterInfo>, u64), RpcError> {
    let status = shared.status()?;
    let term = status.leadership.term;
    let leader = status.leadership.leader.map(|hint| hint.member);
    let members = status.members.into_iter();
    let masters = members
        .map(|member| MasterInfo {
            member: member.id.0,
            leader: leader == Some(member.id),
            voter: member.role == Role::Voter,
            log_index: match member.id == status.member {
                true => status.last_log,
                false => member.matched,
            },
            address: member.address,
        })
        .collect();
    Ok((masters, term))
}
