//! The trash: removed names, each with its own entry, until they expire.
//!
//! A trash entry is a link of its inode, like a name. So a file that loses one of several names
//! can get that name back, and one that loses its last keeps its bytes until the entry goes. A
//! directory goes in with all that is below it, which stays as it is. What was replaced, by a
//! rename or a new file, does not go to the trash.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::create::put_name;
use super::dirent::{self, Dirent, directory_of};
use super::inode::{self, Inode};
use super::purge::{Budget, drop_link};
use super::resolve::{path_text, place};
use crate::meta::accounts::acl::require_entry_rights;
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::{self, charges};
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::rows;
use crate::meta::tables::{INODES, Meta, Moment, TRASH, TRASH_EXPIRY, TRASH_OWNERS};
use crate::planted::{self, Bug};
use crate::types::{
    Changed, DfsPath, FileKind, InodeId, Location, Name, RefusalKind, Timestamp, TrashId, UserId,
};

/// A row of TRASH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashEntry {
    /// What was removed.
    pub inode: InodeId,
    /// Its kind.
    pub kind: FileKind,
    /// The path it was removed from, as it was then.
    pub path: String,
    /// When it was removed.
    pub removed: Timestamp,
    /// When it goes for good.
    pub expires: Timestamp,
    /// Who removed it: to others but administrators it is not there.
    pub by: UserId,
    /// What was the `/` of who removed it: the path begins there.
    pub root: InodeId,
}

dfs_raft::postcard_values!(2: TrashEntry);

/// Moves a name into the trash.
pub(crate) fn add(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    (dir, name): (InodeId, &Name),
    entry: Dirent,
    mut inode: Inode,
) -> Result<TrashId, Fatal> {
    let path = path_text(state, by.root, dir, name)?;
    dirent::remove(state, dir, name, entry, now)?;
    inode.changed = now;
    charges::trashed(state, (entry.inode, &mut inode))?;
    if entry.kind == FileKind::Directory {
        directory_of(entry.inode, &mut inode)?.place = None;
    }
    rows::put(state, INODES, &entry.inode, &inode)?;
    let id = TrashId(counters::take(state, Meta::NextTrash, 1)?);
    let expires = now.saturating_add(inode.policy.trash);
    let row = TrashEntry {
        inode: entry.inode,
        kind: entry.kind,
        path,
        removed: now,
        expires,
        by: by.user,
        root: by.root,
    };
    put(state, id, &row)?;
    Ok(id)
}

impl TrashEntry {
    /// Whether it is there for somebody: for administrators all is, for others what they have
    /// removed, confined as they are now.
    pub(crate) fn is_seen_by(&self, by: &Subject) -> bool {
        by.is_administrator() || self.by == by.user && self.root == by.root
    }
}

fn put(state: &mut StateTxn<'_>, id: TrashId, row: &TrashEntry) -> Result<(), Fatal> {
    state.put(TRASH, &id, row)?;
    state.put(TRASH_EXPIRY, &(Moment(row.expires), id), &())?;
    state.put(TRASH_OWNERS, &(row.by, id), &())
}

fn take(state: &mut StateTxn<'_>, by: &Subject, id: TrashId) -> Result<TrashEntry, Stop> {
    let entry = state.get(TRASH, &id)?;
    let own = entry.filter(|entry| entry.is_seen_by(by));
    let Some(entry) = own else {
        return refuse(RefusalKind::NotFound, id);
    };
    state.remove(TRASH, &id)?;
    state.remove(TRASH_EXPIRY, &(Moment(entry.expires), id))?;
    state.remove(TRASH_OWNERS, &(entry.by, id))?;
    Ok(entry)
}

/// Gives something its name back, or another one.
pub(crate) fn restore(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    id: TrashId,
    to: Option<&Location>,
) -> Result<Changed, Stop> {
    let entry = take(state, by, id)?;
    if planted::active(Bug::TrashRestoredTwice) {
        put(state, id, &entry)?;
    }
    let at = match to {
        Some(at) => at.clone(),
        // The path is somebody else's.
        None if by.root != entry.root => {
            let subject = format!("{id}: name a place to restore it to");
            return refuse(RefusalKind::Invalid, subject);
        }
        None => match entry.path.parse::<DfsPath>() {
            Ok(path) => Location::from(path),
            // Too deep or too long to be asked for: the caller must name a place.
            Err(_) => return refuse(RefusalKind::NameTooLong, entry.path),
        },
    };
    let place = place(state, by, &at, RefusalKind::Exists)?;
    if place.entry.is_some() {
        return refuse(RefusalKind::Exists, at);
    }
    require_entry_rights(state, by, (place.dir, &place.dir_inode), &at)?;
    let mut inode = inode::require(state, entry.inode)?;
    inode.changed = now;
    charges::restored(state, by, place.dir, (entry.inode, &mut inode), &at)?;
    put_name(state, now, &place, entry.inode, &mut inode)?;
    Ok(Changed {
        attr: Some(inode.attr(entry.inode)),
        ..Changed::default()
    })
}

/// Removes something from the trash for good.
pub(crate) fn drop_entry(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    id: TrashId,
) -> Result<Changed, Stop> {
    let entry = take(state, by, id)?;
    drop_link(state, now, entry.inode, &mut Budget::aside())?;
    Ok(Changed::default())
}

/// The entry that goes next, if it is due.
fn due(state: &impl ReadState, now: Timestamp) -> Result<Option<TrashId>, Fatal> {
    let next = state.scan(TRASH_EXPIRY, ..)?.next().transpose()?;
    Ok(next
        .filter(|((expires, _), ())| now >= expires.0)
        .map(|((_, id), ())| id))
}

/// Whether an entry has expired.
pub(crate) fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    Ok(due(state, now)?.is_some())
}

/// Drops expired entries, as far as the budget goes.
pub(crate) fn expire(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some(id) = due(state, now)?
    {
        let entry = match take(state, &Subject::system(), id) {
            Ok(entry) => entry,
            Err(Stop::Fatal(fatal)) => return Err(fatal),
            Err(Stop::Refused(_)) => {
                return Err(Fatal::new(format!("{id} expires and does not exist")));
            }
        };
        budget.spend(2);
        drop_link(state, now, entry.inode, budget)?;
    }
    Ok(())
}
