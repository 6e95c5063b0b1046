//! Quotas: how much may be in a directory, with all below it.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::counting;
use super::uses::{self, Sum, Use};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Body};
use crate::meta::namespace::purge::Budget;
use crate::meta::namespace::resolve::{existing, is_below};
use crate::meta::tables::{QUOTAS, USES};
use crate::types::limits::{ENTRIES_PER_REPLY_MAX, QUOTAS_MAX};
use crate::types::quota::{Limits, QuotaChange, QuotaInfo, QuotaPage};
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Rights};

/// Sets or takes away the quota of a directory.
pub(crate) fn change(
    state: &mut StateTxn<'_>,
    by: &Subject,
    at: &Location,
    change: &QuotaChange,
) -> Result<Changed, Stop> {
    by.require_administrator()?;
    let (id, inode) = existing(state, by, at, true)?;
    if inode.kind() != FileKind::Directory {
        return refuse(RefusalKind::NotADirectory, at);
    }
    match change {
        QuotaChange::Set { limits, force } => set(state, (id, at), *limits, *force)?,
        QuotaChange::Remove => remove(state, (id, at))?,
    }
    Ok(Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    })
}

fn set(
    state: &mut StateTxn<'_>,
    (id, at): (InodeId, &Location),
    limits: Limits,
    force: bool,
) -> Result<(), Stop> {
    if limits == Limits::default() {
        let subject = format!("{at}: a quota limits bytes, inodes or both");
        return refuse(RefusalKind::Invalid, subject);
    }
    if uses::row(state, id)?.is_none() {
        begin(state, id)?;
        // What is small is counted at once.
        counting::step(state, &mut Budget::aside())?;
    }
    let mut row = require(state, id)?;
    if !row.is_quota() {
        let count = state.scan(QUOTAS, ..)?.take(QUOTAS_MAX).count();
        if count >= QUOTAS_MAX {
            return refuse(
                RefusalKind::TooLarge,
                format!("more than {QUOTAS_MAX} quotas"),
            );
        }
    }
    row.limits = Limits {
        bytes: limits.bytes.or(row.limits.bytes),
        inodes: limits.inodes.or(row.limits.inodes),
    };
    let Sum {
        bytes,
        inodes,
        pending,
    } = row.sum;
    let is_below = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| limit < used);
    let (of_bytes, of_inodes) = (
        is_below(limits.bytes, bytes),
        is_below(limits.inodes, inodes),
    );
    if (of_bytes || of_inodes) && pending == 0 && !force {
        let subject = format!("{at} has {bytes} bytes and {inodes} inodes in it already");
        return refuse(RefusalKind::OverQuota, subject);
    }
    state.put(USES, &id, &row)?;
    Ok(state.put(QUOTAS, &id, &())?)
}

/// Begins to count a directory that is not counted yet.
pub(crate) fn begin(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Stop> {
    let inode = inode::require(state, id)?;
    let mut row = counting::begin(state, id, &inode)?;
    // One in a directory that is being counted comes before its turn.
    if let Body::Directory(directory) = &inode.body
        && let Some((parent, _)) = &directory.place
        && uses::row(state, *parent)?.is_some()
    {
        uses::require_shallow(state, *parent, 0)?;
        row.above = Some(*parent);
        let sum = row.sum.plus(Sum::inode(0));
        let sum = sum.ok_or_else(|| Fatal::new(format!("{id} cannot be counted")))?;
        uses::grow_unchecked(state, *parent, (sum, 1))?;
    }
    Ok(state.put(USES, &id, &row)?)
}

/// The row of a directory that is counted.
fn require(state: &impl ReadState, id: InodeId) -> Result<Use, Fatal> {
    let row = uses::row(state, id)?;
    row.ok_or_else(|| Fatal::new(format!("{id} has a quota and no row")))
}

/// Takes a quota away. What is below stays counted, so that another one binds at once.
fn remove(state: &mut StateTxn<'_>, (id, at): (InodeId, &Location)) -> Result<(), Stop> {
    match uses::row(state, id)? {
        Some(mut row) if row.is_quota() => {
            row.limits = Limits::default();
            state.put(USES, &id, &row)?;
            Ok(state.remove(QUOTAS, &id)?)
        }
        _ => refuse(RefusalKind::NotFound, format!("{at} has no quota")),
    }
}

fn info(
    state: &impl ReadState,
    by: &Subject,
    (id, row): (InodeId, &Use),
) -> Result<QuotaInfo, Fatal> {
    Ok(QuotaInfo {
        inode: id,
        path: uses::name_of(state, by.root, id)?,
        limits: row.limits,
        bytes: row.sum.bytes,
        inodes: row.sum.inodes,
        counting: row.sum.pending > 0,
    })
}

/// The quotas that something in a directory is counted for, nearest first. Of those above the `/`
/// of who asks only the limits are told.
pub(crate) fn of(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
) -> Result<Vec<QuotaInfo>, Stop> {
    let (id, inode) = existing(state, by, at, true)?;
    by.require(state, (id, &inode), Rights::READ, at)?;
    let dir = match inode.kind() {
        FileKind::Directory => Some(id),
        _ => inode.charged,
    };
    let mut found = Vec::new();
    for (id, row) in dir.map_or(Ok(Vec::new()), |dir| uses::chain(state, dir))? {
        if row.is_quota() {
            found.push(info(state, by, (id, &row))?);
        }
    }
    Ok(found)
}

/// Quotas of directories at or below one, by inode; for administrators.
pub(crate) fn below(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    (after, limit): (Option<InodeId>, usize),
) -> Result<QuotaPage, Stop> {
    by.require_administrator()?;
    let (top, _) = existing(state, by, at, true)?;
    let from = InodeId(after.map_or(0, |after| after.0.saturating_add(1)));
    let mut page = QuotaPage::default();
    let limit = limit.min(ENTRIES_PER_REPLY_MAX / 16);
    for (looked, found) in state.scan(QUOTAS, from..)?.enumerate() {
        if looked >= limit {
            page.more = true;
            break;
        }
        let (id, ()) = found?;
        page.last = Some(id);
        if !is_below(state, id, top)? {
            continue;
        }
        let row = require(state, id)?;
        page.quotas.push(info(state, by, (id, &row))?);
    }
    Ok(page)
}
