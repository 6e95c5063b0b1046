//! Which snapshots see what: those of the directories above it, and those of where it was before.
//!
//! ```text
//! SEEN   i2  own v7            the newest snapshot of the directory i2
//!        i9  carried v5        was somewhere in a directory with the snapshot v5, and left it
//!        i12 several           had several names: no directory says where it is
//! ```
//!
//! What is in a directory is found by whom it is charged to, and the chain of counted directories
//! above that. The greatest number on the way up is the newest snapshot that sees it, and so all
//! that a change has to look for. Whatever leaves a chain carries its number along.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::view::At;
use super::{Snapshot, get, newest};
use crate::meta::counters::uses;
use crate::meta::namespace::inode::{Body, Inode};
use crate::meta::namespace::purge::Budget;
use crate::meta::tables::{INODES, SEEN, SNAPSHOTS};
use crate::types::limits::PATH_DEPTH_MAX;
use crate::types::{FileKind, InodeId, SnapshotId};

/// A row of SEEN.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The newest snapshot of the directory itself.
    pub(crate) own: Option<SnapshotId>,
    /// The newest snapshot that saw it when it left a directory, or one before that if it is gone.
    pub(crate) carried: Option<SnapshotId>,
    /// Whether a file has lost one of several names: all snapshots may see it.
    pub(crate) several: bool,
    /// Whether the extents that are left of it are part of another file by now.
    pub(crate) joined: bool,
}

dfs_raft::postcard_values!(1: Seen);

/// What is known of an inode, gone or not.
pub(crate) fn row(state: &impl ReadState, id: InodeId) -> Result<Seen, Fatal> {
    Ok(state.get(SEEN, &id)?.unwrap_or_default())
}

/// Notes what is known of an inode.
pub(crate) fn set(state: &mut StateTxn<'_>, id: InodeId, row: &Seen) -> Result<(), Fatal> {
    match *row == Seen::default() {
        true => state.remove(SEEN, &id),
        false => state.put(SEEN, &id, row),
    }
}

/// The newest snapshot that sees an inode, or may: kept are its rows for that one. What is known by
/// a number that is no snapshot any more is put right.
pub(crate) fn by(state: &mut StateTxn<'_>, id: InodeId) -> Result<Option<SnapshotId>, Fatal> {
    let (number, outdated) = look(state, id)?;
    for (id, row) in outdated {
        set(state, id, &row)?;
    }
    Ok(number)
}

/// Rows of SEEN that were found outdated, as they should be.
type Outdated = Vec<(InodeId, Seen)>;

/// The same, with what was found outdated on the way.
pub(crate) fn look(
    state: &impl ReadState,
    id: InodeId,
) -> Result<(Option<SnapshotId>, Outdated), Fatal> {
    let nobody = (None, Outdated::new());
    let Some((newest, snapshot)) = newest(state)? else {
        return Ok(nobody);
    };
    if id >= snapshot.next_inode {
        return Ok(nobody);
    }
    let inode = state.get(INODES, &id)?;
    let is_upload = |inode: &Inode| inode.links == 0 && inode.kind() == FileKind::File;
    if inode.as_ref().is_some_and(is_upload) {
        return Ok(nobody);
    }
    if row(state, id)?.several || inode.as_ref().is_some_and(has_several_names) {
        return Ok((Some(newest), Vec::new()));
    }
    let mut outdated = Vec::new();
    let mut found = carried(state, id, &mut outdated)?;
    let mut next = match &inode {
        Some(inode) if inode.kind() == FileKind::Directory => Some(id),
        Some(inode) => inode.charged,
        None => None,
    };
    while let Some(dir) = next
        && let Some(counted) = uses::row(state, dir)?
    {
        let carried = carried(state, dir, &mut outdated)?;
        found = found.max(row(state, dir)?.own).max(carried);
        next = counted.above;
    }
    let Some(number) = found else {
        return Ok((None, outdated));
    };
    let there = get(state, number)?.is_some_and(|snapshot| id < snapshot.next_inode);
    Ok((there.then_some(number), outdated))
}

/// Whether a file may be in a directory that is counted, or below it. It is known of one that
/// always had one name: by whom that is charged to.
pub(crate) fn may_be_below(
    state: &impl ReadState,
    id: InodeId,
    dir: InodeId,
) -> Result<bool, Fatal> {
    let Some(inode) = state.get(INODES, &id)? else {
        return Ok(true);
    };
    if inode.links != 1 || row(state, id)?.several {
        return Ok(true);
    }
    let chain = match inode.charged {
        Some(charged) => uses::chain(state, charged)?,
        None => Vec::new(),
    };
    Ok(chain.iter().any(|(above, _)| *above == dir))
}

fn has_several_names(inode: &Inode) -> bool {
    inode.links > 1 && inode.kind() != FileKind::Directory
}

/// The newest snapshot that there still is of those that saw something where it was before.
fn carried(
    state: &impl ReadState,
    id: InodeId,
    outdated: &mut Outdated,
) -> Result<Option<SnapshotId>, Fatal> {
    let mut seen = row(state, id)?;
    let Some(number) = seen.carried else {
        return Ok(None);
    };
    if get(state, number)?.is_some_and(|snapshot| !snapshot.leaving) {
        return Ok(Some(number));
    }
    let older = older(state, id, (None, number), &mut Budget::housekeeping())?;
    seen.carried = older;
    outdated.push((id, seen));
    Ok(older)
}

/// Lets something that leaves its place carry along which snapshot sees it.
pub(crate) fn carry(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Fatal> {
    let Some(number) = by(state, id)? else {
        return Ok(());
    };
    let mut seen = row(state, id)?;
    seen.carried = seen.carried.max(Some(number));
    set(state, id, &seen)
}

/// Notes that a file lost one of its names: where the others are nobody knows.
pub(crate) fn lost_a_name(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Fatal> {
    let mut seen = row(state, id)?;
    seen.several = true;
    set(state, id, &seen)
}

/// Notes that what is left of a file, which is gone, is part of another.
pub(crate) fn joined(state: &mut StateTxn<'_>, id: InodeId, joined: bool) -> Result<(), Fatal> {
    let mut seen = row(state, id)?;
    seen.joined = joined;
    set(state, id, &seen)
}

/// The newest snapshot that sees an inode, of those between two numbers.
pub(crate) fn older(
    state: &impl ReadState,
    id: InodeId,
    (above, below): (Option<SnapshotId>, SnapshotId),
    budget: &mut Budget,
) -> Result<Option<SnapshotId>, Fatal> {
    let first = SnapshotId(above.map_or(0, |above| above.0 + 1));
    if first >= below {
        return Ok(None);
    }
    for row in state.scan_back(SNAPSHOTS, first..below)? {
        let (number, snapshot) = row?;
        if id >= snapshot.next_inode {
            break;
        }
        budget.spend(1);
        if !snapshot.leaving && sees(state, (number, &snapshot), id)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether a snapshot sees an inode, which it does if the way up leads to its directory. Of what
/// had several names that is not known: then it is taken to.
pub(crate) fn sees(
    state: &impl ReadState,
    (number, snapshot): (SnapshotId, &Snapshot),
    id: InodeId,
) -> Result<bool, Fatal> {
    let view = At::view(state, number, snapshot);
    let Some(inode) = view.get(INODES, &id)? else {
        return Ok(false);
    };
    if row(state, id)?.several || has_several_names(&inode) {
        return Ok(true);
    }
    let mut next = match inode.kind() {
        FileKind::Directory => Some(id),
        FileKind::File | FileKind::Symlink => inode.charged,
    };
    // What no snapshot sees may have been moved in a circle, seen from there.
    for _ in 0..2 * PATH_DEPTH_MAX {
        let Some(dir) = next else {
            return Ok(false);
        };
        if dir == snapshot.dir {
            return Ok(true);
        }
        let body = view.get(INODES, &dir)?.map(|inode| inode.body);
        next = match body {
            Some(Body::Directory(directory)) => directory.place.map(|(parent, _)| parent),
            _ => None,
        };
    }
    Ok(true)
}
