//! Putting a directory in the place of another that has snapshots, as when one is restored.
//!
//! ```text
//! /a/p  i2, snapshots v1 v2       ──▶   /a/p  i9, snapshots v1 v2 (of i2)     i2 in the trash
//! /a/r  i9
//! ```
//!
//! What the snapshots see stays the directory that they were made of, wherever that goes.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::require_none_within_but;
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::uses::{self, Use};
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::dirent;
use crate::meta::namespace::inode;
use crate::meta::namespace::resolve::{Place, place};
use crate::meta::namespace::{create, purge, trash};
use crate::meta::tables::{QUOTAS, SNAPSHOT_NAMES, SNAPSHOTS, USES};
use crate::types::quota::Limits;
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Timestamp};

/// Puts `other` where `at` is.
pub(super) fn replace(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    other: &Location,
) -> Result<Changed, Stop> {
    let (to, from) = (directory(state, by, at)?, directory(state, by, other)?);
    let (old, new) = (to.1, from.1);
    if old == new || to.0.dir != from.0.dir {
        let subject = format!("{other} is no other directory beside {at}");
        return refuse(RefusalKind::Invalid, subject);
    }
    require_none_within_but(state, (old, at), old)?;
    require_none_within_but(state, (new, other), InodeId(0))?;
    hand_over_limits(state, (old, at), (new, other))?;
    let names = state.scan_prefix(SNAPSHOT_NAMES, &old)?;
    for ((_, name), number) in names.collect::<Result<Vec<_>, Fatal>>()? {
        let mut snapshot = super::named(state, (old, at), &name)?.1;
        state.remove(SNAPSHOT_NAMES, &(old, name.clone()))?;
        state.put(SNAPSHOT_NAMES, &(new, name), &number)?;
        snapshot.at = new;
        state.put(SNAPSHOTS, &number, &snapshot)?;
    }
    let (place, source) = (&to.0, &from.0);
    let trashed = take_away(state, now, by, place, old)?;
    let kind = FileKind::Directory;
    let entry = dirent::Dirent { inode: new, kind };
    dirent::remove(state, source.dir, &source.name, entry, now)?;
    let mut inode = inode::require(state, new)?;
    inode.changed = now;
    create::put_name(state, now, place, new, &mut inode)?;
    Ok(Changed {
        attr: Some(inode.attr(new)),
        trash: trashed,
        ..Changed::default()
    })
}

/// A directory that is to be moved or replaced, and its place.
fn directory(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
) -> Result<(Place, InodeId), Stop> {
    let place = place(state, by, at, RefusalKind::NotPermitted)?;
    match place.entry {
        Some(entry) if entry.kind == FileKind::Directory => Ok((place, entry.inode)),
        Some(_) => refuse(RefusalKind::NotADirectory, at),
        None => refuse(RefusalKind::NotFound, at),
    }
}

/// Removes the name of what is replaced, which goes where removals send it.
fn take_away(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    place: &Place,
    old: InodeId,
) -> Result<Option<crate::types::TrashId>, Stop> {
    let inode = inode::require(state, old)?;
    let kind = FileKind::Directory;
    let entry = dirent::Dirent { inode: old, kind };
    if inode.policy.trash.is_zero() {
        dirent::remove(state, place.dir, &place.name, entry, now)?;
        purge::drop_link(state, now, old, &mut purge::Budget::aside())?;
        return Ok(None);
    }
    let name = (place.dir, &place.name);
    Ok(Some(trash::add(state, now, by, name, entry, inode)?))
}

/// Gives the quota of one directory to the other.
///
/// # Errors
/// `OverQuota` if there is more in the other one.
fn hand_over_limits(
    state: &mut StateTxn<'_>,
    (old, at): (InodeId, &Location),
    (new, other): (InodeId, &Location),
) -> Result<(), Stop> {
    let Some(mut row) = uses::row(state, new)?.filter(|row| row.sum.pending == 0) else {
        let subject = format!("{other} is still being gone through");
        return refuse(RefusalKind::Busy, subject);
    };
    if row.is_quota() {
        let subject = format!("{other} has a quota of its own");
        return refuse(RefusalKind::Invalid, subject);
    }
    let Some(mut before) = uses::row(state, old)?.filter(Use::is_quota) else {
        return Ok(());
    };
    let (used, limits) = (row.sum, before.limits);
    let is_over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used > limit);
    if is_over(limits.bytes, used.bytes) || is_over(limits.inodes, used.inodes) {
        let (bytes, inodes) = (used.bytes, used.inodes);
        let subject = format!("{at}: {other} has {bytes} bytes and {inodes} inodes in it");
        return refuse(RefusalKind::OverQuota, subject);
    }
    before.limits = Limits::default();
    row.limits = limits;
    state.put(USES, &old, &before)?;
    state.put(USES, &new, &row)?;
    state.remove(QUOTAS, &old)?;
    Ok(state.put(QUOTAS, &new, &())?)
}
