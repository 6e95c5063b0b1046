//! Hard links: another name for a file or symbolic link.

use dfs_raft::state::StateTxn;

use super::create::give_name;
use super::inode;
use super::resolve::{existing, place};
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::INODES;
use crate::types::limits::LINKS_MAX;
use crate::types::{Changed, FileKind, Location, RefusalKind, Timestamp};

/// Gives a file another name. A symbolic link is linked itself, not what it leads to.
pub(crate) fn link(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    from: &Location,
    at: &Location,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, from, false)?;
    if inode.kind() == FileKind::Directory {
        return refuse(RefusalKind::IsADirectory, from);
    }
    if inode.links >= LINKS_MAX {
        return refuse(RefusalKind::TooManyLinks, from);
    }
    let place = place(state, at, RefusalKind::Exists)?;
    if place.entry.is_some() {
        return refuse(RefusalKind::Exists, at);
    }
    inode.changed = now;
    state.put(INODES, &id, &inode)?;
    give_name(state, now, &place, at, id)?;
    let attr = inode::require(state, id)?.attr(id);
    Ok(Changed {
        attr: Some(attr),
        ..Changed::default()
    })
}
