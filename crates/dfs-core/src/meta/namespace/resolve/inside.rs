//! In and out of snapshots: `.snapshots` is the list of a directory's, and each name in it what the
//! directory was.

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::upward::is_below;
use super::{Cursor, inode};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::dirent;
use crate::meta::namespace::inode::{Body, Directory};
use crate::meta::snapshots::view::At;
use crate::meta::snapshots::{self, Snapshot, seen};
use crate::meta::tables::{INODES, SNAPSHOT_NAMES};
use crate::types::snapshot::SNAPSHOTS_NAME;
use crate::types::{FileKind, Location, Name, RefusalKind, SnapshotId};

/// Where a location in a snapshot starts, whose directory must be below somebody's `/`.
pub(super) fn start(
    state: &impl ReadState,
    by: &Subject,
    number: SnapshotId,
    at: &Location,
) -> Result<Cursor, Stop> {
    let id = at.base.own();
    let (depth, view) = (None, Some(number));
    if number == SnapshotId::LIST {
        let inode = state.get(INODES, &id)?.filter(|inode| inode.links > 0);
        let dir = inode.filter(|inode| inode.kind() == FileKind::Directory);
        return match dir {
            Some(dir) if is_below(state, id, by.root)? => Ok(Cursor {
                id,
                inode: snapshots::directory_of(state, id, dir)?,
                depth,
                view,
            }),
            _ => refuse(RefusalKind::NotFound, at),
        };
    }
    let snapshot = snapshots::get(state, number)?.filter(|snapshot| !snapshot.leaving);
    let Some(snapshot) = snapshot else {
        return refuse(
            RefusalKind::NotFound,
            format!("{at}: the snapshot is removed"),
        );
    };
    if !is_below(state, snapshot.at, by.root)? || !seen::sees(state, (number, &snapshot), id)? {
        return refuse(RefusalKind::NotFound, at);
    }
    let inode = inode::require(&At::view(state, number, &snapshot), id)?;
    Ok(Cursor {
        id,
        inode,
        depth,
        view,
    })
}

/// The list of a directory's snapshots, unless something has its name; what a directory was, by the
/// name of one of them.
pub(super) fn enter(
    state: &impl ReadState,
    cursor: &Cursor,
    name: &Name,
) -> Result<Option<Cursor>, Stop> {
    if cursor.view.is_none() {
        if name.as_str() != SNAPSHOTS_NAME || dirent::get(state, cursor.id, name)?.is_some() {
            return Ok(None);
        }
        return Ok(Some(Cursor {
            id: cursor.id,
            inode: snapshots::directory_of(state, cursor.id, cursor.inode.clone())?,
            depth: cursor.depth,
            view: Some(SnapshotId::LIST),
        }));
    }
    if cursor.view != Some(SnapshotId::LIST) {
        return Ok(None);
    }
    let Some(number) = state.get(SNAPSHOT_NAMES, &(cursor.id, name.clone()))? else {
        return Ok(None);
    };
    let Some(snapshot) = snapshots::get(state, number)? else {
        return Err(Fatal::new(format!("{number} has a name and no row")).into());
    };
    let view = Some(number);
    Ok(Some(Cursor {
        id: snapshot.dir,
        inode: inode::require(&At::of(state, view)?, snapshot.dir)?,
        depth: None,
        view,
    }))
}

/// What is above something in a snapshot: above its directory are all snapshots of that, and above
/// them it is as it is today.
pub(super) fn parent(
    state: &impl ReadState,
    cursor: Cursor,
    number: SnapshotId,
    at: &Location,
) -> Result<Cursor, Stop> {
    let (id, depth) = (cursor.id, None);
    if number == SnapshotId::LIST {
        let (inode, view) = (inode::require(state, id)?, None);
        return Ok(Cursor {
            id,
            inode,
            depth,
            view,
        });
    }
    let snapshot = snapshots::get(state, number)?;
    if let Some(Snapshot { at: id, .. }) = snapshot.filter(|snapshot| snapshot.dir == id) {
        let (dir, view) = (inode::require(state, id)?, Some(SnapshotId::LIST));
        let inode = snapshots::directory_of(state, id, dir)?;
        return Ok(Cursor {
            id,
            inode,
            depth,
            view,
        });
    }
    match cursor.inode.body {
        Body::Directory(Directory {
            place: Some((id, _)),
            ..
        }) => Ok(Cursor {
            id,
            inode: inode::require(&At::of(state, cursor.view)?, id)?,
            depth,
            view: cursor.view,
        }),
        _ => refuse(RefusalKind::NotFound, at),
    }
}
