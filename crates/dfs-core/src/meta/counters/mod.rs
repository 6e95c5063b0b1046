//! Counting: the numbers in META, which are the version of the format, the next ids and the
//! totals; and what directories hold, and may hold.

pub(crate) mod charges;
pub(crate) mod counting;
pub(crate) mod quota;
pub(crate) mod uses;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use crate::meta::accounts;
use crate::meta::namespace::inode::{Body, Directory, Inode};
use crate::meta::snapshots::rows;
use crate::meta::tables::{INODES, META, Meta};
use crate::types::{GroupId, InodeId, Mode, Policy, Timestamp, UserId};

/// The version of the tables as a whole. One more whenever older programs must not open them.
const FORMAT: u64 = 3;
/// The same when there ever was a snapshot of a directory: programs that know nothing of them would
/// not keep what one sees.
pub(crate) const FORMAT_WITH_SNAPSHOTS: u64 = 4;

/// Makes an empty file system of an empty state.
///
/// # Errors
/// The state was written in another format, or cannot be read.
pub(crate) fn found(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    match state.get(META, &Meta::Format)? {
        Some(FORMAT | FORMAT_WITH_SNAPSHOTS) => return Ok(()),
        Some(other) => {
            return Err(Fatal::new(format!(
                "the metadata is stored in format {other}, this program knows {FORMAT} and \
                 {FORMAT_WITH_SNAPSHOTS}"
            )));
        }
        None => {}
    }
    let root = Inode {
        mode: Mode::DIRECTORY,
        owner: UserId::ROOT,
        group: GroupId::ADMIN,
        has_acl: false,
        links: 1,
        accessed: now,
        modified: now,
        changed: now,
        created: now,
        policy: Policy::DEFAULT,
        revision: 0,
        body: Body::Directory(Directory::default()),
        charged: None,
    };
    rows::put(state, INODES, &InodeId::ROOT, &root)?;
    state.put(META, &Meta::Format, &FORMAT)?;
    state.put(META, &Meta::NextInode, &(InodeId::ROOT.0 + 1))?;
    for next in [
        Meta::NextChunk,
        Meta::NextNode,
        Meta::NextClient,
        Meta::NextTrash,
        Meta::NextToken,
        Meta::NextSigningKey,
    ] {
        state.put(META, &next, &1)?;
    }
    for next in [Meta::NextUser, Meta::NextGroup] {
        state.put(META, &next, &accounts::FIRST_ID)?;
    }
    accounts::found(state, now)?;
    state.put(META, &Meta::Inodes, &1)?;
    state.put(META, &Meta::Chunks, &0)?;
    state.put(META, &Meta::ChunkBytes, &0)
}

/// Whether a command was ever applied.
pub(crate) fn is_founded(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(state.get(META, &Meta::Format)?.is_some())
}

/// A number of META; zero in a state that is not founded yet.
pub(crate) fn number(state: &impl ReadState, which: Meta) -> Result<u64, Fatal> {
    Ok(state.get(META, &which)?.unwrap_or(0))
}

/// Takes `count` ids off a counter and gives the first of them.
pub(crate) fn take(state: &mut StateTxn<'_>, which: Meta, count: u64) -> Result<u64, Fatal> {
    let first = number(state, which)?;
    add(state, which, count)?;
    Ok(first)
}

/// Adds to a number.
pub(crate) fn add(state: &mut StateTxn<'_>, which: Meta, more: u64) -> Result<(), Fatal> {
    let sum = number(state, which)?.checked_add(more);
    let sum = sum.ok_or_else(|| Fatal::new(format!("{which:?} is beyond all numbers")))?;
    state.put(META, &which, &sum)
}

/// Subtracts from a number.
pub(crate) fn subtract(state: &mut StateTxn<'_>, which: Meta, less: u64) -> Result<(), Fatal> {
    let rest = number(state, which)?.checked_sub(less);
    let rest = rest.ok_or_else(|| Fatal::new(format!("{which:?} would go below zero")))?;
    state.put(META, &which, &rest)
}
