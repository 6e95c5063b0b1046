//! Pure, budgeted decisions: from a picture of the cluster to a bounded list of things to do.

pub mod balance;
pub mod placement;
pub mod rates;
pub mod rebuild;
pub mod reclaim;
pub mod repair;
pub mod report;
pub mod rewrite;
pub mod spread;
pub mod surplus;
pub mod wait;

use std::sync::Arc;

use crate::types::{NodeId, ReplicationTarget, StripeLayout};

/// What the map says of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intended {
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Copies wanted.
    pub target: ReplicationTarget,
    /// The nodes meant to have one.
    pub replicas: Vec<NodeId>,
    /// The stripe that it is a member of.
    pub stripe: Option<Arc<StripeLayout>>,
}

impl Intended {
    /// The nodes that no further replica may be on, and that are to share as little fate as they
    /// can: those that have one, or any member of its stripe.
    pub fn company(&self) -> Vec<NodeId> {
        match &self.stripe {
            None => self.replicas.clone(),
            Some(stripe) => {
                let members = stripe.members.iter();
                members.flat_map(|m| m.replicas.clone()).collect()
            }
        }
    }

    /// The same when one replica has gone from a node to another.
    pub fn company_after(&self, from: NodeId, to: NodeId) -> Vec<NodeId> {
        let mut company = self.company();
        if let Some(node) = company.iter_mut().find(|node| **node == from) {
            *node = to;
        }
        company
    }
}
