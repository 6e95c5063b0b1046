//! Write grants: chunk ids and the data nodes to write to. No log entry is needed for one.
//!
//! The ids come from a range that this leader set aside, so no other leader hands them out, even
//! if this one has been deposed and does not know it yet.

use std::sync::Arc;

use super::leader::{Leading, room};
use super::planners::placement::{PlacementError, Wish, place};
use super::shared::{Shared, unexpected};
use crate::env::Random;
use crate::meta::{Command, Reply};
use crate::proto::error::RpcError;
use crate::proto::metadata::{GrantRequest, GrantedChunk, NodeAddress, WriteGrant};
use crate::types::limits::{CHUNK_SIZE_MAX, CHUNKS_PER_GRANT_MAX, NODES_AVOIDED_MAX, REPLICAS_MAX};
use crate::types::{ChunkId, NodeId, Permit, Refusal, RefusalKind, StripeShape, Timestamp};

/// Data nodes to turn to when one of the chosen fails.
const SPARES: usize = 3;

/// Answers a writer.
pub(crate) async fn grant(
    shared: &Arc<Shared>,
    request: &GrantRequest,
) -> Result<WriteGrant, RpcError> {
    validate(request)?;
    // What is written could not be committed.
    room::require(shared)?;
    let now = shared.now();
    let ids = match take(shared, request.chunks, now)? {
        Some(ids) => ids,
        None => {
            reserve(shared, request.chunks).await?;
            take(shared, request.chunks, now)?.ok_or_else(|| {
                RpcError::Unavailable("no chunk ids are left, try again".to_owned())
            })?
        }
    };
    let (ids, expires) = ids;
    let random = Arc::clone(&shared.env.random);
    let granted = shared.leading(|leading| choose(leading, request, ids, expires, &*random))?;
    let low = shared.leading(|leading| leading.ids.len())?;
    if low < u64::from(shared.config.chunk_ids_per_range) / 2 {
        // Ahead of need, so that no writer waits for it. Should it fail, the next one does.
        let shared = Arc::clone(shared);
        tokio::spawn(async move { reserve(&shared, 1).await.err() });
    }
    granted
}

fn validate(request: &GrantRequest) -> Result<(), Refusal> {
    let invalid = |what: String| Err(Refusal::new(RefusalKind::Invalid, what));
    if !(1..=CHUNKS_PER_GRANT_MAX).contains(&request.chunks) {
        return invalid(format!("{} chunks in a grant", request.chunks));
    }
    if !(1..=CHUNK_SIZE_MAX).contains(&request.chunk_size) {
        return invalid(format!("chunks of {} bytes", request.chunk_size));
    }
    let (replicas, min) = (request.replicas.0, request.replicas_min.0);
    if !(1..=REPLICAS_MAX).contains(&replicas) || !(1..=replicas).contains(&min) {
        return invalid(format!("{replicas} copies, at least {min}"));
    }
    if request.avoid.len() > NODES_AVOIDED_MAX {
        return invalid(format!("{} nodes to avoid", request.avoid.len()));
    }
    if let Some(shape) = request.stripe {
        if let Err(error) = shape.validate() {
            return invalid(error.to_string());
        }
        let chunks = usize::try_from(request.chunks).unwrap_or(usize::MAX);
        if chunks != shape.members() || replicas != 1 {
            return invalid(format!(
                "a stripe of {shape} in {chunks} chunks, {replicas} copies"
            ));
        }
    }
    Ok(())
}

fn take(
    shared: &Shared,
    count: u32,
    now: Timestamp,
) -> Result<Option<(Vec<ChunkId>, Timestamp)>, RpcError> {
    shared.leading(|leading| leading.ids.take(count, now))
}

/// Sets a range of chunk ids aside, unless someone else just did.
pub(crate) async fn reserve(shared: &Shared, need: u32) -> Result<(), RpcError> {
    let before = shared.leading(|leading| leading.ids.len())?;
    let _one_at_a_time = shared.reserving.lock().await;
    let (term, left) = shared.leading(|leading| (leading.term, leading.ids.len()))?;
    if left > before && left >= u64::from(need) {
        return Ok(());
    }
    let count = shared.config.chunk_ids_per_range.max(need);
    match shared
        .propose(Command::ReserveChunkIds { count })
        .await?
        .value
    {
        Reply::ChunkIds(range) => {
            let range = range?;
            shared.leading(|leading| {
                if leading.term == term {
                    leading.ids.add(range);
                }
            })
        }
        other => Err(unexpected(&other)),
    }
}

fn choose(
    leading: &mut Leading,
    request: &GrantRequest,
    ids: Vec<ChunkId>,
    expires: Timestamp,
    random: &dyn Random,
) -> Result<WriteGrant, RpcError> {
    let (chunks, used) = match request.stripe {
        Some(shape) => choose_for_stripe(leading, request, shape, ids, random)?,
        None => choose_for_chunks(leading, request, ids, random)?,
    };
    let wish = Wish {
        replicas: SPARES,
        replicas_min: 1,
        bytes: request.chunk_size,
        beside: &used,
        avoid: &request.avoid,
    };
    // A grant without spares is good as well.
    let spares = place(&leading.view, wish, &mut |bound| random.below(bound)).unwrap_or_default();
    Ok(WriteGrant {
        chunks,
        spares: addresses(leading, &spares),
        expires,
        permit: Permit::default(),
    })
}

/// Chunks to write, and the nodes that are to get them.
type Chosen = (Vec<GrantedChunk>, Vec<NodeId>);

/// Each member goes to a node of its own. There may be fewer nodes than members, as long as one
/// of them can be lost: then parity lacks.
fn choose_for_stripe(
    leading: &mut Leading,
    request: &GrantRequest,
    shape: StripeShape,
    ids: Vec<ChunkId>,
    random: &dyn Random,
) -> Result<Chosen, RpcError> {
    let wish = Wish {
        replicas: shape.members(),
        replicas_min: shape.data() + 1,
        bytes: request.chunk_size,
        beside: &[],
        avoid: &request.avoid,
    };
    let nodes = place(&leading.view, wish, &mut |bound| random.below(bound))?;
    for &node in &nodes {
        leading.view.pledge(node, request.chunk_size);
    }
    let mut places = addresses(leading, &nodes).into_iter();
    let grant = |chunk| GrantedChunk {
        chunk,
        pipeline: places.next().into_iter().collect(),
    };
    Ok((ids.into_iter().map(grant).collect(), nodes))
}

fn choose_for_chunks(
    leading: &mut Leading,
    request: &GrantRequest,
    ids: Vec<ChunkId>,
    random: &dyn Random,
) -> Result<Chosen, RpcError> {
    let mut chunks = Vec::new();
    let mut used: Vec<NodeId> = Vec::new();
    for chunk in ids {
        let wish = Wish {
            replicas: usize::from(request.replicas.0),
            replicas_min: usize::from(request.replicas_min.0),
            bytes: request.chunk_size,
            beside: &[],
            avoid: &request.avoid,
        };
        let nodes = place(&leading.view, wish, &mut |bound| random.below(bound))?;
        for &node in &nodes {
            leading.view.pledge(node, request.chunk_size);
        }
        let pipeline = addresses(leading, &nodes);
        used.extend(nodes);
        chunks.push(GrantedChunk { chunk, pipeline });
    }
    Ok((chunks, used))
}

fn addresses(leading: &Leading, nodes: &[NodeId]) -> Vec<NodeAddress> {
    let known = nodes.iter().filter_map(|&node| leading.view.node(node));
    known.map(|node| node.address()).collect()
}

impl From<PlacementError> for RpcError {
    fn from(error: PlacementError) -> RpcError {
        match error {
            PlacementError::TooFewNodes { .. } => RpcError::Unavailable(error.to_string()),
            PlacementError::OutOfSpace { .. } => RpcError::OutOfSpace(error.to_string()),
        }
    }
}
