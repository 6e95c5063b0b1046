//! Measures chunk streams over loopback: a write to one node, through three, and reads.
//!
//! ```console
//! $ cargo run --release -p dfs-core --example stream_throughput -- /tmp/bench 8
//! ```
//!
//! Arguments: a directory to use (removed by you), and how many chunks of 64 MiB. It prints MiB/s
//! of the client's bytes; through three nodes three times as many are received and stored.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::path::PathBuf;

use bytes::Bytes;
use dfs_core::datanode::store::Reserve;
use dfs_core::datanode::{DataNode, DataNodeConfig};
use dfs_core::env::{Env, Listener};
use dfs_core::node::Security;
use dfs_core::proto::chunk_stream::{ChunkPool, PoolConfig};
use dfs_core::proto::cluster::{
    ChunkReport, ClusterRpc, Heartbeat, HeartbeatReply, Registered, Registration, ReportReply,
    Signing, TaskResult,
};
use dfs_core::proto::error::RpcError;
use dfs_core::proto::hello::{self, HelloReply};
use dfs_core::proto::metadata::NodeAddress;
use dfs_core::proto::transport::messages;
use dfs_core::types::{ByteRange, ChunkId, ClusterId, NodeEpoch, NodeId, NodeKey, Permit};
use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::time::Instant;

const CLUSTER: ClusterId = ClusterId(1);
const CHUNK_LEN: usize = 64 << 20;

/// A master that agrees to everything.
#[derive(Clone)]
struct Master(NodeId);

impl ClusterRpc for Master {
    async fn register(self, _: Context, _: Registration) -> Result<Registered, RpcError> {
        let (masters, peers) = (Vec::new(), Vec::new());
        let (cluster, node, epoch) = (CLUSTER, self.0, NodeEpoch(1));
        Ok(Registered {
            signing: Signing::default(),
            cluster,
            node,
            epoch,
            heartbeat_interval_ms: 1000,
            masters,
            peers,
        })
    }

    async fn heartbeat(self, _: Context, _: Heartbeat) -> Result<HeartbeatReply, RpcError> {
        let (tasks, masters) = (Vec::new(), Vec::new());
        Ok(HeartbeatReply {
            rewrites: Vec::new(),
            peers: None,
            permits: Vec::new(),
            signing: Signing::default(),
            term: 1,
            report: false,
            tasks,
            masters,
        })
    }

    async fn report(self, _: Context, _: ChunkReport) -> Result<ReportReply, RpcError> {
        Ok(ReportReply { term: 1 })
    }

    async fn finished(
        self,
        _: Context,
        _: NodeId,
        _: NodeEpoch,
        _: Vec<TaskResult>,
    ) -> Result<(), RpcError> {
        Ok(())
    }
}

async fn lead(mut listener: Box<dyn Listener>, node: NodeId) {
    while let Ok(connection) = listener.accept().await {
        let mut stream = connection.stream;
        let welcome = HelloReply::Welcome {
            cluster: Some(CLUSTER),
        };
        if hello::hear(&mut stream).await.is_err()
            || hello::answer(&mut stream, &welcome).await.is_err()
        {
            continue;
        }
        let requests = BaseChannel::with_defaults(messages(stream)).execute(Master(node).serve());
        tokio::spawn(requests.for_each_concurrent(None, |answer| answer));
    }
}

async fn start(
    directory: PathBuf,
    node: NodeId,
) -> Result<(DataNode, NodeAddress), Box<dyn Error>> {
    let listener = Env::real().network.listen("127.0.0.1:0").await?;
    let mut config = DataNodeConfig::new(directory, vec![listener.local_address()]);
    config.security = Security::Insecure;
    tokio::spawn(lead(listener, node));
    config.store.initialize = true;
    config.store.reserve = Reserve {
        bytes: 0,
        percent: 0,
    };
    let running = DataNode::start(config, Env::real()).await?;
    running.joined().await?;
    let address = NodeAddress {
        node,
        key: NodeKey(0),
        address: running.address().to_owned(),
    };
    Ok((running, address))
}

async fn write(
    pool: &ChunkPool,
    targets: &[NodeAddress],
    chunk: ChunkId,
    bytes: &Bytes,
) -> Result<(), Box<dyn Error>> {
    let mut writer = pool
        .write(targets, (chunk, &Permit::default()), bytes.len() as u64)
        .await?;
    writer.send(bytes.clone()).await?;
    let stored = writer.finish().await?;
    if stored.nodes.len() != targets.len() {
        return Err(format!("stored on {:?} only: {:?}", stored.nodes, stored.failed).into());
    }
    Ok(())
}

async fn read(pool: &ChunkPool, node: &NodeAddress, chunk: ChunkId) -> Result<(), Box<dyn Error>> {
    let range = ByteRange::new(0, CHUNK_LEN as u64);
    let mut reader = pool.read(node, (chunk, &Permit::default()), range).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

fn print(what: &str, chunks: u64, begun: Instant) {
    let mib = chunks as f64 * CHUNK_LEN as f64 / f64::from(1 << 20);
    println!(
        "{what:<22} {:>8.0} MiB/s",
        mib / begun.elapsed().as_secs_f64()
    );
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let chunks: u64 = arguments.next().as_deref().unwrap_or("8").parse()?;
    let (mut running, mut nodes) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        let path = directory.join(format!("n{number}"));
        let (node, address) = start(path, NodeId(number)).await?;
        running.push(node);
        nodes.push(address);
    }
    let pool = ChunkPool::new(Env::real(), CLUSTER, PoolConfig::default());
    let bytes = Bytes::from(vec![7; CHUNK_LEN]);
    let Some((head, _)) = nodes.split_first() else {
        return Ok(());
    };

    for (what, targets, base) in [
        ("write, one node", std::slice::from_ref(head), 0),
        ("write, three nodes", &nodes, chunks),
    ] {
        let begun = Instant::now();
        for chunk in base..base + chunks {
            write(&pool, targets, ChunkId(chunk), &bytes).await?;
        }
        print(what, chunks, begun);
    }
    let begun = Instant::now();
    for chunk in 0..chunks {
        read(&pool, head, ChunkId(chunk)).await?;
    }
    print("read", chunks, begun);
    let begun = Instant::now();
    let four = (0..chunks).map(|chunk| read(&pool, head, ChunkId(chunk)));
    for result in futures::stream::iter(four)
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await
    {
        result?;
    }
    print("read, four at a time", chunks, begun);
    for node in running {
        node.shutdown().await?;
    }
    Ok(())
}
