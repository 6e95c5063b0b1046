//! Inodes: what a file, directory or symbolic link is, whatever its names.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::accounts::acl;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::seen::{self, Seen};
use crate::meta::snapshots::{old, rows};
use crate::meta::tables::{INODES, Meta};
use crate::types::snapshot::INODES_END;
use crate::types::{
    Attr, FileKind, GroupId, InodeId, Mode, Name, Policy, RefusalKind, Timestamp, UserId,
};

/// A row of INODES.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// Permissions.
    pub mode: Mode,
    /// Owner.
    pub owner: UserId,
    /// Group.
    pub group: GroupId,
    /// Directory entries and trash entries that lead here. None for an upload, and for what is
    /// being purged.
    pub links: u32,
    /// Last read, on request only.
    pub accessed: Timestamp,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of anything.
    pub changed: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// How its bytes, or those of new files in it, are kept.
    pub policy: Policy,
    /// Changes of the contents so far.
    pub revision: u64,
    /// Whether ACLS says more of its permissions, or of what is made in it.
    pub has_acl: bool,
    /// What depends on the kind.
    pub body: Body,
    /// The directory that it is counted in, if it is no directory and that is counted.
    pub charged: Option<InodeId>,
}

/// The part of an inode that depends on its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Bytes; EXTENTS says where they are.
    File {
        /// How many.
        size: u64,
        /// The sum of its inline extents.
        inline_bytes: u32,
        /// The sum of all its extents.
        allocated: u64,
    },
    /// Names; DIRENTS has them.
    Directory(Directory),
    /// A path to follow.
    Symlink {
        /// That path.
        target: String,
    },
}

/// What a directory's inode says besides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Directory {
    /// The directory it is in and its name there; none for the root, and for one that is in the
    /// trash or being purged.
    pub place: Option<(InodeId, Name)>,
    /// Names in it.
    pub entries: u64,
    /// How many of them are directories.
    pub subdirectories: u32,
}

dfs_raft::postcard_values!(3: Inode);

impl Body {
    /// That of a file without bytes.
    pub(crate) const EMPTY_FILE: Body = Body::File {
        size: 0,
        inline_bytes: 0,
        allocated: 0,
    };

    /// What has such a body.
    pub fn kind(&self) -> FileKind {
        match self {
            Body::File { .. } => FileKind::File,
            Body::Directory(_) => FileKind::Directory,
            Body::Symlink { .. } => FileKind::Symlink,
        }
    }
}

impl Inode {
    /// A new inode that no name leads to yet.
    pub(crate) fn new(
        (owner, group): (UserId, GroupId),
        mode: Mode,
        policy: Policy,
        body: Body,
        now: Timestamp,
    ) -> Inode {
        Inode {
            mode,
            owner,
            group,
            links: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
            policy,
            revision: 0,
            has_acl: false,
            body,
            charged: None,
        }
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.body.kind()
    }

    /// Its attributes as clients see them.
    pub fn attr(&self, inode: InodeId) -> Attr {
        let (size, links, inline_bytes) = match &self.body {
            Body::File {
                size, inline_bytes, ..
            } => (*size, self.links, *inline_bytes),
            Body::Directory(d) => (d.entries, d.subdirectories.saturating_add(2), 0),
            Body::Symlink { target } => (target.len() as u64, self.links, 0),
        };
        Attr {
            inode,
            kind: self.kind(),
            mode: self.mode,
            owner: self.owner,
            group: self.group,
            size,
            links,
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: self.created,
            policy: self.policy,
            revision: self.revision,
            inline_bytes,
            handle: None,
        }
    }

    /// The bytes of its extents.
    pub(crate) fn allocated(&self) -> u64 {
        match self.body {
            Body::File { allocated, .. } => allocated,
            Body::Directory(_) | Body::Symlink { .. } => 0,
        }
    }

    /// Notes a change of the contents.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.modified = now;
        self.changed = now;
        self.revision += 1;
    }
}

/// An inode that another row leads to.
///
/// # Errors
/// It is missing: the state is damaged.
pub(crate) fn require(state: &impl ReadState, inode: InodeId) -> Result<Inode, Fatal> {
    state
        .get(INODES, &inode)?
        .ok_or_else(|| Fatal::new(format!("{inode} is referred to and does not exist")))
}

/// The id of a new inode, which the caller stores.
///
/// # Errors
/// Refused as `TooLarge` when all ids have been given.
pub(crate) fn next_id(state: &mut StateTxn<'_>) -> Result<InodeId, Stop> {
    let id = InodeId(counters::take(state, Meta::NextInode, 1)?);
    if id.0 >= INODES_END {
        return refuse(RefusalKind::TooLarge, "no number for an inode is left");
    }
    counters::add(state, Meta::Inodes, 1)?;
    Ok(id)
}

/// Removes an inode's row.
pub(crate) fn remove(state: &mut StateTxn<'_>, inode: InodeId) -> Result<(), Fatal> {
    rows::remove(state, INODES, &inode)?;
    acl::forget(state, inode)?;
    if !old::has_inode(state, inode)? {
        seen::set(state, inode, &Seen::default())?;
    }
    counters::subtract(state, Meta::Inodes, 1)
}
