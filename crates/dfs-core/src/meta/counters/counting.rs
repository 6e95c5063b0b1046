//! Counting what was there before: a directory at a time, in bounded steps.
//!
//! A directory that becomes counted while there is something in it gets a row in COUNTING, and is
//! pending in its own sum and in those of all above it. Housekeeping goes through its names and
//! counts what is not charged to anybody yet; directories in it become counted in turn. What
//! changes meanwhile is right at once, because each inode says itself whether it was counted:
//!
//! | meanwhile | already counted | not yet |
//! |---|---|---|
//! | made | counted when it is made, passed over by the count | – |
//! | written to | its directory's sum changes | nothing; the count will see it as it is then |
//! | removed | counted off | nothing |
//! | moved to a counted directory | moves with what it is | counted there, or begun to be |
//!
//! A quota binds as soon as nothing below its directory is pending.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::uses::{self, Sum, Use};
use crate::meta::namespace::dirent::Dirent;
use crate::meta::namespace::inode::{self, Body, Inode};
use crate::meta::namespace::purge::Budget;
use crate::meta::snapshots::rows;
use crate::meta::tables::{COUNTING, DIRENTS, INODES, USES};
use crate::types::limits::PATH_DEPTH_MAX;
use crate::types::{FileKind, InodeId, Name};

/// A row of COUNTING: a directory whose names are being gone through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counting {
    /// The last name that was looked at.
    pub(crate) after: Option<Name>,
}

dfs_raft::postcard_values!(1: Counting);

/// Begins to count a directory that is not counted. The caller adds what the row says to what is
/// above it, and stores the row.
pub(crate) fn begin(state: &mut StateTxn<'_>, id: InodeId, inode: &Inode) -> Result<Use, Fatal> {
    let mut row = Use::default();
    if let Body::Directory(directory) = &inode.body
        && directory.entries > 0
    {
        row.sum = Sum::PENDING;
        state.put(COUNTING, &id, &Counting::default())?;
    }
    Ok(row)
}

/// Gives up counting a directory that is no more.
pub(crate) fn give_up(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Fatal> {
    if state.get(COUNTING, &id)?.is_none() {
        return Ok(());
    }
    state.remove(COUNTING, &id)?;
    uses::shrink(state, id, Sum::PENDING).map(drop)
}

/// Whether anything has to be counted.
pub(crate) fn is_due(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(next(state)?.is_some())
}

fn next(state: &impl ReadState) -> Result<Option<(InodeId, Counting)>, Fatal> {
    state.scan(COUNTING, ..)?.next().transpose()
}

/// Counts as far as the budget goes.
pub(crate) fn step(state: &mut StateTxn<'_>, budget: &mut Budget) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some((dir, Counting { after })) = next(state)?
    {
        let limit = budget.left() / 3 + 1;
        let entries = names_after(state, dir, after, limit)?;
        let done = entries.len() < limit;
        let depth = uses::chain(state, dir)?.len();
        let (mut found, mut height) = (Sum::default(), 0);
        let last = entries.last().map(|(name, _)| name.clone());
        for (_, entry) in entries {
            let counted = count(state, (dir, depth), entry)?;
            let Some((more, below)) = counted else {
                budget.spend(1);
                continue;
            };
            found = found
                .plus(more)
                .ok_or_else(|| Fatal::new(format!("{dir} holds more than can be counted")))?;
            height = height.max(below);
            budget.spend(3);
        }
        uses::grow_unchecked(state, dir, (found, height))?;
        match done {
            true => give_up(state, dir)?,
            false => state.put(COUNTING, &dir, &Counting { after: last })?,
        }
        budget.spend(1 + depth);
    }
    Ok(())
}

fn names_after(
    state: &impl ReadState,
    dir: InodeId,
    after: Option<Name>,
    limit: usize,
) -> Result<Vec<(Name, Dirent)>, Fatal> {
    let rows = match &after {
        Some(after) => state.scan(DIRENTS, &(dir, after.clone())..)?,
        None => state.scan_prefix(DIRENTS, &dir)?,
    };
    let mut found = Vec::new();
    for row in rows {
        let ((parent, name), entry) = row?;
        if parent != dir || found.len() >= limit {
            break;
        }
        if after.as_ref() != Some(&name) {
            found.push((name, entry));
        }
    }
    Ok(found)
}

/// Counts what a name leads to, unless it is counted: what it adds to its directory, and how many
/// directories it is with those in it, one in another.
fn count(
    state: &mut StateTxn<'_>,
    (dir, depth): (InodeId, usize),
    entry: Dirent,
) -> Result<Option<(Sum, u32)>, Fatal> {
    let id = entry.inode;
    let mut inode = inode::require(state, id)?;
    if entry.kind != FileKind::Directory {
        if inode.charged.is_some() {
            return Ok(None);
        }
        let quota = match inode.links > 1 {
            true => uses::quotas_of(state, dir)?.first().copied(),
            false => None,
        };
        let sum = Sum::inode(inode.allocated());
        inode.charged = Some(quota.unwrap_or(dir));
        rows::put(state, INODES, &id, &inode)?;
        if let Some(quota) = quota {
            uses::grow_unchecked(state, quota, (sum, 0))?;
            return Ok(None);
        }
        return Ok(Some((sum, 0)));
    }
    let mut row = match uses::row(state, id)? {
        Some(row) if row.above.is_some() => return Ok(None),
        Some(row) => row,
        // Only renames of before it was counted can have made it so deep.
        None if depth >= PATH_DEPTH_MAX => return Ok(None),
        None => begin(state, id, &inode)?,
    };
    row.above = Some(dir);
    state.put(USES, &id, &row)?;
    let sum = row.sum.plus(Sum::inode(0));
    let sum = sum.ok_or_else(|| Fatal::new(format!("{id} holds more than can be counted")))?;
    Ok(Some((sum, row.height.saturating_add(1))))
}
