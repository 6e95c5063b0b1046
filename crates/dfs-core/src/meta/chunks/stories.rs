//! What the map says of chunks, for whoever asks how they are. The leader adds what it sees.

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::references::{self, Chunk};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::nodes;
use crate::meta::query;
use crate::types::query::{Layout, LayoutSource};
use crate::types::story::{ChunkStory, Doing, Explained, ReplicaState, ReplicaStory};
use crate::types::{ChunkId, NodeId, RefusalKind};

/// The chunks of a layout, and the other members of their stripes.
pub(crate) fn explain(state: &impl ReadState, layout: Layout) -> Result<Explained, Fatal> {
    let sources = layout
        .extents
        .iter()
        .filter_map(|extent| match extent.source {
            LayoutSource::Chunk { chunk, .. } => Some(chunk),
            LayoutSource::Inline(_) => None,
        });
    let members = layout.stripes.iter().flat_map(|stripe| &stripe.members);
    let members = members.map(|member| member.chunk);
    let mut ids: Vec<ChunkId> = sources.chain(members).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut chunks = Vec::new();
    for id in ids {
        chunks.push(begin(id, references::require(state, id)?));
    }
    Ok(Explained { layout, chunks })
}

/// The next chunks after one that a data node is meant to have.
pub(crate) fn of_node(
    state: &impl ReadState,
    by: &Subject,
    node: NodeId,
    after: Option<ChunkId>,
    limit: usize,
) -> Result<Vec<ChunkStory>, Stop> {
    by.require_administrator()?;
    if !nodes::is_registered(state, node)? {
        return refuse(RefusalKind::NotFound, format!("data node {node}"));
    }
    let mut chunks = Vec::new();
    for id in query::chunks_of_node(state, node, after, limit)? {
        chunks.push(begin(id, references::require(state, id)?));
    }
    Ok(chunks)
}

fn begin(id: ChunkId, chunk: Chunk) -> ChunkStory {
    let replicas = chunk.replicas.into_iter().map(|node| ReplicaStory {
        node,
        state: ReplicaState::Unconfirmed,
    });
    ChunkStory {
        chunk: id,
        length: chunk.length,
        target: chunk.target,
        replicas: replicas.collect(),
        doing: Doing::default(),
    }
}
