//! What clients ask of masters.

use std::fmt;

use crate::env::Timestamp;
use crate::types::Rev;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::RpcError;
use crate::types::topology::{AdminState, Space, Topology};
use crate::types::{
    Answer, Change, Changed, ChunkId, ClientId, ClusterId, Handle, InodeId, NodeEpoch, NodeId,
    NodeKey, Permit, Query, ReplicationTarget, RequestId, Scrub, StripeShape, Volume,
};

/// Metadata for clients. Any master answers; all but `leader` need the leader.
#[tarpc::service]
pub trait MetadataRpc {
    /// Who leads, and who else there is.
    async fn leader() -> LeaderInfo;

    /// Opens a session, for request ids.
    async fn open_session() -> Result<Stamped<ClientId>, RpcError>;

    /// Makes one change. Repeated with the same request id it answers the same.
    async fn change(
        request: RequestId,
        change: Change,
        proofs: Proofs,
    ) -> Result<Answered<Changed>, RpcError>;

    /// Answers one question.
    async fn query(
        query: Query,
        consistency: ReadConsistency,
        proofs: Proofs,
    ) -> Result<Answered<Answer>, RpcError>;

    /// Chunk ids and data nodes to write to.
    async fn grant(request: GrantRequest) -> Result<WriteGrant, RpcError>;

    /// A client found a replica that fails its checksums.
    async fn report_corrupt(chunk: ChunkId, node: NodeId) -> Result<(), RpcError>;

    /// Where data nodes are.
    async fn nodes() -> Result<Vec<NodeInfo>, RpcError>;

    /// The state of the cluster.
    async fn status() -> Result<ClusterStatus, RpcError>;

    /// Takes a master out of the group. One that is not in it is no error.
    async fn remove_master(member: u64) -> Result<(), RpcError>;

    /// Exchanges the key that the masters sign with; makes void all that was signed before, if
    /// told so.
    async fn exchange_signing_key(void_former: bool) -> Result<(), RpcError>;

    /// The next piece of a backup of the metadata, none after the last. The first, number 0, is of
    /// what is acknowledged by now, and all others that are asked for on this connection are of
    /// the same; the last one can be asked for again.
    async fn backup(number: u64) -> Result<Option<Bytes>, RpcError>;
    /// Has a data node begin to read all of its replicas through, now and at full pace. To ask
    /// again is to begin again.
    async fn scrub_node(node: NodeId) -> Result<(), RpcError>;
}

/// A value with the point of history it belongs to: for a change the entry that made it, for a
/// read the last entry it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// That point.
    pub rev: Rev,
    /// The value.
    pub value: T,
}

/// What a client shows beside a request. None of it is a part of what is done, or in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proofs {
    /// That it was led to the inodes that the request starts at.
    pub handles: Vec<(InodeId, Handle)>,
    /// That the chunks of a commit were granted to it.
    pub permits: Vec<Permit>,
}

/// A value, and what vouches for the inode that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered<T> {
    /// The value.
    pub stamped: Stamped<T>,
    /// None without security, or if it is about none.
    pub handle: Option<Handle>,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReadConsistency {
    /// As fresh as every change acknowledged before the question was asked.
    #[default]
    Linearizable,
    /// Whatever the master asked has; any master answers.
    Stale,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// The cluster, once it is founded.
    pub cluster: Option<ClusterId>,
    /// The leader's address, if known.
    pub leader: Option<String>,
    /// The addresses of all masters.
    pub masters: Vec<String>,
}

/// What a writer needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// How many chunks, at most `CHUNKS_PER_GRANT_MAX`.
    pub chunks: u32,
    /// Their largest length in bytes.
    pub chunk_size: u64,
    /// Copies wanted of each.
    pub replicas: ReplicationTarget,
    /// Copies it cannot do without.
    pub replicas_min: ReplicationTarget,
    /// Data nodes that failed the writer.
    pub avoid: Vec<NodeId>,
    /// The chunks are the members of one stripe of this shape, each to go to a data node of its
    /// own: as many chunks as it has members, of one copy each.
    pub stripe: Option<StripeShape>,
}

/// Chunk ids to write under, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteGrant {
    /// One entry a chunk.
    pub chunks: Vec<GrantedChunk>,
    /// Data nodes to turn to when one of the chosen fails.
    pub spares: Vec<NodeAddress>,
    /// Commits after this (in log time) are refused.
    pub expires: Timestamp,
    /// What lets the writer write them there.
    pub permit: Permit,
}

/// A chunk to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedChunk {
    /// Its id.
    pub chunk: ChunkId,
    /// The pipeline: head first, tail last. None if it is parity of a stripe, for which there is
    /// no data node.
    pub pipeline: Vec<NodeAddress>,
}

/// A data node and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Which.
    pub node: NodeId,
    /// What its papers say: whoever listens there and shows others is not it.
    pub key: NodeKey,
    /// `host:port`.
    pub address: String,
}

/// In words that are its alone: permits name it so.
impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.node, self.key, self.address)
    }
}

/// How a data node is seen by the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Liveness {
    /// Heard of lately.
    Live,
    /// Missed heartbeats: gets no new replicas, readers prefer others.
    Suspect,
    /// Given up: its chunks are repaired.
    Dead,
}

/// A data node as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Which.
    pub node: NodeId,
    /// What its directory is stamped with, and its papers say.
    pub key: NodeKey,
    /// `host:port`.
    pub address: String,
    /// Its incarnation.
    pub epoch: NodeEpoch,
    /// Its failure domains.
    pub topology: Topology,
    /// What people decided.
    pub admin: AdminState,
    /// What heartbeats say.
    pub liveness: Liveness,
    /// Room.
    pub space: Space,
    /// Replicas it is meant to have.
    pub replicas: u64,
    /// The sum of their lengths.
    pub bytes: u64,
    /// Its disks, by its last heartbeat.
    pub volumes: Vec<Volume>,
    /// If it rests: when that ends by itself.
    pub rests_until: Option<Timestamp>,
    /// The live data nodes that hold it for down.
    pub held_down_by: Vec<NodeId>,
}

impl NodeInfo {
    /// How far it has read through what is on disks in use; nothing is known before a heartbeat.
    pub fn scrub(&self) -> Scrub {
        let in_use = self.volumes.iter().filter(|volume| volume.failed.is_none());
        let mut in_use = in_use.map(|volume| &volume.scrub).peekable();
        match in_use.peek() {
            None => Scrub::default(),
            Some(_) => Scrub::sum(in_use),
        }
    }

    /// Where its chunks are read and written.
    pub fn target(&self) -> NodeAddress {
        NodeAddress {
            node: self.node,
            key: self.key,
            address: self.address.clone(),
        }
    }
}

/// The state of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The term of the leader that says so.
    pub term: u64,
    /// The masters.
    pub masters: Vec<MasterInfo>,
    /// The data nodes.
    pub nodes: Vec<NodeInfo>,
    /// The chunks.
    pub chunks: ChunkHealth,
    /// Inodes in use.
    pub inodes: u64,
}

/// A master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterInfo {
    /// Its member id in the group, printed `m1`.
    pub member: u64,
    /// `host:port`.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes, or is a learner.
    pub voter: bool,
    /// How far it is known to have the log; none if it has not answered this leader.
    pub log_index: Option<u64>,
}

/// How many chunks are how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkHealth {
    /// Whether the leader has looked at every chunk since it leads, knowing what every data node
    /// has that is not dead or away on purpose. Until then what lacks copies may be more than is
    /// counted here.
    pub surveyed: bool,
    /// All chunks.
    pub total: u64,
    /// With fewer copies than wanted, and at least one.
    pub under_replicated: u64,
    /// With no copy on a node that is not dead.
    pub missing: u64,
    /// Copies being made now.
    pub repairing: u64,
    /// Copies waiting to be deleted.
    pub reclaiming: u64,
    /// Of the copies being made, those that move replicas from where they are good.
    pub moving: u64,
    /// Bytes that are to be copied until nothing lacks copies and no data node is being emptied,
    /// as far as is known.
    pub repair_bytes: u64,
    /// Bytes a second that were copied lately.
    pub repair_bytes_per_second: u64,
}
