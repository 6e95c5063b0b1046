//! What the log of the masters holds: commands, and the replies to whoever proposed them.
//!
//! A command is stored, so its form is append-only like that of [`Change`]: variants and fields
//! are never reordered or removed. Golden bytes watch it.

pub(crate) mod validate;

use serde::{Deserialize, Serialize};

use crate::types::account::AccountChange;
use crate::types::change::{Commit, CommitTarget, Piece, WriteOffset};
use crate::types::node::{NodeRole, TokenHash};
use crate::types::topology::{AdminState, Space, Topology};
use crate::types::{
    Caller, Change, Changed, ChunkId, ClientId, InodeId, NewChunk, NewStripe, NodeEpoch, NodeId,
    NodeKey, Outcome, Refusal, RequestId, Rev, Timestamp,
};

pub use crate::meta::members::secrets::{Founding, SecretBytes, SigningKeyId};
pub use validate::{validate, validate_request};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session. Proposed twice it opens two; an unused one expires.
    OpenSession {
        /// Whose it is.
        caller: Caller,
    },
    /// A client's change, carried out once however often it is proposed.
    Client {
        /// Who asks.
        caller: Caller,
        /// Which request of which session.
        request: RequestId,
        /// What it asks for.
        change: Change,
    },
    /// Sets chunk ids aside, for write grants.
    ReserveChunkIds {
        /// How many, at most `CHUNK_RANGE_LEN_MAX`.
        count: u32,
    },
    /// Begins an incarnation of a data node.
    RegisterNode {
        /// What its directory is stamped with.
        key: NodeKey,
        /// The id it was given before, if any.
        node: Option<NodeId>,
        /// Where it listens, `host:port`.
        address: String,
        /// Its failure domains.
        topology: Topology,
        /// Room on it.
        space: Space,
    },
    /// Records what people decided about a data node.
    SetAdminState {
        /// Which.
        node: NodeId,
        /// What they decided.
        state: AdminState,
    },
    /// Makes replicas that a data node was found to have intended ones, where a chunk has fewer
    /// intended replicas than its target. The node has confirmed them by length and checksum.
    AdoptReplicas {
        /// Who has them.
        node: NodeId,
        /// Of which chunks.
        chunks: Vec<ChunkId>,
    },
    /// Records a verified new replica, in the place of another or as one more.
    ReplaceReplica {
        /// Of which chunk.
        chunk: ChunkId,
        /// The data node whose replica is intended no longer; what it has is surplus.
        remove: Option<NodeId>,
        /// The data node that has the new replica on stable storage, verified.
        add: NodeId,
    },
    /// Gives up surplus replicas of one data node, intended or not. Each is given up only if the
    /// chunk's target is met by other replicas that are intended and confirmed.
    DropReplicas {
        /// Whose.
        node: NodeId,
        /// Which, and what the leader knew of the others.
        drops: Vec<ReplicaDrop>,
    },
    /// Gives up replicas of chunks that no file has and no commit can name any more.
    DropOrphans {
        /// Whose.
        node: NodeId,
        /// Of which chunks.
        chunks: Vec<ChunkId>,
    },
    /// A data node has deleted replicas it was told to delete, durably.
    Reclaimed {
        /// Who.
        node: NodeId,
        /// Of which chunks.
        chunks: Vec<ChunkId>,
    },
    /// Does a bounded part of the work that time or earlier commands have made due.
    Housekeeping,
    /// A change of accounts that no user asks for: by whoever holds the masters' disks.
    Account(AccountChange),
    /// Takes in what a new cluster is founded with.
    Found(Founding),
    /// Takes in a new signing key.
    AddSigningKey(SecretBytes),
    /// Makes a node of whoever shows a join token.
    Enrol {
        /// What its directory is stamped with.
        node: NodeKey,
        /// What it wants to be.
        role: NodeRole,
        /// The public key of which it has shown that it has the secret.
        key: [u8; 32],
        /// What it shows.
        token: TokenHash,
    },
    /// Takes in a new signing key because an administrator asks for it.
    ExchangeSigningKey {
        /// Who asks.
        caller: Caller,
        /// The key.
        secret: SecretBytes,
        /// Whether all before it are void at once, and whoever was let in by them.
        void_former: bool,
    },
    /// Puts new chunks with the same bytes in the place of those that a file has.
    Rewrite(Rewrite),
}

dfs_raft::postcard_values!(3: Command);

/// New chunks in the place of others, written and verified by a data node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Which file.
    pub inode: InodeId,
    /// What the map said of the bytes when the data node was told to: extents, or parts of them,
    /// one after the other. Refused as `Conflict` if it says something else by now.
    pub replaced: Vec<Replaced>,
    /// What the bytes are instead, one piece after the other; of chunks only.
    pub pieces: Vec<Piece>,
    /// The chunks that pieces refer to, with the parity of their stripes.
    pub chunks: Vec<NewChunk>,
    /// What stripes of the new chunks there are.
    pub stripes: Vec<NewStripe>,
}

/// Bytes of a file that are bytes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Where in the file they begin.
    pub offset: u64,
    /// How many.
    pub length: u64,
    /// Which chunk.
    pub chunk: ChunkId,
    /// Where in it.
    pub chunk_offset: u64,
}

/// The first byte, and the first one after the last; none of them if nothing is replaced.
pub(crate) fn range_of(replaced: &[Replaced]) -> (u64, u64) {
    let from = replaced.first().map_or(0, |first| first.offset);
    let end = |last: &Replaced| last.offset.saturating_add(last.length);
    (from, replaced.last().map_or(from, end))
}

impl Rewrite {
    /// The first byte, and the first one after the last; none of them if it replaces nothing.
    pub(crate) fn range(&self) -> (u64, u64) {
        range_of(&self.replaced)
    }

    /// The same as a commit, to be judged and carried out like one.
    pub(crate) fn commit(&self) -> Commit {
        Commit {
            target: CommitTarget::Upload(self.inode),
            offset: WriteOffset::At(self.range().0),
            pieces: self.pieces.clone(),
            chunks: self.chunks.clone(),
            revision: None,
            stripes: self.stripes.clone(),
        }
    }
}

/// A surplus replica, and what the leader knew when it proposed to give it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaDrop {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// The data nodes that have confirmed a good replica to this leader.
    pub confirmed: Vec<NodeId>,
}

/// What a command gave, variant by variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `OpenSession`.
    Session(Result<ClientId, Refusal>),
    /// To `Client`.
    Client {
        /// The entry that first carried the request out.
        rev: Rev,
        /// What became of it.
        outcome: Outcome,
    },
    /// To `ReserveChunkIds`.
    ChunkIds(Result<ChunkIds, Refusal>),
    /// To `RegisterNode`.
    Node(Result<RegisteredNode, Refusal>),
    /// To `SetAdminState`.
    AdminState(Result<(), Refusal>),
    /// To `AdoptReplicas`: the chunks of which the node's replica is intended now.
    Adopted(Result<Vec<ChunkId>, Refusal>),
    /// To `ReplaceReplica`.
    Replaced(Result<(), Refusal>),
    /// To `DropReplicas`: the chunks of which the node's replica will be deleted.
    Dropped(Result<Vec<ChunkId>, Refusal>),
    /// To `DropOrphans`: the chunks of which the node's replica will be deleted.
    OrphansDropped(Result<Vec<ChunkId>, Refusal>),
    /// To `Reclaimed`.
    Reclaimed(Result<(), Refusal>),
    /// To `Housekeeping`.
    Housekeeping {
        /// Whether more is due at once.
        more: bool,
    },
    /// To `Account`.
    Account(Result<Changed, Refusal>),
    /// To `Found`.
    Founded(Result<(), Refusal>),
    /// To `AddSigningKey` and `ExchangeSigningKey`.
    SigningKey(Result<SigningKeyId, Refusal>),
    /// To `Enrol`.
    Enrolled(Result<(), Refusal>),
    /// To `Rewrite`.
    Rewritten(Result<(), Refusal>),
}

/// Chunk ids set aside: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkIds {
    /// The first.
    pub start: ChunkId,
    /// The first that is no longer part.
    pub end: ChunkId,
    /// From this log time on, commits that name one of them as new are refused.
    pub expires: Timestamp,
}

/// A data node as registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredNode {
    /// Its id, for ever.
    pub node: NodeId,
    /// This incarnation.
    pub epoch: NodeEpoch,
}

#[cfg(test)]
mod tests;
