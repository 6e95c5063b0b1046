//! Peers that mean no good, or hang.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::fixture::{CLUSTER, Cluster, bytes, config, read, write};
use super::master::FakeMaster;
use crate::datanode::DataNode;
use crate::env::{BoxStream, Env};
use crate::proto::chunk_stream::frame::{FrameKind, encode, read_frame};
use crate::proto::chunk_stream::{Deadlines, ReadRequest, Reply, Request, decode};
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::NodeAddress;
use crate::testing::{MemoryDisk, test_env};
use crate::types::checksum::crc32c;
use crate::types::{ByteRange, ChunkId, ClusterId, Permit};

const SECOND: Duration = Duration::from_secs(1);

async fn greeted(address: &str) -> BoxStream {
    let hello = Hello::new(Service::ChunkStream, Some(CLUSTER));
    hello::call(&*Env::real().network, address, hello, SECOND)
        .await
        .unwrap()
        .0
}

/// A connection that has read, and the bytes that ask for it once more.
async fn reading(node: &NodeAddress, chunk: ChunkId, range: ByteRange) -> (BoxStream, Bytes) {
    let mut reader = greeted(&node.address).await;
    let request = Request::Read(ReadRequest {
        node: node.node,
        chunk,
        range,
        permit: Permit::default(),
        gives_way: false,
    });
    let asks = encode(FrameKind::Request, &request, 0).unwrap();
    assert!(is_served(&mut reader, &asks).await);
    (reader, asks)
}

/// Whether a read is answered, to its end.
async fn is_served(reader: &mut BoxStream, asks: &Bytes) -> bool {
    if reader.write_all(asks).await.is_err() {
        return false;
    }
    while let Ok(Some(frame)) = read_frame(reader, Deadlines::default().with_worker()).await {
        if matches!(decode(&frame, FrameKind::Reply), Ok(Reply::End)) {
            return true;
        }
    }
    false
}

/// Whether the other end closes the connection, soon.
async fn is_closed(stream: &mut BoxStream) -> bool {
    let mut rest = Vec::new();
    timeout(8 * SECOND, stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn the_audit_log_of_a_data_node_that_stopped_in_order_outlives_the_loss_of_power() {
    let master = FakeMaster::start(CLUSTER).await;
    // What is not synced is lost by chance.
    for seed in 0..8 {
        let disk = MemoryDisk::new(seed);
        let config = config(Path::new("/n"), &[&master]);
        let node = DataNode::start(config, test_env(seed, &disk)).await;
        let node = node.unwrap();
        node.joined().await.unwrap();
        let hello = Hello::new(Service::Login, None);
        let refused = hello::call(&*Env::real().network, node.address(), hello, SECOND).await;
        assert!(refused.is_err());
        node.shutdown().await.unwrap();
        disk.cut_power();
        let lines = disk.get("/n/audit/audit-00000001.jsonl");
        let lines = String::from_utf8_lossy(&lines);
        assert!(lines.contains("login"), "seed {seed}: {lines}");
    }
}

#[tokio::test]
async fn garbage_and_enormous_lengths_close_the_connection_and_nothing_else() {
    let cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(1));
    let sound = bytes(chunk, 1000);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &sound)
        .await
        .unwrap();

    let mut stranger = Env::real().network.connect(&node.address).await.unwrap();
    stranger.write_all(&[0xff; 4096]).await.unwrap();
    assert!(is_closed(&mut stranger).await);
    let mut huge = vec![2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    huge.extend(crc32c(&huge).to_le_bytes());
    let mut huge_read = vec![1];
    huge_read.extend([0xff; 8]);
    for garbage in [
        vec![0xff; 64],
        huge,
        huge_read,
        vec![0; 16],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = greeted(&node.address).await;
        stream.write_all(&garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(is_closed(&mut stream).await, "{garbage:?}");
    }

    let all = ByteRange::new(0, 1000);
    assert!(read(&cluster.pool, &node, chunk, all).await.unwrap() == sound);
}

#[tokio::test]
async fn ranges_and_lengths_near_two_to_the_64_are_refused() {
    let cluster = Cluster::start(1).await;
    let (node, chunk, none) = (cluster.address(0), ChunkId(1), Permit::default());
    for range in [
        ByteRange::new(u64::MAX, 2),
        ByteRange::new(1 << 63, 1 << 62),
    ] {
        assert!(
            cluster
                .pool
                .read(&node, (chunk, &none), range)
                .await
                .is_err()
        );
    }
    assert!(
        cluster
            .pool
            .write(&[node], (chunk, &none), 1 << 63)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_stop_the_service() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster.add(|c| c.limits.connections = 100).await;
    let mut idle = Vec::new();
    for i in 0..1000 {
        idle.push(match i % 2 {
            0 => Env::real().network.connect(&node.address).await.unwrap(),
            _ => greeted(&node.address).await,
        });
    }
    let bytes = bytes(ChunkId(1), 100_000);
    write(
        &cluster.pool,
        std::slice::from_ref(&node),
        ChunkId(1),
        &bytes,
    )
    .await
    .unwrap();
    let all = ByteRange::new(0, 100_000);
    assert!(read(&cluster.pool, &node, ChunkId(1), all).await.unwrap() == bytes);
    assert!(is_closed(&mut idle[0]).await, "the oldest made room");
}

#[tokio::test]
async fn who_asks_for_nothing_gives_way_to_others_of_its_source_and_who_reads_does_not() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster.add(|c| c.limits.connections = 100).await;
    let (chunk, all) = (ChunkId(1), ByteRange::new(0, 1000));
    let sound = bytes(chunk, 1000);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &sound)
        .await
        .unwrap();
    let (mut reader, asks) = reading(&node, chunk, all).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(greeted(&node.address).await);
    }
    // One in eight may be of one source.
    assert!(is_closed(&mut silent[0]).await);
    let waits = timeout(SECOND, silent[19].read_u8()).await;
    assert!(waits.is_err(), "{waits:?}");
    assert!(is_served(&mut reader, &asks).await);
}

#[tokio::test]
async fn who_never_asked_for_anything_has_less_time_than_who_did() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster.add(|c| c.deadlines.idle = 6 * SECOND).await;
    let (chunk, all) = (ChunkId(1), ByteRange::new(0, 1000));
    let sound = bytes(chunk, 1000);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &sound)
        .await
        .unwrap();
    let (mut reader, asks) = reading(&node, chunk, all).await;
    let mut stranger = greeted(&node.address).await;

    assert!(is_closed(&mut stranger).await);

    // It was there before, has been silent for longer, and is served.
    assert!(is_served(&mut reader, &asks).await);
}

#[tokio::test]
async fn callers_of_another_cluster_or_another_service_are_refused() {
    let cluster = Cluster::start(1).await;
    let address = cluster.nodes[0].address();
    let (chunk_stream, raft) = (Service::ChunkStream, Service::Raft);
    let gossip = Service::Peers;
    for (service, cluster) in [
        (chunk_stream, Some(ClusterId(7))),
        (chunk_stream, None),
        (raft, Some(CLUSTER)),
        (gossip, Some(ClusterId(7))),
        (gossip, None),
    ] {
        let hello = Hello::new(service, cluster);
        let refused = hello::call(&*Env::real().network, address, hello, SECOND).await;
        let Err(error) = refused else {
            panic!("{service:?} was welcome")
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
