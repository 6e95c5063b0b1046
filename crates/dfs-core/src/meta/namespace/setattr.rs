//! Attributes, lengths and policies of what exists.

use dfs_raft::state::{ReadState, StateTxn};

use super::inode::{Body, Inode};
use super::purge::Budget;
use super::resolve::existing;
use crate::meta::accounts::acl::{drop_set_group_id, drop_special_bits};
use crate::meta::accounts::subject::Subject;
use crate::meta::chunks::commit::require_file;
use crate::meta::chunks::{concat, extents};
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::rows;
use crate::meta::tables::INODES;
use crate::types::attr::SetTime;
use crate::types::{
    AttrChange, Changed, FileKind, GroupId, InodeId, Location, Mode, PolicyChange, RefusalKind,
    Rights, Timestamp,
};

fn store(state: &mut StateTxn<'_>, id: InodeId, inode: &Inode) -> Result<Changed, Stop> {
    rows::put(state, INODES, &id, inode)?;
    Ok(Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    })
}

/// Sets attributes, by the rules of POSIX `chmod`, `chown` and `utimensat`.
pub(crate) fn set_attr(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    change: &AttrChange,
    follow: bool,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, at, follow)?;
    if !by.owns(&inode) {
        require_touch(state, by, (id, &inode), change, at)?;
    }
    if !by.is_administrator() {
        require_give_away(by, &inode, change, at)?;
    }
    let moves = change.owner.is_some() || change.group.is_some();
    if moves && inode.kind() == FileKind::File {
        // Whoever gets a program does not get it with the rights of its former owner.
        inode.mode = inode
            .mode
            .without(Mode::SET_USER_ID)
            .without(Mode::SET_GROUP_ID);
    }
    inode.owner = change.owner.unwrap_or(inode.owner);
    inode.group = change.group.unwrap_or(inode.group);
    if let Some(mode) = change.mode {
        inode.mode = mode;
        drop_set_group_id(&mut inode, by);
    }
    let time = |set: Option<SetTime>, before: Timestamp| match set {
        Some(SetTime::At(time)) => time,
        Some(SetTime::Now) => now,
        None => before,
    };
    inode.accessed = time(change.accessed, inode.accessed);
    inode.modified = time(change.modified, inode.modified);
    inode.changed = now;
    store(state, id, &inode)
}

/// Refuses who does not own something, unless it sets its times to now and may write to it.
fn require_touch(
    state: &impl ReadState,
    by: &Subject,
    inode: (InodeId, &Inode),
    change: &AttrChange,
    at: &Location,
) -> Result<(), Stop> {
    let is_now = |set: Option<SetTime>| set.is_none_or(|set| set == SetTime::Now);
    let touches = is_now(change.accessed) && is_now(change.modified);
    let rest = (change.mode, change.owner, change.group);
    match touches && rest == (None, None, None) {
        true => by.require(state, inode, Rights::WRITE, at),
        false => refuse(RefusalKind::NotPermitted, at),
    }
}

/// Refuses to give a file to another user, or to a group that its owner is not in.
fn require_give_away(
    by: &Subject,
    inode: &Inode,
    change: &AttrChange,
    at: &Location,
) -> Result<(), Stop> {
    let keeps_owner = change.owner.is_none_or(|owner| owner == inode.owner);
    let own_group = |group: GroupId| group == inode.group || by.is_in(group);
    match keeps_owner && change.group.is_none_or(own_group) {
        true => Ok(()),
        false => refuse(RefusalKind::NotPermitted, at),
    }
}

/// Sets how the bytes of new files in a directory, or of later writes to a file, are kept.
pub(crate) fn set_policy(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    change: &PolicyChange,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, at, true)?;
    by.require_owner(&inode, at)?;
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
    by: &Subject,
    at: &Location,
    to: u64,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, at, true)?;
    require_file(&inode, at)?;
    by.require(state, (id, &inode), Rights::WRITE, at)?;
    drop_special_bits(&mut inode, by);
    let Body::File { size, .. } = &mut inode.body else {
        return refuse(RefusalKind::NotAFile, at);
    };
    let before = std::mem::replace(size, to);
    if to == before {
        return store(state, id, &inode);
    }
    concat::require_settled(state, id)?;
    if to > before && extents::is_trimming(state, id)? {
        return refuse(RefusalKind::Busy, format!("{id} is being trimmed"));
    }
    if to < before {
        let limit = Budget::aside().left() / Budget::EXTENT;
        let done = extents::truncate(state, now, id, to, limit)?;
        let allocated = inode.allocated();
        extents::subtract(&mut inode.body, done);
        charges::resized(state, by, &inode, allocated)?;
    }
    inode.touch(now);
    store(state, id, &inode)
}
