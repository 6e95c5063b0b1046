//! Writing and reading chunks.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::fixture::{CLUSTER, Cluster, blamed, bytes, deadlines, eventually, read, rot, write};
use crate::datanode::DataNodeConfig;
use crate::datanode::store::Reserve;
use crate::env::{BoxStream, Env};
use crate::proto::chunk_stream::frame::{
    Frame, FrameKind, encode, read_frame, write_buffers, write_message,
};
use crate::proto::chunk_stream::{
    ChunkPool, DataHeader, Deadlines, Finish, PoolConfig, Reply, Request, StreamErrorKind,
    WriteRequest, decode,
};
use crate::proto::hello::{self, Hello, HelloReply, Service};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::{block_crcs, crc32c};
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, ChunkId, NodeId, NodeKey, Permit};

const MIB: usize = 1 << 20;

/// A data node that does with its one connection what the test wants.
async fn fake_node<F, A, T>(node: NodeId, act: F) -> (NodeAddress, oneshot::Receiver<T>)
where
    F: FnOnce(BoxStream) -> A + Send + 'static,
    A: Future<Output = T> + Send,
    T: Send + 'static,
{
    let mut listener = Env::real().network.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().stream;
        hello::hear(&mut stream).await.unwrap();
        let welcome = HelloReply::Welcome {
            cluster: Some(CLUSTER),
        };
        hello::answer(&mut stream, &welcome).await.unwrap();
        let _ = done.send(act(stream).await);
    });
    let key = NodeKey(0);
    (NodeAddress { node, key, address }, result)
}

async fn frame(stream: &mut BoxStream) -> Frame {
    loop {
        let frame = read_frame(stream, deadlines().with_caller())
            .await
            .unwrap()
            .unwrap();
        if frame.kind != FrameKind::Alive {
            return frame;
        }
    }
}

#[tokio::test]
async fn bytes_written_through_a_pipeline_are_on_every_node_and_read_back_equal() {
    let cluster = Cluster::start(3).await;
    let nodes = cluster.addresses();
    for (i, length) in [1, 65_535, 65_536, 65_537, 3 * MIB + 7, 9 * MIB]
        .into_iter()
        .enumerate()
    {
        let chunk = ChunkId(i as u64 + 1);
        let bytes = bytes(chunk, length);

        let stored = write(&cluster.pool, &nodes, chunk, &bytes).await.unwrap();

        assert_eq!(
            stored.nodes,
            nodes.iter().map(|n| n.node).collect::<Vec<_>>()
        );
        assert_eq!(
            (stored.length, stored.checksum),
            (length as u64, crc32c(&bytes))
        );
        assert_eq!(stored.failed, []);
        for node in &nodes {
            let all = ByteRange::new(0, length as u64);
            assert!(
                read(&cluster.pool, node, chunk, all).await.unwrap() == bytes,
                "{length}"
            );
        }
    }
}

#[tokio::test]
async fn a_read_returns_its_range_and_nothing_else() {
    let cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(1));
    let bytes = bytes(chunk, 2 * MIB + 100);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &bytes)
        .await
        .unwrap();
    for (offset, length) in [
        (0, 1),
        (65_535, 2),
        (70_000, 1_500_000),
        (2 * MIB, 100),
        (5, 0),
    ] {
        let range = ByteRange::new(offset as u64, length as u64);
        let got = read(&cluster.pool, &node, chunk, range).await.unwrap();
        assert!(got == bytes[offset..offset + length], "{range}");
    }
    let beyond = ByteRange::new(2 * MIB as u64, 101);
    let error = read(&cluster.pool, &node, chunk, beyond).await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_not_there_and_who_is_not_meant_is_said() {
    let cluster = Cluster::start(1).await;
    let (node, range) = (cluster.address(0), ByteRange::new(0, 1));
    let error = read(&cluster.pool, &node, ChunkId(9), range)
        .await
        .unwrap_err();
    assert_eq!(
        (error.node, error.kind),
        (node.node, StreamErrorKind::NotFound)
    );

    let moved = NodeAddress {
        node: NodeId(77),
        key: NodeKey(0),
        address: node.address,
    };
    let error = read(&cluster.pool, &moved, ChunkId(9), range)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Unreachable);
}

#[tokio::test]
async fn bytes_are_forwarded_before_the_whole_chunk_has_arrived() {
    let cluster = Cluster::start(1).await;
    let (next, forwarded) = fake_node(NodeId(9), |mut stream: BoxStream| async move {
        (frame(&mut stream).await.kind, frame(&mut stream).await.kind)
    })
    .await;
    let targets = [cluster.address(0), next];
    let mut writer = cluster
        .pool
        .write(&targets, (ChunkId(1), &Permit::default()), 64 * MIB as u64)
        .await
        .unwrap();

    writer.send(bytes(ChunkId(1), MIB)).await.unwrap();

    let kinds = timeout(Duration::from_secs(10), forwarded)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kinds, (FrameKind::Request, FrameKind::Data));
}

#[tokio::test]
async fn a_node_that_dies_in_the_middle_is_named_and_the_others_have_the_chunk() {
    let cluster = Cluster::start(1).await;
    let (next, _gone) = fake_node(NodeId(9), |mut stream: BoxStream| async move {
        frame(&mut stream).await;
        frame(&mut stream).await;
    })
    .await;
    let (head, chunk) = (cluster.address(0), ChunkId(1));
    let bytes = bytes(chunk, 8 * MIB);

    let targets = [head.clone(), next];
    let stored = write(&cluster.pool, &targets, chunk, &bytes).await.unwrap();

    assert_eq!(stored.nodes, [head.node]);
    assert_eq!(blamed(&stored), [(NodeId(9), StreamErrorKind::Unreachable)]);
    let all = ByteRange::new(0, bytes.len() as u64);
    assert!(read(&cluster.pool, &head, chunk, all).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_node_that_hangs_in_the_pipeline_costs_one_silence() {
    let cluster = Cluster::start(1).await;
    let (next, _hung) = fake_node(NodeId(9), |stream: BoxStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (head, chunk) = (cluster.address(0), ChunkId(1));
    let begun = Instant::now();

    let targets = [head.clone(), next];
    let stored = write(&cluster.pool, &targets, chunk, &bytes(chunk, 32 * MIB))
        .await
        .unwrap();

    assert_eq!(stored.nodes, [head.node]);
    assert_eq!(blamed(&stored), [(NodeId(9), StreamErrorKind::Unreachable)]);
    // The head was slow because of it, and yet nobody took the head for dead.
    assert!(begun.elapsed() >= deadlines().silence);
}

#[tokio::test]
async fn bytes_that_change_on_their_way_are_refused_and_not_kept() {
    let cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(1));
    let hello = Hello::new(Service::ChunkStream, Some(CLUSTER));
    let second = Duration::from_secs(1);
    let network = Env::real().network;
    let (mut stream, _) = hello::call(&*network, &node.address, hello, second)
        .await
        .unwrap();
    let (length_max, forward) = (MIB as u64, Vec::new());
    let request = Request::Write(WriteRequest {
        permit: Permit::default(),
        node: node.node,
        chunk,
        length_max,
        forward,
    });
    write_message(&mut stream, FrameKind::Request, &request, second)
        .await
        .unwrap();

    let header = DataHeader {
        offset: 0,
        checksums: block_crcs(b"right"),
    };
    let head = encode(FrameKind::Data, &header, 5).unwrap();
    write_buffers(&mut stream, &[head, Bytes::from_static(b"wrong")], second)
        .await
        .unwrap();

    let reply = decode(&frame(&mut stream).await, FrameKind::Reply).unwrap();
    let Reply::Failed(error) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(
        (error.node, error.kind),
        (node.node, StreamErrorKind::Corrupt)
    );
    let error = cluster
        .pool
        .read(&node, (chunk, &Permit::default()), ByteRange::new(0, 0))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::NotFound);
}

#[tokio::test]
async fn a_finish_that_does_not_fit_the_bytes_is_refused() {
    let cluster = Cluster::start(1).await;
    let node = cluster.address(0);
    let writer = cluster
        .pool
        .write_blocks(&[node], (ChunkId(1), &Permit::default()), 10)
        .await
        .unwrap();
    let error = writer
        .finish(Finish {
            length: 5,
            checksum: 0,
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Corrupt);
}

#[tokio::test]
async fn bytes_that_rotted_at_rest_are_never_returned_and_are_reported() {
    let cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(1));
    let bytes = bytes(chunk, 4 * MIB);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &bytes)
        .await
        .unwrap();
    rot(&cluster.directory(0), 4 * MIB as u64);

    let mut reader = cluster
        .pool
        .read(
            &node,
            (chunk, &Permit::default()),
            ByteRange::new(0, bytes.len() as u64),
        )
        .await
        .unwrap();
    let mut returned = Vec::new();
    let error = loop {
        match reader.next().await {
            Ok(Some(part)) => returned.extend_from_slice(&part),
            Ok(None) => panic!("rotten bytes were returned"),
            Err(error) => break error,
        }
    };

    assert_eq!(
        (error.node, error.kind),
        (node.node, StreamErrorKind::Corrupt)
    );
    assert!(bytes.starts_with(&returned));
    eventually("the master hears of it", || {
        let state = cluster.master.state();
        state
            .reports
            .iter()
            .any(|r| r.corrupt == [chunk])
            .then_some(())
    })
    .await;
    let (good, bad) = (returned.len(), returned.len() + BLOCK_LEN);
    assert_eq!(good, 2 * MIB - BLOCK_LEN, "all blocks before the bad one");
    for part in [0..good, bad..bytes.len()] {
        let range = ByteRange::new(part.start as u64, part.len() as u64);
        let served = read(&cluster.pool, &node, chunk, range).await.unwrap();
        assert!(served == bytes[part], "good blocks are served all the same");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_rest_of_the_pipeline_goes_on() {
    let mut cluster = Cluster::start(1).await;
    let full = cluster
        .add(|c| {
            c.store.reserve = Reserve {
                bytes: 1 << 62,
                percent: 0,
            }
        })
        .await;
    let (sound, chunk) = (cluster.address(0), ChunkId(1));
    let bytes = bytes(chunk, 5 * MIB);

    let alone = write(&cluster.pool, std::slice::from_ref(&full), chunk, &bytes).await;
    let error = alone.unwrap_err();
    let targets = [full.clone(), sound.clone()];
    let stored = write(&cluster.pool, &targets, chunk, &bytes).await.unwrap();

    assert_eq!(
        (error.node, error.kind),
        (full.node, StreamErrorKind::OutOfSpace)
    );
    assert_eq!(stored.nodes, [sound.node]);
    assert_eq!(blamed(&stored), [(full.node, StreamErrorKind::OutOfSpace)]);
}

#[tokio::test]
async fn a_write_that_is_dropped_leaves_nothing() {
    let cluster = Cluster::start(2).await;
    let chunk = ChunkId(1);
    let mut writer = cluster
        .pool
        .write(
            &cluster.addresses(),
            (chunk, &Permit::default()),
            64 * MIB as u64,
        )
        .await
        .unwrap();
    writer.send(bytes(chunk, 3 * MIB)).await.unwrap();
    drop(writer);
    for node in &cluster.nodes {
        eventually("no stream runs", || {
            (node.shared.serving.running() == 0).then_some(())
        })
        .await;
        assert_eq!(node.shared.store.replicas(), 0);
    }
}

#[tokio::test]
async fn the_same_chunk_written_again_is_kept_once() {
    let cluster = Cluster::start(1).await;
    let (nodes, chunk) = (cluster.addresses(), ChunkId(1));
    let bytes = bytes(chunk, 100_000);
    let first = write(&cluster.pool, &nodes, chunk, &bytes).await.unwrap();
    assert_eq!(
        write(&cluster.pool, &nodes, chunk, &bytes).await.unwrap(),
        first
    );
    assert_eq!(cluster.nodes[0].shared.store.replicas(), 1);
}

#[tokio::test]
async fn a_node_with_enough_to_do_says_that_it_is_busy() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster.add(|c| c.limits.writes = 1).await;
    let targets = std::slice::from_ref(&node);
    let mut first = cluster
        .pool
        .write(targets, (ChunkId(1), &Permit::default()), 100)
        .await
        .unwrap();
    first.send(bytes(ChunkId(1), 100)).await.unwrap();
    eventually("the first write runs", || {
        (cluster.nodes[0].shared.serving.running() == 1).then_some(())
    })
    .await;

    let second = write(&cluster.pool, targets, ChunkId(2), &bytes(ChunkId(2), 100)).await;

    let error = second.unwrap_err();
    assert_eq!((error.node, error.kind), (node.node, StreamErrorKind::Busy));
    assert_eq!(first.finish().await.unwrap().nodes, [node.node]);
}

/// Each of three nodes is the first of a pipeline, the second of one and the last of another.
#[tokio::test]
async fn nodes_that_forward_to_each_other_do_not_wait_for_each_other() {
    let mut cluster = Cluster::start(0).await;
    let patient = Deadlines {
        silence: Duration::from_secs(9),
        ..deadlines()
    };
    for _ in 0..3 {
        let change = |config: &mut DataNodeConfig| {
            config.deadlines = patient;
            config.limits.admission = Duration::from_secs(6);
            config.limits.writes = 4;
        };
        cluster.add(change).await;
    }
    let config = PoolConfig {
        deadlines: patient,
        ..PoolConfig::default()
    };
    let pool = ChunkPool::new(Env::real(), CLUSTER, config);

    let writes = (0..24_u64).map(|n| {
        let mut targets = cluster.addresses();
        targets.rotate_left(n as usize % 3);
        let (pool, chunk) = (&pool, ChunkId(n + 1));
        async move { write(pool, &targets, chunk, &bytes(chunk, 100_000)).await }
    });

    for stored in futures::future::join_all(writes).await {
        let stored = stored.unwrap();
        assert_eq!((stored.nodes.len(), stored.failed), (3, vec![]));
    }
}

#[tokio::test]
async fn writers_that_send_nothing_do_not_lock_others_out() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster
        .add(|c| {
            c.limits.writes = 1;
            c.limits.write_idle = Duration::from_millis(200);
        })
        .await;
    let targets = std::slice::from_ref(&node);
    let mut idle = cluster
        .pool
        .write(targets, (ChunkId(1), &Permit::default()), 100)
        .await
        .unwrap();
    idle.send(bytes(ChunkId(1), 50)).await.unwrap();
    eventually("the first write runs", || {
        (cluster.nodes[0].shared.serving.running() == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    let second = write(&cluster.pool, targets, ChunkId(2), &bytes(ChunkId(2), 100)).await;

    assert_eq!(second.unwrap().nodes, [node.node]);
    let cut_off = idle.finish().await.unwrap_err();
    assert_eq!(
        (cut_off.node, cut_off.kind),
        (node.node, StreamErrorKind::Busy)
    );
}

#[tokio::test]
async fn a_shutdown_does_not_wait_long_for_a_stream_that_does_not_end() {
    let mut cluster = Cluster::start(0).await;
    let node = cluster
        .add(|c| c.limits.shutdown = Duration::from_millis(100))
        .await;
    let mut writer = cluster
        .pool
        .write(&[node], (ChunkId(1), &Permit::default()), 64 * MIB as u64)
        .await
        .unwrap();
    writer.send(bytes(ChunkId(1), 2 * MIB)).await.unwrap();

    let stopped = cluster.nodes.remove(0).shutdown();

    timeout(Duration::from_secs(10), stopped)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        writer.finish().await.unwrap_err().kind,
        StreamErrorKind::Unreachable
    );
}
