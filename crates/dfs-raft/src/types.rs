//! How openraft sees us: the one place with its generic types.

use std::any::Any;
use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use openraft::type_config::alias as of;
use openraft::vote::leader_id_std::CommittedLeaderId;
use serde::{Deserialize, Serialize};

use crate::env::Timestamp;
use crate::machine::Rev;

/// A member of the cluster: given once, never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

impl From<u64> for MemberId {
    fn from(id: u64) -> MemberId {
        MemberId(id)
    }
}

/// A cluster: chosen at random when it is founded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an entry of the log asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proposal {
    /// A command of the state machine, encoded, with the leader's time.
    Command { time: Timestamp, command: Bytes },
    /// A member id that nobody had before.
    AllocateMember { time: Timestamp },
}

impl Proposal {
    /// How many bytes it carries.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Proposal::Command { command, .. } => command.len(),
            Proposal::AllocateMember { .. } => 0,
        }
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proposal::Command { command, .. } => write!(f, "command({} B)", command.len()),
            Proposal::AllocateMember { .. } => f.write_str("allocate member"),
        }
    }
}

/// What applying an entry gave, on its way to whoever proposed it.
pub(crate) struct Outcome {
    pub(crate) time: Timestamp,
    pub(crate) answer: Answer,
}

pub(crate) enum Answer {
    Nothing,
    /// The state machine's reply; its type is known to the proposer.
    Reply(Box<dyn Any + Send + Sync>),
    Member(MemberId),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcome({})", self.time)
    }
}

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = Outcome,
        NodeId = MemberId,
        Node = openraft::BasicNode,
        LeaderId = LeaderId<u64, MemberId>,
        AsyncRuntime = DeterministicRuntime,
);

/// tokio, with random numbers that come from [`Env::random`](crate::env::Env).
pub(crate) type DeterministicRuntime =
    openraft_rt::deterministic_rng::DeterministicRng<openraft_rt_tokio::TokioRuntime>;

pub(crate) type Entry = of::EntryOf<TypeConfig>;
pub(crate) type LogId = of::LogIdOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<MemberId, openraft::BasicNode>;
pub(crate) type Payload = of::PayloadOf<TypeConfig>;
pub(crate) type StoredMembership = of::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = of::SnapshotMetaOf<TypeConfig>;
pub(crate) type Vote = of::VoteOf<TypeConfig>;

pub(crate) fn log_id(rev: Rev) -> LogId {
    LogId::new(CommittedLeaderId::new(rev.term), rev.index)
}

pub(crate) fn rev(log_id: &LogId) -> Rev {
    Rev {
        term: log_id.leader_id.term,
        index: log_id.index,
    }
}
