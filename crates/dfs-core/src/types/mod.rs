//! The vocabulary of the system: ids, names, attributes, policies, limits.
//!
//! Imports nothing of ours but keys and values of `dfs_raft`, so that ids can be stored. What is
//! here means the same to masters, data nodes and clients.

pub mod account;
pub mod acl;
pub mod attr;
pub mod change;
pub mod checksum;
pub mod handle;
pub mod id;
pub mod limits;
pub mod node;
pub mod path;
pub mod permit;
pub mod policy;
pub mod query;
pub mod quota;
pub mod range;
pub mod snapshot;
pub mod story;
pub mod stripe;
pub mod topology;
pub mod volume;

pub use account::{AccountName, Caller, Role};
pub use acl::{Acl, Rights};
pub use attr::{Attr, AttrChange, FileKind, Mode};
pub use change::{Change, Changed, Commit, NewAttr, NewChunk, Outcome, Refusal, RefusalKind};
pub use dfs_raft::Rev;
pub use dfs_raft::env::Timestamp;
pub use handle::Handle;
pub use id::{
    ChunkId, ClientId, ClusterId, GroupId, InodeId, NodeEpoch, NodeId, NodeKey, RequestId,
    SnapshotId, StripeId, TrashId, UserId,
};
pub use node::NodeRole;
pub use path::{DfsPath, Location, Name, PathError};
pub use permit::Permit;
pub use policy::{Policy, PolicyChange, ReplicationTarget};
pub use query::{Answer, Query};
pub use range::ByteRange;
pub use stripe::{NewStripe, StripeLayout, StripeShape};
pub use topology::{AdminState, Space, Topology};
pub use volume::{Scrub, Volume, VolumeId};
