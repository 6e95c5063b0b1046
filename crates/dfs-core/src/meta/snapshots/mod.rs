//! Snapshots of directories: old rows are kept under the number of the snapshot.
//!
//! A snapshot is a number and a name. It copies nothing; but before a row of INODES, DIRENTS,
//! EXTENTS or ACLS below its directory is another, what was there is kept (`rows`). Reading lays
//! old rows over those of today (`view`). Who sees what is found on the way up (`seen`).
//!
//! ```text
//! INODES DIRENTS EXTENTS ACLS ──a row changes──▶ OLD   ──the snapshot is removed──▶ an older one
//!                                                      (leaving)                    or nothing
//! ```

pub(crate) mod leaving;
pub(crate) mod old;
mod replace;
pub(crate) mod rows;
pub(crate) mod seen;
pub(crate) mod view;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::accounts::subject::Subject;
use super::chunks::{concat, extents};
use super::counters::{self, counting, quota, uses};
use super::machine::{Stop, refuse};
use super::namespace::dirent;
use super::namespace::inode::{self, Body, Directory, Inode};
use super::namespace::purge::Budget;
use super::namespace::resolve::{Above, above, existing, is_below};
use super::tables::{CONCATS, LEAVING, META, Meta, SNAPSHOT_NAMES, SNAPSHOTS, TRIMS};
use crate::types::limits::{SNAPSHOTS_MAX, SNAPSHOTS_PER_DIRECTORY_MAX};
use crate::types::snapshot::{
    INODES_END, SNAPSHOTS_NAME, SnapshotChange, SnapshotInfo, SnapshotPage,
};
use crate::types::{
    Changed, FileKind, InodeId, Location, Mode, Name, RefusalKind, Rights, SnapshotId, Timestamp,
    UserId,
};

/// Most files whose extents are being moved or trimmed that a command looks at.
const UNFINISHED_MAX: usize = 256;

/// A row of SNAPSHOTS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Of which directory.
    pub(crate) dir: InodeId,
    /// The directory that has it: the same, or what was put in the place of that.
    pub(crate) at: InodeId,
    /// Its name among those of that directory.
    pub(crate) name: Name,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Who made it.
    pub(crate) by: UserId,
    /// The next inode's id at that time: it sees none that was made later.
    pub(crate) next_inode: InodeId,
    /// Whether it is being removed: nobody reads it, nothing is kept for it any more.
    pub(crate) leaving: bool,
}

dfs_raft::postcard_values!(1: Snapshot);

/// A snapshot, one that is being removed included.
pub(crate) fn get(state: &impl ReadState, number: SnapshotId) -> Result<Option<Snapshot>, Fatal> {
    state.get(SNAPSHOTS, &number)
}

/// The newest snapshot of all.
pub(crate) fn newest(state: &impl ReadState) -> Result<Option<(SnapshotId, Snapshot)>, Fatal> {
    if counters::number(state, Meta::Snapshots)? == 0 {
        return Ok(None);
    }
    for row in state.scan_back(SNAPSHOTS, ..)? {
        let (number, snapshot) = row?;
        if !snapshot.leaving {
            return Ok(Some((number, snapshot)));
        }
    }
    Ok(None)
}

/// Changes the snapshots of a directory.
pub(crate) fn change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    change: &SnapshotChange,
) -> Result<Changed, Stop> {
    by.require_administrator()?;
    let (id, inode) = existing(state, by, at, true)?;
    if inode.kind() != FileKind::Directory {
        return refuse(RefusalKind::NotADirectory, at);
    }
    let shown = match change {
        SnapshotChange::Replace { by: other } => {
            return replace::replace(state, now, by, at, other);
        }
        SnapshotChange::Prepare => {
            prepare(state, id)?;
            id
        }
        SnapshotChange::Create { name } => {
            let number = create(state, now, by, (id, at), name)?;
            id.within(number)
        }
        SnapshotChange::Remove { name } => {
            remove(state, (id, at), name)?;
            id
        }
    };
    Ok(Changed {
        attr: Some(inode::require(state, id)?.attr(shown)),
        ..Changed::default()
    })
}

/// Lets a directory be counted: the chain of those that are is how it is known what is below it.
fn prepare(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Stop> {
    if uses::row(state, id)?.is_none() {
        quota::begin(state, id)?;
        counting::step(state, &mut Budget::aside())?;
    }
    Ok(())
}

fn create(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    (dir, at): (InodeId, &Location),
    name: &Name,
) -> Result<SnapshotId, Stop> {
    require_free(state, (dir, at), name)?;
    let counted = uses::row(state, dir)?.filter(|row| row.sum.pending == 0);
    if counted.is_none() {
        return refuse(
            RefusalKind::Busy,
            format!("{at} is still being gone through"),
        );
    }
    finish(state, now)?;
    require_finished(state, (dir, at))?;
    let number = SnapshotId(counters::number(state, Meta::NextSnapshot)?.max(1));
    let next_inode = InodeId(counters::number(state, Meta::NextInode)?);
    if number >= SnapshotId::LIST || next_inode.0 > INODES_END {
        return refuse(RefusalKind::TooLarge, "no number for a snapshot is left");
    }
    state.put(META, &Meta::NextSnapshot, &(number.0 + 1))?;
    state.put(META, &Meta::Format, &counters::FORMAT_WITH_SNAPSHOTS)?;
    counters::add(state, Meta::Snapshots, 1)?;
    let snapshot = Snapshot {
        dir,
        at: dir,
        name: name.clone(),
        created: now,
        by: by.user,
        next_inode,
        leaving: false,
    };
    state.put(SNAPSHOTS, &number, &snapshot)?;
    state.put(SNAPSHOT_NAMES, &(dir, name.clone()), &number)?;
    let mut seen = seen::row(state, dir)?;
    seen.own = Some(number);
    seen::set(state, dir, &seen)?;
    Ok(number)
}

/// Does what is left of truncations and concatenations, as far as one command may: a stream of
/// small ones keeps no snapshot waiting.
fn finish(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let mut budget = Budget::housekeeping();
    extents::trim(state, now, &mut budget)?;
    concat::settle(state, &mut budget)
}

/// Refuses a snapshot while extents of a file that it may see are not where they belong, or beyond
/// an end. Other files it does not see, whatever becomes of them later: no name in it leads there.
fn require_finished(state: &impl ReadState, (dir, at): (InodeId, &Location)) -> Result<(), Stop> {
    let trimmed = state.scan(TRIMS, ..)?.map(|row| row.map(|(file, _)| file));
    let moved = state.scan(CONCATS, ..)?;
    let moved = moved.map(|row| row.map(|((file, _), _)| file));
    for (before, file) in trimmed.chain(moved).enumerate() {
        let file = file?;
        if before >= UNFINISHED_MAX || seen::may_be_below(state, file, dir)? {
            let subject = format!("{at}: the extents of {file} are being moved or trimmed");
            return refuse(RefusalKind::Busy, subject);
        }
    }
    Ok(())
}

/// Refuses a snapshot that cannot be: of what is removed, of a name that is taken, too many.
fn require_free(
    state: &impl ReadState,
    (dir, at): (InodeId, &Location),
    name: &Name,
) -> Result<(), Stop> {
    if !matches!(above(state, dir)?, Above::Root(_)) {
        return refuse(RefusalKind::NotFound, at);
    }
    if let Ok(list) = Name::new(SNAPSHOTS_NAME)
        && dirent::get(state, dir, &list)?.is_some()
    {
        let subject = format!("{at} has an entry `{SNAPSHOTS_NAME}`: give it another name");
        return refuse(RefusalKind::Exists, subject);
    }
    if state.get(SNAPSHOT_NAMES, &(dir, name.clone()))?.is_some() {
        return refuse(
            RefusalKind::Exists,
            format!("the snapshot `{name}` of {at}"),
        );
    }
    let count = state.scan_prefix(SNAPSHOT_NAMES, &dir)?.count();
    if count >= SNAPSHOTS_PER_DIRECTORY_MAX {
        let subject = format!("{at} has {count} snapshots, and no more fit: remove some");
        return refuse(RefusalKind::TooLarge, subject);
    }
    if counters::number(state, Meta::Snapshots)? >= SNAPSHOTS_MAX {
        let subject = format!("more than {SNAPSHOTS_MAX} snapshots: remove some");
        return refuse(RefusalKind::TooLarge, subject);
    }
    Ok(())
}

fn remove(
    state: &mut StateTxn<'_>,
    (dir, at): (InodeId, &Location),
    name: &Name,
) -> Result<(), Stop> {
    let (number, mut snapshot) = named(state, (dir, at), name)?;
    state.remove(SNAPSHOT_NAMES, &(dir, name.clone()))?;
    snapshot.leaving = true;
    state.put(SNAPSHOTS, &number, &snapshot)?;
    state.put(LEAVING, &number, &())?;
    let mut newest = None;
    for row in state.scan_prefix(SNAPSHOT_NAMES, &dir)? {
        let ((..), other) = row?;
        if get(state, other)?.is_some_and(|other| other.dir == snapshot.dir) {
            newest = newest.max(Some(other));
        }
    }
    let mut seen = seen::row(state, snapshot.dir)?;
    seen.own = newest;
    Ok(seen::set(state, snapshot.dir, &seen)?)
}

/// A snapshot of a directory by its name.
pub(crate) fn named(
    state: &impl ReadState,
    (dir, at): (InodeId, &Location),
    name: &Name,
) -> Result<(SnapshotId, Snapshot), Stop> {
    let Some(number) = state.get(SNAPSHOT_NAMES, &(dir, name.clone()))? else {
        return refuse(
            RefusalKind::NotFound,
            format!("the snapshot `{name}` of {at}"),
        );
    };
    match get(state, number)? {
        Some(snapshot) => Ok((number, snapshot)),
        None => Err(Fatal::new(format!("{number} has a name and no row")).into()),
    }
}

/// The snapshots of a directory, by name, with its inode in each.
pub(crate) fn of(
    state: &impl ReadState,
    dir: InodeId,
    after: Option<&Name>,
    limit: usize,
) -> Result<(Vec<(SnapshotInfo, Inode)>, bool), Fatal> {
    let mut found = Vec::new();
    for row in state.scan_prefix(SNAPSHOT_NAMES, &dir)? {
        let ((_, name), number) = row?;
        if after.is_some_and(|after| name <= *after) {
            continue;
        }
        if found.len() >= limit {
            return Ok((found, true));
        }
        let snapshot = get(state, number)?;
        let snapshot =
            snapshot.ok_or_else(|| Fatal::new(format!("{number} has a name and no row")))?;
        let inode = inode::require(&view::At::view(state, number, &snapshot), snapshot.dir)?;
        let info = SnapshotInfo {
            name,
            number,
            inode: snapshot.dir.within(number),
            created: snapshot.created,
            by: snapshot.by,
        };
        found.push((info, inode));
    }
    Ok((found, false))
}

/// Answers which snapshots there are of a directory. Who may list it may know.
pub(crate) fn list(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    (after, limit): (Option<&Name>, usize),
) -> Result<SnapshotPage, Stop> {
    let (id, inode) = existing(state, by, at, true)?;
    if inode.kind() != FileKind::Directory {
        return refuse(RefusalKind::NotADirectory, at);
    }
    by.require(state, (id, &inode), Rights::READ, at)?;
    let (found, more) = of(state, id, after, limit)?;
    let snapshots = found.into_iter().map(|(info, _)| info).collect();
    Ok(SnapshotPage { snapshots, more })
}

/// The directory of a directory's snapshots, as if it were one: who may list that may list it, and
/// nobody may write to it.
pub(crate) fn directory_of(
    state: &impl ReadState,
    dir: InodeId,
    mut inode: Inode,
) -> Result<Inode, Fatal> {
    let count = state.scan_prefix(SNAPSHOT_NAMES, &dir)?.count();
    inode.mode = inode.mode.without(Mode::new(0o222));
    inode.body = Body::Directory(Directory {
        place: None,
        entries: count as u64,
        subdirectories: u32::try_from(count).unwrap_or(u32::MAX),
    });
    Ok(inode)
}

/// Refuses to remove a directory while it, or one below it, has snapshots.
pub(crate) fn require_none_within(
    state: &impl ReadState,
    tree: InodeId,
    at: &Location,
) -> Result<(), Stop> {
    require_none_within_but(state, (tree, at), InodeId(0))
}

/// The same, one of them left out.
fn require_none_within_but(
    state: &impl ReadState,
    (tree, at): (InodeId, &Location),
    but: InodeId,
) -> Result<(), Stop> {
    if counters::number(state, Meta::Snapshots)? == 0 {
        return Ok(());
    }
    let mut known = std::collections::BTreeSet::new();
    for row in state.scan(SNAPSHOTS, ..)? {
        let (
            _,
            Snapshot {
                at: dir, leaving, ..
            },
        ) = row?;
        if leaving || dir == but || !known.insert(dir) {
            continue;
        }
        if is_below(state, dir, tree)? {
            let subject = match dir == tree {
                true => format!("{at} has snapshots: remove them first"),
                false => format!("a directory in {at} has snapshots: remove them first"),
            };
            return refuse(RefusalKind::StillNeeded, subject);
        }
    }
    Ok(())
}
