//! What a client can ask of the metadata, and the answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::account::{AccountName, GroupInfo, UserInfo};
use super::acl::{Acl, AclKind};
use super::attr::{Attr, FileKind};
use super::id::{ChunkId, GroupId, InodeId, NodeId, NodeKey, TrashId, UserId};
use super::node::{EnrolledNode, NodeDuties, TokenInfo};
use super::path::{Location, Name};
use super::permit::Permit;
use super::quota::{QuotaInfo, QuotaPage};
use super::range::ByteRange;
use super::snapshot::SnapshotPage;
use super::story::{ChunkStory, Explained};
use super::stripe::StripeLayout;
use super::topology::Space;
use dfs_raft::env::Timestamp;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The attributes of an inode.
    Stat {
        /// Which.
        at: Location,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// Names in a directory, in order.
    List {
        /// The directory.
        at: Location,
        /// Begin after this name.
        after: Option<Name>,
        /// At most this many, and at most `ENTRIES_PER_REPLY_MAX`.
        limit: u32,
        /// Whether the attributes of each are wanted.
        attrs: bool,
    },
    /// Where the bytes of a file are. Symbolic links are followed.
    Layout {
        /// The file.
        at: Location,
        /// Which bytes.
        range: ByteRange,
    },
    /// What a symbolic link leads to.
    ReadLink {
        /// The link.
        at: Location,
    },
    /// Totals of the file system.
    StatFs,
    /// What the trash holds, oldest first.
    ListTrash {
        /// Begin after this one.
        after: Option<TrashId>,
        /// At most this many.
        limit: u32,
    },
    /// An access control list.
    Acl {
        /// Of what; symbolic links are followed.
        at: Location,
        /// Which list.
        which: AclKind,
    },
    /// Who asks.
    Whoami,
    /// A user.
    User(AccountName),
    /// A group.
    Group(AccountName),
    /// Users by id.
    Users {
        /// Begin after this one.
        after: Option<UserId>,
        /// At most this many.
        limit: u32,
    },
    /// Groups by id.
    Groups {
        /// Begin after this one.
        after: Option<GroupId>,
        /// At most this many.
        limit: u32,
    },
    /// The join tokens that are good; for administrators.
    JoinTokens,
    /// Who became a node, by key; for administrators.
    EnrolledNodes {
        /// Begin after this one.
        after: Option<NodeKey>,
        /// At most this many.
        limit: u32,
    },
    /// What is to be known before something is decided about a data node; for administrators.
    NodeDuties(NodeId),
    /// Where the bytes of a file are and how they are. Symbolic links are followed. Only the
    /// leader can tell.
    Explain {
        /// The file.
        at: Location,
        /// Which bytes.
        range: ByteRange,
    },
    /// The chunks that a data node is meant to have, by id, and how they are; for administrators.
    /// Only the leader can tell.
    NodeChunks {
        /// Which node.
        node: NodeId,
        /// Begin after this one.
        after: Option<ChunkId>,
        /// At most this many.
        limit: u32,
    },
    /// The quotas that something is counted for, nearest first.
    Quotas {
        /// What; symbolic links are followed.
        at: Location,
    },
    /// The quotas of directories at or below one; for administrators.
    QuotasBelow {
        /// That directory.
        at: Location,
        /// Begin after this one.
        after: Option<InodeId>,
        /// Look at so many at most.
        limit: u32,
    },
    /// The snapshots of a directory, by name.
    Snapshots {
        /// Which; symbolic links are followed.
        at: Location,
        /// Begin after this one.
        after: Option<Name>,
        /// At most this many.
        limit: u32,
    },
}

impl Query {
    /// The place that it names.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Query::Stat { at, .. }
            | Query::List { at, .. }
            | Query::Layout { at, .. }
            | Query::ReadLink { at }
            | Query::Explain { at, .. }
            | Query::Acl { at, .. }
            | Query::Quotas { at }
            | Query::QuotasBelow { at, .. }
            | Query::Snapshots { at, .. } => Some(at),
            Query::StatFs
            | Query::ListTrash { .. }
            | Query::Whoami
            | Query::User(_)
            | Query::Group(_)
            | Query::Users { .. }
            | Query::Groups { .. }
            | Query::JoinTokens
            | Query::EnrolledNodes { .. }
            | Query::NodeDuties(_)
            | Query::NodeChunks { .. } => None,
        }
    }

    /// Whether only the leader knows all of the answer.
    pub fn is_for_leader(&self) -> bool {
        matches!(
            self,
            Query::StatFs | Query::Explain { .. } | Query::NodeChunks { .. }
        )
    }
}

impl Answer {
    /// The same, to look at.
    pub fn attr(&self) -> Option<&Attr> {
        match self {
            Answer::Attr(attr) => Some(attr),
            Answer::Layout(layout) => Some(&layout.attr),
            Answer::Explained(explained) => Some(&explained.layout.attr),
            _ => None,
        }
    }

    /// The attributes of the one inode that it is about.
    pub fn attr_mut(&mut self) -> Option<&mut Attr> {
        match self {
            Answer::Attr(attr) => Some(attr),
            Answer::Layout(layout) => Some(&mut layout.attr),
            Answer::Explained(explained) => Some(&mut explained.layout.attr),
            _ => None,
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Stat`.
    Attr(Attr),
    /// To `List`.
    Entries(EntryPage),
    /// To `Layout`.
    Layout(Layout),
    /// To `ReadLink`.
    Target(String),
    /// To `StatFs`.
    StatFs(StatFs),
    /// To `ListTrash`.
    Trash(TrashPage),
    /// To `Acl`: none if mode bits say all, or if a directory has no default list.
    Acl(Option<Acl>),
    /// To `Whoami` and `User`.
    User(UserInfo),
    /// To `Group`.
    Group(GroupInfo),
    /// To `Users`.
    Users(Vec<UserInfo>),
    /// To `Groups`.
    Groups(Vec<GroupInfo>),
    /// To `JoinTokens`.
    JoinTokens(Vec<TokenInfo>),
    /// To `EnrolledNodes`.
    EnrolledNodes(Vec<EnrolledNode>),
    /// To `NodeDuties`.
    NodeDuties(NodeDuties),
    /// To `Explain`.
    Explained(Explained),
    /// To `NodeChunks`.
    Chunks(Vec<ChunkStory>),
    /// To `Quotas`.
    Quotas(Vec<QuotaInfo>),
    /// To `QuotasBelow`.
    QuotaPage(QuotaPage),
    /// To `Snapshots`.
    Snapshots(SnapshotPage),
}

/// Part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPage {
    /// Names in order.
    pub entries: Vec<Entry>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// What it names.
    pub inode: InodeId,
    /// What kind of thing that is.
    pub kind: FileKind,
    /// Its attributes, where asked for.
    pub attr: Option<Attr>,
}

/// Where bytes of a file are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The file.
    pub attr: Attr,
    /// The extents that touch the range, by offset; what none covers reads as zero.
    pub extents: Vec<LayoutExtent>,
    /// The range was cut: ask again from the end of the last extent.
    pub more: bool,
    /// What lets the asker read the chunks. Masters add it to an answer.
    pub permit: Permit,
    /// The stripes that chunks of the extents are of, each once.
    pub stripes: Vec<StripeLayout>,
}

/// An extent of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutExtent {
    /// Where in the file it begins.
    pub offset: u64,
    /// How many bytes it is.
    pub length: u64,
    /// Where they are.
    pub source: LayoutSource,
}

/// Where the bytes of an extent are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayoutSource {
    /// In a chunk.
    Chunk {
        /// Which.
        chunk: ChunkId,
        /// Where in it the extent begins.
        offset: u64,
        /// All the bytes of the chunk.
        length: u64,
        /// The data nodes meant to have it, best choice first.
        replicas: Vec<NodeId>,
    },
    /// Here.
    Inline(Bytes),
}

/// Totals of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatFs {
    /// Inodes in use.
    pub inodes: u64,
    /// Chunks in use.
    pub chunks: u64,
    /// Bytes of chunks, each counted once.
    pub chunk_bytes: u64,
    /// Room on the data nodes; filled in by the leader.
    pub space: Space,
}

/// Part of the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashPage {
    /// Entries, oldest first.
    pub entries: Vec<TrashItem>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashItem {
    /// Which entry.
    pub trash: TrashId,
    /// What was removed.
    pub inode: InodeId,
    /// What kind of thing it is.
    pub kind: FileKind,
    /// The path it was removed from, as it was then.
    pub path: String,
    /// When it was removed.
    pub removed: Timestamp,
    /// When it goes for good.
    pub expires: Timestamp,
}
