//! Quotas: how much may be in a directory with all below it.

use serde::{Deserialize, Serialize};

use super::id::InodeId;

/// What may be in a directory; none is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of extents, each counted once however many copies there are.
    pub bytes: Option<u64>,
    /// Files, directories and symbolic links.
    pub inodes: Option<u64>,
}

/// A change of a directory's quota. For administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaChange {
    /// Sets the limits that are given; others stay as they are.
    Set {
        /// Those limits.
        limits: Limits,
        /// Whether they may be below what is there already: then nothing more is taken until
        /// less is there.
        force: bool,
    },
    /// Takes the quota away.
    Remove,
}

/// A quota, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaInfo {
    /// The directory.
    pub inode: InodeId,
    /// Its path, as whoever asks knows it.
    pub path: String,
    /// What may be in it.
    pub limits: Limits,
    /// Bytes of extents in it and below.
    pub bytes: u64,
    /// Files, directories and symbolic links in it and below, without itself.
    pub inodes: u64,
    /// Whether what was there before is still being counted: until then it binds nobody.
    pub counting: bool,
}

/// Part of a list of quotas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuotaPage {
    /// Quotas by inode.
    pub quotas: Vec<QuotaInfo>,
    /// Where to go on after.
    pub last: Option<InodeId>,
    /// Whether there may be more.
    pub more: bool,
}
