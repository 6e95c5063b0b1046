//! Removing names. What goes with them goes to the trash, if the policy of what is removed keeps
//! it, or is purged.

use dfs_raft::state::{ReadState, StateTxn};

use super::dirent::{self, Dirent};
use super::inode::{self, Body, Directory, Inode};
use super::purge::{Budget, drop_link};
use super::resolve::{Place, place};
use super::trash;
use crate::meta::accounts::acl::{require_removal_rights, require_unstuck};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots;
use crate::meta::tables::{DIRENTS, INODES};
use crate::types::change::Removal;
use crate::types::limits::TREE_LOOKS_MAX;
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Rights, Timestamp};

/// Removes a name.
pub(crate) fn remove(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    what: Removal,
    skip_trash: bool,
) -> Result<Changed, Stop> {
    let place = place(state, by, at, RefusalKind::NotPermitted)?;
    let Some(entry) = place.entry else {
        return refuse(RefusalKind::NotFound, at);
    };
    let dir = (place.dir, &place.dir_inode);
    require_removal_rights(state, by, dir, entry.inode, at)?;
    let inode = inode::require(state, entry.inode)?;
    require_removable(&inode, what, at)?;
    if inode.kind() == FileKind::Directory {
        snapshots::require_none_within(state, entry.inode, at)?;
    }
    if what == Removal::Tree && inode.kind() == FileKind::Directory {
        require_tree_rights(state, by, entry.inode, at)?;
    }
    let trash = if skip_trash || inode.policy.trash.is_zero() {
        dirent::remove(state, place.dir, &place.name, entry, now)?;
        drop_link(state, now, entry.inode, &mut Budget::aside())?;
        None
    } else {
        let Place { dir, name, .. } = &place;
        Some(trash::add(state, now, by, (*dir, name), entry, inode)?)
    };
    // What nothing leads to any more has no attributes, though its purge may take a while.
    let left = state
        .get(INODES, &entry.inode)?
        .filter(|inode| inode.links > 0);
    let attr = left.map(|inode| inode.attr(entry.inode));
    Ok(Changed {
        attr,
        trash,
        ..Changed::default()
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

/// Refuses who could not remove all that is below a directory one by one. So that it ends, only
/// so much is looked at: of a larger tree the parts must be removed first.
fn require_tree_rights(
    state: &impl ReadState,
    by: &Subject,
    tree: InodeId,
    at: &Location,
) -> Result<(), Stop> {
    if by.is_administrator() {
        return Ok(());
    }
    let mut looks = TREE_LOOKS_MAX;
    let mut todo = vec![tree];
    while let Some(dir) = todo.pop() {
        let parent = inode::require(state, dir)?;
        let Body::Directory(Directory { entries: 0, .. }) = parent.body else {
            by.require(state, (dir, &parent), Rights::ALL, at)?;
            for row in state.scan_prefix(DIRENTS, &dir)? {
                let (_, Dirent { inode, kind }) = row?;
                looks = match looks.checked_sub(1) {
                    Some(left) => left,
                    None => {
                        let subject = format!("{at} (more than {TREE_LOOKS_MAX} entries)");
                        return refuse(RefusalKind::TooLarge, subject);
                    }
                };
                require_unstuck(state, by, &parent, inode, at)?;
                if kind == FileKind::Directory {
                    todo.push(inode);
                }
            }
            continue;
        };
    }
    Ok(())
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
