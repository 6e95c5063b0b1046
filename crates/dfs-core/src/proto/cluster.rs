//! What data nodes tell masters, and what they are told to do.

use serde::{Deserialize, Serialize};

use super::error::RpcError;
use super::metadata::NodeAddress;
use super::peers::PeerList;
use crate::env::Timestamp;
use crate::security::SigningKeys;
use crate::types::stripe::Code;
use crate::types::topology::{Space, Topology};
use crate::types::{
    ChunkId, ClusterId, InodeId, NodeEpoch, NodeId, NodeKey, Permit, StripeShape, Volume,
};

/// The control of data nodes. Only the leader answers.
#[tarpc::service]
pub trait ClusterRpc {
    /// Begins an incarnation.
    async fn register(registration: Registration) -> Result<Registered, RpcError>;

    /// Says "alive", brings back work.
    async fn heartbeat(heartbeat: Heartbeat) -> Result<HeartbeatReply, RpcError>;

    /// Says which replicas the node has.
    async fn report(report: ChunkReport) -> Result<ReportReply, RpcError>;

    /// Says how tasks ended.
    async fn finished(
        node: NodeId,
        epoch: NodeEpoch,
        tasks: Vec<TaskResult>,
    ) -> Result<(), RpcError>;
}

/// A data node that starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What its directory is stamped with.
    pub key: NodeKey,
    /// The id it was given before, if any; refused if the masters know another for its key.
    pub node: Option<NodeId>,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Its failure domains.
    pub topology: Topology,
    /// Room.
    pub space: Space,
}

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The node's id, for ever.
    pub node: NodeId,
    /// This incarnation.
    pub epoch: NodeEpoch,
    /// How often to send heartbeats, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The addresses of all masters.
    pub masters: Vec<String>,
    /// The other data nodes.
    pub peers: Vec<NodeAddress>,
    /// What permits are verified with.
    pub signing: Signing,
}

/// What data nodes verify permits with, without asking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signing {
    /// The public keys of the masters; none in a cluster without security.
    pub keys: SigningKeys,
    /// The time by which the masters say until when a permit is good.
    pub now: Timestamp,
}

/// "Alive".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub node: NodeId,
    /// Its incarnation; an older one is fenced.
    pub epoch: NodeEpoch,
    /// Room.
    pub space: Space,
    /// Replicas it has.
    pub replicas: u64,
    /// Streams being served now.
    pub streams: u32,
    /// The directory failed, and why: it takes no writes, and what can be read is served.
    pub failed: Option<String>,
    /// Its disks.
    pub volumes: Vec<Volume>,
    /// The version of the list of data nodes that it has; zero without one.
    pub peers: u64,
    /// The data nodes that it holds for down, as far as it can tell.
    pub down: Vec<NodeId>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The term of the leader that answers. A node that sees a new one reports in full.
    pub term: u64,
    /// Whether a full report is wanted.
    pub report: bool,
    /// Work. A task given again while it runs is the same task.
    pub tasks: Vec<Task>,
    /// What lets the node read the chunks that it is to copy.
    pub permits: Vec<(ChunkId, Permit)>,
    /// What permits are verified with.
    pub signing: Signing,
    /// The addresses of all masters.
    pub masters: Vec<String>,
    /// What lets the node read what it is to rewrite, and write what it becomes, by the first of
    /// the new chunks.
    pub rewrites: Vec<(ChunkId, Permit, Permit)>,
    /// All data nodes, if that is another list than the node has.
    pub peers: Option<PeerList>,
}

/// Something a data node is to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Task {
    /// Get a replica of a chunk from another data node, verify it, keep it. One that is there
    /// and corrupt goes to quarantine first.
    Copy {
        /// Which.
        chunk: ChunkId,
        /// Its bytes.
        length: u64,
        /// CRC-32C of them.
        checksum: u32,
        /// Who has it, best choice first.
        sources: Vec<NodeAddress>,
    },
    /// Delete replicas: the masters have decided it in their log.
    Delete {
        /// Which.
        chunks: Vec<ChunkId>,
    },
    /// Read a replica through and say whether it is right.
    Verify {
        /// Which.
        chunk: ChunkId,
    },
    /// Begin to read all replicas through, now and at full pace. Done when it has begun.
    Scrub,
    /// Make a replica of a chunk from other members of its stripe, verify it, keep it. One that
    /// is there and corrupt goes to quarantine first.
    Rebuild {
        /// Which.
        chunk: ChunkId,
        /// Its bytes.
        length: u64,
        /// CRC-32C of them.
        checksum: u32,
        /// Where among the members it is.
        index: u8,
        /// How parity was computed.
        code: Code,
        /// Data and parity.
        shape: StripeShape,
        /// Bytes of each member; of the last data chunk the most.
        shard_length: u64,
        /// The members that can be read, best choice first.
        sources: Vec<RebuildSource>,
    },
    /// Read bytes of some chunks, verify them, and write them into others.
    Rewrite {
        /// Of which file they are.
        inode: InodeId,
        /// Where they are, one after the other.
        sources: Vec<RewriteSource>,
        /// Where they go: one chunk, or the members of a stripe.
        targets: Vec<RewriteTarget>,
        /// The stripe.
        stripe: Option<StripePlan>,
    },
}

/// Bytes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RewriteSource {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Where in it they begin.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// All bytes of the chunk.
    pub chunk_length: u64,
    /// CRC-32C of all of them.
    pub checksum: u32,
    /// Who has it, best choice first.
    pub nodes: Vec<NodeAddress>,
}

/// A chunk to write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RewriteTarget {
    /// Its id.
    pub chunk: ChunkId,
    /// The pipeline; none if it is parity for which there is no data node.
    pub nodes: Vec<NodeAddress>,
}

/// How parity is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StripePlan {
    /// The code.
    pub code: Code,
    /// Data and parity.
    pub shape: StripeShape,
    /// Bytes of each member; of the last data chunk the most.
    pub shard_length: u64,
}

/// A chunk that a data node has written for the masters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// Which.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// The data nodes that have it on stable storage.
    pub nodes: Vec<NodeId>,
}

/// A member of a stripe that others can be made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RebuildSource {
    /// Where among the members it is.
    pub index: u8,
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Who has it, best choice first.
    pub nodes: Vec<NodeAddress>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task.
    pub task: Task,
    /// Done and on stable storage, or why not.
    pub result: Result<(), String>,
    /// What was written for a rewrite that is done.
    pub stored: Vec<StoredChunk>,
}

/// Replicas of a node: all of them in parts, or what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReport {
    /// Who.
    pub node: NodeId,
    /// Its incarnation.
    pub epoch: NodeEpoch,
    /// All or changes.
    pub kind: ReportKind,
    /// Replicas it has (changes: has got), by id, at most `ENTRIES_PER_REPLY_MAX`.
    pub present: Vec<ReplicaSummary>,
    /// Replicas it has lost or deleted.
    pub absent: Vec<ChunkId>,
    /// Replicas that fail their checksums and are in quarantine.
    pub corrupt: Vec<ChunkId>,
}

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportKind {
    /// A part of all replicas: those with ids in `from..until`; what is not listed is not there.
    Full {
        /// The first id covered.
        from: ChunkId,
        /// The first id no longer covered; none in the last part.
        until: Option<ChunkId>,
    },
    /// What changed since the last report.
    Delta,
}

/// A replica as its node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReplicaSummary {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// The term of the leader that answers.
    pub term: u64,
}
