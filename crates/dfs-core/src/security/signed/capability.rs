//! What lets a client or a data node read or write replicas of chunks: signed by the masters,
//! verified by a data node without asking them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KeyNumber, NotSigned, Signable, SigningKeys, sign};
use crate::env::Timestamp;
use crate::security::{Fingerprint, KeyPair, Peer};
use crate::types::{ChunkId, ClusterId, NodeId, NodeKey, NodeRole};

/// How far clocks may differ before a capability is void too early.
pub const SKEW: Duration = Duration::from_secs(60);

/// What may be done with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Read it.
    Read,
    /// Write it, as a part of a pipeline or alone.
    Write,
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// The client with this key.
    Client([u8; 32]),
    /// The data node whose directory is stamped with this.
    Node(NodeKey),
}

/// Who a write may be passed on to, and where: the beginning of a [digest](Capability::place), so
/// that a capability stays small.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place(pub [u8; 8]);

/// That somebody may do something with chunks on some data nodes, until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// In which cluster.
    pub cluster: ClusterId,
    /// Who.
    pub holder: Holder,
    /// What.
    pub operation: Operation,
    /// With which chunks: the first of each run and how many.
    pub chunks: Vec<(ChunkId, u64)>,
    /// Where.
    pub nodes: Vec<NodeId>,
    /// Of a write: where it may be passed on to.
    pub onward: Vec<Place>,
    /// From when on it is void.
    pub expires: Timestamp,
}

impl Signable for Capability {
    const KIND: u8 = 2;
}

/// What is asked of a data node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What.
    pub operation: Operation,
    /// With which chunk.
    pub chunk: ChunkId,
    /// By whom.
    pub peer: Peer,
}

/// Where it is asked, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// Of which cluster the data node is.
    pub cluster: ClusterId,
    /// Which data node it is.
    pub node: NodeId,
    /// The time there.
    pub now: Timestamp,
}

impl Capability {
    /// Signs it.
    ///
    /// # Errors
    /// It names too many chunks or data nodes.
    pub fn sign(&self, key: (KeyNumber, &KeyPair)) -> Result<Vec<u8>, NotSigned> {
        sign(self, key)
    }

    /// Opens a signed one; whether it lets something through is for [`permits`](Self::permits).
    ///
    /// # Errors
    /// The masters have not signed it.
    pub fn open(bytes: &[u8], keys: &SigningKeys) -> Result<Capability, NotSigned> {
        keys.open(bytes)
    }

    /// Whether it lets a demand through.
    pub fn permits(&self, demand: &Demand, gate: &Gate) -> bool {
        self.cluster == gate.cluster
            && self.nodes.contains(&gate.node)
            && gate.now < self.expires.saturating_add(SKEW)
            && self.operation == demand.operation
            && self.covers(demand.chunk)
            && self.is_held_by(&demand.peer)
    }

    /// What `target`, in any words that are its alone, is called in this capability and in no
    /// other: so nobody can look for another of that name before.
    pub fn place(&self, target: &str) -> Place {
        let mut bytes = self.cluster.0.to_le_bytes().to_vec();
        bytes.extend(self.expires.0.to_le_bytes());
        match self.holder {
            Holder::Client(key) => bytes.extend(key),
            Holder::Node(node) => bytes.extend(node.0.to_le_bytes()),
        }
        bytes.extend(target.as_bytes());
        let mut place = Place::default();
        let digest = Fingerprint::of(&bytes).0;
        place
            .0
            .iter_mut()
            .zip(digest)
            .for_each(|(to, byte)| *to = byte);
        place
    }

    /// Whether a write may be passed on to this target.
    pub fn leads_to(&self, target: &str) -> bool {
        self.onward.contains(&self.place(target))
    }

    /// Whether it names a chunk.
    pub fn covers(&self, chunk: ChunkId) -> bool {
        let within =
            |(first, count): &(ChunkId, u64)| chunk >= *first && chunk.0 - first.0 < *count;
        self.chunks.iter().any(within)
    }

    /// A client's is also good in the hands of a data node: of one before it in the pipeline,
    /// which passes on what it was given.
    fn is_held_by(&self, peer: &Peer) -> bool {
        match (self.holder, peer.node) {
            (Holder::Client(key), None) => key == peer.key.0,
            (Holder::Client(_), Some(node)) => {
                node.role == NodeRole::DataNode && self.operation == Operation::Write
            }
            (Holder::Node(key), Some(node)) => node.role == NodeRole::DataNode && node.node == key,
            (Holder::Node(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::security::{NodeIdentity, PublicKey};

    const CLUSTER: ClusterId = ClusterId(1);

    fn client(key: u8) -> Peer {
        let key = PublicKey([key; 32]);
        Peer { key, node: None }
    }

    fn node(role: NodeRole, node: u128) -> Peer {
        let identity = NodeIdentity {
            cluster: CLUSTER,
            role,
            node: NodeKey(node),
        };
        Peer {
            key: PublicKey([9; 32]),
            node: Some(identity),
        }
    }

    fn capability() -> Capability {
        Capability {
            cluster: CLUSTER,
            holder: Holder::Client([1; 32]),
            operation: Operation::Write,
            chunks: vec![(ChunkId(10), 2), (ChunkId(20), 1)],
            nodes: vec![NodeId(1), NodeId(2)],
            onward: Vec::new(),
            expires: Timestamp(100),
        }
    }

    fn demand() -> Demand {
        Demand {
            operation: Operation::Write,
            chunk: ChunkId(11),
            peer: client(1),
        }
    }

    fn gate() -> Gate {
        Gate {
            cluster: CLUSTER,
            node: NodeId(2),
            now: Timestamp(99),
        }
    }

    #[test]
    fn it_is_good_for_its_chunks_its_operation_its_nodes_its_holder_and_its_time() {
        let skew = u64::try_from(SKEW.as_micros()).unwrap();
        let permits = |demand: Demand, gate: Gate| capability().permits(&demand, &gate);
        assert!(permits(demand(), gate()));
        for (chunk, good) in [(9, false), (10, true), (12, false), (20, true), (21, false)] {
            let chunk = ChunkId(chunk);
            assert_eq!(
                permits(Demand { chunk, ..demand() }, gate()),
                good,
                "{chunk}"
            );
        }
        let operation = Operation::Read;
        assert!(!permits(
            Demand {
                operation,
                ..demand()
            },
            gate()
        ));
        let node = NodeId(3);
        assert!(!permits(demand(), Gate { node, ..gate() }));
        let cluster = ClusterId(2);
        assert!(!permits(demand(), Gate { cluster, ..gate() }));
        for (now, good) in [(99 + skew, true), (100 + skew, false)] {
            let now = Timestamp(now);
            assert_eq!(permits(demand(), Gate { now, ..gate() }), good);
        }
    }

    #[test]
    fn it_leads_to_the_places_that_it_names_alone() {
        let mut capability = capability();
        capability.onward = ["n1", "n2"].map(|target| capability.place(target)).into();
        assert!(capability.leads_to("n1") && capability.leads_to("n2"));
        assert!(!capability.leads_to("n3"));
        // Elsewhere they are called otherwise.
        let others = [
            Capability {
                holder: Holder::Client([2; 32]),
                ..capability.clone()
            },
            Capability {
                expires: Timestamp(101),
                ..capability.clone()
            },
        ];
        for other in others {
            assert!(!other.leads_to("n1"), "{other:?}");
        }
    }

    #[test]
    fn it_is_good_in_the_hands_of_its_holder_and_of_the_pipeline() {
        let by = |holder, operation, peer| {
            let capability = Capability {
                holder,
                operation,
                ..capability()
            };
            let demand = Demand {
                operation,
                peer,
                ..demand()
            };
            capability.permits(&demand, &gate())
        };
        let (read, write) = (Operation::Read, Operation::Write);
        let of_client = Holder::Client([1; 32]);
        assert!(!by(of_client, write, client(2)));
        assert!(by(of_client, write, node(NodeRole::DataNode, 7)));
        assert!(!by(of_client, read, node(NodeRole::DataNode, 7)));
        assert!(!by(of_client, write, node(NodeRole::Gateway, 7)));
        let of_node = Holder::Node(NodeKey(7));
        assert!(by(of_node, read, node(NodeRole::DataNode, 7)));
        assert!(!by(of_node, read, node(NodeRole::DataNode, 8)));
        assert!(!by(of_node, read, node(NodeRole::Master, 7)));
        assert!(!by(of_node, read, client(7)));
    }

    #[test]
    fn runs_at_the_end_of_all_numbers_are_no_trouble() {
        let chunks = vec![(ChunkId(u64::MAX), u64::MAX), (ChunkId(0), 0)];
        let capability = Capability {
            chunks,
            ..capability()
        };
        let chunk = ChunkId(u64::MAX);
        assert!(capability.permits(&Demand { chunk, ..demand() }, &gate()));
        let chunk = ChunkId(0);
        assert!(!capability.permits(&Demand { chunk, ..demand() }, &gate()));
    }
}
