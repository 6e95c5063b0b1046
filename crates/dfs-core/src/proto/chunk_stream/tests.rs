//! What is on the wire, and what a silent peer costs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised fails"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::env::{BoxStream, Env, Listener, Network};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::duplex;
use tokio::time::{Instant, sleep};

use super::frame::{Frame, FrameKind, encode, read_frame, write_buffers, write_message};
use super::{
    ChunkPool, DataHeader, Deadlines, Finish, PoolConfig, ReadRequest, Reply, Request, Stored,
    StreamError, StreamErrorKind, WriteRequest, decode,
};
use crate::proto::hello::{self, HelloReply};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::{block_crcs, crc32c};
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, ChunkId, ClusterId, NodeId, NodeKey, Permit};

const CLUSTER: ClusterId = ClusterId(1);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_bytes_of_every_frame_are_what_they_were() {
    let target = NodeAddress {
        node: NodeId(2),
        key: NodeKey(9),
        address: "b:7".to_owned(),
    };
    let (node, chunk) = (NodeId(1), ChunkId(19));
    let forward = vec![target];
    let write = Request::Write(WriteRequest {
        permit: Permit(Bytes::from_static(&[1])),
        node,
        chunk,
        length_max: 100,
        forward,
    });
    let read = Request::Read(ReadRequest {
        permit: Permit(Bytes::from_static(&[1])),
        node,
        chunk,
        range: ByteRange::new(9, 70),
        gives_way: true,
    });
    let data = DataHeader {
        offset: 65_536,
        checksums: vec![1, 0xffff_ffff],
    };
    let error = StreamError::new(node, StreamErrorKind::OutOfSpace, "full");
    let (length, checksum, nodes) = (100, 7, vec![NodeId(1)]);
    let stored = Reply::Stored(Stored {
        nodes,
        length,
        checksum,
        failed: vec![error.clone()],
    });
    let frames = [
        encode(FrameKind::Request, &write, 0),
        encode(FrameKind::Request, &read, 0),
        encode(FrameKind::Data, &data, 70_000),
        encode(FrameKind::Finish, &Finish { length, checksum }, 0),
        encode(FrameKind::Alive, &(), 0),
        encode(FrameKind::Reply, &stored, 0),
        encode(FrameKind::Reply, &Reply::Reading { length, checksum }, 0),
        encode(FrameKind::Reply, &Reply::End, 0),
        encode(FrameKind::Reply, &Reply::Failed(error), 0),
    ];
    let golden = include_str!("testdata/frames.hex");
    let now: String = frames
        .into_iter()
        .map(|f| hex(&f.unwrap()) + "\n")
        .collect();
    assert_eq!(now, golden);
}

/// A network of one node, whose behaviour is a function of its connection.
struct OneNode(
    Mutex<BTreeMap<u32, Instant>>,
    fn(BoxStream) -> BoxFuture<'static, ()>,
);

impl Network for OneNode {
    fn connect(&self, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let mut connections = self.0.lock().unwrap();
        let number = connections.len() as u32;
        connections.insert(number, Instant::now());
        let (ours, theirs) = duplex(256 * 1024);
        let act = self.1;
        tokio::spawn(async move {
            let mut stream = Box::new(theirs) as BoxStream;
            hello::hear(&mut stream).await.unwrap();
            let welcome = HelloReply::Welcome {
                cluster: Some(CLUSTER),
            };
            hello::answer(&mut stream, &welcome).await.unwrap();
            act(stream).await;
        });
        Box::pin(async { Ok(Box::new(ours) as BoxStream) })
    }

    fn listen(&self, _: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// A pool whose only node behaves like this, and the node.
fn pool(act: fn(BoxStream) -> BoxFuture<'static, ()>) -> (ChunkPool, NodeAddress, Arc<OneNode>) {
    let network = Arc::new(OneNode(Mutex::default(), act));
    let env = Env {
        network: network.clone(),
        ..Env::real()
    };
    let node = NodeAddress {
        node: NodeId(1),
        key: NodeKey(0),
        address: "n1:1".to_owned(),
    };
    (
        ChunkPool::new(env, CLUSTER, PoolConfig::default()),
        node,
        network,
    )
}

async fn hear(stream: &mut BoxStream) -> Frame {
    loop {
        let frame = read_frame(stream, Deadlines::default().with_caller())
            .await
            .unwrap()
            .unwrap();
        if frame.kind != FrameKind::Alive {
            return frame;
        }
    }
}

async fn say(stream: &mut BoxStream, reply: Reply) {
    let second = Duration::from_secs(1);
    write_message(stream, FrameKind::Reply, &reply, second)
        .await
        .unwrap();
}

async fn send_block(stream: &mut BoxStream, offset: u64, bytes: &'static [u8]) {
    let header = DataHeader {
        offset,
        checksums: block_crcs(bytes),
    };
    let head = encode(FrameKind::Data, &header, bytes.len()).unwrap();
    let second = Duration::from_secs(1);
    write_buffers(stream, &[head, Bytes::from_static(bytes)], second)
        .await
        .unwrap();
}

fn silent(stream: BoxStream) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
}

const TWO_BLOCKS: Reply = Reply::Reading {
    length: 2 * BLOCK_LEN as u64,
    checksum: 0,
};
static BLOCK: [u8; BLOCK_LEN] = [7; BLOCK_LEN];

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_before_or_while_it_answers_costs_a_reader_one_silence() {
    let all = ByteRange::new(0, 2 * BLOCK_LEN as u64);
    let (hung, node, _) = pool(silent);
    let begun = Instant::now();
    let error = hung
        .read(&node, (ChunkId(1), &Permit::default()), all)
        .await
        .unwrap_err();
    assert_eq!(
        (error.node, error.kind),
        (NodeId(1), StreamErrorKind::Unreachable)
    );
    assert_eq!(begun.elapsed().as_secs(), 1);

    let (hangs_later, node, _) = pool(|mut stream| {
        Box::pin(async move {
            hear(&mut stream).await;
            say(&mut stream, TWO_BLOCKS).await;
            send_block(&mut stream, 0, &BLOCK).await;
            silent(stream).await;
        })
    });
    let mut reader = hangs_later
        .read(&node, (ChunkId(1), &Permit::default()), all)
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), &BLOCK[..]);
    let begun = Instant::now();
    let error = reader.next().await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Unreachable);
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(
        reader.next().await,
        Ok(None),
        "nothing comes after an error"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_reading_costs_a_writer_one_silence() {
    let (hung, node, _) = pool(silent);
    let begun = Instant::now();
    let mut writer = hung
        .write(&[node], (ChunkId(1), &Permit::default()), 1 << 30)
        .await
        .unwrap();
    let error = loop {
        if let Err(error) = writer.send(Bytes::from_static(&BLOCK)).await {
            break error;
        }
    };
    assert_eq!(
        (error.node, error.kind),
        (NodeId(1), StreamErrorKind::Unreachable)
    );
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_works_long_and_says_so_is_waited_for_but_not_for_ever() {
    let (slow, node, _) = pool(|mut stream| {
        Box::pin(async move {
            let second = Duration::from_secs(1);
            hear(&mut stream).await;
            say(&mut stream, TWO_BLOCKS).await;
            for beat in 0.. {
                sleep(second / 2).await;
                if beat == 10 {
                    send_block(&mut stream, 0, &BLOCK).await;
                }
                if write_message(&mut stream, FrameKind::Alive, &(), second)
                    .await
                    .is_err()
                {
                    return;
                }
            }
        })
    });
    let all = ByteRange::new(0, 2 * BLOCK_LEN as u64);
    let mut reader = slow
        .read(&node, (ChunkId(1), &Permit::default()), all)
        .await
        .unwrap();
    assert!(
        reader.next().await.unwrap().is_some(),
        "after five seconds of patience"
    );
    let error = reader.next().await.unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_pauses_keeps_its_stream_alive() {
    let (patient, node, _) = pool(|mut stream| {
        Box::pin(async move {
            hear(&mut stream).await;
            let (mut from, mut to) = tokio::io::split(stream);
            let said = async {
                loop {
                    sleep(Duration::from_millis(250)).await;
                    let second = Duration::from_secs(1);
                    write_message(&mut to, FrameKind::Alive, &(), second)
                        .await
                        .unwrap();
                }
            };
            let heard = async {
                loop {
                    let frame = read_frame(&mut from, Deadlines::default().with_worker()).await;
                    if frame.unwrap().unwrap().kind == FrameKind::Finish {
                        return;
                    }
                }
            };
            tokio::select! { () = said => {}, () = heard => {} }
            let (nodes, checksum) = (vec![NodeId(1)], crc32c(b"late"));
            let stored = Stored {
                nodes,
                length: 4,
                checksum,
                failed: Vec::new(),
            };
            say(&mut from.unsplit(to), Reply::Stored(stored)).await;
        })
    });
    let mut writer = patient
        .write(&[node], (ChunkId(1), &Permit::default()), 100)
        .await
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    writer.send(Bytes::from_static(b"late")).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().nodes, [NodeId(1)]);
}

#[tokio::test]
async fn what_a_node_sends_must_be_what_was_asked_for_and_whole() {
    let all = ByteRange::new(0, 2 * BLOCK_LEN as u64);
    let liars: [fn(BoxStream) -> BoxFuture<'static, ()>; 3] = [
        |mut stream| {
            Box::pin(async move {
                hear(&mut stream).await;
                say(&mut stream, TWO_BLOCKS).await;
                send_block(&mut stream, 0, &BLOCK).await;
                say(&mut stream, Reply::End).await;
            })
        },
        |mut stream| {
            Box::pin(async move {
                hear(&mut stream).await;
                say(&mut stream, TWO_BLOCKS).await;
                send_block(&mut stream, BLOCK_LEN as u64, &BLOCK).await;
            })
        },
        |mut stream| {
            Box::pin(async move {
                hear(&mut stream).await;
                say(&mut stream, TWO_BLOCKS).await;
                let checksums = vec![crc32c(&BLOCK) ^ 1];
                let header = DataHeader {
                    offset: 0,
                    checksums,
                };
                let head = encode(FrameKind::Data, &header, BLOCK_LEN).unwrap();
                let second = Duration::from_secs(1);
                let payload = Bytes::from_static(&BLOCK);
                write_buffers(&mut stream, &[head, payload], second)
                    .await
                    .unwrap();
            })
        },
    ];
    for (i, liar) in liars.into_iter().enumerate() {
        let (pool, node, _) = pool(liar);
        let mut reader = pool
            .read(&node, (ChunkId(1), &Permit::default()), all)
            .await
            .unwrap();
        let error = loop {
            match reader.next().await {
                Ok(Some(bytes)) => assert_eq!(bytes, &BLOCK[..], "liar {i}"),
                Ok(None) => panic!("liar {i} was believed"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, StreamErrorKind::Corrupt, "liar {i}: {error}");
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (pool, node, network) = pool(|mut stream| {
        Box::pin(async move {
            for _ in 0..3 {
                let request: Request =
                    decode(&hear(&mut stream).await, FrameKind::Request).unwrap();
                assert!(matches!(request, Request::Read(_)));
                say(&mut stream, TWO_BLOCKS).await;
                say(&mut stream, Reply::End).await;
            }
        })
    });
    for _ in 0..4 {
        let mut reader = pool
            .read(
                &node,
                (ChunkId(1), &Permit::default()),
                ByteRange::new(0, 0),
            )
            .await
            .unwrap();
        assert_eq!(reader.next().await, Ok(None));
    }
    // Three on the first; it was closed then, which is no error of the fourth.
    assert_eq!(network.0.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_writer_refuses_more_than_it_announced() {
    let (pool, node, _) = pool(silent);
    let mut writer = pool
        .write(&[node], (ChunkId(1), &Permit::default()), 10)
        .await
        .unwrap();
    writer.send(Bytes::from_static(b"12345")).await.unwrap();
    let error = writer
        .send(Bytes::from_static(b"678901"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, StreamErrorKind::Invalid);
}
