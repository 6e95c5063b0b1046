//! Which files a chunk is part of, where it is part of several.
//!
//! A commit may name a chunk only if it is part of the file that is written to: else whoever may
//! write anything could read everything. Mostly a chunk is of one file, which its row names. A
//! clone makes it one of several:
//!
//! ```text
//! c5 of i7          ──clone──▶   c5 of SEVERAL    (c5, i7) -> 2 extents    (c5, i9) -> 2 extents
//! ```
//!
//! From then on SHARES has a row for each of its files, whose sum is the chunk's extents. When
//! a file has taken over all of them by concatenation, the chunk is that file's alone again.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::references::{Chunk, require};
use crate::meta::tables::{CHUNKS, SHARES};
use crate::types::{ChunkId, InodeId};

/// In the place of a chunk's file: SHARES says which ones have it. No inode has this id.
pub(crate) const SEVERAL: InodeId = InodeId(0);

/// Whether a chunk is part of a file.
pub(crate) fn has(
    state: &impl ReadState,
    inode: InodeId,
    id: ChunkId,
    chunk: &Chunk,
) -> Result<bool, Fatal> {
    let is_shared = chunk.inode == SEVERAL;
    Ok(chunk.inode == inode || is_shared && state.get(SHARES, &(id, inode))?.is_some())
}

/// Counts an extent of a file that comes to name a chunk. Its row, which the caller stores, still
/// has the references from before.
pub(super) fn add(
    state: &mut StateTxn<'_>,
    inode: InodeId,
    id: ChunkId,
    chunk: &mut Chunk,
) -> Result<(), Fatal> {
    if chunk.inode == inode {
        return Ok(());
    }
    if chunk.inode != SEVERAL {
        state.put(SHARES, &(id, chunk.inode), &u64::from(chunk.extents()))?;
        chunk.inode = SEVERAL;
    }
    let count = state.get(SHARES, &(id, inode))?.unwrap_or(0);
    state.put(SHARES, &(id, inode), &(count + 1))
}

/// Counts off an extent of a file that names a chunk no more.
pub(super) fn subtract(
    state: &mut StateTxn<'_>,
    inode: InodeId,
    id: ChunkId,
    chunk: &Chunk,
) -> Result<(), Fatal> {
    if chunk.inode == inode {
        return Ok(());
    }
    match state.get(SHARES, &(id, inode))? {
        Some(count) if chunk.inode == SEVERAL && count > 1 => {
            state.put(SHARES, &(id, inode), &(count - 1))
        }
        Some(_) if chunk.inode == SEVERAL => state.remove(SHARES, &(id, inode)),
        _ => Err(Fatal::new(format!("{id} is no part of {inode}"))),
    }
}

/// Makes an extent of one file that names a chunk one of another. Gives the number of rows
/// changed.
pub(super) fn hand_over(
    state: &mut StateTxn<'_>,
    id: ChunkId,
    (from, to): (InodeId, InodeId),
) -> Result<usize, Fatal> {
    let mut chunk = require(state, id)?;
    if chunk.inode == from && chunk.extents() == 1 {
        chunk.inode = to;
        state.put(CHUNKS, &id, &chunk)?;
        return Ok(1);
    }
    add(state, to, id, &mut chunk)?;
    subtract(state, from, id, &chunk)?;
    if state.get(SHARES, &(id, to))? == Some(u64::from(chunk.extents())) {
        state.remove(SHARES, &(id, to))?;
        chunk.inode = to;
    }
    state.put(CHUNKS, &id, &chunk)?;
    Ok(3)
}
