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

use std::collections::BTreeMap;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::references::{Chunk, require};
use super::stripes;
use crate::meta::snapshots::{rows, seen};
use crate::meta::tables::{CHUNKS, EXTENTS, INODES, SHARES};
use crate::types::{ChunkId, InodeId, SnapshotId, StripeId};

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

/// Most files of a chunk that are looked at: where there are so many, one is taken to stay.
const SHARERS_MAX: usize = 64;

/// Who but a file has something that is part of it. As long as anybody does, what is put in the
/// place of it is one more copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Others {
    /// Nobody: what is replaced is freed.
    #[default]
    Nobody,
    /// Snapshots of the directory that the file is in, or was: they go some day.
    Snapshots,
    /// Another file, which may stay as long.
    Files,
}

/// Who but a file has a chunk that it is part of. A chunk of `SEVERAL` may be of one alone by now.
fn others(
    state: &impl ReadState,
    inode: InodeId,
    (id, chunk): (ChunkId, &Chunk),
) -> Result<Others, Fatal> {
    if chunk.inode == inode {
        return Ok(Others::Nobody);
    }
    let mut found = Others::Nobody;
    for (before, row) in state.scan_prefix(SHARES, &id)?.enumerate() {
        let ((_, file), _) = row?;
        if file == inode {
            continue;
        }
        found = Others::Snapshots;
        if file.snapshot().is_some() {
            // These come last.
            break;
        }
        // What is left of a file that is gone is left for a snapshot, or about to go.
        if before >= SHARERS_MAX || state.get(INODES, &file)?.is_some() {
            return Ok(Others::Files);
        }
    }
    Ok(found)
}

/// Who else has what a page of extents leads to: each file and each stripe is looked up once.
#[derive(Debug, Default)]
pub struct KnownOthers {
    /// The last file, and the newest snapshot that sees it.
    file: Option<(InodeId, Option<SnapshotId>)>,
    stripes: BTreeMap<(InodeId, StripeId), Others>,
}

impl KnownOthers {
    /// Who but a file has what its extent at `offset` names. A member of a stripe goes with all of
    /// its stripe, so that others have it who have any of that.
    ///
    /// # Errors
    /// The state cannot be read, or is damaged.
    pub fn of(
        &mut self,
        state: &impl ReadState,
        (inode, offset): (InodeId, u64),
        (id, chunk): (ChunkId, &Chunk),
    ) -> Result<Others, Fatal> {
        let found = match chunk.stripe {
            None => others(state, inode, (id, chunk))?,
            Some(member) => self.of_stripe(state, inode, member.stripe)?,
        };
        let seen = match self.newest(state, inode)? {
            Some(newest) => rows::is_as_seen(state, EXTENTS, &(inode, offset), newest)?,
            None => false,
        };
        Ok(match seen {
            true => found.max(Others::Snapshots),
            false => found,
        })
    }

    fn of_stripe(
        &mut self,
        state: &impl ReadState,
        inode: InodeId,
        id: StripeId,
    ) -> Result<Others, Fatal> {
        if let Some(known) = self.stripes.get(&(inode, id)) {
            return Ok(*known);
        }
        let mut found = Others::Nobody;
        let stripe = stripes::require(state, id)?;
        for (member, _) in stripe.members.iter().take(stripe.shape.data()) {
            let row = require(state, *member)?;
            if row.extents() > 0 {
                found = found.max(others(state, inode, (*member, &row))?);
            }
        }
        self.stripes.insert((inode, id), found);
        Ok(found)
    }

    fn newest(
        &mut self,
        state: &impl ReadState,
        inode: InodeId,
    ) -> Result<Option<SnapshotId>, Fatal> {
        if let Some((known, newest)) = self.file
            && known == inode
        {
            return Ok(newest);
        }
        let (newest, _) = seen::look(state, inode)?;
        self.file = Some((inode, newest));
        Ok(newest)
    }
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
