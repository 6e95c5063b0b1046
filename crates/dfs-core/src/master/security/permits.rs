//! What lets clients and data nodes at replicas: signed here, verified by data nodes without
//! asking.

use std::time::Duration;

use crate::master::shared::Shared;
use crate::proto::error::RpcError;
use crate::security::capability::{Capability, Holder, Operation};
use crate::types::query::{Layout, LayoutSource};
use crate::types::{ChunkId, NodeId, Permit};

/// How long a permit is good for: for a stream to begin, however long it takes.
pub(crate) const PERMIT_TTL: Duration = Duration::from_secs(15 * 60);
/// Runs of chunks that one permit names: every request carries it.
const RUNS_MAX: usize = 64;

/// Signs a permit; an empty one in a cluster without security.
pub(crate) async fn permit(
    shared: &Shared,
    (holder, operation): (Holder, Operation),
    chunks: impl IntoIterator<Item = ChunkId>,
    nodes: impl IntoIterator<Item = NodeId>,
) -> Result<Permit, RpcError> {
    if shared.config.security.is_insecure() {
        return Ok(Permit::default());
    }
    let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
    let (number, key) = shared.keys.signing(shared).await?;
    let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
    nodes.sort_unstable();
    nodes.dedup();
    let capability = Capability {
        cluster,
        holder,
        operation,
        chunks: runs(chunks),
        nodes,
        expires: shared.now().saturating_add(PERMIT_TTL),
    };
    let signed = capability.sign((number, &key));
    let signed = signed.map_err(|e| RpcError::Internal(e.to_string()))?;
    Ok(Permit(signed.into()))
}

/// Adds to a layout the permit to read it. One that names too many chunks is cut before them.
pub(crate) async fn permit_layout(
    shared: &Shared,
    holder: Holder,
    layout: &mut Layout,
) -> Result<(), RpcError> {
    cut(layout, RUNS_MAX);
    let (mut chunks, mut nodes) = (Vec::new(), Vec::new());
    for extent in &layout.extents {
        if let LayoutSource::Chunk {
            chunk, replicas, ..
        } = &extent.source
        {
            chunks.push(*chunk);
            nodes.extend_from_slice(replicas);
        }
    }
    if !chunks.is_empty() {
        let what = (holder, Operation::Read);
        layout.permit = permit(shared, what, chunks, nodes).await?;
    }
    Ok(())
}

/// Leaves of a layout what is in so many runs of chunks.
fn cut(layout: &mut Layout, runs_max: usize) {
    let (mut runs, mut last) = (0, None);
    let mut fits = |source: &LayoutSource| {
        if let LayoutSource::Chunk { chunk, .. } = source {
            runs += usize::from(!follows(last, *chunk));
            last = Some(*chunk);
        }
        runs <= runs_max
    };
    let beyond = layout
        .extents
        .iter()
        .position(|extent| !fits(&extent.source));
    if let Some(beyond) = beyond {
        layout.extents.truncate(beyond);
        layout.more = true;
    }
}

/// Whether a chunk is in the run that ends with another.
fn follows(last: Option<ChunkId>, chunk: ChunkId) -> bool {
    last.is_some_and(|last| chunk == last || Some(chunk.0) == last.0.checked_add(1))
}

/// Chunks as runs: the first of each and how many.
fn runs(chunks: impl IntoIterator<Item = ChunkId>) -> Vec<(ChunkId, u64)> {
    let mut runs: Vec<(ChunkId, u64)> = Vec::new();
    let mut last = None;
    for chunk in chunks {
        match runs.last_mut() {
            Some((first, count)) if follows(last, chunk) => {
                *count = chunk.0.saturating_sub(first.0).saturating_add(1);
            }
            _ => runs.push((chunk, 1)),
        }
        last = Some(chunk);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_one_after_the_other_are_one_run() {
        let run = |ids: &[u64]| {
            let runs = runs(ids.iter().copied().map(ChunkId)).into_iter();
            runs.map(|(first, count)| (first.0, count))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(&[]), []);
        assert_eq!(run(&[5, 6, 7, 7, 9, 8]), [(5, 3), (9, 1), (8, 1)]);
        assert_eq!(run(&[u64::MAX, u64::MAX, 0]), [(u64::MAX, 1), (0, 1)]);
    }
}
