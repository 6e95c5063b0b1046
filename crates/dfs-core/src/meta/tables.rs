//! All that is stored, drawn: every table with its key order, its value and who writes it.
//!
//! ```text
//! META          name -> u64                        format, next ids, totals       all
//! INODES        InodeId -> Inode                   what a file is                 namespace
//! DIRENTS       (parent InodeId, Name) -> Dirent   one range = one listing        namespace
//! TRASH         TrashId -> TrashEntry              removed names, oldest first    trash
//! TRASH_EXPIRY  (expires, TrashId) -> ()           which goes next                trash
//! UPLOADS       (ClientId, InodeId) -> ()          files without a name           upload
//! PURGE         InodeId -> Purge                   dead trees and files           purge
//! EXTENTS       (InodeId, offset) -> Extent        one range = one layout         extents
//! TRIMS         InodeId -> offset                  extents beyond an end          extents
//! CHUNKS        ChunkId -> Chunk                   length, references, …          chunks
//! NODE_CHUNKS   (NodeId, ChunkId) -> ()            what a lost node held          replicas
//! RANGES        first ChunkId -> ChunkRange        reserved ids, oldest first     grant
//! SPENT         ChunkId -> ()                      freed ids of living ranges     references
//! RECLAIM       (ChunkId, NodeId) -> since         replicas to delete             reclaim
//! NODE_RECLAIM  (NodeId, since, ChunkId) -> ()     the same, by node and age      reclaim
//! NODES         NodeId -> Node                     address, domains, epoch        nodes
//! NODE_KEYS     NodeKey -> NodeId                  who a directory is             nodes
//! NODE_LOADS    NodeId -> NodeLoad                 intended replicas              replicas
//! SESSIONS      ClientId -> Session                last activity                  sessions
//! SESSION_AGES  (last activity, ClientId) -> ()    which expires next             sessions
//! REPLIES       (ClientId, sequence) -> Remembered  first answers                  sessions
//! USERS         UserId -> User                     who may use it                 accounts
//! USER_NAMES    name -> UserId                     the same by name               accounts
//! GROUPS        GroupId -> Group                   their groups                   accounts
//! GROUP_NAMES   name -> GroupId                    the same by name               accounts
//! MEMBERS       (GroupId, UserId) -> ()            who is in a group              accounts
//! ACLS          InodeId -> Acls                    what mode bits cannot say      acl
//! TRASH_OWNERS  (UserId, TrashId) -> ()            who removed what               trash
//! JOIN_TOKENS   TokenId -> JoinToken               who may become a node          tokens
//! TOKEN_HASHES  hash -> TokenId                    the same by what is shown      tokens
//! ENROLLED      NodeKey -> Enrolled                who has become one             enrolled
//! SECRETS       SecretId -> Secret                 keys of the cluster            secrets
//! WIDTHS        nodes -> chunks to be on so many   who can be spared              replicas
//! DEPARTED      NodeId -> ()                       removed, not yet forgotten     decisions
//! SHARES        (ChunkId, InodeId) -> extents      chunks of several files        shares
//! CONCATS       (InodeId, offset) -> Part          extents still to be moved      concat
//! USES          InodeId -> Use                     what counted directories hold  uses
//! QUOTAS        InodeId -> ()                      which of them are limited      quota
//! COUNTING      InodeId -> Counting                which are not counted through  counting
//! STRIPES       StripeId -> Stripe                 which chunks give each other   stripes
//! SNAPSHOTS     SnapshotId -> Snapshot             of which directory, since when snapshots
//! SNAPSHOT_NAMES (InodeId, Name) -> SnapshotId     those of a directory, by name  snapshots
//! LEAVING       SnapshotId -> ()                   which are being removed        snapshots
//! SEEN          InodeId -> Seen                    which snapshots may see it     seen
//! OLD           (table, row, SnapshotId) -> Old    rows as snapshots see them     rows
//! OLD_OF        (SnapshotId, table, row) -> ()     the same by snapshot           rows
//! ```
//!
//! New tables are appended: a table's place is part of snapshots. Numbers in keys are
//! big-endian, so ids handed out in order are inserted at the right edge of their tree.

use dfs_raft::Fatal;
use dfs_raft::state::{Key, Table};
use serde::{Deserialize, Serialize};

use super::accounts::acl::Acls;
use super::accounts::group::Group;
use super::accounts::sessions::{Remembered, Session};
use super::accounts::user::User;
use super::chunks::concat::Part;
use super::chunks::extents::Extent;
use super::chunks::grant::ChunkRange;
use super::chunks::references::Chunk;
use super::chunks::stripes::Stripe;
use super::counters::counting::Counting;
use super::counters::uses::Use;
use super::members::enrolled::Enrolled;
use super::members::nodes::{Node, NodeLoad};
use super::members::secrets::{Secret, SecretId};
use super::members::tokens::JoinToken;
use super::namespace::dirent::Dirent;
use super::namespace::inode::Inode;
use super::namespace::purge::Purge;
use super::namespace::trash::TrashEntry;
use super::snapshots::Snapshot;
use super::snapshots::old::{Old, OldKey, OldOf};
use super::snapshots::seen::Seen;
use crate::types::node::{TokenHash, TokenId};
use crate::types::{
    AccountName, ChunkId, ClientId, GroupId, InodeId, Name, NodeId, NodeKey, SnapshotId, StripeId,
    Timestamp, TrashId, UserId,
};

macro_rules! tables {
    ($($name:ident: $key:ty => $value:ty;)*) => {
        /// The places of the tables.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "named as the tables")]
        enum Place { $($name),* }

        $(pub(crate) const $name: Table<$key, $value> =
            Table::new(Place::$name as usize, stringify!($name));)*

        /// The names of all tables, in their places.
        pub(crate) const TABLES: &[&str] = &[$(stringify!($name)),*];

        /// What reads a key and a value of each table.
        #[cfg(feature = "testing")]
        pub(crate) const ROWS: &[fn(&[u8], &[u8])] = &[$(comes_back::<$key, $value>),*];
    };
}

tables! {
    META: Meta => u64;
    INODES: InodeId => Inode;
    DIRENTS: (InodeId, Name) => Dirent;
    TRASH: TrashId => TrashEntry;
    TRASH_EXPIRY: (Moment, TrashId) => ();
    UPLOADS: (ClientId, InodeId) => ();
    PURGE: InodeId => Purge;
    EXTENTS: (InodeId, u64) => Extent;
    TRIMS: InodeId => u64;
    CHUNKS: ChunkId => Chunk;
    NODE_CHUNKS: (NodeId, ChunkId) => ();
    RANGES: ChunkId => ChunkRange;
    SPENT: ChunkId => ();
    RECLAIM: (ChunkId, NodeId) => Moment;
    NODE_RECLAIM: (NodeId, Moment, ChunkId) => ();
    NODES: NodeId => Node;
    NODE_KEYS: NodeKey => NodeId;
    NODE_LOADS: NodeId => NodeLoad;
    SESSIONS: ClientId => Session;
    SESSION_AGES: (Moment, ClientId) => ();
    REPLIES: (ClientId, u64) => Remembered;
    USERS: UserId => User;
    USER_NAMES: AccountName => UserId;
    GROUPS: GroupId => Group;
    GROUP_NAMES: AccountName => GroupId;
    MEMBERS: (GroupId, UserId) => ();
    ACLS: InodeId => Acls;
    TRASH_OWNERS: (UserId, TrashId) => ();
    JOIN_TOKENS: TokenId => JoinToken;
    TOKEN_HASHES: TokenHash => TokenId;
    ENROLLED: NodeKey => Enrolled;
    SECRETS: SecretId => Secret;
    WIDTHS: u64 => u64;
    DEPARTED: NodeId => ();
    SHARES: (ChunkId, InodeId) => u64;
    CONCATS: (InodeId, u64) => Part;
    USES: InodeId => Use;
    QUOTAS: InodeId => ();
    COUNTING: InodeId => Counting;
    STRIPES: StripeId => Stripe;
    SNAPSHOTS: SnapshotId => Snapshot;
    SNAPSHOT_NAMES: (InodeId, Name) => SnapshotId;
    LEAVING: SnapshotId => ();
    SEEN: InodeId => Seen;
    OLD: OldKey => Old;
    OLD_OF: OldOf => ();
}

/// Makes sure that a key and a value, if these bytes are some, come back as they are.
#[cfg(feature = "testing")]
fn comes_back<K: Key, V: dfs_raft::state::Value>(key: &[u8], value: &[u8]) {
    if let Ok(decoded) = K::from_bytes(key) {
        assert_eq!(decoded.to_bytes(), key, "a key comes back as another");
    }
    if let Ok(bytes) = V::from_bytes(value).and_then(|value| value.to_bytes()) {
        let again = V::from_bytes(&bytes).and_then(|again| again.to_bytes());
        assert_eq!(again.ok(), Some(bytes), "a value comes back as another");
    }
}

/// A log time as part of a key, or as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Key for Moment {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.0.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Moment, Fatal> {
        Ok(Moment(Timestamp(u64::decode(bytes)?)))
    }
}

dfs_raft::postcard_values!(1: Moment, NodeId, SnapshotId);

macro_rules! meta {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The numbers kept once for the whole state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Meta { $($(#[$doc])* $name),* }

        impl Key for Meta {
            fn encode(&self, out: &mut Vec<u8>) {
                let name = match self { $(Meta::$name => $text),* };
                out.extend_from_slice(name.as_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Result<Meta, Fatal> {
                let name = String::decode(bytes)?;
                match name.as_str() {
                    $($text => Ok(Meta::$name),)*
                    _ => Err(Fatal::new(format!("`{name}` is no number kept in META"))),
                }
            }
        }
    };
}

meta! {
    /// The version of all that is drawn above.
    Format = "format";
    /// The next inode's id.
    NextInode = "next_inode";
    /// The next chunk id to reserve.
    NextChunk = "next_chunk";
    /// The next data node's id.
    NextNode = "next_node";
    /// The next session's id.
    NextClient = "next_client";
    /// The next trash entry's id.
    NextTrash = "next_trash";
    /// The next user's id.
    NextUser = "next_user";
    /// The next group's id.
    NextGroup = "next_group";
    /// The next join token's id.
    NextToken = "next_token";
    /// The next signing key's id.
    NextSigningKey = "next_signing_key";
    /// How often all that users were let in with was made void at once.
    LoginsVoided = "logins_voided";
    /// Rows in INODES.
    Inodes = "inodes";
    /// Rows in CHUNKS.
    Chunks = "chunks";
    /// The sum of their lengths.
    ChunkBytes = "chunk_bytes";
    /// How often data nodes came, or something was decided about them.
    Decisions = "decisions";
    /// The first chunk id that may have been granted by a cluster before it was restored.
    ForeignFrom = "foreign_from";
    /// The first chunk id after these.
    ForeignTo = "foreign_to";
    /// The next snapshot's id, if there ever was one.
    NextSnapshot = "next_snapshot";
    /// Rows in SNAPSHOTS.
    Snapshots = "snapshots";
}
