//! Chunks and how many extents name them.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::grant::range_of;
use super::stripes::{self, Membership};
use super::{reclaim, replicas, shares};
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::decisions::count_width;
use crate::meta::tables::{CHUNKS, Meta, SPENT};
use crate::types::{ChunkId, InodeId, NodeId, RefusalKind, ReplicationTarget, Timestamp};

/// A row of CHUNKS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The file it is part of; `SEVERAL` if SHARES says which ones.
    pub inode: InodeId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of all its bytes.
    pub checksum: u32,
    /// Extents that name it, and one more if it is a member of a stripe.
    pub references: u32,
    /// Replicas wanted: what the file's policy said when it was committed.
    pub target: ReplicationTarget,
    /// The data nodes meant to have a replica, each once. None only if it is a member of a stripe,
    /// to be made from the others.
    pub replicas: Vec<NodeId>,
    /// The stripe that it is a member of.
    pub stripe: Option<Membership>,
}

dfs_raft::postcard_values!(2: Chunk);

impl Chunk {
    /// Extents that name it.
    pub fn extents(&self) -> u32 {
        let held = u32::from(self.stripe.is_some());
        self.references.saturating_sub(held)
    }
}

/// A chunk that another row leads to.
///
/// # Errors
/// It is missing: the state is damaged.
pub(crate) fn require(state: &impl ReadState, chunk: ChunkId) -> Result<Chunk, Fatal> {
    state
        .get(CHUNKS, &chunk)?
        .ok_or_else(|| Fatal::new(format!("{chunk} is referred to and does not exist")))
}

/// Adds a chunk that no extent names yet.
pub(crate) fn insert(state: &mut StateTxn<'_>, id: ChunkId, chunk: &Chunk) -> Result<(), Fatal> {
    state.put(CHUNKS, &id, chunk)?;
    for node in &chunk.replicas {
        replicas::list(state, *node, id, chunk.length)?;
    }
    count_width(state, chunk.target.0.into(), |chunks| chunks.checked_add(1))?;
    counters::add(state, Meta::Chunks, 1)?;
    counters::add(state, Meta::ChunkBytes, chunk.length)
}

/// Most references that files may add; what is left up to the end of all numbers is for what
/// snapshots keep of these, which cannot be refused.
const REFERENCES_MAX: u32 = u32::MAX / 2;

/// Refuses a chunk that as many extents name as may.
pub(crate) fn require_room(id: ChunkId, chunk: &Chunk) -> Result<(), Stop> {
    match chunk.references < REFERENCES_MAX {
        true => Ok(()),
        false => refuse(RefusalKind::TooLarge, format!("{id} with more extents")),
    }
}

/// Notes one more extent of a file that names a chunk, which has room for it.
pub(crate) fn acquire(state: &mut StateTxn<'_>, inode: InodeId, id: ChunkId) -> Result<(), Fatal> {
    let mut chunk = require(state, id)?;
    shares::add(state, inode, id, &mut chunk)?;
    if let Some(membership) = chunk.stripe
        && chunk.extents() == 0
    {
        stripes::revive(state, membership.stripe)?;
    }
    chunk.references = chunk
        .references
        .checked_add(1)
        .ok_or_else(|| Fatal::new(format!("{id} has too many references")))?;
    state.put(CHUNKS, &id, &chunk)
}

/// Notes one extent less of a file that names a chunk. With the last the chunk is gone, or with the
/// last of all chunks of its stripe. Gives the number of rows changed.
pub(crate) fn release(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    id: ChunkId,
) -> Result<usize, Fatal> {
    let mut chunk = require(state, id)?;
    shares::subtract(state, inode, id, &chunk)?;
    if chunk.references > 1 {
        chunk.references -= 1;
        state.put(CHUNKS, &id, &chunk)?;
        return match chunk.stripe {
            Some(membership) if chunk.extents() == 0 => {
                Ok(1 + stripes::bereave(state, now, membership.stripe)?)
            }
            _ => Ok(1),
        };
    }
    remove(state, now, id, &chunk)
}

/// Removes a chunk; its replicas wait for the grace to end. Gives the number of rows changed.
pub(crate) fn remove(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    id: ChunkId,
    chunk: &Chunk,
) -> Result<usize, Fatal> {
    state.remove(CHUNKS, &id)?;
    for node in &chunk.replicas {
        replicas::unlist(state, *node, id, chunk.length)?;
        reclaim::queue(state, now, id, *node)?;
    }
    if range_of(state, id)?.is_some() {
        // Its range would still let it be committed once more.
        state.put(SPENT, &id, &())?;
    }
    count_width(state, chunk.target.0.into(), |chunks| chunks.checked_sub(1))?;
    counters::subtract(state, Meta::Chunks, 1)?;
    counters::subtract(state, Meta::ChunkBytes, chunk.length)?;
    Ok(2 + 3 * chunk.replicas.len())
}
