//! Writing a chunk through a pipeline of data nodes.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::env::BoxStream;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Deadlines;
use super::frame::{FrameKind, encode, read_frame, write_buffers, write_message};
use super::message::{
    Blocks, DataHeader, Finish, Reply, Request, Stored, StreamError, StreamErrorKind, decode,
};
use super::pool::ChunkPool;
use super::reader::{closed, invalid};
use crate::proto::metadata::NodeAddress;
use crate::types::NodeId;
use crate::types::checksum::{combine, combine_blocks, crc32c};
use crate::types::limits::BLOCK_LEN;

/// Payload of a full data frame: small enough that the next node starts soon, large enough that
/// a frame costs nothing beside its bytes.
pub(super) const WRITE_FRAME_LEN: usize = 8 * BLOCK_LEN;
/// Frames that may wait for the connection.
const QUEUE_LEN: usize = 4;
/// Pieces shorter than this are copied together instead of being sent on their own.
const PIECE_LEN_MIN: usize = 16 * 1024;

/// A write of blocks that have their checksums. Dropping it abandons the write.
pub struct BlockWriter {
    node: NodeId,
    queue: mpsc::Sender<Outgoing>,
    task: AbortOnDropHandle<Result<Stored, StreamError>>,
    sent: u64,
}

enum Outgoing {
    Data {
        header: DataHeader,
        payload: Vec<Bytes>,
    },
    Finish(Finish),
}

impl BlockWriter {
    /// Starts the task that owns the connection: it says "still here" and hears errors whether
    /// or not there is something to send.
    pub(super) fn start(
        pool: ChunkPool,
        target: NodeAddress,
        stream: BoxStream,
        request: Request,
    ) -> BlockWriter {
        let node = target.node;
        let (queue, outgoing) = mpsc::channel(QUEUE_LEN);
        let task = tokio::spawn(drive(pool, target, stream, request, outgoing));
        BlockWriter {
            node,
            queue,
            task: AbortOnDropHandle::new(task),
            sent: 0,
        }
    }

    /// Sends the next blocks. Returns when they are queued: a few frames wait at most.
    ///
    /// # Errors
    /// The write failed, now or before; which node is to blame is in the error.
    pub async fn send(&mut self, blocks: Blocks) -> Result<(), StreamError> {
        if blocks.offset != self.sent {
            let message = format!("blocks at {} where {} is due", blocks.offset, self.sent);
            return Err(StreamError::new(
                self.node,
                StreamErrorKind::Invalid,
                message,
            ));
        }
        self.send_pieces(vec![blocks.bytes], blocks.checksums).await
    }

    async fn send_pieces(
        &mut self,
        payload: Vec<Bytes>,
        checksums: Vec<u32>,
    ) -> Result<(), StreamError> {
        let length = payload.iter().map(Bytes::len).sum::<usize>() as u64;
        let header = DataHeader {
            offset: self.sent,
            checksums,
        };
        self.sent = self.sent.saturating_add(length);
        self.enqueue(Outgoing::Data { header, payload }).await
    }

    /// Ends the write and waits until the pipeline has the chunk on stable storage.
    ///
    /// # Errors
    /// No node has it. That some have failed is not an error: see [`Stored::failed`].
    pub async fn finish(mut self, finish: Finish) -> Result<Stored, StreamError> {
        self.enqueue(Outgoing::Finish(finish)).await?;
        self.outcome().await
    }

    async fn enqueue(&mut self, outgoing: Outgoing) -> Result<(), StreamError> {
        match self.queue.send(outgoing).await {
            Ok(()) => Ok(()),
            Err(_) => match self.outcome().await {
                Ok(_) => Err(self.failed("the write has ended")),
                Err(error) => Err(error),
            },
        }
    }

    async fn outcome(&mut self) -> Result<Stored, StreamError> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(e) => Err(self.failed(&format!("the write was stopped: {e}"))),
        }
    }

    fn failed(&self, message: &str) -> StreamError {
        StreamError::new(self.node, StreamErrorKind::Failed, message)
    }
}

/// A write of bytes in pieces of any size. Dropping it abandons the write.
///
/// Blocks, frames and checksums are made here, without copying pieces that are not tiny.
#[derive(Debug)]
pub struct ChunkWriter {
    blocks: BlockWriter,
    length_max: u64,
    /// Length and checksum of what was sent in frames.
    sent: Finish,
    /// Pieces of the next frame.
    pieces: Vec<Bytes>,
    /// Tiny pieces of the next frame, after the others.
    tail: BytesMut,
    pending: usize,
}

impl ChunkWriter {
    pub(super) fn new(blocks: BlockWriter, length_max: u64) -> ChunkWriter {
        let sent = Finish {
            length: 0,
            checksum: 0,
        };
        let (pieces, tail) = (Vec::new(), BytesMut::new());
        ChunkWriter {
            blocks,
            length_max,
            sent,
            pieces,
            tail,
            pending: 0,
        }
    }

    /// How many bytes were given to [`ChunkWriter::send`].
    pub fn length(&self) -> u64 {
        self.sent.length.saturating_add(self.pending as u64)
    }

    /// Adds bytes. Returns when they are queued, a few frames ahead of the connection at most.
    /// Once it was cancelled or failed the writer is of no more use.
    ///
    /// # Errors
    /// `Invalid` when there are more than `length_max`; else why the write failed, and because
    /// of which node.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), StreamError> {
        if bytes.len() as u64 > self.length_max.saturating_sub(self.length()) {
            let message = format!("more than the {} bytes announced", self.length_max);
            return Err(StreamError::new(
                self.blocks.node,
                StreamErrorKind::Invalid,
                message,
            ));
        }
        while !bytes.is_empty() {
            let room = WRITE_FRAME_LEN - self.pending;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.pending += piece.len();
            if piece.len() < PIECE_LEN_MIN {
                self.tail.extend_from_slice(&piece);
            } else {
                self.end_tail();
                self.pieces.push(piece);
            }
            if self.pending == WRITE_FRAME_LEN {
                self.send_frame().await?;
            }
        }
        Ok(())
    }

    /// Ends the write and waits until the pipeline has the chunk on stable storage.
    ///
    /// # Errors
    /// No node has it. That some have failed is not an error: see [`Stored::failed`].
    pub async fn finish(mut self) -> Result<Stored, StreamError> {
        if self.pending > 0 {
            self.send_frame().await?;
        }
        self.blocks.finish(self.sent).await
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    async fn send_frame(&mut self) -> Result<(), StreamError> {
        self.end_tail();
        let pieces = std::mem::take(&mut self.pieces);
        let length = std::mem::take(&mut self.pending) as u64;
        let checksums = block_checksums(&pieces);
        let checksum = combine_blocks(&checksums, length);
        self.sent.checksum = combine(self.sent.checksum, checksum, length);
        self.sent.length = self.sent.length.saturating_add(length);
        self.blocks.send_pieces(pieces, checksums).await
    }
}

/// The checksum of each block of the bytes that `pieces` are together.
fn block_checksums(pieces: &[Bytes]) -> Vec<u32> {
    let (mut checksums, mut current, mut filled) = (Vec::new(), 0, 0);
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(BLOCK_LEN - filled));
            let checksum = crc32c(part);
            current = if filled == 0 {
                checksum
            } else {
                combine(current, checksum, part.len() as u64)
            };
            filled += part.len();
            rest = after;
            if filled == BLOCK_LEN {
                checksums.push(current);
                (current, filled) = (0, 0);
            }
        }
    }
    if filled > 0 {
        checksums.push(current);
    }
    checksums
}

/// Sends a write to its end and hears the answer.
async fn drive(
    pool: ChunkPool,
    target: NodeAddress,
    stream: BoxStream,
    request: Request,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> Result<Stored, StreamError> {
    let deadlines = pool.deadlines();
    let (mut read, mut write) = tokio::io::split(stream);
    let outcome = exchange(&mut read, &mut write, &request, &mut outgoing, &deadlines).await;
    match outcome {
        Ok((finish, Reply::Stored(stored))) if is_answer(&stored, finish) => {
            pool.keep(&target, read.unsplit(write));
            Ok(stored)
        }
        Ok((_, Reply::Failed(error))) => Err(error),
        Ok(_) => {
            let message = "the answer to another question";
            Err(StreamError::new(
                target.node,
                StreamErrorKind::Failed,
                message,
            ))
        }
        Err(error) => {
            pool.forget(&target);
            Err(StreamError::from_io(target.node, &error))
        }
    }
}

fn is_answer(stored: &Stored, finish: Option<Finish>) -> bool {
    let said = Finish {
        length: stored.length,
        checksum: stored.checksum,
    };
    finish == Some(said) && !stored.nodes.is_empty()
}

/// Sends and listens at the same time. The answer may come before all is sent: an error.
async fn exchange<R, W>(
    read: &mut R,
    write: &mut W,
    request: &Request,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    deadlines: &Deadlines,
) -> io::Result<(Option<Finish>, Reply)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // Each node of the pipeline gives up on the next before it is given up itself.
    let hops = match request {
        Request::Write(write) => u32::try_from(write.forward.len()).unwrap_or(u32::MAX),
        Request::Read(_) => 0,
    };
    let finish_deadline = deadlines.finish.saturating_mul(hops.saturating_add(1));
    let mut reply = Box::pin(hear(read, deadlines));
    let sent = tokio::select! {
        biased;
        sent = send_all(write, request, outgoing, deadlines) => sent,
        reply = &mut reply => return Ok((None, reply?)),
    };
    match sent {
        Ok(finish) => match timeout(finish_deadline, reply).await {
            Ok(reply) => Ok((Some(finish), reply?)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not finish",
            )),
        },
        // The node may have said why it closed the connection.
        Err(error) => match timeout(deadlines.silence, reply).await {
            Ok(Ok(Reply::Failed(reason))) => Ok((None, Reply::Failed(reason))),
            _ => Err(error),
        },
    }
}

async fn send_all<W>(
    write: &mut W,
    request: &Request,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    deadlines: &Deadlines,
) -> io::Result<Finish>
where
    W: AsyncWrite + Unpin,
{
    let stall: Duration = deadlines.stall;
    write_message(write, FrameKind::Request, request, stall).await?;
    loop {
        match timeout(deadlines.beat(), outgoing.recv()).await {
            Err(_) => write_message(write, FrameKind::Alive, &(), stall).await?,
            Ok(Some(Outgoing::Data { header, payload })) => {
                let length = payload.iter().map(Bytes::len).sum();
                let mut buffers = Vec::with_capacity(1 + payload.len());
                buffers.push(encode(FrameKind::Data, &header, length)?);
                buffers.extend(payload);
                write_buffers(write, &buffers, stall).await?;
            }
            Ok(Some(Outgoing::Finish(finish))) => {
                write_message(write, FrameKind::Finish, &finish, stall).await?;
                return Ok(finish);
            }
            Ok(None) => return Err(io::Error::other("the writer was dropped")),
        }
    }
}

async fn hear<R>(read: &mut R, deadlines: &Deadlines) -> io::Result<Reply>
where
    R: AsyncRead + Unpin,
{
    loop {
        let frame = read_frame(read, deadlines.with_worker())
            .await?
            .ok_or_else(closed)?;
        match frame.kind {
            FrameKind::Alive => {}
            FrameKind::Reply => return decode(&frame, FrameKind::Reply),
            _ => return Err(invalid("neither an answer nor a sign of life")),
        }
    }
}

impl fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockWriter")
            .field("node", &self.node)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
