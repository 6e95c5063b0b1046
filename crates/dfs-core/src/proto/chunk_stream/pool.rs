//! Connections to data nodes, kept for the next request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::{BoxStream, Env};
use futures::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::Deadlines;
use super::message::{ReadRequest, Request, StreamError, StreamErrorKind, WriteRequest};
use super::reader::ChunkReader;
use super::writer::{BlockWriter, ChunkWriter};
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::NodeAddress;
use crate::security::Peer;
use crate::types::{ByteRange, ChunkId, ClusterId, NodeId, Permit};

/// What a pool may keep and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// How long to wait for data nodes.
    pub deadlines: Deadlines,
    /// Most idle connections kept to one data node.
    pub idle_per_node_max: usize,
    /// Most idle connections kept in all.
    pub idle_max: usize,
    /// An idle connection is closed after this; less than [`Deadlines::idle`] of the nodes.
    pub idle_age_max: Duration,
    /// What is read is for copies that nobody waits for.
    pub gives_way: bool,
}

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig {
            deadlines: Deadlines::default(),
            idle_per_node_max: 4,
            idle_max: 64,
            idle_age_max: Duration::from_secs(30),
            gives_way: false,
        }
    }
}

/// Reads and writes chunks on data nodes of one cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct ChunkPool {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    cluster: ClusterId,
    config: PoolConfig,
    elsewhere: Option<Elsewhere>,
    idle: Mutex<BTreeMap<NodeAddress, Vec<Idle>>>,
}

/// A connection between two requests.
struct Idle {
    stream: BoxStream,
    since: Instant,
}

/// A connection to use for one request.
pub(super) struct Leased {
    pub(super) stream: BoxStream,
    /// Whether it served a request before, so that it may turn out to be dead.
    pub(super) reused: bool,
}

impl ChunkPool {
    /// A pool without connections yet.
    pub fn new(env: Env, cluster: ClusterId, config: PoolConfig) -> ChunkPool {
        ChunkPool::build(env, cluster, config, None)
    }

    /// The same, for whoever knows other places where data nodes may be. They are tried when a
    /// node cannot be reached where it should be.
    pub fn with_elsewhere(
        env: Env,
        cluster: ClusterId,
        config: PoolConfig,
        elsewhere: Elsewhere,
    ) -> ChunkPool {
        ChunkPool::build(env, cluster, config, Some(elsewhere))
    }

    fn build(
        env: Env,
        cluster: ClusterId,
        config: PoolConfig,
        elsewhere: Option<Elsewhere>,
    ) -> ChunkPool {
        let idle = Mutex::default();
        ChunkPool {
            inner: Arc::new(Inner {
                env,
                cluster,
                config,
                elsewhere,
                idle,
            }),
        }
    }

    /// The cluster whose data nodes it talks to.
    pub fn cluster(&self) -> ClusterId {
        self.inner.cluster
    }

    /// How long it waits.
    pub fn deadlines(&self) -> Deadlines {
        self.inner.config.deadlines
    }

    /// Begins to write a chunk of at most `length_max` bytes through the pipeline `targets`.
    ///
    /// # Errors
    /// The head of the pipeline cannot be reached, or there is none. What else goes wrong (no
    /// room, too busy) is an error of [`ChunkWriter::send`] or [`ChunkWriter::finish`].
    pub async fn write(
        &self,
        targets: &[NodeAddress],
        (chunk, permit): (ChunkId, &Permit),
        length_max: u64,
    ) -> Result<ChunkWriter, StreamError> {
        let blocks = self
            .write_blocks(targets, (chunk, permit), length_max)
            .await?;
        Ok(ChunkWriter::new(blocks, length_max))
    }

    /// The same for bytes that have block checksums already.
    ///
    /// # Errors
    /// As [`ChunkPool::write`].
    pub async fn write_blocks(
        &self,
        targets: &[NodeAddress],
        (chunk, permit): (ChunkId, &Permit),
        length_max: u64,
    ) -> Result<BlockWriter, StreamError> {
        let Some((head, forward)) = targets.split_first() else {
            let message = "a pipeline needs a data node";
            return Err(StreamError::new(
                NodeId(0),
                StreamErrorKind::Invalid,
                message,
            ));
        };
        let forward = forward.to_vec();
        let request = Request::Write(WriteRequest {
            node: head.node,
            chunk,
            permit: permit.clone(),
            length_max,
            forward,
        });
        validate(head.node, &request)?;
        let leased = self.lease(head).await?;
        Ok(BlockWriter::start(
            self.clone(),
            head.clone(),
            leased.stream,
            request,
        ))
    }

    /// Begins to read `range` of a chunk from one data node. An empty range asks only what there
    /// is: [`ChunkReader::length`], [`ChunkReader::checksum`].
    ///
    /// # Errors
    /// The node cannot be reached or hangs, has no such replica, or has fewer bytes.
    pub async fn read(
        &self,
        target: &NodeAddress,
        (chunk, permit): (ChunkId, &Permit),
        range: ByteRange,
    ) -> Result<ChunkReader, StreamError> {
        let request = Request::Read(ReadRequest {
            node: target.node,
            chunk,
            permit: permit.clone(),
            range,
            gives_way: self.inner.config.gives_way,
        });
        validate(target.node, &request)?;
        let leased = self.lease(target).await?;
        let reused = leased.reused;
        match ChunkReader::start(self.clone(), target, leased.stream, &request, range).await {
            Err(broken) if reused && broken.is_closed() => {
                self.forget(target);
                let stream = self.connect(target).await?;
                ChunkReader::start(self.clone(), target, stream, &request, range).await
            }
            other => other,
        }
        .map_err(|broken| broken.into_error(target.node))
    }

    /// A connection that is not known to be dead.
    async fn lease(&self, target: &NodeAddress) -> Result<Leased, StreamError> {
        while let Some(mut stream) = self.take_idle(target) {
            // Between requests a node says nothing: what can be read is the end, or nonsense.
            if stream.read_u8().now_or_never().is_none() {
                return Ok(Leased {
                    stream,
                    reused: true,
                });
            }
        }
        let stream = self.connect(target).await?;
        Ok(Leased {
            stream,
            reused: false,
        })
    }

    /// A new connection, to wherever the node may be.
    async fn connect(&self, target: &NodeAddress) -> Result<BoxStream, StreamError> {
        let connected = self.connect_there(target).await;
        let (Err(_), Some(elsewhere)) = (&connected, &self.inner.elsewhere) else {
            return connected;
        };
        let is_other = |place: &NodeAddress| {
            (place.node, place.key) == (target.node, target.key) && place.address != target.address
        };
        for place in elsewhere(target.node).into_iter().filter(is_other) {
            if let Ok(stream) = self.connect_there(&place).await {
                return Ok(stream);
            }
        }
        connected
    }

    async fn connect_there(&self, target: &NodeAddress) -> Result<BoxStream, StreamError> {
        let hello = Hello::new(Service::ChunkStream, Some(self.inner.cluster));
        let network = &*self.inner.env.network;
        let deadline = self.inner.config.deadlines.connect;
        let unreachable =
            |message: String| StreamError::new(target.node, StreamErrorKind::Unreachable, message);
        match hello::call(network, &target.address, hello, deadline).await {
            Ok((_, cluster)) if cluster != Some(self.inner.cluster) => Err(unreachable(format!(
                "{} belongs to cluster {cluster:?}, not to {}",
                target.address, self.inner.cluster
            ))),
            Ok((stream, _)) if !is_target(&stream, target) => Err(unreachable(format!(
                "another node than {} listens at {}",
                target.node, target.address
            ))),
            Ok((stream, _)) => Ok(stream),
            Err(e) => Err(unreachable(format!("{}: {e}", target.address))),
        }
    }

    fn take_idle(&self, target: &NodeAddress) -> Option<BoxStream> {
        let age_max = self.inner.config.idle_age_max;
        let mut all = self
            .inner
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = all.get_mut(target)?;
        idle.retain(|i| i.since.elapsed() <= age_max);
        let newest = idle.pop();
        if idle.is_empty() {
            all.remove(target);
        }
        newest.map(|i| i.stream)
    }

    /// Gives back a connection whose last request is wholly answered.
    pub(super) fn keep(&self, target: &NodeAddress, stream: BoxStream) {
        let config = &self.inner.config;
        let mut all = self
            .inner
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, idle| {
            idle.retain(|i| i.since.elapsed() <= config.idle_age_max);
            !idle.is_empty()
        });
        if all.values().map(Vec::len).sum::<usize>() >= config.idle_max {
            return;
        }
        let idle = all.entry(target.clone()).or_default();
        if idle.len() < config.idle_per_node_max {
            idle.push(Idle {
                stream,
                since: Instant::now(),
            });
        }
    }

    /// Closes the idle connections to a node that failed: they fail too.
    pub(super) fn forget(&self, target: &NodeAddress) {
        self.inner
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(target);
    }
}

/// Finds other places where a data node may be.
pub type Elsewhere = Box<dyn Fn(NodeId) -> Vec<NodeAddress> + Send + Sync>;

/// Whether who listens has the papers of the node that is meant; anybody has, where nobody shows
/// papers.
pub(crate) fn is_target(stream: &BoxStream, target: &NodeAddress) -> bool {
    let shown = stream.identity();
    shown.is_none_or(|identity| {
        let peer = identity.parse::<Peer>().ok();
        peer.and_then(|peer| peer.node)
            .is_some_and(|shown| shown.node == target.key)
    })
}

fn validate(node: NodeId, request: &Request) -> Result<(), StreamError> {
    request
        .validate()
        .map_err(|why| StreamError::new(node, StreamErrorKind::Invalid, why))
}

impl fmt::Debug for ChunkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkPool")
            .field("cluster", &self.inner.cluster)
            .finish_non_exhaustive()
    }
}
