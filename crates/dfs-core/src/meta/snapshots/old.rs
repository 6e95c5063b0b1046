//! Old rows: what INODES, DIRENTS, EXTENTS and ACLS had at a key when a snapshot was made.
//!
//! ```text
//! OLD      table | key of the row | 00 | number   -> the row, or that there was none
//! OLD_OF   number | table | key of the row        -> ()
//! ```
//!
//! A zero ends the key of a row, because names vary in length and have none in them: so old rows
//! come in the order of the rows that they are of, each row's by number.

use bytes::Bytes;
use dfs_raft::Fatal;
use dfs_raft::state::{Key, ReadState, StateTxn, Value};
use serde::{Deserialize, Serialize};

use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::chunks::references;
use crate::meta::tables::{ACLS, DIRENTS, EXTENTS, INODES, OLD, OLD_OF};
use crate::planted::{self, Bug};
use crate::types::{ChunkId, InodeId, SnapshotId};

/// The tables that snapshots have rows of, in the order of their old rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    Inodes,
    Dirents,
    Extents,
    Acls,
}

impl Which {
    const ALL: [Which; 4] = [Which::Inodes, Which::Dirents, Which::Extents, Which::Acls];

    /// The one at a place of the state's tables.
    pub(crate) fn at(index: usize) -> Option<Which> {
        Which::ALL.into_iter().find(|which| which.index() == index)
    }

    /// Its place among the state's tables.
    pub(crate) fn index(self) -> usize {
        match self {
            Which::Inodes => INODES.index(),
            Which::Dirents => DIRENTS.index(),
            Which::Extents => EXTENTS.index(),
            Which::Acls => ACLS.index(),
        }
    }
}

impl Key for Which {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Which, Fatal> {
        let which = u8::decode(bytes)?;
        let found = Which::ALL.get(usize::from(which)).copied();
        found.ok_or_else(|| Fatal::new(format!("{which} is no table that snapshots have rows of")))
    }
}

/// A row of one of these tables, by its key there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) which: Which,
    pub(crate) key: Vec<u8>,
}

impl Row {
    /// Whose row it is: an inode, or the directory that a name is in.
    pub(crate) fn owner(&self) -> Result<InodeId, Fatal> {
        InodeId::decode(&mut self.key.as_slice())
    }

    /// The key of its old row of a snapshot.
    pub(crate) fn at(&self, number: SnapshotId) -> OldKey {
        let row = self.clone();
        OldKey { row, number }
    }
}

impl Key for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        self.which.encode(out);
        out.extend_from_slice(&self.key);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Row, Fatal> {
        let which = Which::decode(bytes)?;
        let key = std::mem::take(bytes).to_vec();
        Ok(Row { which, key })
    }
}

/// A key of OLD.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OldKey {
    pub(crate) row: Row,
    pub(crate) number: SnapshotId,
}

impl Key for OldKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.row.encode(out);
        out.push(0);
        Key::encode(&self.number, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<OldKey, Fatal> {
        let damaged = || Fatal::new("the key of an old row is too short");
        let (rest, number) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
        let mut row = match rest.split_last() {
            Some((0, row)) => row,
            _ => return Err(damaged()),
        };
        *bytes = &[];
        Ok(OldKey {
            row: Row::decode(&mut row)?,
            number: SnapshotId(u64::from_be_bytes(*number)),
        })
    }
}

/// A key of OLD_OF.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OldOf {
    pub(crate) number: SnapshotId,
    pub(crate) row: Row,
}

impl Key for OldOf {
    fn encode(&self, out: &mut Vec<u8>) {
        Key::encode(&self.number, out);
        self.row.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<OldOf, Fatal> {
        let number = <SnapshotId as Key>::decode(bytes)?;
        let row = Row::decode(bytes)?;
        Ok(OldOf { number, row })
    }
}

/// A row of OLD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Old {
    /// The row as it is stored in its table; none if there was none.
    pub(crate) row: Option<Bytes>,
}

dfs_raft::postcard_values!(1: Old);

/// The old row of a row with the greatest number, of those below `below`.
pub(crate) fn last(
    state: &impl ReadState,
    row: &Row,
    below: SnapshotId,
) -> Result<Option<(SnapshotId, Old)>, Fatal> {
    let range = row.at(SnapshotId(0))..row.at(below);
    let found = state.scan_back(OLD, range)?.next().transpose()?;
    Ok(found.map(|(key, old)| (key.number, old)))
}

/// Whether a snapshot may see an inode, or something that it was.
pub(crate) fn has_inode(state: &impl ReadState, id: InodeId) -> Result<bool, Fatal> {
    let (which, key) = (Which::Inodes, id.to_bytes());
    Ok(last(state, &Row { which, key }, SnapshotId(u64::MAX))?.is_some())
}

/// The chunk that an old row names.
pub(crate) fn chunk_of(row: &Row, old: &Old) -> Result<Option<ChunkId>, Fatal> {
    Ok(match (row.which, &old.row) {
        (Which::Extents, Some(bytes)) => match Extent::from_bytes(bytes)?.source {
            Source::Chunk { chunk, .. } => Some(chunk),
            Source::Inline(_) => None,
        },
        _ => None,
    })
}

/// As what an old extent of a file has its chunk, beside the file itself: who may write to the file
/// must not get back into it what only a snapshot has.
pub(crate) fn holder(file: InodeId) -> InodeId {
    file.within(SnapshotId::LIST)
}

/// Keeps a row for a snapshot as it is. An extent that is kept names its chunk like any other.
pub(crate) fn keep(state: &mut StateTxn<'_>, row: &Row, number: SnapshotId) -> Result<(), Fatal> {
    let now = state.get_raw(row.which.index(), &row.key)?;
    let old = Old {
        row: now.map(Bytes::from),
    };
    if let Some(chunk) = chunk_of(row, &old)?
        && !planted::active(Bug::SnapshotLosesReference)
    {
        references::acquire(state, holder(row.owner()?), chunk)?;
    }
    put(state, row, number, &old)
}

/// Stores an old row.
pub(crate) fn put(
    state: &mut StateTxn<'_>,
    row: &Row,
    number: SnapshotId,
    old: &Old,
) -> Result<(), Fatal> {
    state.put(OLD, &row.at(number), old)?;
    let row = row.clone();
    state.put(OLD_OF, &OldOf { number, row }, &())
}

/// Removes an old row. What it names is the caller's.
pub(crate) fn remove(state: &mut StateTxn<'_>, row: &Row, number: SnapshotId) -> Result<(), Fatal> {
    state.remove(OLD, &row.at(number))?;
    let row = row.clone();
    state.remove(OLD_OF, &OldOf { number, row })
}
