//! What directories hold: the sums of all below them, for those that are counted.
//!
//! A directory with a row in USES is counted, and so is what is made in it. Each row knows the
//! next counted directory above it, and a change of what one holds is added to all of these in
//! the same command: no sum is ever old.
//!
//! ```text
//! /q    i2  30 bytes, 4 inodes, limits            i2 is above i5: what i5 holds is part of it
//! /q/d  i5  20 bytes, 2 inodes                    files in /q/d are charged to i5
//! ```
//!
//! Not all is counted: where nobody ever set a quota, a change costs one look for a row that is
//! not there.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::Body;
use crate::meta::namespace::resolve::path_text;
use crate::meta::tables::{INODES, QUOTAS, USES};
use crate::planted::{self, Bug};
use crate::types::limits::PATH_DEPTH_MAX;
use crate::types::quota::Limits;
use crate::types::{InodeId, RefusalKind};

/// What there is of something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// Bytes of extents.
    pub(crate) bytes: u64,
    /// Files, directories and symbolic links.
    pub(crate) inodes: u64,
    /// Directories that still have to be looked through.
    pub(crate) pending: u64,
}

impl Sum {
    /// One inode, with the bytes of its extents.
    pub(crate) fn inode(bytes: u64) -> Sum {
        Sum {
            bytes,
            inodes: 1,
            pending: 0,
        }
    }

    /// Bytes alone.
    pub(crate) fn bytes(bytes: u64) -> Sum {
        Sum {
            bytes,
            ..Sum::default()
        }
    }

    /// One directory to look through.
    pub(crate) const PENDING: Sum = Sum {
        bytes: 0,
        inodes: 0,
        pending: 1,
    };

    /// Both together; none if that is beyond all numbers.
    pub(crate) fn plus(self, more: Sum) -> Option<Sum> {
        Some(Sum {
            bytes: self.bytes.checked_add(more.bytes)?,
            inodes: self.inodes.checked_add(more.inodes)?,
            pending: self.pending.checked_add(more.pending)?,
        })
    }

    fn minus(self, less: Sum) -> Option<Sum> {
        Some(Sum {
            bytes: self.bytes.checked_sub(less.bytes)?,
            inodes: self.inodes.checked_sub(less.inodes)?,
            pending: self.pending.checked_sub(less.pending)?,
        })
    }
}

/// A row of USES: a directory that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Use {
    /// The directory that it is in, if that is counted too.
    pub(crate) above: Option<InodeId>,
    /// All below it, without itself.
    pub(crate) sum: Sum,
    /// At least as many directories as there are one in another below it.
    pub(crate) height: u32,
    /// What may be below it.
    pub(crate) limits: Limits,
    /// Whether the directory is no more, but for what is charged to it.
    pub(crate) gone: bool,
}

dfs_raft::postcard_values!(1: Use);

impl Use {
    /// Whether it limits anything.
    pub(crate) fn is_quota(&self) -> bool {
        self.limits != Limits::default()
    }
}

/// Who must not come to hold more than it may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'a> {
    /// The directory that is the `/` of who asks.
    pub(crate) root: InodeId,
    /// Quotas that what comes was counted for until now.
    pub(crate) but: &'a [InodeId],
}

/// Changes the row of a directory and those of all above it that are counted; gives how many.
fn climb(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    mut change: impl FnMut(&mut StateTxn<'_>, InodeId, u32, &mut Use) -> Result<(), Stop>,
) -> Result<usize, Stop> {
    let mut next = Some(dir);
    let mut steps = 0;
    while let Some(id) = next {
        let Some(mut row) = state.get(USES, &id)? else {
            return Err(Fatal::new(format!("{id} is counted and has no row")).into());
        };
        change(state, id, steps, &mut row)?;
        match row.gone && row.sum == Sum::default() {
            true => state.remove(USES, &id)?,
            false => state.put(USES, &id, &row)?,
        }
        next = row.above;
        steps += 1;
    }
    Ok(steps as usize)
}

/// Adds to what a directory holds, and all above it. `height` is how many directories come with
/// it, one in another.
///
/// # Errors
/// Refused as `OverQuota` if one that is checked comes to hold more than it may.
pub(crate) fn grow(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    (more, height): (Sum, u32),
    checked: Option<Checked<'_>>,
) -> Result<usize, Stop> {
    climb(state, dir, |state, id, step, row| {
        let before = row.sum;
        let Some(sum) = before.plus(more) else {
            return Err(Fatal::new(format!("{id} holds more than can be counted")).into());
        };
        row.sum = sum;
        if height > 0 {
            row.height = row.height.max(height.saturating_add(step));
        }
        match checked {
            Some(checked) if !checked.but.contains(&id) => {
                require_within(state, checked.root, (id, row), (before, more))
            }
            _ => Ok(()),
        }
    })
}

/// The same where nothing may be refused.
pub(crate) fn grow_unchecked(
    state: &mut StateTxn<'_>,
    dir: InodeId,
    more: (Sum, u32),
) -> Result<usize, Fatal> {
    faults(grow(state, dir, more, None))
}

/// Takes off what a directory held, and all above it.
pub(crate) fn shrink(state: &mut StateTxn<'_>, dir: InodeId, less: Sum) -> Result<usize, Fatal> {
    faults(climb(state, dir, |_, id, _, row| {
        row.sum = row
            .sum
            .minus(less)
            .ok_or_else(|| Fatal::new(format!("{id} holds less than nothing")))?;
        Ok(())
    }))
}

fn faults<T>(result: Result<T, Stop>) -> Result<T, Fatal> {
    result.map_err(|stop| match stop {
        Stop::Fatal(fatal) => fatal,
        Stop::Refused(refusal) => Fatal::new(format!("refused what cannot be: {refusal}")),
    })
}

/// Refuses what makes a directory hold more than it may. One that is not counted to its end yet
/// may hold anything.
fn require_within(
    state: &impl ReadState,
    root: InodeId,
    (id, row): (InodeId, &Use),
    (before, more): (Sum, Sum),
) -> Result<(), Stop> {
    if row.sum.pending > 0 {
        return Ok(());
    }
    let held = match planted::active(Bug::QuotaRace) {
        true => before,
        false => row.sum,
    };
    let is_over =
        |limit: Option<u64>, more: u64, held: u64| limit.filter(|limit| more > 0 && held > *limit);
    if let Some(limit) = is_over(row.limits.bytes, more.bytes, held.bytes) {
        let (at, used, more) = (name_of(state, root, id)?, before.bytes, more.bytes);
        let subject = format!("{at}: {used} of {limit} bytes are used, {more} more are too many");
        return refuse(RefusalKind::OverQuota, subject);
    }
    if let Some(limit) = is_over(row.limits.inodes, more.inodes, held.inodes) {
        let (at, used) = (name_of(state, root, id)?, before.inodes);
        let subject = format!("{at}: {used} of {limit} inodes are used, and no more fit");
        return refuse(RefusalKind::OverQuota, subject);
    }
    Ok(())
}

/// The path of a directory for somebody; who is confined below it learns no more than that it is
/// above.
pub(crate) fn name_of(state: &impl ReadState, root: InodeId, id: InodeId) -> Result<String, Fatal> {
    if id == root {
        return Ok("/".to_owned());
    }
    let body = state.get(INODES, &id)?.map(|inode| inode.body);
    let Some(Body::Directory(directory)) = body else {
        return Ok(id.to_string());
    };
    let text = match directory.place {
        Some((parent, name)) => path_text(state, root, parent, &name)?,
        None => String::new(),
    };
    Ok(match text.starts_with('/') {
        true => text,
        false if root == InodeId::ROOT => format!("{id}, which is removed"),
        false => "a directory above".to_owned(),
    })
}

/// The row of a directory, if it is counted.
pub(crate) fn row(state: &impl ReadState, dir: InodeId) -> Result<Option<Use>, Fatal> {
    state.get(USES, &dir)
}

/// The rows of a directory and of those above it, lowest first, as far as they are counted.
pub(crate) fn chain(state: &impl ReadState, dir: InodeId) -> Result<Vec<(InodeId, Use)>, Fatal> {
    let mut rows = Vec::new();
    let mut next = Some(dir);
    while let Some(id) = next
        && let Some(row) = state.get(USES, &id)?
    {
        next = row.above;
        rows.push((id, row));
    }
    Ok(rows)
}

/// The quotas that what is in a directory is counted for, nearest first.
pub(crate) fn quotas_of(state: &impl ReadState, dir: InodeId) -> Result<Vec<InodeId>, Fatal> {
    let rows = chain(state, dir)?.into_iter();
    Ok(rows
        .filter(|(_, row)| row.is_quota())
        .map(|(id, _)| id)
        .collect())
}

/// Refuses to put a directory, with as many below it one in another, where that would be deeper
/// than can be counted.
pub(crate) fn require_shallow(
    state: &impl ReadState,
    dir: InodeId,
    height: u32,
) -> Result<(), Stop> {
    let depth = chain(state, dir)?.len().saturating_add(height as usize);
    match depth < PATH_DEPTH_MAX {
        true => Ok(()),
        false => refuse(
            RefusalKind::NameTooLong,
            format!("{dir} with {height} below it"),
        ),
    }
}

/// Notes that a directory is no more. Its row stays as long as something is charged to it.
pub(crate) fn gone(state: &mut StateTxn<'_>, dir: InodeId) -> Result<(), Fatal> {
    let Some(mut row) = row(state, dir)? else {
        return Ok(());
    };
    if let Some(above) = row.above {
        shrink(state, above, Sum::inode(0))?;
    }
    if row.is_quota() {
        state.remove(QUOTAS, &dir)?;
    }
    row.limits = Limits::default();
    row.gone = true;
    match row.sum == Sum::default() {
        true => state.remove(USES, &dir),
        false => state.put(USES, &dir, &row),
    }
}
