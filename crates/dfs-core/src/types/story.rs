//! How chunks are: what a master tells of them to whoever wants to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{ChunkId, NodeId, StripeId};
use super::policy::ReplicationTarget;
use super::query::Layout;
use super::stripe::StripeShape;

/// Where the bytes of a file are, and how they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Where they are; nothing lets the asker read them.
    pub layout: Layout,
    /// The chunks in it and those of their stripes, by id, each once.
    pub chunks: Vec<ChunkStory>,
}

/// A chunk, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkStory {
    /// Which.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// Copies wanted.
    pub target: ReplicationTarget,
    /// The replicas that are meant to be, and those that are there besides.
    pub replicas: Vec<ReplicaStory>,
    /// What is being done for it.
    pub doing: Doing,
    /// The stripe that it is a member of.
    pub stripe: Option<StripeStory>,
}

impl ChunkStory {
    /// How many more replicas, or other members of its stripe, may be lost until the chunk is,
    /// if these nodes are gone; none if it is lost with them.
    pub fn spare(&self, without: impl Fn(NodeId) -> bool) -> Option<usize> {
        let own = self.replicas.iter().filter(|r| r.can_read(&without));
        let others = self.stripe.as_ref().map_or(0, |stripe| {
            (stripe.readable(&without) + 1).saturating_sub(stripe.shape.data())
        });
        (own.count() + others).checked_sub(1)
    }
}

/// The stripe of a chunk, and how the rest of it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeStory {
    /// Which: the id of its first member.
    pub stripe: StripeId,
    /// How many members it has, and how many of them give the others.
    pub shape: StripeShape,
    /// The other members.
    pub others: Vec<MemberStory>,
}

impl StripeStory {
    /// How many of the other members can be read, if these nodes are gone.
    pub fn readable(&self, without: impl Fn(NodeId) -> bool) -> usize {
        let can_read = |member: &&MemberStory| member.replicas.iter().any(|r| r.can_read(&without));
        self.others.iter().filter(can_read).count()
    }
}

/// Another member of the stripe of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStory {
    /// Which.
    pub chunk: ChunkId,
    /// The replicas that are meant to be, and those that are there besides.
    pub replicas: Vec<ReplicaStory>,
}

/// A replica, and how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStory {
    /// Who has it, or is meant to.
    pub node: NodeId,
    /// How it is.
    pub state: ReplicaState,
}

impl ReplicaStory {
    fn can_read(&self, without: impl Fn(NodeId) -> bool) -> bool {
        self.state.is_readable() && !without(self.node)
    }
}

/// How a replica is, as far as the leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReplicaState {
    /// It is there.
    Good,
    /// Its data node has not told this leader yet what it has.
    Unconfirmed,
    /// It is there, and its data node missed heartbeats.
    Suspect,
    /// It is there, and its data node is being emptied.
    Leaving,
    /// Its data node is away on purpose.
    Resting,
    /// It is not there.
    Missing,
    /// It fails its checksums.
    Corrupt,
    /// Its data node is given up.
    Dead,
    /// It is there beyond what is meant to be.
    Stray,
}

impl ReplicaState {
    /// Whether it can be read now, as far as is known.
    pub fn is_readable(self) -> bool {
        match self {
            ReplicaState::Good
            | ReplicaState::Unconfirmed
            | ReplicaState::Suspect
            | ReplicaState::Leaving
            | ReplicaState::Stray => true,
            ReplicaState::Resting
            | ReplicaState::Missing
            | ReplicaState::Corrupt
            | ReplicaState::Dead => false,
        }
    }

    /// Whether it counts as one of the copies that are wanted.
    pub fn counts(self) -> bool {
        match self {
            ReplicaState::Good
            | ReplicaState::Unconfirmed
            | ReplicaState::Suspect
            | ReplicaState::Resting => true,
            ReplicaState::Leaving
            | ReplicaState::Missing
            | ReplicaState::Corrupt
            | ReplicaState::Dead
            | ReplicaState::Stray => false,
        }
    }

    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::Good => "good",
            ReplicaState::Unconfirmed => "unconfirmed",
            ReplicaState::Suspect => "suspect",
            ReplicaState::Leaving => "leaving",
            ReplicaState::Resting => "resting",
            ReplicaState::Missing => "missing",
            ReplicaState::Corrupt => "corrupt",
            ReplicaState::Dead => "dead",
            ReplicaState::Stray => "extra",
        }
    }
}

/// What is being done for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Doing {
    /// Nothing, as far as the leader has looked at it.
    #[default]
    Nothing,
    /// It waits for its turn.
    Waiting {
        /// Chunks that are to be repaired before.
        ahead: u64,
        /// It could not be repaired; until then it is not tried again.
        again: Duration,
    },
    /// A copy is being made.
    Copying {
        /// Where.
        to: NodeId,
    },
    /// A replica is being moved.
    Moving {
        /// From where.
        from: NodeId,
        /// Where to.
        to: NodeId,
    },
    /// A copy was made, and is being put into the map.
    Recording,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(nodes: &[u32]) -> Vec<ReplicaStory> {
        let good = |&node| ReplicaStory {
            node: NodeId(node),
            state: ReplicaState::Good,
        };
        nodes.iter().map(good).collect()
    }

    fn chunk(nodes: &[u32]) -> ChunkStory {
        ChunkStory {
            chunk: ChunkId(1),
            length: 10,
            target: ReplicationTarget(nodes.len() as u8),
            replicas: replicas(nodes),
            doing: Doing::Nothing,
            stripe: None,
        }
    }

    #[test]
    fn of_copies_all_but_one_may_be_lost() {
        let spare = |gone: u32| chunk(&[1, 2, 3]).spare(|node| node.0 <= gone);
        assert_eq!([0, 1, 2, 3].map(spare), [Some(2), Some(1), Some(0), None]);
    }

    #[test]
    fn of_a_stripe_as_many_members_may_be_lost_as_it_has_parity() {
        let member = |node: u32| MemberStory {
            chunk: ChunkId(node.into()),
            replicas: replicas(&[node]),
        };
        let mut chunk = chunk(&[1]);
        chunk.stripe = Some(StripeStory {
            stripe: StripeId(1),
            shape: StripeShape { data: 2, parity: 2 },
            others: vec![member(2), member(3), member(4)],
        });
        let spare = |gone: u32| chunk.spare(|node| node.0 <= gone);
        assert_eq!([0, 1, 2, 3].map(spare), [Some(2), Some(1), Some(0), None]);
        // While the chunk itself can be read, the others do not matter.
        assert_eq!(chunk.spare(|node| node.0 > 2), Some(0));
    }
}
