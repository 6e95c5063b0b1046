//! What is asked of the committer, and how it is gathered into batches.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::datanode::store::Shared;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::index::Entry;
use crate::types::ChunkId;

/// A batch takes no more than this, in bytes and operations.
const BATCH_BYTES_MAX: u64 = 16 << 20;
const BATCH_OPS_MAX: usize = 1024;

pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// A small chunk, complete.
#[derive(Debug)]
pub(in crate::datanode::store) struct Packed {
    pub(in crate::datanode::store) chunk: ChunkId,
    pub(in crate::datanode::store) length: u64,
    pub(in crate::datanode::store) crcs: Vec<u32>,
    pub(in crate::datanode::store) data: Vec<Bytes>,
}

#[derive(Debug)]
pub(in crate::datanode::store) enum Op {
    /// Append a small chunk to a segment.
    Pack {
        packed: Packed,
        reply: Reply,
    },
    /// Give a synced file its name.
    Publish {
        part: PathBuf,
        chunk: ChunkId,
        entry: Entry,
        reply: Reply,
    },
    Delete {
        chunks: Vec<ChunkId>,
        reply: Reply,
    },
    Quarantine {
        chunk: ChunkId,
        reason: String,
        reply: Reply,
    },
    /// Remove what an abandoned writer left.
    Discard {
        part: PathBuf,
    },
    /// Make everything durable, mark the index clean, end.
    Close {
        reply: Reply,
    },
}

impl Op {
    fn bytes(&self) -> u64 {
        match self {
            Op::Pack { packed, .. } => packed.length,
            _ => 0,
        }
    }

    fn chunks(&self) -> &[ChunkId] {
        match self {
            Op::Pack { packed, .. } => std::slice::from_ref(&packed.chunk),
            Op::Publish { chunk, .. } | Op::Quarantine { chunk, .. } => std::slice::from_ref(chunk),
            Op::Delete { chunks, .. } => chunks,
            Op::Discard { .. } | Op::Close { .. } => &[],
        }
    }
}

/// The way to the committer. It is bounded by its callers: each waits for its one operation.
#[derive(Debug, Clone)]
pub(in crate::datanode::store) struct Queue(mpsc::UnboundedSender<Op>);

impl Queue {
    pub(in crate::datanode::store) fn new() -> (Queue, mpsc::UnboundedReceiver<Op>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Queue(sender), receiver)
    }

    pub(in crate::datanode::store) fn send(&self, op: Op) -> Result<(), StoreError> {
        self.0.send(op).map_err(|_| closed())
    }

    pub(in crate::datanode::store) async fn outcome(
        outcome: oneshot::Receiver<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(in crate::datanode::store) async fn quarantine(
        &self,
        chunk: ChunkId,
        reason: String,
    ) -> Result<(), StoreError> {
        let (reply, outcome) = oneshot::channel();
        self.send(Op::Quarantine {
            chunk,
            reason,
            reply,
        })?;
        Queue::outcome(outcome).await
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".into())
}

/// Adds what else is queued, up to the first operation that does not fit.
pub(super) fn gather(
    batch: &mut Vec<Op>,
    held: &mut Option<Op>,
    queue: &mut mpsc::UnboundedReceiver<Op>,
) {
    let mut bytes: u64 = batch.iter().map(Op::bytes).sum();
    let mut chunks: BTreeSet<ChunkId> = batch.iter().flat_map(Op::chunks).copied().collect();
    while batch.len() < BATCH_OPS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(op) = queue.try_recv() else {
            return;
        };
        bytes += op.bytes();
        if bytes > BATCH_BYTES_MAX || !op.chunks().iter().all(|chunk| chunks.insert(*chunk)) {
            *held = Some(op);
            return;
        }
        batch.push(op);
    }
}

/// An operation's answer, kept until all that it depends on is durable.
pub(super) type Answer = (Reply, Result<(), StoreError>);

/// A synced file and the name it is to have.
pub(super) struct Publish {
    pub(in crate::datanode::store) part: PathBuf,
    pub(in crate::datanode::store) chunk: ChunkId,
    pub(in crate::datanode::store) entry: Entry,
    pub(in crate::datanode::store) reply: Reply,
}

/// A batch by kind of operation.
#[derive(Default)]
pub(super) struct Work {
    pub(in crate::datanode::store) packs: Vec<(Packed, Reply)>,
    pub(in crate::datanode::store) publishes: Vec<Publish>,
    pub(in crate::datanode::store) deletions: Vec<(Vec<ChunkId>, Reply)>,
    pub(in crate::datanode::store) quarantines: Vec<(ChunkId, String, Reply)>,
    pub(in crate::datanode::store) discards: Vec<PathBuf>,
    pub(in crate::datanode::store) close: Option<Reply>,
}

impl Work {
    pub(in crate::datanode::store) fn sort(&mut self, op: Op) {
        match op {
            Op::Pack { packed, reply } => self.packs.push((packed, reply)),
            Op::Publish {
                part,
                chunk,
                entry,
                reply,
            } => self.publishes.push(Publish {
                part,
                chunk,
                entry,
                reply,
            }),
            Op::Delete { chunks, reply } => self.deletions.push((chunks, reply)),
            Op::Quarantine {
                chunk,
                reason,
                reply,
            } => {
                self.quarantines.push((chunk, reason, reply));
            }
            Op::Discard { part } => self.discards.push(part),
            Op::Close { reply } => self.close = Some(reply),
        }
    }

    /// The answers to what was not done because the store has failed, and to a close.
    pub(in crate::datanode::store) fn refuse(self, shared: &Shared) -> Vec<Answer> {
        let state = shared.condition.check();
        let packs = self.packs.into_iter().map(|(_, reply)| reply);
        let publishes = self.publishes.into_iter().map(|publish| publish.reply);
        let replies = packs.chain(publishes).chain(self.close);
        replies.map(|reply| (reply, state.clone())).collect()
    }
}
