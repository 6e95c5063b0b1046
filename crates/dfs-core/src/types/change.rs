//! What a client can ask to be changed, and what it gets back.
//!
//! A [`Change`] crosses the network as it is and is stored in the log as it is, so its form is
//! append-only: variants and fields are never reordered or removed, and golden bytes watch it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::account::{Account, AccountChange};
use super::acl::{Acl, AclKind};
use super::attr::{Attr, AttrChange, Mode};
use super::id::{ChunkId, GroupId, InodeId, NodeId, TrashId, UserId};
use super::node::{MemberChange, TokenId};
use super::path::Location;
use super::permit::Permit;
use super::policy::PolicyChange;
use super::quota::QuotaChange;
use super::snapshot::SnapshotChange;
use super::stripe::NewStripe;

/// One change of the namespace, seen whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Makes a directory; with `parents` also the missing ones above it, and an existing
    /// directory is no error.
    MakeDirectory {
        /// Where.
        at: Location,
        /// Its attributes, and those of the parents made.
        attr: NewAttr,
        /// As `mkdir -p`.
        parents: bool,
    },
    /// Makes an empty file. One that exists is left as it is, unless `exclusive` refuses it.
    Create {
        /// Where.
        at: Location,
        /// Its attributes.
        attr: NewAttr,
        /// Whether it must be new.
        exclusive: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        at: Location,
        /// What it leads to; any text.
        target: String,
        /// Its attributes.
        attr: NewAttr,
    },
    /// Gives a file another name.
    Link {
        /// The file; a symbolic link at the end is not followed.
        from: Location,
        /// The new name.
        at: Location,
    },
    /// Moves a name, by the rules of POSIX `rename`.
    Rename {
        /// The name now.
        from: Location,
        /// The name afterwards.
        to: Location,
        /// Whether something there may be replaced.
        replace: bool,
    },
    /// Removes a name.
    Remove {
        /// Which.
        at: Location,
        /// What it may be.
        what: Removal,
        /// Whether it goes for good at once, whatever the policy says of the trash.
        skip_trash: bool,
    },
    /// Sets attributes.
    SetAttr {
        /// Of what.
        at: Location,
        /// To what.
        change: AttrChange,
        /// Whether a symbolic link at the end is followed.
        follow: bool,
    },
    /// Sets the length of a file; new bytes are zero.
    Truncate {
        /// The file; symbolic links are followed.
        at: Location,
        /// Its new length in bytes.
        size: u64,
    },
    /// Sets how the bytes of new files in a directory, or of a file's later writes, are kept.
    SetPolicy {
        /// The directory or file.
        at: Location,
        /// What changes.
        change: PolicyChange,
    },
    /// Brings something back from the trash.
    Restore {
        /// What.
        trash: TrashId,
        /// Where to; otherwise where it was.
        to: Option<Location>,
    },
    /// Removes something from the trash for good.
    DropTrash {
        /// What.
        trash: TrashId,
    },
    /// Begins a file that has no name yet, for an upload of many commits. It is the session's
    /// and goes with it unless published.
    BeginUpload {
        /// Where it will be published; its directory's policy applies.
        at: Location,
        /// Its attributes.
        attr: NewAttr,
    },
    /// Gives up an upload.
    AbandonUpload {
        /// The file from `BeginUpload`.
        upload: InodeId,
    },
    /// Makes written bytes part of a file.
    Commit(Commit),
    /// Ends the session; its uploads are given up.
    CloseSession,
    /// Sets the access control list of something, or the default list of a directory.
    SetAcl {
        /// Of what; symbolic links are followed.
        at: Location,
        /// Which list.
        which: AclKind,
        /// The list; none takes it away, so that mode bits say all.
        acl: Option<Acl>,
    },
    /// Changes who may use the system.
    Account(AccountChange),
    /// Changes who may be a node of it.
    Member(MemberChange),
    /// Makes a file of the extents of another, without a copy of its bytes.
    Clone {
        /// The file whose bytes they are; symbolic links are followed.
        from: Location,
        /// What they become part of.
        to: CloneTarget,
        /// Refused as `Conflict` if the revision of `from` is another by now.
        revision: Option<u64>,
    },
    /// Appends whole files to another, in order, without a copy of their bytes; their names go.
    Concat {
        /// The file that grows; symbolic links are followed.
        to: Location,
        /// The files that become part of it, each by its only name.
        from: Vec<Location>,
    },
    /// Changes how much may be in a directory.
    Quota {
        /// Which; symbolic links are followed.
        at: Location,
        /// What changes.
        change: QuotaChange,
    },
    /// Changes which snapshots there are of a directory.
    Snapshot {
        /// Which directory; symbolic links are followed.
        at: Location,
        /// What changes.
        change: SnapshotChange,
    },
}

impl Change {
    /// Where it is to happen: all places that it names.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        let mut more: &[Location] = &[];
        let [first, second] = match self {
            Change::MakeDirectory { at, .. }
            | Change::Create { at, .. }
            | Change::Symlink { at, .. }
            | Change::Remove { at, .. }
            | Change::SetAttr { at, .. }
            | Change::Truncate { at, .. }
            | Change::SetPolicy { at, .. }
            | Change::BeginUpload { at, .. }
            | Change::SetAcl { at, .. }
            | Change::Quota { at, .. } => [Some(at), None],
            Change::Snapshot { at, change } => match change {
                SnapshotChange::Replace { by } => [Some(at), Some(by)],
                _ => [Some(at), None],
            },
            Change::Link { from, at } => [Some(from), Some(at)],
            Change::Rename { from, to, .. } => [Some(from), Some(to)],
            Change::Restore { to, .. } => [to.as_ref(), None],
            Change::Commit(commit) => match &commit.target {
                CommitTarget::File(at)
                | CommitTarget::Publish { at, .. }
                | CommitTarget::New { at, .. } => [Some(at), None],
                CommitTarget::Upload(_) => [None, None],
            },
            Change::Clone { from, to, .. } => match to {
                CloneTarget::New { at, .. } => [Some(from), Some(at)],
                CloneTarget::Upload { .. } => [Some(from), None],
            },
            Change::Concat { to, from } => {
                more = from;
                [Some(to), None]
            }
            Change::Account(AccountChange::AddUser { root, .. }) => [root.as_ref(), None],
            Change::Account(AccountChange::SetUser { change, .. }) => {
                [change.root.as_ref().and_then(Option::as_ref), None]
            }
            Change::DropTrash { .. }
            | Change::AbandonUpload { .. }
            | Change::CloseSession
            | Change::Account(_)
            | Change::Member(_) => [None, None],
        };
        first.into_iter().chain(second).chain(more)
    }
}

/// The attributes of something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAttr {
    /// Permissions.
    pub mode: Mode,
    /// Permissions to leave out where the directory has no default list.
    pub umask: Mode,
    /// Owner; none is the caller. Another is for administrators.
    pub owner: Option<UserId>,
    /// Group; none is the caller's, or the directory's if that has its set-group-id bit. One that
    /// the caller is not in is for administrators.
    pub group: Option<GroupId>,
}

impl NewAttr {
    /// Of the caller, with these permissions.
    pub const fn of_mode(mode: Mode) -> NewAttr {
        NewAttr {
            mode,
            umask: Mode::new(0),
            owner: None,
            group: None,
        }
    }
}

/// What a removal may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// A file or symbolic link, as `unlink`.
    File,
    /// An empty directory, as `rmdir`.
    EmptyDirectory,
    /// Anything with all that is below it. The name goes at once, the rest in steps.
    Tree,
}

/// Makes written bytes part of a file: the one command at the end of every write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Which file.
    pub target: CommitTarget,
    /// Where in it the first piece goes; what was there before is replaced.
    pub offset: WriteOffset,
    /// What the bytes are, one piece after the other.
    pub pieces: Vec<Piece>,
    /// The chunks that pieces refer to and no earlier commit has named.
    pub chunks: Vec<NewChunk>,
    /// Refused as `Conflict` if the file's revision is another by now.
    pub revision: Option<u64>,
    /// What stripes of the new chunks there are.
    pub stripes: Vec<NewStripe>,
}

/// The file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitTarget {
    /// One that exists; symbolic links are followed.
    File(Location),
    /// An upload that stays unpublished.
    Upload(InodeId),
    /// An upload that gets its name with this commit.
    Publish {
        /// The upload.
        upload: InodeId,
        /// Its name.
        at: Location,
        /// Whether a file there may be replaced.
        replace: bool,
    },
    /// A new file, made and named by this one commit.
    New {
        /// Its name.
        at: Location,
        /// Its attributes.
        attr: NewAttr,
        /// Whether a file there may be replaced.
        replace: bool,
    },
}

/// What a clone's extents become part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloneTarget {
    /// A new file, made and named by this one change. `TooLarge` if the other has more extents
    /// than `EXTENTS_CLONED_MAX`.
    New {
        /// Its name.
        at: Location,
        /// Its attributes.
        attr: NewAttr,
        /// Whether a file there may be replaced.
        replace: bool,
    },
    /// An upload: the bytes from its end on, as far as `EXTENTS_CLONED_MAX` goes. The answer's
    /// offset is its end afterwards.
    Upload(InodeId),
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOffset {
    /// At this offset. A gap before it reads as zero.
    At(u64),
    /// At the end, wherever that is when the commit is applied.
    End,
}

/// A run of bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Bytes of a chunk.
    Chunk {
        /// Which.
        chunk: ChunkId,
        /// Where in it they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The bytes themselves, kept in the metadata.
    Inline(Bytes),
}

impl Piece {
    /// How many bytes it is.
    pub fn length(&self) -> u64 {
        match self {
            Piece::Chunk { length, .. } => *length,
            Piece::Inline(bytes) => bytes.len() as u64,
        }
    }
}

/// A chunk as its data nodes acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewChunk {
    /// Which; from a write grant.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of all its bytes.
    pub checksum: u32,
    /// The data nodes that have it on stable storage.
    pub replicas: Vec<NodeId>,
    /// What let the writer write it. It travels beside.
    #[serde(skip)]
    pub permit: Permit,
}

/// What a change gave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// The inode it was about, as it is afterwards.
    pub attr: Option<Attr>,
    /// Where the first byte of a commit went.
    pub offset: Option<u64>,
    /// What the trash holds because of a removal.
    pub trash: Option<TrashId>,
    /// Whom or what a change of accounts was about.
    pub account: Option<Account>,
    /// Which join token it was about.
    pub token: Option<TokenId>,
}

/// The answer to a change: the same on every master, and to every repeat of the request.
pub type Outcome = Result<Changed, Refusal>;

/// Why a request is not carried out. A refusal changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{kind}: {subject}")]
pub struct Refusal {
    /// The reason.
    pub kind: RefusalKind,
    /// What it is about: a path, a chunk, an offset.
    pub subject: String,
}

impl Refusal {
    /// A refusal about `subject`.
    pub fn new(kind: RefusalKind, subject: impl ToString) -> Refusal {
        Refusal {
            kind,
            subject: subject.to_string(),
        }
    }
}

/// Stable reasons of refusals. Append-only.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize,
)]
pub enum RefusalKind {
    /// Nothing has this name or id.
    #[error("not found")]
    NotFound,
    /// Something has this name.
    #[error("exists already")]
    Exists,
    /// A name on the way, or the target, is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// The target is a directory.
    #[error("is a directory")]
    IsADirectory,
    /// The target is no regular file.
    #[error("not a file")]
    NotAFile,
    /// The target is no symbolic link.
    #[error("not a symbolic link")]
    NotASymlink,
    /// A directory has entries; the subject says how many.
    #[error("directory not empty")]
    NotEmpty,
    /// A directory would be moved below itself.
    #[error("cannot move a directory into itself")]
    IntoItself,
    /// Symbolic links lead in a circle.
    #[error("too many symbolic links")]
    SymlinkLoop,
    /// A file has as many names as it can.
    #[error("too many links")]
    TooManyLinks,
    /// A name, path or target is too long, or the tree too deep.
    #[error("name too long")]
    NameTooLong,
    /// A length or offset is beyond a limit.
    #[error("too large")]
    TooLarge,
    /// The request contradicts itself or the rules.
    #[error("invalid")]
    Invalid,
    /// The root, or another inode of the system's own, cannot be changed so.
    #[error("not permitted")]
    NotPermitted,
    /// The file changed since its revision was read.
    #[error("changed meanwhile")]
    Conflict,
    /// The session is unknown or expired.
    #[error("session expired")]
    SessionExpired,
    /// A chunk id's range has expired, or was never reserved.
    #[error("write grant expired")]
    GrantExpired,
    /// Earlier work on this inode must be finished first, in steps; then it can be done.
    #[error("busy")]
    Busy,
    /// A new chunk is on fewer data nodes than its file's policy insists on; the subject names
    /// the chunk and both numbers.
    #[error("too few data nodes")]
    TooFewReplicas,
    /// The permissions of something on the way, or of the target, do not allow it.
    #[error("permission denied")]
    AccessDenied,
    /// The caller is unknown, disabled, or was let in with what is void by now.
    #[error("log in again")]
    LoginRequired,
    /// Something else cannot do without it; the subject says what.
    #[error("still needed")]
    StillNeeded,
    /// A directory would hold more than its quota allows; the subject says which and how much.
    #[error("over quota")]
    OverQuota,
    /// Something would have to be counted for another quota, and cannot be.
    #[error("under another quota")]
    OtherQuota,
}
