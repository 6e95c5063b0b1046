//! Removing names. What goes with them goes to the trash, if the policy of what is removed keeps
//! it, or is purged.

use dfs_raft::state::{ReadState, StateTxn};

use super::dirent;
use super::inode::{self, Body, Directory, Inode};
use super::purge::{Budget, drop_link};
use super::resolve::{Place, place};
use super::trash;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::INODES;
use crate::types::change::Removal;
use crate::types::{Changed, Location, RefusalKind, Timestamp};

/// Removes a name.
pub(crate) fn remove(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    at: &Location,
    what: Removal,
    skip_trash: bool,
) -> Result<Changed, Stop> {
    let place = place(state, at, RefusalKind::NotPermitted)?;
    let Some(entry) = place.entry else {
        return refuse(RefusalKind::NotFound, at);
    };
    let inode = inode::require(state, entry.inode)?;
    require_removable(&inode, what, at)?;
    let trash = if skip_trash || inode.policy.trash.is_zero() {
        dirent::remove(state, place.dir, &place.name, entry, now)?;
        drop_link(state, now, entry.inode, &mut Budget::aside())?;
        None
    } else {
        let Place { dir, name, .. } = &place;
        Some(trash::add(state, now, *dir, name, entry, inode)?)
    };
    // What nothing leads to any more has no attributes, though its purge may take a while.
    let left = state
        .get(INODES, &entry.inode)?
        .filter(|inode| inode.links > 0);
    let attr = left.map(|inode| inode.attr(entry.inode));
    Ok(Changed {
        attr,
        offset: None,
        trash,
    })
}

fn require_removable(inode: &Inode, what: Removal, at: &Location) -> Result<(), Stop> {
    match (what, &inode.body) {
        (Removal::File, Body::Directory(_)) => refuse(RefusalKind::IsADirectory, at),
        (Removal::EmptyDirectory, Body::File { .. } | Body::Symlink { .. }) => {
            refuse(RefusalKind::NotADirectory, at)
        }
        (Removal::EmptyDirectory, Body::Directory(directory)) => require_empty(directory, at),
        _ => Ok(()),
    }
}

/// Refuses a directory that has entries, and says how many.
pub(crate) fn require_empty(directory: &Directory, at: &Location) -> Result<(), Stop> {
    let count = match directory.entries {
        0 => return Ok(()),
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    refuse(RefusalKind::NotEmpty, format!("{at} ({count})"))
}
