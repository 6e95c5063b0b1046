//! Whom inodes are charged to: the directory that each is counted in.
//!
//! | what | is charged to |
//! |---|---|
//! | a file or symbolic link | the directory that it was made in or moved to |
//! | a file with another name, an upload | the directory of the quota itself |
//! | a directory | the one that it is in, with all that it holds |
//! | what is in the trash | nobody |
//!
//! A file that one name does not hold alone is charged to the quota itself, so that it stays
//! counted when the directory of one of its names goes.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::counting;
use super::uses::{self, Checked, Sum, Use};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Body, Inode};
use crate::meta::snapshots::{rows, seen};
use crate::meta::tables::{INODES, USES};
use crate::types::{FileKind, InodeId, Location, RefusalKind};

const UNKNOWN: &str = "it is not known how much is in it: move what is in it, or copy it";

fn checked(by: &Subject) -> Option<Checked<'_>> {
    let (root, but) = (by.root, &[][..]);
    Some(Checked { root, but })
}

/// Counts something that was just made in a directory; the caller stores it.
pub(crate) fn made(
    state: &mut StateTxn<'_>,
    by: &Subject,
    dir: InodeId,
    (id, inode): (InodeId, &mut Inode),
) -> Result<(), Stop> {
    if uses::row(state, dir)?.is_none() {
        return Ok(());
    }
    let is_directory = inode.kind() == FileKind::Directory;
    uses::grow(
        state,
        dir,
        (Sum::inode(inode.allocated()), u32::from(is_directory)),
        checked(by),
    )?;
    match is_directory {
        true => {
            let above = Some(dir);
            let row = Use {
                above,
                ..Use::default()
            };
            state.put(USES, &id, &row)?;
        }
        false => inode.charged = Some(dir),
    }
    Ok(())
}

/// Counts an upload that was just begun for a directory; the caller stores it. Where there is no
/// quota it is counted when it is published.
pub(crate) fn begun(
    state: &mut StateTxn<'_>,
    by: &Subject,
    dir: InodeId,
    inode: &mut Inode,
) -> Result<(), Stop> {
    let Some(quota) = uses::quotas_of(state, dir)?.first().copied() else {
        return Ok(());
    };
    uses::grow(
        state,
        quota,
        (Sum::inode(inode.allocated()), 0),
        checked(by),
    )?;
    inode.charged = Some(quota);
    Ok(())
}

/// Counts the bytes that a file got or lost; the caller stores it.
pub(crate) fn resized(
    state: &mut StateTxn<'_>,
    by: &Subject,
    inode: &Inode,
    before: u64,
) -> Result<(), Stop> {
    let after = inode.allocated();
    match inode.charged {
        Some(dir) if after > before => {
            let more = Sum::bytes(after - before);
            uses::grow(state, dir, (more, 0), checked(by)).map(drop)
        }
        Some(_) => Ok(lost(state, inode, before - after).map(drop)?),
        None => Ok(()),
    }
}

/// Counts off bytes that a file has lost; gives the number of rows changed.
pub(crate) fn lost(state: &mut StateTxn<'_>, inode: &Inode, bytes: u64) -> Result<usize, Fatal> {
    match inode.charged {
        Some(dir) if bytes > 0 => uses::shrink(state, dir, Sum::bytes(bytes)),
        _ => Ok(0),
    }
}

/// Counts off a file or symbolic link that is gone, or in the trash; gives the number of rows
/// changed.
pub(crate) fn uncharge(
    state: &mut StateTxn<'_>,
    (id, inode): (InodeId, &mut Inode),
) -> Result<usize, Fatal> {
    seen::carry(state, id)?;
    match inode.charged.take() {
        Some(dir) => uses::shrink(state, dir, Sum::inode(inode.allocated())),
        None => Ok(0),
    }
}

/// Counts off what nothing leads to any more; gives the number of rows changed. A directory that
/// is not empty is purged, and goes when it is.
pub(crate) fn removed(
    state: &mut StateTxn<'_>,
    id: InodeId,
    inode: &mut Inode,
) -> Result<usize, Fatal> {
    match &inode.body {
        Body::Directory(directory) if directory.entries > 0 => detach(state, id).map(|()| 2),
        Body::Directory(_) => {
            seen::carry(state, id)?;
            counting::give_up(state, id)?;
            uses::gone(state, id).map(|()| 2)
        }
        Body::File { .. } | Body::Symlink { .. } => uncharge(state, (id, inode)),
    }
}

/// Counts off a directory with all that it holds: nothing is above it any more.
pub(crate) fn detach(state: &mut StateTxn<'_>, dir: InodeId) -> Result<(), Fatal> {
    let Some(mut row) = uses::row(state, dir)? else {
        return Ok(());
    };
    if row.above.is_none() {
        return Ok(());
    }
    seen::carry(state, dir)?;
    let Some(above) = row.above.take() else {
        return Ok(());
    };
    state.put(USES, &dir, &row)?;
    uses::shrink(state, above, with_itself(dir, &row)?).map(drop)
}

fn with_itself(dir: InodeId, row: &Use) -> Result<Sum, Fatal> {
    let sum = row.sum.plus(Sum::inode(0));
    sum.ok_or_else(|| Fatal::new(format!("{dir} holds more than can be counted")))
}

/// Counts a directory with all that it holds for the one that it is in from now on.
fn attach(
    state: &mut StateTxn<'_>,
    (id, inode): (InodeId, &Inode),
    to: InodeId,
    checked: Option<Checked<'_>>,
) -> Result<(), Stop> {
    if uses::row(state, to)?.is_none() {
        return Ok(());
    }
    let mut row = match uses::row(state, id)? {
        Some(row) => row,
        None => counting::begin(state, id, inode)?,
    };
    uses::require_shallow(state, to, row.height)?;
    row.above = Some(to);
    state.put(USES, &id, &row)?;
    let more = (with_itself(id, &row)?, row.height.saturating_add(1));
    uses::grow(state, to, more, checked).map(drop)
}

/// Counts a name that moves from one directory to another; the caller stores the inode.
///
/// # Errors
/// `OverQuota`; `OtherQuota` if it cannot be counted for another quota than before.
pub(crate) fn moved(
    state: &mut StateTxn<'_>,
    by: &Subject,
    (from, to): (InodeId, InodeId),
    (id, inode): (InodeId, &mut Inode),
    at: &Location,
) -> Result<(), Stop> {
    if from == to {
        return Ok(());
    }
    let but = uses::quotas_of(state, from)?;
    let crosses = but != uses::quotas_of(state, to)?;
    let but = but.as_slice();
    let root = by.root;
    let checked = Checked { root, but };
    if inode.kind() != FileKind::Directory {
        if crosses && inode.links > 1 {
            let subject = format!(
                "{at} has {} names, that of one alone cannot go",
                inode.links
            );
            return refuse(RefusalKind::OtherQuota, subject);
        }
        return match inode.links > 1 && inode.charged.is_some() {
            true => Ok(()),
            false => recharge(state, to, (id, inode), checked),
        };
    }
    if crosses {
        require_known(state, (id, inode), at)?;
    }
    detach(state, id)?;
    attach(state, (id, inode), to, Some(checked))
}

/// Counts a file for another directory than before.
fn recharge(
    state: &mut StateTxn<'_>,
    to: InodeId,
    (id, inode): (InodeId, &mut Inode),
    checked: Checked<'_>,
) -> Result<(), Stop> {
    uncharge(state, (id, inode))?;
    if uses::row(state, to)?.is_none() {
        return Ok(());
    }
    let more = (Sum::inode(inode.allocated()), 0);
    uses::grow(state, to, more, Some(checked))?;
    inode.charged = Some(to);
    Ok(())
}

/// Refuses a directory of which is not known what it holds.
fn require_known(
    state: &impl ReadState,
    (id, inode): (InodeId, &Inode),
    at: &Location,
) -> Result<(), Stop> {
    match (uses::row(state, id)?, &inode.body) {
        (Some(row), _) if row.sum.pending == 0 => Ok(()),
        (Some(_), _) => refuse(RefusalKind::Busy, format!("{at} is still being counted")),
        (None, Body::Directory(directory)) if directory.entries == 0 => Ok(()),
        (None, _) => refuse(RefusalKind::OtherQuota, format!("{at}: {UNKNOWN}")),
    }
}

/// Counts an upload for the directory that it gets its name in.
pub(crate) fn published(
    state: &mut StateTxn<'_>,
    by: &Subject,
    to: InodeId,
    id: InodeId,
) -> Result<(), Stop> {
    let mut inode = inode::require(state, id)?;
    let but = match inode.charged {
        Some(before) => uses::quotas_of(state, before)?,
        None => Vec::new(),
    };
    let (root, but) = (by.root, but.as_slice());
    recharge(state, to, (id, &mut inode), Checked { root, but })?;
    Ok(rows::put(state, INODES, &id, &inode)?)
}

/// Counts another name of a file, which then is charged to its quota itself; the caller stores
/// it.
///
/// # Errors
/// `OtherQuota` if it is counted for others than its new name.
pub(crate) fn linked(
    state: &mut StateTxn<'_>,
    by: &Subject,
    to: InodeId,
    (id, inode): (InodeId, &mut Inode),
    at: &Location,
) -> Result<(), Stop> {
    let quotas = uses::quotas_of(state, to)?;
    let Some(before) = inode.charged else {
        if let Some(quota) = quotas.first() {
            let counting = uses::row(state, *quota)?.is_some_and(|row| row.sum.pending > 0);
            return match counting {
                true => refuse(RefusalKind::Busy, format!("{at} is still being counted")),
                false => other(at),
            };
        }
        let (root, but) = (by.root, &[][..]);
        return recharge(state, to, (id, inode), Checked { root, but });
    };
    if uses::quotas_of(state, before)? != quotas {
        return other(at);
    }
    match quotas.first() {
        Some(quota) => {
            let (root, but) = (by.root, quotas.as_slice());
            recharge(state, *quota, (id, inode), Checked { root, but })
        }
        None => Ok(()),
    }
}

fn other(at: &Location) -> Result<(), Stop> {
    let subject = format!("{at}: a file has all its names under one quota");
    refuse(RefusalKind::OtherQuota, subject)
}

/// Counts off what goes to the trash; the caller stores it. A file that has other names stays
/// counted.
pub(crate) fn trashed(
    state: &mut StateTxn<'_>,
    (id, inode): (InodeId, &mut Inode),
) -> Result<(), Fatal> {
    match inode.kind() {
        FileKind::Directory => detach(state, id),
        _ if inode.links > 1 => Ok(()),
        _ => uncharge(state, (id, inode)).map(drop),
    }
}

/// Counts what comes out of the trash; the caller stores it.
pub(crate) fn restored(
    state: &mut StateTxn<'_>,
    by: &Subject,
    to: InodeId,
    (id, inode): (InodeId, &mut Inode),
    at: &Location,
) -> Result<(), Stop> {
    let (root, but) = (by.root, &[][..]);
    let checked = Checked { root, but };
    match (inode.kind(), inode.charged) {
        (FileKind::Directory, _) => {
            if !uses::quotas_of(state, to)?.is_empty() {
                require_known(state, (id, inode), at)?;
            }
            attach(state, (id, inode), to, Some(checked))
        }
        (_, Some(_)) => linked(state, by, to, (id, inode), at),
        (_, None) if inode.links > 1 && !uses::quotas_of(state, to)?.is_empty() => other(at),
        (_, None) => recharge(state, to, (id, inode), checked),
    }
}

/// Counts files that become parts of another: off where they were, for that one instead; the
/// caller stores it.
pub(crate) fn joined(
    state: &mut StateTxn<'_>,
    by: &Subject,
    (inode, before): (&Inode, u64),
    sources: Vec<(InodeId, &mut Inode)>,
) -> Result<(), Stop> {
    let mut but: Option<Vec<InodeId>> = None;
    for (_, source) in &sources {
        let quotas = match source.charged {
            Some(dir) => uses::quotas_of(state, dir)?,
            None => Vec::new(),
        };
        but = Some(match but {
            None => quotas,
            Some(all) => all.into_iter().filter(|id| quotas.contains(id)).collect(),
        });
    }
    for (id, source) in sources {
        uncharge(state, (id, source))?;
    }
    let Some(dir) = inode.charged else {
        return Ok(());
    };
    let but = but.unwrap_or_default();
    let (root, but) = (by.root, but.as_slice());
    let more = Sum::bytes(inode.allocated() - before);
    uses::grow(state, dir, (more, 0), Some(Checked { root, but })).map(drop)
}
