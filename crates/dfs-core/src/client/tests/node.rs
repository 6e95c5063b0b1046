//! Fake data nodes: one map of replicas, and a mood for each node.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::network::MemoryNetwork;
use crate::env::{BoxStream, Network};
use crate::proto::chunk_stream::frame::{FrameKind, encode, read_frame, write_message};
use crate::proto::chunk_stream::{
    DataHeader, Deadlines, Finish, ReadRequest, Reply, Request, Stored, StreamError,
    StreamErrorKind, WriteRequest, decode,
};
use crate::proto::hello::{self, HelloReply};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::{block_crcs, crc32c};
use crate::types::limits::BLOCK_LEN;
use crate::types::{ChunkId, NodeId, NodeKey, Permit};

use super::master::CLUSTER;

const STALL: Duration = Duration::from_secs(10);

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mood {
    #[default]
    Good,
    /// Closes every connection.
    Down,
    /// Says nothing any more.
    Hung,
    /// Takes this many bytes of a write, then closes the connection.
    FailsAfter(u64),
    /// Takes this many milliseconds for each frame of a write.
    Dawdles(u64),
    /// Takes a write, and says that it has no room.
    Full,
    /// Answers reads after this many milliseconds.
    Slow(u64),
    /// Every replica has a wrong byte.
    Corrupt,
}

/// What all nodes have, how they are, and what they were asked.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) replicas: BTreeMap<(NodeId, ChunkId), Bytes>,
    pub(super) moods: BTreeMap<NodeId, Mood>,
    pub(super) reads: Vec<(NodeId, ReadRequest)>,
    pub(super) announced: Vec<u64>,
    /// A permit that is not good.
    pub(super) void: Option<Permit>,
}

impl Nodes {
    fn mood(&self, node: NodeId) -> Mood {
        self.moods.get(&node).copied().unwrap_or_default()
    }
}

/// A running data node. Dropping it kills it.
pub(super) struct DataNode {
    pub(super) address: NodeAddress,
    _accepting: AbortOnDropHandle<()>,
}

impl DataNode {
    pub(super) async fn start(
        network: &Arc<MemoryNetwork>,
        id: u32,
        nodes: &Arc<Mutex<Nodes>>,
    ) -> DataNode {
        let node = NodeId(id);
        let address = format!("{node}:1");
        let mut listener = network.listen(&address).await.unwrap();
        let nodes = nodes.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok(connection) = listener.accept().await {
                let nodes = nodes.clone();
                connections.spawn(async move {
                    let _ = serve(node, nodes, connection.stream).await;
                });
            }
        });
        DataNode {
            address: NodeAddress {
                node,
                key: NodeKey(0),
                address,
            },
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }
}

async fn serve(node: NodeId, nodes: Arc<Mutex<Nodes>>, mut stream: BoxStream) -> io::Result<()> {
    let mood = || nodes.lock().unwrap().mood(node);
    match mood() {
        Mood::Down => return Ok(()),
        Mood::Hung => std::future::pending::<()>().await,
        _ => {}
    }
    hello::hear(&mut stream).await?;
    let cluster = Some(CLUSTER);
    hello::answer(&mut stream, &HelloReply::Welcome { cluster }).await?;
    let patience = Deadlines::default().between_requests();
    while let Some(frame) = read_frame(&mut stream, patience).await? {
        match mood() {
            Mood::Down => return Ok(()),
            Mood::Hung => std::future::pending::<()>().await,
            _ => {}
        }
        let reply = match decode(&frame, FrameKind::Request)? {
            Request::Write(request) => write(node, &nodes, &mut stream, request).await?,
            Request::Read(request) => read(node, &nodes, &mut stream, request).await?,
        };
        write_message(&mut stream, FrameKind::Reply, &reply, STALL).await?;
    }
    Ok(())
}

/// Takes a chunk, and keeps it for the whole pipeline up to the first node that is not good.
async fn write(
    node: NodeId,
    nodes: &Mutex<Nodes>,
    stream: &mut BoxStream,
    request: WriteRequest,
) -> io::Result<Reply> {
    nodes.lock().unwrap().announced.push(request.length_max);
    let mut bytes = BytesMut::new();
    let finish: Finish = loop {
        let patience = Deadlines::default().with_caller();
        let frame = read_frame(stream, patience)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let mood = nodes.lock().unwrap().mood(node);
        match mood {
            Mood::FailsAfter(limit) if bytes.len() as u64 >= limit => {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Mood::Dawdles(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            _ => {}
        }
        match frame.kind {
            FrameKind::Data => bytes.extend_from_slice(&frame.payload),
            FrameKind::Finish => break decode(&frame, FrameKind::Finish)?,
            _ => {}
        }
    };
    let bytes = bytes.freeze();
    let checksum = crc32c(&bytes);
    assert_eq!(
        (finish.length, finish.checksum),
        (bytes.len() as u64, checksum)
    );
    let mut stored = Stored {
        nodes: Vec::new(),
        length: finish.length,
        checksum,
        failed: Vec::new(),
    };
    let mut nodes = nodes.lock().unwrap();
    if nodes.void.as_ref() == Some(&request.permit) {
        let denied = StreamError::new(node, StreamErrorKind::Denied, "the permit is not good");
        return Ok(Reply::Failed(denied));
    }
    let pipeline = [node]
        .into_iter()
        .chain(request.forward.iter().map(|n| n.node));
    for node in pipeline {
        let failed = |kind| StreamError::new(node, kind, "as the test wants it");
        match nodes.mood(node) {
            Mood::Full if stored.nodes.is_empty() => {
                return Ok(Reply::Failed(failed(StreamErrorKind::OutOfSpace)));
            }
            Mood::Full => {
                stored.failed.push(failed(StreamErrorKind::OutOfSpace));
                break;
            }
            Mood::Down | Mood::Hung => {
                stored.failed.push(failed(StreamErrorKind::Unreachable));
                break;
            }
            _ => {
                nodes.replicas.insert((node, request.chunk), bytes.clone());
                stored.nodes.push(node);
            }
        }
    }
    Ok(Reply::Stored(stored))
}

async fn read(
    node: NodeId,
    nodes: &Mutex<Nodes>,
    stream: &mut BoxStream,
    request: ReadRequest,
) -> io::Result<Reply> {
    let (bytes, mood) = {
        let mut nodes = nodes.lock().unwrap();
        nodes.reads.push((node, request.clone()));
        let replica = nodes.replicas.get(&(node, request.chunk)).cloned();
        (replica, nodes.mood(node))
    };
    if let Mood::Slow(millis) = mood {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let Some(bytes) = bytes else {
        let error = StreamError::new(node, StreamErrorKind::NotFound, request.chunk);
        return Ok(Reply::Failed(error));
    };
    let reading = Reply::Reading {
        length: bytes.len() as u64,
        checksum: crc32c(&bytes),
    };
    write_message(stream, FrameKind::Reply, &reading, STALL).await?;
    let begin = request.range.offset as usize / BLOCK_LEN * BLOCK_LEN;
    let end = (request.range.end() as usize).next_multiple_of(BLOCK_LEN);
    let blocks = bytes.slice(begin..end.min(bytes.len()));
    for (i, frame) in blocks.chunks(8 * BLOCK_LEN).enumerate() {
        let header = DataHeader {
            offset: (begin + i * 8 * BLOCK_LEN) as u64,
            checksums: block_crcs(frame),
        };
        let mut frame = frame.to_vec();
        if mood == Mood::Corrupt {
            frame[0] ^= 1;
        }
        let head = encode(FrameKind::Data, &header, frame.len())?;
        stream.write_all(&head).await?;
        stream.write_all(&frame).await?;
    }
    Ok(Reply::End)
}
