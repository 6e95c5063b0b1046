//! Purging: removing for good what nothing leads to any more, in bounded steps.
//!
//! What is small goes with the command that removed its last link. The rest gets a row in PURGE:
//!
//! ```text
//! i7 -> Tree   a directory without a place: its names go, directories in it get rows of their own
//! i9 -> Data   a file whose inode is gone: its extents go
//! ```

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::dirent::{self, Dirent, directory_of};
use super::inode::{self, Body, Inode};
use crate::meta::chunks::{concat, extents};
use crate::meta::counters::charges;
use crate::meta::snapshots::{old, rows, seen};
use crate::meta::tables::{DIRENTS, INODES, PURGE, TRIMS};
use crate::planted::{self, Bug};
use crate::types::limits::ROWS_PER_COMMAND_MAX;
use crate::types::{InodeId, Name, Timestamp};

/// A row of PURGE: what is left to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// A directory and all below it.
    Tree,
    /// The extents of a file whose inode is gone.
    Data,
}

dfs_raft::postcard_values!(1: Purge);

/// How many more rows a command may change, roughly: what was begun is finished.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    /// What removing an extent costs with its chunk and three replicas.
    pub(crate) const EXTENT: usize = 12;

    /// What housekeeping may do in one command.
    pub(crate) fn housekeeping() -> Budget {
        Budget(ROWS_PER_COMMAND_MAX)
    }

    /// What a client's change may remove at once besides what it is about.
    pub(crate) fn aside() -> Budget {
        Budget(16 * Budget::EXTENT)
    }

    /// So many rows.
    #[cfg(test)]
    pub(crate) fn of(rows: usize) -> Budget {
        Budget(rows)
    }

    /// Rows left.
    pub(crate) fn left(&self) -> usize {
        self.0
    }

    /// Takes rows off.
    pub(crate) fn spend(&mut self, rows: usize) {
        self.0 = self.0.saturating_sub(rows);
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// Takes away one of the links of an inode, whose entry is removed already; with the last one
/// the inode and all that is in it go.
pub(crate) fn drop_link(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    id: InodeId,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    let mut inode = inode::require(state, id)?;
    inode.links = inode.links.saturating_sub(1);
    if inode.links > 0 {
        if planted::active(Bug::UnlinkFreesLinkedChunks) {
            extents::remove_all(state, now, id, budget)?;
        }
        inode.changed = now;
        budget.spend(1);
        if inode.links == 1 && inode.charged.is_some() {
            seen::lost_a_name(state, id)?;
        }
        return rows::put(state, INODES, &id, &inode);
    }
    remove_inode(state, now, id, inode, budget)
}

/// Removes an inode that nothing leads to, and all that is in it.
pub(crate) fn remove_inode(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    id: InodeId,
    mut inode: Inode,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    budget.spend(2 + charges::removed(state, id, &mut inode)?);
    match &mut inode.body {
        Body::Directory(directory) if directory.entries > 0 => {
            directory.place = None;
            inode.links = 0;
            rows::put(state, INODES, &id, &inode)?;
            state.put(PURGE, &id, &Purge::Tree)
        }
        Body::Directory(_) | Body::Symlink { .. } => inode::remove(state, id),
        Body::File { .. } => {
            inode::remove(state, id)?;
            state.remove(TRIMS, &id)?;
            concat::give_up(state, id, budget)?;
            if planted::active(Bug::UnlinkLeaksChunks) {
                return Ok(());
            }
            // What a snapshot sees goes with the last that does.
            if old::has_inode(state, id)? {
                return Ok(());
            }
            if !extents::remove_all(state, now, id, budget)? {
                state.put(PURGE, &id, &Purge::Data)?;
            }
            Ok(())
        }
    }
}

/// Whether anything waits to be purged.
pub(crate) fn is_due(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(state.scan(PURGE, ..)?.next().transpose()?.is_some())
}

/// Purges as far as the budget goes.
pub(crate) fn step(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent() {
        let Some((id, purge)) = state.scan(PURGE, ..)?.next().transpose()? else {
            return Ok(());
        };
        let done = match purge {
            Purge::Tree => remove_entries(state, now, id, budget)?,
            Purge::Data => extents::remove_all(state, now, id, budget)?,
        };
        if done {
            state.remove(PURGE, &id)?;
            budget.spend(1);
        }
    }
    Ok(())
}

/// Removes names from a dead directory, and itself when it is empty; says whether it is gone.
fn remove_entries(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    dir: InodeId,
    budget: &mut Budget,
) -> Result<bool, Fatal> {
    let rows = state
        .scan_prefix(DIRENTS, &dir)?
        .take(budget.left() / 4 + 1);
    let found: Vec<((InodeId, Name), Dirent)> = rows.collect::<Result<_, _>>()?;
    for ((_, name), entry) in found {
        if budget.is_spent() {
            return Ok(false);
        }
        dirent::remove(state, dir, &name, entry, now)?;
        budget.spend(2);
        drop_link(state, now, entry.inode, budget)?;
    }
    let mut row = inode::require(state, dir)?;
    if directory_of(dir, &mut row)?.entries > 0 {
        return Ok(false);
    }
    charges::removed(state, dir, &mut row)?;
    inode::remove(state, dir)?;
    Ok(true)
}
