//! Attributes, lengths and policies of what exists.

use dfs_raft::state::StateTxn;

use super::inode::{Body, Inode};
use super::purge::Budget;
use super::resolve::existing;
use crate::meta::chunks::commit::require_file;
use crate::meta::chunks::extents;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::INODES;
use crate::types::{AttrChange, Changed, InodeId, Location, PolicyChange, RefusalKind, Timestamp};

fn store(state: &mut StateTxn<'_>, id: InodeId, inode: &Inode) -> Result<Changed, Stop> {
    state.put(INODES, &id, inode)?;
    Ok(Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    })
}

/// Sets attributes.
pub(crate) fn set_attr(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    at: &Location,
    change: &AttrChange,
    follow: bool,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, at, follow)?;
    inode.mode = change.mode.unwrap_or(inode.mode);
    inode.owner = change.owner.unwrap_or(inode.owner);
    inode.group = change.group.unwrap_or(inode.group);
    inode.accessed = change.accessed.unwrap_or(inode.accessed);
    inode.modified = change.modified.unwrap_or(inode.modified);
    inode.changed = now;
    store(state, id, &inode)
}

/// Sets how the bytes of new files in a directory, or of later writes to a file, are kept.
pub(crate) fn set_policy(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    at: &Location,
    change: &PolicyChange,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, at, true)?;
    let policy = change.apply_to(inode.policy);
    if let Err(why) = policy.validate() {
        return refuse(RefusalKind::Invalid, why);
    }
    inode.policy = policy;
    inode.changed = now;
    store(state, id, &inode)
}

/// Sets the length of a file. To the length it has, nothing changes.
pub(crate) fn truncate(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    at: &Location,
    to: u64,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, at, true)?;
    require_file(&inode, at)?;
    let Body::File { size, .. } = &mut inode.body else {
        return refuse(RefusalKind::NotAFile, at);
    };
    let before = std::mem::replace(size, to);
    if to == before {
        return store(state, id, &inode);
    }
    if to > before && extents::is_trimming(state, id)? {
        return refuse(RefusalKind::Busy, format!("{id} is being trimmed"));
    }
    if to < before {
        let limit = Budget::aside().left() / Budget::EXTENT;
        let removed = extents::truncate(state, now, id, to, limit)?;
        extents::subtract_inline(&mut inode.body, removed);
    }
    inode.touch(now);
    store(state, id, &inode)
}
