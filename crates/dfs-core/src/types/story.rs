//! How chunks are: what a master tells of them to whoever wants to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{ChunkId, NodeId};
use super::policy::ReplicationTarget;
use super::query::Layout;

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
}

/// A replica, and how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStory {
    /// Who has it, or is meant to.
    pub node: NodeId,
    /// How it is.
    pub state: ReplicaState,
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
