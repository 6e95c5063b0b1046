//! Rename, by the rules of POSIX.
//!
//! | what moves | onto a file or link | onto an empty directory | onto another directory |
//! |---|---|---|---|
//! | file or link | replaced | `IsADirectory` | `IsADirectory` |
//! | directory | `NotADirectory` | replaced | `NotEmpty` |
//!
//! Onto another name of the same inode nothing happens. What is replaced does not go to the
//! trash: only removals do.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::create::put_name;
use super::dirent::{self, Dirent};
use super::inode::{self, Body};
use super::purge::{Budget, drop_link};
use super::remove::require_empty;
use super::resolve::{Above, Place, above, place};
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::DIRENTS;
use crate::planted::{self, Bug};
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Timestamp};

/// Moves a name.
pub(crate) fn rename(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    from: &Location,
    to: &Location,
    replace_there: bool,
) -> Result<Changed, Stop> {
    let source = place(state, from, RefusalKind::NotPermitted)?;
    let Some(moved) = source.entry else {
        return refuse(RefusalKind::NotFound, from);
    };
    let target = place(state, to, RefusalKind::NotPermitted)?;
    if moved.kind == FileKind::Directory && is_within(state, target.dir, moved.inode)? {
        return refuse(RefusalKind::IntoItself, to);
    }
    if let Some(there) = target.entry {
        if !replace_there {
            return refuse(RefusalKind::Exists, to);
        }
        if there.inode == moved.inode {
            let attr = inode::require(state, moved.inode)?.attr(moved.inode);
            return Ok(Changed {
                attr: Some(attr),
                ..Changed::default()
            });
        }
        replace(state, now, &target, moved.kind, to)?;
    }
    match planted::active(Bug::RenameNotAtomic) {
        true => keep_old_name(state, &source)?,
        false => dirent::remove(state, source.dir, &source.name, moved, now)?,
    }
    let mut inode = inode::require(state, moved.inode)?;
    inode.changed = now;
    put_name(state, now, &target, moved.inode, &mut inode)?;
    Ok(Changed {
        attr: Some(inode.attr(moved.inode)),
        ..Changed::default()
    })
}

/// Leaves a name for the next command to remove: a planted bug. It is noted as an entry of a
/// directory that does not exist.
fn keep_old_name(state: &mut StateTxn<'_>, source: &Place) -> Result<(), Fatal> {
    let inode = source.dir;
    let kind = FileKind::Directory;
    let note = Dirent { inode, kind };
    state.put(DIRENTS, &(InodeId(0), source.name.clone()), &note)
}

/// Removes names that an earlier rename has left: of a planted bug.
pub(crate) fn remove_old_names(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let notes = state.scan_prefix(DIRENTS, &InodeId(0))?;
    let notes: Vec<_> = notes.collect::<Result<_, Fatal>>()?;
    for (key, Dirent { inode: dir, .. }) in notes {
        state.remove(DIRENTS, &key)?;
        if let Some(entry) = dirent::get(state, dir, &key.1)? {
            dirent::remove(state, dir, &key.1, entry, now)?;
        }
    }
    Ok(())
}

/// Removes what is at a place so that something of kind `by` can take it.
pub(crate) fn replace(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    place: &Place,
    by: FileKind,
    at: &Location,
) -> Result<(), Stop> {
    let Some(there) = place.entry else {
        return Ok(());
    };
    match (by, there.kind) {
        (FileKind::Directory, FileKind::Directory) => {
            if let Body::Directory(directory) = inode::require(state, there.inode)?.body {
                require_empty(&directory, at)?;
            }
        }
        (FileKind::Directory, _) => return refuse(RefusalKind::NotADirectory, at),
        (_, FileKind::Directory) => return refuse(RefusalKind::IsADirectory, at),
        _ => {}
    }
    dirent::remove(state, place.dir, &place.name, there, now)?;
    drop_link(state, now, there.inode, &mut Budget::aside())?;
    Ok(())
}

/// Whether `dir` is `tree` or lies below it.
fn is_within(state: &impl ReadState, dir: InodeId, tree: InodeId) -> Result<bool, Stop> {
    if dir == tree {
        return Ok(true);
    }
    match above(state, dir)? {
        Above::Root(names) => Ok(names.iter().any(|(parent, _)| *parent == tree)),
        Above::Detached => Ok(false),
        Above::TooDeep(_) => refuse(RefusalKind::NameTooLong, dir),
    }
}
