//! Directory entries: a name lives here, not in the inode it leads to.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::inode::{Body, Directory, Inode, require};
use crate::meta::snapshots::rows;
use crate::meta::tables::{DIRENTS, INODES};
use crate::types::{FileKind, InodeId, Name, Timestamp};

/// A row of DIRENTS: what a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirent {
    /// The inode.
    pub inode: InodeId,
    /// Its kind, so that a listing need not read it.
    pub kind: FileKind,
}

dfs_raft::postcard_values!(1: Dirent);

/// What a name in a directory leads to.
pub(crate) fn get(
    state: &impl ReadState,
    dir: InodeId,
    name: &Name,
) -> Result<Option<Dirent>, Fatal> {
    state.get(DIRENTS, &(dir, name.clone()))
}

/// Adds a name that is not there yet. The inode's link count is the caller's.
pub(crate) fn add(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    name: &Name,
    entry: Dirent,
    now: Timestamp,
) -> Result<(), Fatal> {
    rows::put(state, DIRENTS, &(dir, name.clone()), &entry)?;
    change_directory(state, dir, now, |directory| {
        directory.entries += 1;
        if entry.kind == FileKind::Directory {
            directory.subdirectories += 1;
        }
    })
}

/// Removes a name that is there. The inode's link count is the caller's.
pub(crate) fn remove(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    name: &Name,
    entry: Dirent,
    now: Timestamp,
) -> Result<(), Fatal> {
    rows::remove(state, DIRENTS, &(dir, name.clone()))?;
    change_directory(state, dir, now, |directory| {
        directory.entries = directory.entries.saturating_sub(1);
        if entry.kind == FileKind::Directory {
            directory.subdirectories = directory.subdirectories.saturating_sub(1);
        }
    })
}

fn change_directory(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    now: Timestamp,
    change: impl FnOnce(&mut Directory),
) -> Result<(), Fatal> {
    let mut inode = require(state, dir)?;
    change(directory_of(dir, &mut inode)?);
    inode.touch(now);
    rows::put(state, INODES, &dir, &inode)
}

/// The directory part of an inode that must have one.
pub(crate) fn directory_of(dir: InodeId, inode: &mut Inode) -> Result<&mut Directory, Fatal> {
    match &mut inode.body {
        Body::Directory(directory) => Ok(directory),
        _ => Err(Fatal::new(format!(
            "{dir} has names in it and is no directory"
        ))),
    }
}
