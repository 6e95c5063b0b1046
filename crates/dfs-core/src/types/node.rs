//! What nodes are, and what it takes to become one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{NodeId, NodeKey, UserId};
use super::topology::AdminState;
use dfs_raft::env::Timestamp;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeRole {
    /// It holds metadata.
    Master,
    /// It holds chunks.
    DataNode,
    /// It speaks for users in another protocol.
    Gateway,
}

impl NodeRole {
    const ALL: [(NodeRole, &'static str); 3] = [
        (NodeRole::Master, "master"),
        (NodeRole::DataNode, "data"),
        (NodeRole::Gateway, "gateway"),
    ];
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = NodeRole::ALL;
        let name = all.iter().find(|(role, _)| role == self);
        f.pad(name.map_or("", |(_, name)| name))
    }
}

/// Something is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0:.20}` is no role: master, data, gateway")]
pub struct RoleError(String);

impl FromStr for NodeRole {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<NodeRole, RoleError> {
        let all = NodeRole::ALL;
        let role = all.iter().find(|(_, name)| *name == text);
        role.map(|(role, _)| *role)
            .ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// A join token as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Which.
    pub id: TokenId,
    /// What one may become with it.
    pub role: NodeRole,
    /// The node that gets new papers with it; none for nodes that are new.
    pub node: Option<NodeKey>,
    /// How often it can be used yet.
    pub uses: u32,
    /// From when on it is void.
    pub expires: Timestamp,
    /// What it is for, in the words of who made it.
    pub label: String,
    /// Who made it.
    pub by: UserId,
    /// When it was made.
    pub created: Timestamp,
}

/// A node that got papers, whether it was ever heard of again or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledNode {
    /// What its directory is stamped with.
    pub key: NodeKey,
    /// What it is.
    pub role: NodeRole,
    /// When it got papers for the key that it has.
    pub since: Timestamp,
    /// The join token that it showed, while that is good.
    pub token: Option<TokenId>,
    /// The data node as which it has registered, if it has.
    pub registered: Option<NodeId>,
    /// Whether it is a node no more.
    pub revoked: bool,
}

/// A change of who may be a node. It is for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// Makes a join token.
    CreateToken {
        /// What is kept of it.
        hash: TokenHash,
        /// What one may become with it.
        role: NodeRole,
        /// The node that gets new papers with it; none for nodes that are new.
        node: Option<NodeKey>,
        /// How often it can be used.
        uses: u32,
        /// How long it is good for.
        ttl: Duration,
        /// What it is for.
        label: String,
    },
    /// Makes a join token void.
    RevokeToken {
        /// Which.
        token: TokenId,
    },
    /// Makes a node one no more: its certificate is refused, and it gets no other.
    RevokeNode {
        /// Which, by what its directory is stamped with.
        node: NodeKey,
    },
    /// Decides about a data node: to empty it, to let it rest, to take it back, to be rid of it.
    Decide {
        /// Which.
        node: NodeId,
        /// What it is to be. [`Drained`](AdminState::Drained) is not for people to say.
        state: AdminState,
        /// The number of the plan that was looked at; refused if data nodes or what was decided
        /// about them have changed since. None is whatever has changed.
        plan: Option<u64>,
        /// How long it may rest before it is in service again by itself, for
        /// [`Maintenance`](AdminState::Maintenance) alone. None is until somebody says so.
        rest: Option<Duration>,
    },
}

/// What is to be known before something is decided about a data node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDuties {
    /// The number of a plan that is made now.
    pub plan: u64,
    /// What was decided last.
    pub state: AdminState,
    /// Replicas that it is meant to have.
    pub replicas: u64,
    /// The sum of their lengths, in bytes.
    pub bytes: u64,
    /// Other data nodes that are in service, and not dead as far as the leader knows.
    pub others: u32,
    /// How many data nodes the most widely spread chunks are to be on; zero without chunks.
    pub widest: u32,
    /// How many chunks are to be on so many.
    pub widest_chunks: u64,
}

/// A join token. Never used again for another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct TokenId(pub u32);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "j{}", self.0)
    }
}

impl dfs_raft::state::Key for TokenId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<TokenId, dfs_raft::Fatal> {
        <u32 as dfs_raft::state::Key>::decode(bytes).map(TokenId)
    }
}

/// What is kept of a join token: SHA-256 of its secret, which is as random as a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl dfs_raft::state::Key for TokenHash {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &mut &[u8]) -> Result<TokenHash, dfs_raft::Fatal> {
        match bytes.split_at_checked(32) {
            Some((hash, rest)) => {
                *bytes = rest;
                let hash = hash.try_into();
                hash.map(TokenHash)
                    .map_err(|e| dfs_raft::Fatal::with_source("a hash is cut", e))
            }
            None => Err(dfs_raft::Fatal::new("a hash is cut")),
        }
    }
}
