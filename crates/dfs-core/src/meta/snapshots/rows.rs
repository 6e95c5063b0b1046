//! Writing rows of INODES, DIRENTS, EXTENTS and ACLS. Nobody writes them but by this: what a
//! snapshot sees of a row is kept before it is another.

use dfs_raft::Fatal;
use dfs_raft::state::{Key, ReadState, StateTxn, Table, Value};

use super::old::{self, Old, Row, Which};
use super::{newest, seen};
use crate::types::{InodeId, Name, SnapshotId};

/// A key of one of these tables.
pub(crate) trait Owned: Key {
    /// Whose row it is: an inode, or the directory that a name is in.
    fn owner(&self) -> InodeId;
}

impl Owned for InodeId {
    fn owner(&self) -> InodeId {
        *self
    }
}

impl Owned for (InodeId, Name) {
    fn owner(&self) -> InodeId {
        self.0
    }
}

impl Owned for (InodeId, u64) {
    fn owner(&self) -> InodeId {
        self.0
    }
}

/// Sets the value at a key.
pub(crate) fn put<K: Owned, V: Value>(
    state: &mut StateTxn<'_>,
    table: Table<K, V>,
    key: &K,
    value: &V,
) -> Result<(), Fatal> {
    keep(state, table, key)?;
    state.put(table, key, value)
}

/// Removes a key; a missing one is no error.
pub(crate) fn remove<K: Owned, V: Value>(
    state: &mut StateTxn<'_>,
    table: Table<K, V>,
    key: &K,
) -> Result<(), Fatal> {
    if state.get_raw(table.index(), &key.to_bytes())?.is_none() {
        return Ok(());
    }
    let kept = keep(state, table, key)?;
    state.remove(table, key)?;
    // What was not there for a snapshot, and is not there again, needs no row to say so.
    if let Some((row, number, Old { row: None })) = kept {
        old::remove(state, &row, number)?;
    }
    Ok(())
}

/// Keeps the row at a key for the newest snapshot that sees it, unless that was done. Gives the
/// last old row there is of it, if a snapshot may see it.
fn keep<K: Owned, V: Value>(
    state: &mut StateTxn<'_>,
    table: Table<K, V>,
    key: &K,
) -> Result<Option<(Row, SnapshotId, Old)>, Fatal> {
    let owner = key.owner();
    let Some((newest, snapshot)) = newest(state)? else {
        return Ok(None);
    };
    if owner >= snapshot.next_inode {
        return Ok(None);
    }
    let Some(which) = Which::at(table.index()) else {
        return Err(Fatal::new(format!("no snapshot has rows of {table:?}")));
    };
    let key = key.to_bytes();
    let row = Row { which, key };
    let last = old::last(state, &row, SnapshotId(u64::MAX))?;
    let is_kept = |number| last.as_ref().is_some_and(|(last, _)| *last >= number);
    if !is_kept(newest)
        && let Some(number) = seen::by(state, owner)?
        && !is_kept(number)
    {
        old::keep(state, &row, number)?;
        return Ok(None);
    }
    Ok(last.map(|(number, old)| (row, number, old)))
}

/// Whether a row is as the newest snapshot that sees whose it is does: then it is kept when it
/// comes to be another.
pub(crate) fn is_as_seen<K: Owned, V: Value>(
    state: &impl ReadState,
    table: Table<K, V>,
    key: &K,
    newest: SnapshotId,
) -> Result<bool, Fatal> {
    let Some(which) = Which::at(table.index()) else {
        return Err(Fatal::new(format!("no snapshot has rows of {table:?}")));
    };
    let key = key.to_bytes();
    let last = old::last(state, &Row { which, key }, SnapshotId(u64::MAX))?;
    Ok(last.is_none_or(|(last, _)| last < newest))
}
