//! Housekeeping: the work that time, or commands too large to finish at once, have made due.
//!
//! The leader proposes it when [`is_due`] says so; each command does a bounded part. Trimming
//! and concatenations come first, because writers may wait for them.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::accounts::sessions;
use super::chunks::{concat, extents, grant};
use super::counters::{self, counting};
use super::members::{decisions, secrets};
use super::namespace::purge::{self, Budget};
use super::namespace::trash;
use crate::types::Timestamp;

/// Whether there is anything to do at a log time: always in a state that is not founded yet.
///
/// # Errors
/// The state cannot be read.
pub fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    Ok(!counters::is_founded(state)?
        || extents::is_due(state)?
        || concat::is_due(state)?
        || counting::is_due(state)?
        || sessions::is_due(state, now)?
        || trash::is_due(state, now)?
        || purge::is_due(state)?
        || grant::is_due(state, now)?
        || decisions::is_due(state, now)?
        || secrets::is_due(state, now)?)
}

/// Does a bounded part of it.
pub(crate) fn step(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let mut budget = Budget::housekeeping();
    secrets::drop_former(state, now)?;
    extents::trim(state, now, &mut budget)?;
    concat::settle(state, &mut budget)?;
    counting::step(state, &mut budget)?;
    sessions::expire(state, now, &mut budget)?;
    trash::expire(state, now, &mut budget)?;
    grant::expire(state, now, &mut budget)?;
    decisions::end_rests(state, now, &mut budget)?;
    decisions::forget_departed(state, &mut budget)?;
    purge::step(state, now, &mut budget)
}
