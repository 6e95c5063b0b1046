//! Hard links: another name for a file or symbolic link.

use dfs_raft::state::StateTxn;

use super::create::give_name;
use super::inode;
use super::resolve::{existing, place};
use crate::meta::accounts::acl::require_entry_rights;
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::rows;
use crate::meta::tables::INODES;
use crate::types::limits::LINKS_MAX;
use crate::types::{Changed, FileKind, Location, Mode, RefusalKind, Rights, Timestamp};

/// Gives a file another name. A symbolic link is linked itself, not what it leads to. Who does
/// not own it must be able to read and write it, and it must be a plain file, as on Linux with
/// protected links: else a name could be kept of what its owner removes.
pub(crate) fn link(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    from: &Location,
    at: &Location,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, from, false)?;
    if inode.kind() == FileKind::Directory {
        return refuse(RefusalKind::IsADirectory, from);
    }
    if inode.links >= LINKS_MAX {
        return refuse(RefusalKind::TooManyLinks, from);
    }
    if !by.owns(&inode) {
        let rights = Rights::READ.and(Rights::WRITE);
        let is_special = inode.mode.has(Mode::SET_USER_ID) || inode.mode.has(Mode::SET_GROUP_ID);
        let is_plain = inode.kind() == FileKind::File && !is_special;
        if !is_plain || !by.may(state, (id, &inode), rights)? {
            return refuse(RefusalKind::NotPermitted, from);
        }
    }
    let place = place(state, by, at, RefusalKind::Exists)?;
    if place.entry.is_some() {
        return refuse(RefusalKind::Exists, at);
    }
    require_entry_rights(state, by, (place.dir, &place.dir_inode), at)?;
    charges::linked(state, by, place.dir, (id, &mut inode), at)?;
    inode.changed = now;
    rows::put(state, INODES, &id, &inode)?;
    give_name(state, now, &place, at, id)?;
    let attr = inode::require(state, id)?.attr(id);
    Ok(Changed {
        attr: Some(attr),
        ..Changed::default()
    })
}
