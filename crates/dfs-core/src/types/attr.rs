//! What a file is, apart from its bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::handle::Handle;
use super::id::{GroupId, InodeId, UserId};
use super::policy::Policy;
use dfs_raft::env::Timestamp;

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// Bytes.
    File,
    /// Names of other inodes.
    Directory,
    /// A path to follow.
    Symlink,
}

/// Permission bits: `rwxrwxrwx` with set-user-id, set-group-id and sticky, as `0o7777`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u16")]
pub struct Mode(u16);

/// What arrives is checked: other bits are dropped.
impl From<u16> for Mode {
    fn from(bits: u16) -> Mode {
        Mode::new(u32::from(bits))
    }
}

impl Mode {
    /// For new files.
    pub const FILE: Mode = Mode(0o644);
    /// For new directories.
    pub const DIRECTORY: Mode = Mode(0o755);
    /// For symbolic links.
    pub const SYMLINK: Mode = Mode(0o777);

    /// The permission bits of `bits`; others are dropped.
    pub const fn new(bits: u32) -> Mode {
        Mode((bits & 0o7777) as u16)
    }

    /// As `0o7777`.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Who executes such a file does so as its owner.
    pub const SET_USER_ID: Mode = Mode(0o4000);
    /// What is made in such a directory gets its group, and directories this bit.
    pub const SET_GROUP_ID: Mode = Mode(0o2000);
    /// Those of the group may execute such a file.
    pub const GROUP_EXECUTE: Mode = Mode(0o010);
    /// In such a directory only owners remove and rename.
    pub const STICKY: Mode = Mode(0o1000);

    /// Whether all these bits are set.
    pub const fn has(self, bits: Mode) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// The same without these bits.
    #[must_use]
    pub const fn without(self, bits: Mode) -> Mode {
        Mode(self.0 & !bits.0)
    }

    /// The same with other permissions, the lower nine bits.
    #[must_use]
    pub const fn with_permissions(self, bits: u32) -> Mode {
        Mode(self.0 & 0o7000 | (bits & 0o777) as u16)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The attributes of an inode, as `stat` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    /// Which inode.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Permissions.
    pub mode: Mode,
    /// Owner.
    pub owner: UserId,
    /// Group.
    pub group: GroupId,
    /// Bytes of a file, entries of a directory, length of a link's target.
    pub size: u64,
    /// Names that lead here (for a directory: 2 plus its subdirectories).
    pub links: u32,
    /// Last read, where that is kept: set on request only.
    pub accessed: Timestamp,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of anything.
    pub changed: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// How its bytes are kept (for a directory: how those of new files in it will be).
    pub policy: Policy,
    /// Changes with every change of the contents; for optimistic checks.
    pub revision: u64,
    /// Bytes kept in the extent map, not in chunks.
    pub inline_bytes: u32,
    /// What vouches for the inode. It travels beside.
    #[serde(skip)]
    pub handle: Option<Handle>,
}

/// Which attributes to set, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttrChange {
    /// Permissions.
    pub mode: Option<Mode>,
    /// Owner.
    pub owner: Option<UserId>,
    /// Group.
    pub group: Option<GroupId>,
    /// Last read.
    pub accessed: Option<SetTime>,
    /// Last change of the contents.
    pub modified: Option<SetTime>,
}

/// What a time is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetTime {
    /// The time at which it is set.
    Now,
    /// This.
    At(Timestamp),
}

impl From<Timestamp> for SetTime {
    fn from(time: Timestamp) -> SetTime {
        SetTime::At(time)
    }
}
