//! Whether a caller may do what it asks for: by a permit that the masters have signed, verified
//! without asking them.
//!
//! The keys come with registrations and heartbeats, and so does the time by which a permit is
//! good: clocks of machines differ, and jump.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::datanode::Shared;
use crate::env::Timestamp;
use crate::node::audit::Actor;
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::{Request, StreamError, StreamErrorKind};
use crate::proto::cluster::Signing;
use crate::proto::metadata::NodeAddress;
use crate::security::capability::{Capability, Demand, Gate, Operation};
use crate::security::{Peer, SigningKeys};
use crate::types::{ClusterId, NodeKey, NodeRole, Permit};

/// What the masters said last of their keys and their time.
#[derive(Debug, Default)]
pub(in crate::datanode) struct Masters {
    heard: Mutex<Option<(SigningKeys, Timestamp, Instant)>>,
}

impl Masters {
    /// Notes what a master says.
    pub(in crate::datanode) fn learn(&self, signing: Signing) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some((signing.keys, signing.now, Instant::now()));
    }

    /// The keys, and the time as the masters have it now.
    fn now(&self) -> Option<(SigningKeys, Timestamp)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, then, since) = heard.as_ref()?;
        Some((keys.clone(), then.saturating_add(since.elapsed())))
    }
}

/// Whoever is at the other end of a connection.
pub(in crate::datanode) struct Guest {
    /// None in a cluster without security.
    peer: Option<Peer>,
    /// The permit that was verified last, and with which keys: the next request often carries the
    /// same.
    verified: Option<(Permit, SigningKeys, Capability)>,
}

fn leads_to_all(capability: &Capability, onward: &[NodeAddress]) -> bool {
    onward
        .iter()
        .all(|node| capability.leads_to(&node.to_string()))
}

impl Guest {
    /// By what the network says of it.
    pub(in crate::datanode) fn new(identity: Option<&str>) -> Guest {
        Guest {
            peer: identity.and_then(|text| text.parse().ok()),
            verified: None,
        }
    }

    /// Who it is, for the audit log.
    pub(in crate::datanode) fn actor(&self, source: &str) -> Actor {
        match self.peer {
            Some(peer) => Actor::new(peer, source),
            None => Actor::new("somebody", source),
        }
    }

    /// Whether it has shown a key.
    pub(in crate::datanode) fn is_known(&self) -> bool {
        self.peer.is_some()
    }

    /// What node it has shown to be, if any.
    pub(in crate::datanode) fn key(&self) -> Option<NodeKey> {
        let node = self.peer.and_then(|peer| peer.node);
        node.map(|node| node.node)
    }

    /// Whether it has shown to be a data node of a cluster.
    pub(in crate::datanode) fn is_data_node_of(&self, cluster: ClusterId) -> bool {
        let node = self.peer.and_then(|peer| peer.node);
        node.is_some_and(|node| node.role == NodeRole::DataNode && node.cluster == cluster)
    }

    /// Why a request is not permitted; none if it is.
    pub(in crate::datanode) fn refuse(
        &mut self,
        shared: &Shared,
        request: &Request,
    ) -> Option<StreamError> {
        if shared.config.security.is_insecure() {
            return None;
        }
        let (operation, chunk, permit, onward) = match request {
            Request::Read(read) => (Operation::Read, read.chunk, &read.permit, &[][..]),
            Request::Write(write) => {
                let onward = write.forward.as_slice();
                (Operation::Write, write.chunk, &write.permit, onward)
            }
        };
        let node = shared.node_or_zero();
        let denied = || StreamError::new(node, StreamErrorKind::Denied, "the permit is not good");
        let (Some(peer), Some(identity)) = (self.peer, shared.identity()) else {
            return Some(denied());
        };
        let Some((keys, now)) = shared.signing.now() else {
            let what = "no master has been heard since the start";
            return Some(StreamError::new(node, StreamErrorKind::Busy, what));
        };
        let gate = Gate {
            cluster: identity.cluster,
            node: identity.node,
            now,
        };
        let demand = Demand {
            operation,
            chunk,
            peer,
        };
        match self.capability(permit, &keys) {
            Some(capability) if planted::active(Bug::CapabilityNotBoundToItsNode) => {
                let elsewhere = capability.nodes.iter().map(|node| Gate {
                    node: *node,
                    ..gate
                });
                let mut elsewhere = elsewhere.filter(|gate| capability.permits(&demand, gate));
                elsewhere.next().is_none().then(denied)
            }
            // Else whoever writes could have us call at any door.
            Some(capability)
                if capability.permits(&demand, &gate) && leads_to_all(capability, onward) =>
            {
                None
            }
            _ => Some(denied()),
        }
    }

    fn capability(&mut self, permit: &Permit, keys: &SigningKeys) -> Option<&Capability> {
        let is_verified =
            |(known, by, _): &(Permit, SigningKeys, Capability)| known == permit && by == keys;
        if !self.verified.as_ref().is_some_and(is_verified) {
            let opened = Capability::open(&permit.0, keys).ok()?;
            self.verified = Some((permit.clone(), keys.clone(), opened));
        }
        self.verified.as_ref().map(|(_, _, capability)| capability)
    }
}
