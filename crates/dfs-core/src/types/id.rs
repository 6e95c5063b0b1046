//! Identities: newtypes that print short (`i7 c19 n3 e2`), the same in logs, scripts and errors.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $($prefix:literal)?;)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        })?

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl dfs_raft::state::Key for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, dfs_raft::Fatal> {
                <$inner as dfs_raft::state::Key>::decode(bytes).map($name)
            }
        }
    )*};
}

ids! {
    /// A file, directory or symbolic link, whatever its names. Never reused.
    InodeId(u64);
    /// A run of bytes written once. Allocated in order, never reused.
    ChunkId(u64) "c";
    /// A data node, given at its first registration. Never reused.
    NodeId(u32) "n";
    /// An incarnation of a data node: one more at each registration, older ones are refused.
    NodeEpoch(u32) "e";
    /// A client session. Never reused; an expired one is refused.
    ClientId(u64) "s";
    /// An entry of the trash. Never reused.
    TrashId(u64) "t";
    /// A user.
    UserId(u32) "u";
    /// A group of users.
    GroupId(u32) "g";
    /// A stripe: the id of its first member. Never reused.
    StripeId(u64) "x";
    /// A snapshot of a directory: one more than the one before it. Never reused.
    SnapshotId(u64) "v";
}

/// `i7`, and `i7@v3` for what the third snapshot has of it.
impl fmt::Display for InodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.own().0)?;
        match self.snapshot() {
            Some(SnapshotId::LIST) => write!(f, "@snapshots"),
            Some(snapshot) => write!(f, "@{snapshot}"),
            None => Ok(()),
        }
    }
}

impl InodeId {
    /// The root directory.
    pub const ROOT: InodeId = InodeId(1);
}

impl UserId {
    /// The administrator that a cluster is founded with. What it may do is its role's, not this
    /// id's.
    pub const ROOT: UserId = UserId(0);
}

impl GroupId {
    /// The group of the administrator.
    pub const ADMIN: GroupId = GroupId(0);
    /// The group of users of whom nothing else is said.
    pub const USERS: GroupId = GroupId(100);
}

macro_rules! long_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map($name)
            }
        }

        impl dfs_raft::state::Key for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, dfs_raft::Fatal> {
                <u128 as dfs_raft::state::Key>::decode(bytes).map($name)
            }
        }
    )*};
}

long_ids! {
    /// A cluster: random, fixed at birth, in every message and on every disk.
    ClusterId;
    /// What a data node's directory was stamped with when it was made: random. The masters
    /// answer it with a [`NodeId`].
    NodeKey;
}

/// One request of a client. Sent again it gets the first answer and changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The session.
    pub client: ClientId,
    /// Which of its requests, from 1.
    pub sequence: u64,
    /// The client has all answers to requests with sequences below this; they can be forgotten.
    pub answered_below: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.client, self.sequence)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
