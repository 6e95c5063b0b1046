//! What lets clients and data nodes at replicas: signed here, verified by data nodes without
//! asking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::master::shared::Shared;
use crate::proto::error::RpcError;
use crate::proto::metadata::NodeAddress;
use crate::security::capability::{Capability, Holder, Operation};
use crate::types::query::{Layout, LayoutSource};
use crate::types::{ChunkId, NodeId, Permit, StripeLayout};

/// How long a permit is good for: for a stream to begin, however long it takes.
pub(crate) const PERMIT_TTL: Duration = Duration::from_secs(15 * 60);
/// Runs of chunks, and data nodes, that the permit of a layout names: every request carries it.
const RUNS_MAX: usize = 64;
const NODES_MAX: usize = 256;

/// Signs a permit; an empty one in a cluster without security.
pub(crate) async fn permit<'a>(
    shared: &Shared,
    (holder, operation): (Holder, Operation),
    chunks: impl IntoIterator<Item = ChunkId>,
    nodes: impl IntoIterator<Item = NodeId>,
    onward: impl IntoIterator<Item = &'a NodeAddress>,
) -> Result<Permit, RpcError> {
    if shared.config.security.is_insecure() {
        return Ok(Permit::default());
    }
    let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
    let (number, key) = shared.keys.signing(shared).await?;
    let mut capability = Capability {
        cluster,
        holder,
        operation,
        chunks: runs(chunks),
        nodes: set(nodes),
        onward: Vec::new(),
        expires: shared.now().saturating_add(PERMIT_TTL),
    };
    let places = onward.into_iter();
    let places = places.map(|node| capability.place(&node.to_string()));
    capability.onward = set(places);
    let signed = capability.sign((number, &key));
    let signed = signed.map_err(|e| RpcError::Internal(e.to_string()))?;
    Ok(Permit(signed.into()))
}

fn set<T: Ord>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let all: BTreeSet<T> = all.into_iter().collect();
    all.into_iter().collect()
}

/// Adds to a layout the permit to read it. One of too many chunks or data nodes is cut before
/// them.
pub(crate) async fn permit_layout(
    shared: &Shared,
    holder: Holder,
    layout: &mut Layout,
) -> Result<(), RpcError> {
    cut(layout);
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
    for member in layout.stripes.iter().flat_map(|stripe| &stripe.members) {
        chunks.push(member.chunk);
        nodes.extend_from_slice(&member.replicas);
    }
    chunks.sort_unstable();
    chunks.dedup();
    if !chunks.is_empty() {
        let what = (holder, Operation::Read);
        layout.permit = permit(shared, what, chunks, nodes, []).await?;
    }
    Ok(())
}

/// Leaves of a layout what one permit can name, the other members of stripes included.
fn cut(layout: &mut Layout) {
    let (mut named, mut nodes) = (Named::default(), BTreeSet::new());
    let of_stripe = |stripe: &StripeLayout| {
        let members = stripe.members.iter().map(|member| member.chunk);
        members.collect::<Vec<_>>()
    };
    let stripes: BTreeMap<ChunkId, usize> = (0..)
        .zip(&layout.stripes)
        .flat_map(|(index, stripe)| of_stripe(stripe).into_iter().map(move |c| (c, index)))
        .collect();
    let mut kept = 0;
    let mut fits = |source: &LayoutSource| {
        if let LayoutSource::Chunk {
            chunk, replicas, ..
        } = source
        {
            let index = stripes.get(chunk).copied();
            if let Some(stripe) = index.and_then(|index| layout.stripes.get(index)) {
                for member in &stripe.members {
                    named.add(member.chunk);
                    nodes.extend(member.replicas.iter().copied());
                }
            }
            named.add(*chunk);
            nodes.extend(replicas.iter().copied());
            if named.runs <= RUNS_MAX && nodes.len() <= NODES_MAX {
                kept = kept.max(index.map_or(0, |index| index + 1));
            }
        }
        named.runs <= RUNS_MAX && nodes.len() <= NODES_MAX
    };
    let beyond = layout
        .extents
        .iter()
        .position(|extent| !fits(&extent.source));
    if let Some(beyond) = beyond {
        layout.extents.truncate(beyond);
        // Each is there because of the first extent that is of it.
        layout.stripes.truncate(kept);
        layout.more = true;
    }
}

/// Chunks that a permit names, and how many runs they are.
#[derive(Debug, Default)]
struct Named {
    chunks: BTreeSet<ChunkId>,
    runs: usize,
}

impl Named {
    fn add(&mut self, chunk: ChunkId) {
        if !self.chunks.insert(chunk) {
            return;
        }
        let before = chunk.0.checked_sub(1).map(ChunkId);
        let after = chunk.0.checked_add(1).map(ChunkId);
        let is_in = |other: Option<ChunkId>| other.is_some_and(|o| self.chunks.contains(&o));
        match (is_in(before), is_in(after)) {
            (true, true) => self.runs -= 1,
            (false, false) => self.runs += 1,
            _ => {}
        }
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
    use crate::env::SeededRandom;
    use crate::security::KeyPair;
    use crate::security::capability::Place;
    use crate::types::limits::{CHUNKS_PER_GRANT_MAX, REPLICAS_MAX};
    use crate::types::query::LayoutExtent;
    use crate::types::{
        Attr, ClusterId, FileKind, GroupId, InodeId, Mode, Policy, Timestamp, UserId,
    };

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

    /// A file of chunks, each of a byte and on three data nodes.
    fn layout(chunks: impl Iterator<Item = (u64, [u32; 3])>) -> Layout {
        let extent = |(offset, (chunk, replicas)): (usize, (u64, [u32; 3]))| LayoutExtent {
            offset: offset as u64,
            length: 1,
            source: LayoutSource::Chunk {
                chunk: ChunkId(chunk),
                offset: 0,
                length: 1,
                replicas: replicas.map(NodeId).to_vec(),
            },
        };
        let none = Timestamp(0);
        Layout {
            attr: Attr {
                handle: None,
                inode: InodeId(2),
                kind: FileKind::File,
                mode: Mode::FILE,
                owner: UserId::ROOT,
                group: GroupId::ADMIN,
                size: 4096,
                links: 1,
                accessed: none,
                modified: none,
                changed: none,
                created: none,
                policy: Policy::DEFAULT,
                revision: 1,
                inline_bytes: 0,
            },
            extents: chunks.enumerate().map(extent).collect(),
            more: false,
            permit: Permit::default(),
            stripes: Vec::new(),
        }
    }

    #[test]
    fn a_layout_is_cut_before_the_chunk_that_a_permit_cannot_name() {
        let cut = |mut layout: Layout| {
            super::cut(&mut layout);
            (layout.extents.len(), layout.more)
        };
        let (runs, nodes) = (RUNS_MAX as u64, NODES_MAX as u32);
        // One run on few data nodes, however long.
        assert_eq!(
            cut(layout((0..4096).map(|n| (n, [1, 2, 3])))),
            (4096, false)
        );
        let apart = |n: u64| (n * 2, [1, 2, 3]);
        assert_eq!(cut(layout((0..runs).map(apart))), (RUNS_MAX, false));
        assert_eq!(cut(layout((0..=runs).map(apart))), (RUNS_MAX, true));
        let far = |n: u32| (u64::from(n), [1, 2, n]);
        let most = (3..=nodes).map(far);
        assert_eq!(cut(layout(most)), (NODES_MAX - 2, false));
        let beyond = (3..=nodes + 9).map(far);
        assert_eq!(cut(layout(beyond)), (NODES_MAX - 2, true));
    }

    #[test]
    fn a_permit_for_the_largest_grant_or_layout_can_be_signed() {
        let key = KeyPair::generate(&SeededRandom::new(1)).unwrap();
        let of_grant = (CHUNKS_PER_GRANT_MAX + 1) * u32::from(REPLICAS_MAX);
        let nodes = of_grant.max(NODES_MAX as u32);
        let runs = (CHUNKS_PER_GRANT_MAX as usize).max(RUNS_MAX) as u64;
        let capability = Capability {
            cluster: ClusterId(u128::MAX),
            holder: Holder::Client([0xff; 32]),
            operation: Operation::Write,
            chunks: (0..runs)
                .map(|n| (ChunkId(u64::MAX - n), u64::MAX))
                .collect(),
            nodes: (0..nodes).map(|n| NodeId(u32::MAX - n)).collect(),
            onward: vec![Place([0xff; 8]); of_grant as usize],
            expires: Timestamp(u64::MAX),
        };
        assert!(capability.sign((u32::MAX, &key)).is_ok());
    }
}
