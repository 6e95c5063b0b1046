//! Chunk ids and pipelines for a file being written, fetched some ahead.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::metadata::{GrantRequest, GrantedChunk, NodeAddress, WriteGrant};
use crate::types::limits::{CHUNKS_PER_GRANT_MAX, NODES_AVOIDED_MAX};
use crate::types::{ChunkId, NodeId, Permit, Policy, ReplicationTarget, StripeShape};

/// Grants are asked for so many chunks at a time where the length is not known.
const GRANT_CHUNKS: u32 = 4;
/// A grant is not used after this: it must still be good when the chunk is committed.
const GRANT_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long masters may look for data nodes other than those that failed.
const AVOID_DEADLINE: Duration = Duration::from_secs(3);

/// Where a chunk goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) chunk: ChunkId,
    pub(super) pipeline: Vec<NodeAddress>,
    /// What lets us write it there.
    pub(super) permit: Permit,
}

/// Where the members of a stripe go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StripeGrant {
    /// Data, then parity.
    pub(super) chunks: Vec<ChunkId>,
    /// The data node of each; none if there are too few.
    pub(super) nodes: Vec<Option<NodeAddress>>,
    /// Data nodes to turn to when one of them fails.
    pub(super) spares: Vec<NodeAddress>,
    /// What lets us write them there.
    pub(super) permit: Permit,
}

/// Grants of one file.
#[derive(Debug)]
pub(super) struct Grants {
    client: Client,
    policy: Policy,
    stock: tokio::sync::Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    granted: VecDeque<GrantedChunk>,
    spares: Vec<NodeAddress>,
    permit: Permit,
    since: Option<Instant>,
    /// Chunks that will be needed, as far as known.
    expected: u64,
}

impl Grants {
    pub(super) fn new(client: Client, policy: Policy) -> Grants {
        Grants {
            client,
            policy,
            stock: tokio::sync::Mutex::default(),
        }
    }

    /// Says how many chunks are still to come.
    pub(super) async fn expect(&self, chunks: u64) {
        self.stock.lock().await.expected = chunks;
    }

    /// A chunk id that was never used, and data nodes that did not fail lately if there are
    /// enough of them.
    ///
    /// # Errors
    /// `Unavailable`, `OutOfSpace`.
    pub(super) async fn next(&self) -> Result<Assignment> {
        let mut stock = self.stock.lock().await;
        let old = |since: Instant| since.elapsed() >= GRANT_AGE_MAX;
        if stock.since.is_none_or(old) {
            stock.granted.clear();
        }
        let is_suspect = |node| self.client.inner.nodes.is_suspect(node);
        while let Some(granted) = stock.granted.pop_front() {
            let pipeline = reform(&granted.pipeline, &stock.spares, is_suspect, &self.policy);
            if let Some(pipeline) = pipeline {
                return Ok(self.assign(&mut stock, granted.chunk, pipeline));
            }
        }
        let grant = self.ask(stock.expected).await?;
        self.client.inner.nodes.learn(&grant.spares);
        for granted in &grant.chunks {
            self.client.inner.nodes.learn(&granted.pipeline);
        }
        stock.granted = grant.chunks.into();
        stock.spares = grant.spares;
        stock.permit = grant.permit;
        stock.since = Some(Instant::now());
        let Some(granted) = stock.granted.pop_front() else {
            let message = "a master granted no chunk";
            return Err(Error::new(ErrorKind::Internal, message));
        };
        // If even a new grant has nodes that failed lately, there are no others.
        let pipeline = reform(&granted.pipeline, &stock.spares, is_suspect, &self.policy)
            .unwrap_or(granted.pipeline);
        Ok(self.assign(&mut stock, granted.chunk, pipeline))
    }

    /// Uses no more of what was granted with this permit, which data nodes do not take: the time of
    /// the masters may have jumped. The next chunk is asked for anew.
    pub(super) async fn void(&self, permit: &Permit) {
        let mut stock = self.stock.lock().await;
        if stock.permit == *permit {
            stock.granted.clear();
        }
    }

    fn assign(&self, stock: &mut Stock, chunk: ChunkId, pipeline: Vec<NodeAddress>) -> Assignment {
        stock.expected = stock.expected.saturating_sub(1);
        Assignment {
            chunk,
            pipeline,
            permit: stock.permit.clone(),
        }
    }

    async fn ask(&self, expected: u64) -> Result<WriteGrant> {
        let chunks = match u32::try_from(expected) {
            Ok(0) => GRANT_CHUNKS,
            Ok(expected) => expected.min(CHUNKS_PER_GRANT_MAX),
            Err(_) => CHUNKS_PER_GRANT_MAX,
        };
        self.request(GrantRequest {
            chunks,
            chunk_size: self.policy.chunk_size,
            replicas: self.policy.replicas,
            replicas_min: self.policy.replicas_min,
            avoid: Vec::new(),
            stripe: None,
        })
        .await
    }

    /// Ids for the members of a stripe, and as many data nodes as there are: those that failed
    /// lately for parity, if there are no others.
    ///
    /// # Errors
    /// `Unavailable`, `OutOfSpace`.
    pub(super) async fn stripe(&self, shape: StripeShape, bytes: u64) -> Result<StripeGrant> {
        let grant = self
            .request(GrantRequest {
                chunks: u32::try_from(shape.members()).unwrap_or(u32::MAX),
                chunk_size: bytes,
                replicas: ReplicationTarget(1),
                replicas_min: ReplicationTarget(1),
                avoid: Vec::new(),
                stripe: Some(shape),
            })
            .await?;
        if grant.chunks.len() != shape.members() {
            let message = format!("a master granted {} chunks for {shape}", grant.chunks.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let known = &self.client.inner.nodes;
        known.learn(&grant.spares);
        let pipelines = grant.chunks.iter().flat_map(|granted| &granted.pipeline);
        let mut nodes: Vec<NodeAddress> = pipelines.cloned().collect();
        known.learn(&nodes);
        nodes.sort_by_key(|node| known.is_suspect(node.node));
        let places = nodes.into_iter().map(Some).chain(std::iter::repeat(None));
        Ok(StripeGrant {
            chunks: grant.chunks.iter().map(|granted| granted.chunk).collect(),
            nodes: places.take(shape.members()).collect(),
            spares: grant.spares,
            permit: grant.permit,
        })
    }

    /// Asks for data nodes that did not fail lately, and if there are too few for any.
    async fn request(&self, mut request: GrantRequest) -> Result<WriteGrant> {
        request.avoid = self.client.inner.nodes.suspects();
        request.avoid.truncate(NODES_AVOIDED_MAX);
        let metadata = &self.client.inner.metadata;
        if !request.avoid.is_empty() {
            match metadata.grant(request.clone(), AVOID_DEADLINE).await {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Unavailable { .. } | ErrorKind::OutOfSpace
                    ) => {}
                other => return other,
            }
            request.avoid.clear();
        }
        let deadline = self.client.config().deadlines.operation;
        metadata.grant(request, deadline).await
    }
}

/// The pipeline without nodes that failed, with spares in their place. None if it would be too
/// short for what the policy insists on.
fn reform(
    granted: &[NodeAddress],
    spares: &[NodeAddress],
    is_suspect: impl Fn(NodeId) -> bool,
    policy: &Policy,
) -> Option<Vec<NodeAddress>> {
    let mut pipeline: Vec<NodeAddress> = Vec::new();
    let wanted = granted.len().max(usize::from(policy.replicas.0));
    for node in granted.iter().chain(spares) {
        let known = pipeline.iter().any(|n| n.node == node.node);
        if pipeline.len() < wanted && !known && !is_suspect(node.node) {
            pipeline.push(node.clone());
        }
    }
    (pipeline.len() >= usize::from(policy.replicas_min.0)).then_some(pipeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::types::NodeKey;

    fn nodes(ids: &[u32]) -> Vec<NodeAddress> {
        let node = |id: &u32| NodeAddress {
            node: NodeId(*id),
            key: NodeKey(0),
            address: format!("n{id}:1"),
        };
        ids.iter().map(node).collect()
    }

    #[test]
    fn a_spare_takes_the_place_of_a_node_that_failed() {
        let reformed = |spares: &[u32], bad: &[u32]| {
            let is_bad = |node: NodeId| bad.contains(&node.0);
            let (granted, spares) = (nodes(&[1, 2, 3]), nodes(spares));
            reform(&granted, &spares, is_bad, &Policy::DEFAULT)
        };
        assert_eq!(reformed(&[4], &[]), Some(nodes(&[1, 2, 3])));
        assert_eq!(reformed(&[4, 5], &[2]), Some(nodes(&[1, 3, 4])));
        assert_eq!(reformed(&[3, 2], &[2]), Some(nodes(&[1, 3])));
        assert_eq!(reformed(&[], &[1, 2]), None);
    }
}
