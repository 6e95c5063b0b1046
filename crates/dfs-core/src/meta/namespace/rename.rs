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
use crate::meta::accounts::acl::{require_entry_rights, require_removal_rights};
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::{self, rows};
use crate::meta::tables::DIRENTS;
use crate::planted::{self, Bug};
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Rights, Timestamp};

/// Moves a name.
pub(crate) fn rename(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    from: &Location,
    to: &Location,
    replace_there: bool,
) -> Result<Changed, Stop> {
    let source = place(state, by, from, RefusalKind::NotPermitted)?;
    let Some(moved) = source.entry else {
        return refuse(RefusalKind::NotFound, from);
    };
    let target = place(state, by, to, RefusalKind::NotPermitted)?;
    require_move_rights(state, by, (&source, from), moved, (&target, to))?;
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
        replace(state, now, by, &target, moved.kind, to)?;
    }
    match planted::active(Bug::RenameNotAtomic) {
        true => keep_old_name(state, &source)?,
        false => dirent::remove(state, source.dir, &source.name, moved, now)?,
    }
    let mut inode = inode::require(state, moved.inode)?;
    let (dirs, subject) = ((source.dir, target.dir), (moved.inode, &mut inode));
    charges::moved(state, by, dirs, subject, from)?;
    inode.changed = now;
    put_name(state, now, &target, moved.inode, &mut inode)?;
    Ok(Changed {
        attr: Some(inode.attr(moved.inode)),
        ..Changed::default()
    })
}

/// Refuses who may not take a name away from where it is, or not make it where it goes. A
/// directory that gets another parent is itself changed: its `..` is.
fn require_move_rights(
    state: &impl ReadState,
    by: &Subject,
    (source, from): (&Place, &Location),
    moved: Dirent,
    (target, to): (&Place, &Location),
) -> Result<(), Stop> {
    let source_dir = (source.dir, &source.dir_inode);
    require_removal_rights(state, by, source_dir, moved.inode, from)?;
    require_entry_rights(state, by, (target.dir, &target.dir_inode), to)?;
    if moved.kind == FileKind::Directory && source.dir != target.dir {
        let inode = inode::require(state, moved.inode)?;
        by.require(state, (moved.inode, &inode), Rights::WRITE, from)?;
    }
    Ok(())
}

/// Leaves a name for the next command to remove: a planted bug. It is noted as an entry of a
/// directory that does not exist.
fn keep_old_name(state: &mut StateTxn<'_>, source: &Place) -> Result<(), Fatal> {
    let inode = source.dir;
    let kind = FileKind::Directory;
    let note = Dirent { inode, kind };
    rows::put(state, DIRENTS, &(InodeId(0), source.name.clone()), &note)
}

/// Removes names that an earlier rename has left: of a planted bug.
pub(crate) fn remove_old_names(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let notes = state.scan_prefix(DIRENTS, &InodeId(0))?;
    let notes: Vec<_> = notes.collect::<Result<_, Fatal>>()?;
    for (key, Dirent { inode: dir, .. }) in notes {
        rows::remove(state, DIRENTS, &key)?;
        if let Some(entry) = dirent::get(state, dir, &key.1)? {
            dirent::remove(state, dir, &key.1, entry, now)?;
        }
    }
    Ok(())
}

/// Removes what is at a place so that something of a kind can take it.
pub(crate) fn replace(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    place: &Place,
    kind: FileKind,
    at: &Location,
) -> Result<(), Stop> {
    let Some(there) = place.entry else {
        return Ok(());
    };
    require_removal_rights(state, by, (place.dir, &place.dir_inode), there.inode, at)?;
    match (kind, there.kind) {
        (FileKind::Directory, FileKind::Directory) => {
            snapshots::require_none_within(state, there.inode, at)?;
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
