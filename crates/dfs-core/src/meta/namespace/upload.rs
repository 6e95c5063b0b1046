//! Uploads: files without a name yet, each of one session, for writes of many commits.
//!
//! An upload is invisible: no name leads to it, and its inode is found only by its session. It
//! gets its name with the commit that publishes it, or goes with its session.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::create::{new_inode, place_of_upload};
use super::inode::{self, Body, Inode};
use super::purge::{Budget, remove_inode};
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::rows;
use crate::meta::tables::{INODES, UPLOADS};
use crate::types::{Changed, ClientId, InodeId, Location, NewAttr, RefusalKind, Timestamp};

/// Begins an upload.
pub(crate) fn begin(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (client, by): (ClientId, &Subject),
    at: &Location,
    attr: &NewAttr,
) -> Result<Changed, Stop> {
    let place = place_of_upload(state, by, at)?;
    let body = Body::EMPTY_FILE;
    let (mut inode, inherited) = new_inode(state, now, by, (&place, at), attr, body)?;
    let id = inode::next_id(state)?;
    inherited.store(state, id, &mut inode)?;
    charges::begun(state, by, place.dir, &mut inode)?;
    rows::put(state, INODES, &id, &inode)?;
    state.put(UPLOADS, &(client, id), &())?;
    Ok(Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    })
}

/// The inode of a session's upload.
pub(crate) fn require(
    state: &impl ReadState,
    client: ClientId,
    id: InodeId,
) -> Result<Inode, Stop> {
    if state.get(UPLOADS, &(client, id))?.is_none() {
        return refuse(RefusalKind::NotFound, format!("upload {id}"));
    }
    Ok(inode::require(state, id)?)
}

/// Forgets that a file is an upload, because it gets a name.
pub(crate) fn forget(state: &mut StateTxn<'_>, client: ClientId, id: InodeId) -> Result<(), Fatal> {
    state.remove(UPLOADS, &(client, id))
}

/// Gives up an upload.
pub(crate) fn abandon(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    client: ClientId,
    id: InodeId,
) -> Result<Changed, Stop> {
    let inode = require(state, client, id)?;
    forget(state, client, id)?;
    remove_inode(state, now, id, inode, &mut Budget::aside())?;
    Ok(Changed::default())
}

/// Gives up all uploads of a session, as far as the budget goes.
pub(crate) fn abandon_all(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    client: ClientId,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent() {
        let first = state.scan_prefix(UPLOADS, &client)?.next().transpose()?;
        let Some(((_, id), ())) = first else {
            return Ok(());
        };
        forget(state, client, id)?;
        let inode = inode::require(state, id)?;
        remove_inode(state, now, id, inode, budget)?;
        budget.spend(1);
    }
    Ok(())
}
