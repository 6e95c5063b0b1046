//! What the leader reads of the map of chunks and data nodes.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::rewrites::{self, Cursor, FilePage};
use crate::master::planners::Intended;
use crate::master::view::NodeRow;
use crate::meta::query::KnownStripes;
use crate::meta::{Chunk, query};
use crate::types::{ChunkId, NodeId, Timestamp};

/// Chunks in one page.
const PAGE: usize = 1024;

/// A row of the map, with the stripe that the chunk is a member of.
pub(super) fn intended(
    state: &impl ReadState,
    stripes: &mut KnownStripes,
    chunk: Chunk,
) -> Result<Intended, Fatal> {
    Ok(Intended {
        stripe: stripes.of(state, &chunk)?,
        length: chunk.length,
        checksum: chunk.checksum,
        target: chunk.target,
        replicas: chunk.replicas,
    })
}

/// Which chunks there are, and who is meant to have replicas of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkMap {
    /// Every chunk that a file refers to.
    pub chunks: BTreeMap<ChunkId, Intended>,
    /// Replicas that wait for their deletion.
    pub given_up: BTreeSet<(ChunkId, NodeId)>,
    /// Ids that a write grant may have named and a file may still come to have, but for those
    /// that are [`spent`](ChunkMap::spent): each from the first on, without the second.
    pub granted: Vec<(ChunkId, ChunkId)>,
    /// Ids among them whose chunk is gone: no file can have it again.
    pub spent: BTreeSet<ChunkId>,
}

impl ChunkMap {
    /// Whether no file refers to this chunk yet, and one may still come to.
    pub fn may_come(&self, chunk: ChunkId) -> bool {
        let mut granted = self.granted.iter();
        let is_granted = granted.any(|(from, to)| (*from..*to).contains(&chunk));
        is_granted && !self.spent.contains(&chunk) && !self.chunks.contains_key(&chunk)
    }
}

/// Reads the whole map, as it is at a log time.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn whole(state: &impl ReadState, now: Timestamp) -> Result<ChunkMap, Fatal> {
    let mut map = ChunkMap {
        given_up: query::given_up(state)?.into_iter().collect(),
        granted: query::open_ranges(state, now)?,
        spent: query::spent(state)?.into_iter().collect(),
        ..ChunkMap::default()
    };
    let mut after = None;
    loop {
        let page = page(state, after)?;
        let Some((last, _)) = page.last() else {
            return Ok(map);
        };
        after = Some(*last);
        map.chunks.extend(page);
    }
}

/// All data nodes.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn nodes(state: &impl ReadState) -> Result<Vec<NodeRow>, Fatal> {
    let mut rows = Vec::new();
    for (node, row) in query::nodes(state)? {
        let load = query::node_load(state, node)?;
        rows.push(NodeRow {
            node,
            key: row.key,
            address: row.address,
            topology: row.topology,
            admin: row.admin,
            epoch: row.epoch,
            space: row.space,
            replicas: load.replicas,
            bytes: load.bytes,
            rests_until: row.rests_until,
        });
    }
    Ok(rows)
}

/// A chunk, if a file refers to it.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn chunk(state: &impl ReadState, chunk: ChunkId) -> Result<Option<Intended>, Fatal> {
    look_for(state, &mut KnownStripes::default(), chunk)
}

/// The same where stripes are known already.
pub(super) fn look_for(
    state: &impl ReadState,
    stripes: &mut KnownStripes,
    chunk: ChunkId,
) -> Result<Option<Intended>, Fatal> {
    let row = query::chunk(state, chunk)?;
    row.map(|row| intended(state, stripes, row)).transpose()
}

/// The next chunks after an id.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn page(
    state: &impl ReadState,
    after: Option<ChunkId>,
) -> Result<Vec<(ChunkId, Intended)>, Fatal> {
    let mut stripes = KnownStripes::default();
    let rows = query::chunks_page(state, after, PAGE)?;
    let rows = rows.into_iter();
    let rows = rows.map(|(id, chunk)| Ok((id, intended(state, &mut stripes, chunk)?)));
    rows.collect()
}

/// What a tick wants to know of the map.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Chunks by id.
    pub(crate) chunks: BTreeSet<ChunkId>,
    /// Chunks of nodes, after an id.
    pub(crate) ranges: BTreeMap<NodeId, Option<ChunkId>>,
    /// Part of the pass over all chunks, after an id.
    pub(crate) pass: Option<Option<ChunkId>>,
    /// Chunks of a node that is too full, after an id, and how many.
    pub(crate) too_full: Option<(NodeId, Option<ChunkId>, usize)>,
    /// Most rows of a range or a pass.
    pub(crate) rows: usize,
    /// Nodes that can delete, and after which replica to go on with theirs.
    pub(crate) deleters: BTreeMap<NodeId, Option<(Timestamp, ChunkId)>>,
    /// Most deletions of one node.
    pub(crate) deletions: usize,
    /// Copies that may wait for their deletion.
    pub(crate) copies: BTreeSet<(ChunkId, NodeId)>,
    /// A page of the extents of all files, from one on.
    pub(crate) files: Option<Option<Cursor>>,
    /// Most extents of it.
    pub(crate) extents: usize,
}

/// What the map says.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// All data nodes.
    pub(crate) nodes: Vec<NodeRow>,
    /// Every chunk asked for, found or not.
    pub(crate) chunks: BTreeMap<ChunkId, Option<Intended>>,
    /// How far the ranges were read; none is to the end.
    pub(crate) ranges: BTreeMap<NodeId, Option<ChunkId>>,
    /// How far the pass was read; none is to the end.
    pub(crate) pass: Option<Option<ChunkId>>,
    /// The chunks of the node that is too full.
    pub(crate) too_full: Option<(NodeId, Vec<ChunkId>)>,
    /// Replicas to delete, and whether their chunk is still part of a file.
    pub(crate) due: Vec<(ChunkId, NodeId, bool)>,
    /// How far the deletions of nodes were read; none is to the end.
    pub(crate) deleters: BTreeMap<NodeId, Option<(Timestamp, ChunkId)>>,
    /// Every copy asked about, and whether it waits for its deletion.
    pub(crate) copies: BTreeMap<(ChunkId, NodeId), bool>,
    /// The page of extents asked for.
    pub(crate) files: Option<FilePage>,
    /// Whether time or earlier commands have made work due.
    pub(crate) housekeeping: bool,
    /// Whether there should be a new signing key.
    pub(crate) signing_key_is_old: bool,
}

/// Looks up what a tick wants to know.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn look_up(
    state: &impl ReadState,
    now: Timestamp,
    question: Question,
) -> Result<Answers, Fatal> {
    let mut answers = Answers {
        nodes: nodes(state)?,
        housekeeping: query::housekeeping_due(state, now)?,
        signing_key_is_old: query::is_signing_key_old(state, now)?,
        ..Answers::default()
    };
    let stripes = &mut KnownStripes::default();
    for id in question.chunks {
        answers.chunks.insert(id, look_for(state, stripes, id)?);
    }
    for (node, after) in question.ranges {
        let ids = query::chunks_of_node(state, node, after, question.rows)?;
        let more = ids.len() >= question.rows;
        answers
            .ranges
            .insert(node, ids.last().copied().filter(|_| more));
        for id in ids {
            answers.chunks.insert(id, look_for(state, stripes, id)?);
        }
    }
    if let Some(after) = question.pass {
        let rows = query::chunks_page(state, after, question.rows)?;
        let more = rows.len() >= question.rows;
        answers.pass = Some(rows.last().map(|(id, _)| *id).filter(|_| more));
        for (id, chunk) in rows {
            let chunk = intended(state, stripes, chunk)?;
            answers.chunks.insert(id, Some(chunk));
        }
    }
    if let Some((node, after, limit)) = question.too_full {
        let ids = query::chunks_of_node(state, node, after, limit)?;
        for &id in &ids {
            answers.chunks.insert(id, chunk(state, id)?);
        }
        answers.too_full = Some((node, ids));
    }
    for (node, after) in question.deleters {
        let all = query::reclaim_due(state, node, after, now, question.deletions)?;
        let more = all.len() >= question.deletions;
        let last = all.last().map(|due| (due.since, due.chunk));
        answers.deleters.insert(node, last.filter(|_| more));
        for due in all {
            answers.due.push((due.chunk, node, due.live));
            if due.live {
                let chunk = look_for(state, stripes, due.chunk)?;
                answers.chunks.insert(due.chunk, chunk);
            }
        }
    }
    for (chunk, node) in question.copies {
        let queued = query::is_reclaimed(state, chunk, node)?;
        answers.copies.insert((chunk, node), queued);
    }
    if let Some(from) = question.files {
        answers.files = Some(rewrites::read_page(state, from, question.extents)?);
    }
    Ok(answers)
}
