//! Removing snapshots: the rows kept for one go to older ones that see them too, or go, in bounded
//! steps.
//!
//! ```text
//! i7@0 kept for v9 ──▶ is there an older row of it at v4, and a snapshot between that sees i7?
//!                       v6: its row from now on         none: gone, and what it named with it
//! ```
//!
//! Until all are gone through, the number is taken, and older snapshots find the rows under either.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::old::{self, OldOf, Row, Which};
use super::seen;
use crate::meta::chunks::references;
use crate::meta::counters;
use crate::meta::namespace::purge::{Budget, Purge};
use crate::meta::tables::{EXTENTS, INODES, LEAVING, Meta, OLD, OLD_OF, PURGE, SNAPSHOTS};
use crate::types::{InodeId, SnapshotId, Timestamp};

/// Whether a snapshot is being removed.
pub(crate) fn is_due(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(next(state)?.is_some())
}

fn next(state: &impl ReadState) -> Result<Option<SnapshotId>, Fatal> {
    let first = state.scan(LEAVING, ..)?.next().transpose()?;
    Ok(first.map(|(number, ())| number))
}

/// Removes what is kept for such snapshots, as far as the budget goes.
pub(crate) fn step(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some(number) = next(state)?
    {
        let first = state.scan_prefix(OLD_OF, &number)?.next().transpose()?;
        budget.spend(2);
        if let Some((OldOf { row, .. }, ())) = first {
            pass_on(state, now, (&row, number), budget)?;
            continue;
        }
        state.remove(SNAPSHOTS, &number)?;
        state.remove(LEAVING, &number)?;
        counters::subtract(state, Meta::Snapshots, 1)?;
    }
    Ok(())
}

/// Gives an old row to the next older snapshot that sees it, or drops it.
fn pass_on(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (row, number): (&Row, SnapshotId),
    budget: &mut Budget,
) -> Result<(), Fatal> {
    let kept = state.get(OLD, &row.at(number))?;
    let kept = kept.ok_or_else(|| Fatal::new(format!("{number} has a row that is not kept")))?;
    let owner = row.owner()?;
    let before = old::last(state, row, number)?.map(|(before, _)| before);
    let heir = seen::older(state, owner, (before, number), budget)?;
    old::remove(state, row, number)?;
    budget.spend(2);
    if let Some(heir) = heir {
        budget.spend(2);
        return old::put(state, row, heir, &kept);
    }
    if let Some(chunk) = old::chunk_of(row, &kept)? {
        budget.spend(references::release(state, now, old::holder(owner), chunk)?);
    }
    match row.which {
        Which::Inodes => forget(state, owner, budget),
        _ => Ok(()),
    }
}

/// Lets go of an inode if it is gone and was kept for this snapshot alone.
fn forget(state: &mut StateTxn<'_>, id: InodeId, budget: &mut Budget) -> Result<(), Fatal> {
    if state.get(INODES, &id)?.is_some() || old::has_inode(state, id)? {
        return Ok(());
    }
    let has_extents = state
        .scan_prefix(EXTENTS, &id)?
        .next()
        .transpose()?
        .is_some();
    if has_extents && !seen::row(state, id)?.joined {
        budget.spend(1);
        state.put(PURGE, &id, &Purge::Data)?;
    }
    seen::set(state, id, &seen::Seen::default())
}
