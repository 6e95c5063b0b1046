//! What members say to each other, in forms of our own.
//!
//! The forms are positional (postcard): fields and variants are only ever appended under a new
//! [`PROTOCOL`] version, methods only at the end. The tests hold the bytes.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "tarpc generates items from the service below"
)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, EntryPayload};
use serde::{Deserialize, Serialize};

use crate::env::Timestamp;
use crate::error::Fatal;
use crate::machine::Rev;
use crate::storage::apply::Position;
use crate::types::{
    self, ClusterId, Entry, LogId, MemberId, Membership, Proposal, StoredMembership, TypeConfig,
    Vote,
};

/// The version of the protocol. A member refuses others.
pub(crate) const PROTOCOL: u16 = 1;

/// Who a request is from and for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) protocol: u16,
    pub(crate) cluster: ClusterId,
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
}

/// Why a member did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it speaks protocol version {0}")]
    Protocol(u16),
    #[error("it belongs to another cluster")]
    OtherCluster,
    #[error("it is not the member that was meant")]
    OtherMember,
    #[error("it is not a member of a cluster")]
    NotMember,
    #[error("it is not the leader")]
    NotLeader { leader: Option<String> },
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Invalid(String),
    #[error("it has stopped")]
    Stopped,
    #[error("who asks was removed from the group")]
    Removed,
}

#[tarpc::service]
pub(crate) trait RaftRpc {
    async fn append(header: Header, request: Append) -> Result<Appended, Refusal>;
    async fn vote(header: Header, request: AskVote) -> Result<Voted, Refusal>;
    async fn pre_vote(header: Header, request: AskVote) -> Result<Voted, Refusal>;
    async fn transfer(header: Header, request: Transfer) -> Result<Transferred, Refusal>;
    async fn read_index(header: Header) -> Result<Rev, Refusal>;
    async fn begin_snapshot(header: Header, vote: WireVote) -> Result<Begun, Refusal>;
    async fn snapshot_frame(header: Header, part: Part) -> Result<(), Refusal>;
    async fn end_snapshot(header: Header, end: End) -> Result<WireVote, Refusal>;
    async fn digests(header: Header) -> Result<Vec<(Rev, u128)>, Refusal>;
    async fn diverged(header: Header, rev: Rev, majority: u128) -> Result<(), Refusal>;
    async fn join(request: Join) -> Result<Welcome, Refusal>;
    async fn admit(header: Header, address: String) -> Result<(), Refusal>;
    async fn doubt(header: Header, rev: Rev) -> Result<(), Refusal>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVote {
    pub(crate) term: u64,
    pub(crate) candidate: u64,
    pub(crate) granted_by_quorum: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireEntry {
    rev: Rev,
    payload: WirePayload,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum WirePayload {
    Blank,
    Command { time: u64, command: Bytes },
    Members(WireMembers),
    AllocateMember { time: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireMembers {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Append {
    vote: WireVote,
    previous: Option<Rev>,
    committed: Option<Rev>,
    entries: Vec<WireEntry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Appended {
    All,
    UpTo(Option<Rev>),
    Conflict,
    HigherVote(WireVote),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AskVote {
    vote: WireVote,
    last: Option<Rev>,
    leadership_transfer: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Voted {
    vote: WireVote,
    last: Option<Rev>,
    granted: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    leader: WireVote,
    to: MemberId,
    last: Option<Rev>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Transferred {
    Yes,
    VoteChanged {
        expected: WireVote,
        actual: WireVote,
    },
    LogNotFlushed {
        expected: Option<Rev>,
        actual: Option<Rev>,
    },
}

/// Whether a snapshot may be sent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Begun {
    /// Frames and end carry this number.
    Transfer(u64),
    /// The sender is no longer the leader.
    HigherVote(WireVote),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) transfer: u64,
    pub(crate) sequence: u64,
    pub(crate) frame: Bytes,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) transfer: u64,
    pub(crate) vote: WireVote,
    pub(crate) rows: u64,
    pub(crate) digest: u128,
    applied: Option<Rev>,
    members_rev: Option<Rev>,
    members: WireMembers,
}

/// A request for a member id, by someone who has none.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) protocol: u16,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) cluster: ClusterId,
    pub(crate) leader: MemberId,
    pub(crate) member: MemberId,
}

fn revs(log_id: &Option<LogId>) -> Option<Rev> {
    log_id.as_ref().map(types::rev)
}

impl From<&Vote> for WireVote {
    fn from(vote: &Vote) -> WireVote {
        WireVote {
            term: vote.leader_id.term,
            candidate: vote.leader_id.voted_for.0,
            granted_by_quorum: vote.committed,
        }
    }
}

impl WireVote {
    /// The vote it carries. (Not `From`: [`Vote`] is the projection of a trait that other crates
    /// cannot see through, and the impl would collide with theirs.)
    pub(crate) fn open(self) -> Vote {
        match self.granted_by_quorum {
            true => Vote::new_committed(self.term, MemberId(self.candidate)),
            false => Vote::new(self.term, MemberId(self.candidate)),
        }
    }
}

impl From<&Membership> for WireMembers {
    fn from(members: &Membership) -> WireMembers {
        let ids = |set: &BTreeSet<MemberId>| set.iter().map(|id| id.0).collect();
        let nodes = members.nodes();
        WireMembers {
            voters: members.get_joint_config().iter().map(ids).collect(),
            addresses: nodes.map(|(id, n)| (id.0, n.addr.clone())).collect(),
        }
    }
}

impl TryFrom<WireMembers> for Membership {
    type Error = Fatal;

    fn try_from(members: WireMembers) -> Result<Membership, Fatal> {
        let ids = |set: BTreeSet<u64>| set.into_iter().map(MemberId).collect();
        let node = |(id, addr)| (MemberId(id), BasicNode { addr });
        let nodes: BTreeMap<_, _> = members.addresses.into_iter().map(node).collect();
        Membership::new(members.voters.into_iter().map(ids).collect(), nodes)
            .map_err(|e| Fatal::with_source("a received membership is invalid", e))
    }
}

impl From<Entry> for WireEntry {
    fn from(entry: Entry) -> WireEntry {
        let payload = match entry.payload {
            EntryPayload::Blank => WirePayload::Blank,
            EntryPayload::Normal(Proposal::Command { time, command }) => {
                let time = time.0;
                WirePayload::Command { time, command }
            }
            EntryPayload::Normal(Proposal::AllocateMember { time }) => {
                WirePayload::AllocateMember { time: time.0 }
            }
            EntryPayload::Membership(members) => WirePayload::Members((&members).into()),
        };
        WireEntry {
            rev: types::rev(&entry.log_id),
            payload,
        }
    }
}

impl WireEntry {
    fn into_entry(self) -> Result<Entry, Fatal> {
        let payload = match self.payload {
            WirePayload::Blank => EntryPayload::Blank,
            WirePayload::Command { time, command } => EntryPayload::Normal(Proposal::Command {
                time: Timestamp(time),
                command,
            }),
            WirePayload::AllocateMember { time } => {
                EntryPayload::Normal(Proposal::AllocateMember {
                    time: Timestamp(time),
                })
            }
            WirePayload::Members(members) => EntryPayload::Membership(members.try_into()?),
        };
        Ok(Entry {
            log_id: types::log_id(self.rev),
            payload,
        })
    }
}

impl From<AppendEntriesRequest<TypeConfig>> for Append {
    fn from(request: AppendEntriesRequest<TypeConfig>) -> Append {
        Append {
            vote: (&request.vote).into(),
            previous: revs(&request.prev_log_id),
            committed: revs(&request.leader_commit),
            entries: request.entries.into_iter().map(WireEntry::from).collect(),
        }
    }
}

impl TryFrom<Append> for AppendEntriesRequest<TypeConfig> {
    type Error = Fatal;

    fn try_from(request: Append) -> Result<Self, Fatal> {
        let entries = request.entries.into_iter().map(WireEntry::into_entry);
        Ok(AppendEntriesRequest {
            vote: request.vote.open(),
            prev_log_id: request.previous.map(types::log_id),
            leader_commit: request.committed.map(types::log_id),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

impl From<AppendEntriesResponse<TypeConfig>> for Appended {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Appended {
        match response {
            AppendEntriesResponse::Success => Appended::All,
            AppendEntriesResponse::PartialSuccess(upto) => Appended::UpTo(revs(&upto)),
            AppendEntriesResponse::Conflict => Appended::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote((&vote).into()),
        }
    }
}

impl From<Appended> for AppendEntriesResponse<TypeConfig> {
    fn from(response: Appended) -> Self {
        match response {
            Appended::All => Self::Success,
            Appended::UpTo(upto) => Self::PartialSuccess(upto.map(types::log_id)),
            Appended::Conflict => Self::Conflict,
            Appended::HigherVote(vote) => Self::HigherVote(vote.open()),
        }
    }
}

impl From<VoteRequest<TypeConfig>> for AskVote {
    fn from(request: VoteRequest<TypeConfig>) -> AskVote {
        AskVote {
            vote: (&request.vote).into(),
            last: revs(&request.last_log_id),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

impl From<AskVote> for VoteRequest<TypeConfig> {
    fn from(request: AskVote) -> Self {
        let mut ask = VoteRequest::new(request.vote.open(), request.last.map(types::log_id));
        ask.leadership_transfer = request.leadership_transfer;
        ask
    }
}

impl From<VoteResponse<TypeConfig>> for Voted {
    fn from(response: VoteResponse<TypeConfig>) -> Voted {
        Voted {
            vote: (&response.vote).into(),
            last: revs(&response.last_log_id),
            granted: response.vote_granted,
        }
    }
}

impl From<Voted> for VoteResponse<TypeConfig> {
    fn from(response: Voted) -> Self {
        let vote = response.vote.open();
        VoteResponse::new(vote, response.last.map(types::log_id), response.granted)
    }
}

impl From<TransferLeaderRequest<TypeConfig>> for Transfer {
    fn from(request: TransferLeaderRequest<TypeConfig>) -> Transfer {
        Transfer {
            leader: request.from_leader().into(),
            to: *request.to_node_id(),
            last: request.last_log_id().map(types::rev),
        }
    }
}

impl From<Transfer> for TransferLeaderRequest<TypeConfig> {
    fn from(request: Transfer) -> Self {
        let last = request.last.map(types::log_id);
        TransferLeaderRequest::new(request.leader.open(), request.to, last)
    }
}

impl From<Result<(), TransferLeaderError<TypeConfig>>> for Transferred {
    fn from(result: Result<(), TransferLeaderError<TypeConfig>>) -> Transferred {
        match result {
            Ok(()) => Transferred::Yes,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Transferred::VoteChanged {
                    expected: (&expected).into(),
                    actual: (&actual).into(),
                }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Transferred::LogNotFlushed {
                    expected: revs(&expected),
                    actual: revs(&actual),
                }
            }
        }
    }
}

impl From<Transferred> for Result<(), TransferLeaderError<TypeConfig>> {
    fn from(result: Transferred) -> Self {
        match result {
            Transferred::Yes => Ok(()),
            Transferred::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: expected.open(),
                    actual: actual.open(),
                })
            }
            Transferred::LogNotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(types::log_id),
                    actual: actual.map(types::log_id),
                })
            }
        }
    }
}

impl End {
    pub(crate) fn new(
        transfer: u64,
        vote: &Vote,
        rows: u64,
        digest: u128,
        position: &Position,
    ) -> End {
        End {
            transfer,
            vote: vote.into(),
            rows,
            digest,
            applied: position.applied,
            members_rev: revs(position.members.log_id()),
            members: position.members.membership().into(),
        }
    }

    pub(crate) fn position(&self) -> Result<Position, Fatal> {
        let members = Membership::try_from(self.members.clone())?;
        Ok(Position {
            applied: self.applied,
            members: StoredMembership::new(self.members_rev.map(types::log_id), members),
        })
    }
}

#[cfg(test)]
mod tests;
