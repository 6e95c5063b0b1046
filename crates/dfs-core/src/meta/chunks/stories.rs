//! What the map says of chunks, for whoever asks how they are. The leader adds what it sees.

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::{references, stripes};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::nodes;
use crate::meta::query;
use crate::types::query::{Layout, LayoutSource};
use crate::types::story::{
    ChunkStory, Doing, Explained, MemberStory, ReplicaState, ReplicaStory, StripeStory,
};
use crate::types::{ChunkId, NodeId, RefusalKind, StripeId};

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
    let chunks = ids.into_iter().map(|id| begin(state, id));
    let chunks = chunks.collect::<Result<_, _>>()?;
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
    let chunks = query::chunks_of_node(state, node, after, limit)?;
    let chunks = chunks.into_iter().map(|id| begin(state, id));
    Ok(chunks.collect::<Result<_, _>>()?)
}

fn begin(state: &impl ReadState, id: ChunkId) -> Result<ChunkStory, Fatal> {
    let chunk = references::require(state, id)?;
    let membership = chunk.stripe;
    let stripe = membership.map(|of| begin_stripe(state, id, of.stripe));
    Ok(ChunkStory {
        chunk: id,
        length: chunk.length,
        target: chunk.target,
        replicas: begin_replicas(&chunk.replicas),
        doing: Doing::default(),
        stripe: stripe.transpose()?,
    })
}

fn begin_stripe(
    state: &impl ReadState,
    of: ChunkId,
    stripe: StripeId,
) -> Result<StripeStory, Fatal> {
    let layout = stripes::layout(state, stripe)?;
    let others = layout.members.iter().filter(|member| member.chunk != of);
    let others = others.map(|member| MemberStory {
        chunk: member.chunk,
        replicas: begin_replicas(&member.replicas),
    });
    Ok(StripeStory {
        stripe,
        shape: layout.shape,
        others: others.collect(),
    })
}

fn begin_replicas(nodes: &[NodeId]) -> Vec<ReplicaStory> {
    let unseen = |&node| ReplicaStory {
        node,
        state: ReplicaState::Unconfirmed,
    };
    nodes.iter().map(unseen).collect()
}
