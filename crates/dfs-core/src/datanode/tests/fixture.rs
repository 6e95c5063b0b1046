//! A master, data nodes in temporary directories, and a client's pool.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::master::FakeMaster;
use crate::datanode::store::Reserve;
use crate::datanode::{DataNode, DataNodeConfig};
use crate::env::{Env, OpenMode};
use crate::node::Security;
use crate::proto::chunk_stream::{
    ChunkPool, Deadlines, PoolConfig, Stored, StreamError, StreamErrorKind,
};
use crate::proto::metadata::NodeAddress;
use crate::types::{ByteRange, ChunkId, ClusterId, NodeId, NodeKey, Permit};

pub(super) const CLUSTER: ClusterId = ClusterId(0xc1);

/// Deadlines short enough to wait for.
pub(super) fn deadlines() -> Deadlines {
    Deadlines {
        silence: Duration::from_millis(600),
        ..Deadlines::default()
    }
}

/// Settings of a node on a disk that is never full.
pub(super) fn config(directory: &Path, masters: &[&FakeMaster]) -> DataNodeConfig {
    let masters = masters.iter().map(|m| m.address.clone()).collect();
    let mut config = DataNodeConfig::new(directory, masters);
    config.security = Security::Insecure;
    config.store.initialize = true;
    config.store.reserve = Reserve {
        bytes: 0,
        percent: 0,
    };
    config.deadlines = deadlines();
    config
}

pub(super) fn pool() -> ChunkPool {
    let config = PoolConfig {
        deadlines: deadlines(),
        ..PoolConfig::default()
    };
    ChunkPool::new(Env::real(), CLUSTER, config)
}

pub(super) struct Cluster {
    pub(super) master: FakeMaster,
    pub(super) nodes: Vec<DataNode>,
    pub(super) pool: ChunkPool,
    pub(super) directories: TempDir,
}

impl Cluster {
    pub(super) async fn start(nodes: usize) -> Cluster {
        let mut cluster = Cluster {
            master: FakeMaster::start(CLUSTER).await,
            nodes: Vec::new(),
            pool: pool(),
            directories: tempfile::tempdir().unwrap(),
        };
        for _ in 0..nodes {
            cluster.add(|_| {}).await;
        }
        cluster
    }

    /// Adds a node whose settings `change` has changed.
    pub(super) async fn add(&mut self, change: impl FnOnce(&mut DataNodeConfig)) -> NodeAddress {
        let mut config = config(&self.directory(self.nodes.len()), &[&self.master]);
        change(&mut config);
        let node = DataNode::start(config, Env::real()).await.unwrap();
        node.joined().await.unwrap();
        self.nodes.push(node);
        self.address(self.nodes.len() - 1)
    }

    pub(super) fn directory(&self, index: usize) -> PathBuf {
        self.directories.path().join(format!("n{index}"))
    }

    pub(super) fn address(&self, index: usize) -> NodeAddress {
        let node = &self.nodes[index];
        NodeAddress {
            node: node.node_id().unwrap(),
            key: NodeKey(0),
            address: node.address().to_owned(),
        }
    }

    pub(super) fn addresses(&self) -> Vec<NodeAddress> {
        (0..self.nodes.len()).map(|i| self.address(i)).collect()
    }
}

/// Bytes that differ from block to block and chunk to chunk.
pub(super) fn bytes(chunk: ChunkId, length: usize) -> Bytes {
    let mut all = Vec::with_capacity(length + 8);
    let mut state = chunk.0 | 1 << 63;
    while all.len() < length {
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all.into()
}

pub(super) async fn write(
    pool: &ChunkPool,
    targets: &[NodeAddress],
    chunk: ChunkId,
    bytes: &Bytes,
) -> Result<Stored, StreamError> {
    let mut writer = pool
        .write(targets, (chunk, &Permit::default()), bytes.len() as u64)
        .await?;
    // Pieces of odd sizes: some tiny, some larger than a frame.
    let mut rest = bytes.clone();
    let mut size = 1;
    while !rest.is_empty() {
        writer.send(rest.split_to(rest.len().min(size))).await?;
        size = (size * 7 + 3) % 1_500_000 + 1;
    }
    writer.finish().await
}

pub(super) async fn read(
    pool: &ChunkPool,
    target: &NodeAddress,
    chunk: ChunkId,
    range: ByteRange,
) -> Result<Vec<u8>, StreamError> {
    let mut reader = pool
        .read(target, (chunk, &Permit::default()), range)
        .await?;
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// What a failed write says of whom.
pub(super) fn blamed(stored: &Stored) -> Vec<(NodeId, StreamErrorKind)> {
    stored.failed.iter().map(|e| (e.node, e.kind)).collect()
}

/// Waits until something is so.
pub(super) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Flips a bit in the middle of every file of a directory that is at least `length` long.
pub(super) fn rot(directory: &Path, length: u64) {
    rot_at(directory, length, |length| length / 2);
}

/// Flips a bit of every such file at a place that depends on its length.
pub(super) fn rot_at(directory: &Path, length: u64, place: fn(u64) -> u64) {
    let disk = Env::real().disk;
    for entry in disk.list(directory).unwrap() {
        let path = directory.join(&entry.name);
        if entry.is_directory {
            rot_at(&path, length, place);
        } else if entry.length >= length && !entry.name.contains("index") {
            let (file, place) = (
                disk.open(&path, OpenMode::ReadWrite).unwrap(),
                place(entry.length),
            );
            let mut byte = [0];
            file.read_at(&mut byte, place).unwrap();
            file.write_at(&[byte[0] ^ 1], place).unwrap();
        }
    }
}
