//! Receiving a chunk, keeping it, and passing it on.
//!
//! ```text
//!             ┌──────────── n1 ─────────────────────────────┐
//! upstream ──▶│ intake: verify ─┬─ queue ─▶ keep ─▶ disk    │
//!             │                 └─ queue ─▶ forward ────────┼──▶ n2 …
//! upstream ◀──┤ Alive … Reply(Stored n1 + what n2 says)     │
//!             └─────────────────────────────────────────────┘
//!
//!   intake   Blocks ───▶ Blocks ───▶ … ───▶ Finish
//!   keep          write ───▶ write ───▶ … ───▶ fsync ──┐
//!   forward       send ────▶ send ────▶ … ───▶ Finish ─┴─▶ both joined: Reply
//! ```
//!
//! The queues hold a few frames each, so the slower of disk and next node sets the pace, and a
//! frame is in memory once however many take it. Either may fail without the other: the reply
//! says who has the chunk and who failed. Only when nobody takes the bytes any more, or the
//! bytes themselves are bad, does the write fail as a whole.

use std::io;
use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tracing::warn;

use super::Shared;
use super::error::to_stream_error;
use super::service::{Next, alive_while, answer};
use super::store::{Purpose, StoreError};
use crate::env::BoxStream;
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::frame::{FrameKind, read_frame};
use crate::proto::chunk_stream::{
    Blocks, Finish, Reply, Stored, StreamError, StreamErrorKind, WriteRequest, decode,
};
use crate::types::NodeId;
use crate::types::checksum::{combine, combine_blocks};
use crate::types::limits::BLOCK_LEN;

/// Frames that may wait for the disk, and for the next node.
const QUEUE_LEN: usize = 3;

/// What takes part of the bytes to one of the two places they go.
#[derive(Debug, Clone)]
enum Piece {
    Blocks(Blocks),
    Finish(Finish),
}

/// Why the bytes ended before [`Finish`].
enum Cut {
    /// Nobody takes them any more.
    Unwanted,
    /// The writer broke the rules, or the bytes are bad.
    Refused(StreamError),
    /// The writer is gone.
    Gone(io::Error),
}

/// Serves a write to its end.
///
/// # Errors
/// The stream failed; nothing is left behind then.
pub(super) async fn serve_write(
    shared: &Arc<Shared>,
    stream: &mut BoxStream,
    request: WriteRequest,
) -> io::Result<Next> {
    let deadlines = shared.config.deadlines;
    let (mut from, mut to) = tokio::io::split(stream);
    let (keep_queue, keep_pieces) = mpsc::channel(QUEUE_LEN);
    let (mut forward_queue, mut downstream) = (None, None);
    if !request.forward.is_empty() {
        let (queue, pieces) = mpsc::channel(QUEUE_LEN);
        forward_queue = Some(queue);
        downstream = Some(forward(shared, &request, pieces));
    }
    let flow = async {
        let intake = Intake {
            shared,
            request: &request,
            keep_queue,
            forward_queue,
        };
        tokio::join!(
            intake.run(&mut from),
            keep(shared, &request, keep_pieces),
            OptionFuture::from(downstream),
        )
    };
    let (taken, kept, forwarded) = alive_while(&mut to, &deadlines, flow).await?;

    let (reply, next) = match taken {
        Ok(finish) => {
            let reply = summarize(request.node, finish, kept, forwarded);
            let next = match reply {
                Reply::Stored(_) => Next::Request,
                _ => Next::Close,
            };
            (reply, next)
        }
        Err(Cut::Refused(error)) => (Reply::Failed(error), Next::Close),
        Err(Cut::Unwanted) => {
            let nothing = Finish {
                length: 0,
                checksum: 0,
            };
            (
                summarize(request.node, nothing, kept, forwarded),
                Next::Close,
            )
        }
        Err(Cut::Gone(error)) => return Err(error),
    };
    if let Reply::Failed(error) = &reply {
        warn!(chunk = %request.chunk, node = %error.node, %error, "a write failed");
    }
    answer(&mut to, reply, &deadlines).await?;
    Ok(next)
}

/// Who has it, who failed.
fn summarize(
    us: NodeId,
    finish: Finish,
    kept: Result<(), StreamError>,
    forwarded: Option<Result<Stored, StreamError>>,
) -> Reply {
    let (mut nodes, mut failed) = (Vec::new(), Vec::new());
    let own_error = kept.err();
    if own_error.is_none() {
        nodes.push(us);
    }
    failed.extend(own_error.clone());
    match forwarded {
        Some(Ok(stored)) => {
            nodes.extend(stored.nodes);
            failed.extend(stored.failed);
        }
        Some(Err(error)) => failed.push(error),
        None => {}
    }
    match own_error {
        Some(error) if nodes.is_empty() => Reply::Failed(error),
        _ => {
            let Finish { length, checksum } = finish;
            Reply::Stored(Stored {
                nodes,
                length,
                checksum,
                failed,
            })
        }
    }
}

/// The upstream end of a write.
struct Intake<'a> {
    shared: &'a Shared,
    request: &'a WriteRequest,
    keep_queue: mpsc::Sender<Piece>,
    forward_queue: Option<mpsc::Sender<Piece>>,
}

impl Intake<'_> {
    /// Hands frames on as they come. Its end closes the queues; without a [`Piece::Finish`] that
    /// abandons the write everywhere.
    async fn run<R>(self, from: &mut R) -> Result<Finish, Cut>
    where
        R: AsyncRead + Unpin,
    {
        let unwanted = async {
            self.keep_queue.closed().await;
            if let Some(queue) = &self.forward_queue {
                queue.closed().await;
            }
        };
        tokio::select! {
            biased;
            () = unwanted => Err(Cut::Unwanted),
            taken = self.take(from) => taken,
        }
    }

    async fn take<R>(&self, from: &mut R) -> Result<Finish, Cut>
    where
        R: AsyncRead + Unpin,
    {
        let patience = self.shared.config.deadlines.with_caller();
        let mut taken = Finish {
            length: 0,
            checksum: 0,
        };
        let mut idle = self.shared.admission.idle_write();
        loop {
            let gone = || Cut::Gone(io::ErrorKind::UnexpectedEof.into());
            let frame = tokio::select! {
                biased;
                () = idle.closed.cancelled() => {
                    let what = "no bytes came and others wait";
                    return Err(self.refused(StreamErrorKind::Busy, what));
                }
                frame = read_frame(from, patience) => match frame {
                    Ok(frame) => frame.ok_or_else(gone)?,
                    Err(error) => return Err(self.stream_error(error)),
                },
            };
            match frame.kind {
                FrameKind::Alive => {}
                FrameKind::Data => {
                    let blocks = Blocks::from_frame(frame, taken.length)
                        .map_err(|e| self.stream_error(e))?;
                    self.check(&taken, &blocks)?;
                    let length = blocks.bytes.len() as u64;
                    let checksum = combine_blocks(&blocks.checksums, length);
                    taken.checksum = combine(taken.checksum, checksum, length);
                    taken.length = blocks.end();
                    drop(idle);
                    self.hand_on(Piece::Blocks(blocks)).await;
                    idle = self.shared.admission.idle_write();
                }
                _ => {
                    let finish: Finish =
                        decode(&frame, FrameKind::Finish).map_err(|e| self.stream_error(e))?;
                    if finish != taken || taken.length == 0 {
                        let what = format!("{finish:?} was announced, {taken:?} came");
                        return Err(self.refused(StreamErrorKind::Corrupt, what));
                    }
                    drop(idle);
                    self.hand_on(Piece::Finish(finish)).await;
                    return Ok(finish);
                }
            }
        }
    }

    fn check(&self, taken: &Finish, blocks: &Blocks) -> Result<(), Cut> {
        if !taken.length.is_multiple_of(BLOCK_LEN as u64) {
            let what = format!("bytes after a short block at {}", taken.length);
            return Err(self.refused(StreamErrorKind::Invalid, what));
        }
        if blocks.end() > self.request.length_max {
            let what = format!("more than the {} bytes announced", self.request.length_max);
            return Err(self.refused(StreamErrorKind::Invalid, what));
        }
        Ok(())
    }

    /// Waits until there is room. One who takes no more is not waited for.
    async fn hand_on(&self, piece: Piece) {
        if let Some(queue) = &self.forward_queue {
            // It has failed and said why in its result.
            let _ = queue.send(piece.clone()).await;
        }
        // Likewise.
        let _ = self.keep_queue.send(piece).await;
    }

    fn refused(&self, kind: StreamErrorKind, what: impl std::fmt::Display) -> Cut {
        Cut::Refused(StreamError::new(self.request.node, kind, what))
    }

    fn stream_error(&self, error: io::Error) -> Cut {
        match error.kind() {
            io::ErrorKind::InvalidData => self.refused(StreamErrorKind::Corrupt, error),
            _ => Cut::Gone(error),
        }
    }
}

/// Keeps the chunk here.
async fn keep(
    shared: &Shared,
    request: &WriteRequest,
    pieces: mpsc::Receiver<Piece>,
) -> Result<(), StreamError> {
    match store(shared, request, pieces).await {
        Ok(true) => {
            // If one was here already, the store has read it through, or replaced it.
            shared.corrupt.clear(request.chunk);
            Ok(())
        }
        Ok(false) => {
            let what = "the write was abandoned";
            Err(StreamError::new(
                request.node,
                StreamErrorKind::Failed,
                what,
            ))
        }
        Err(error) => Err(to_stream_error(request.node, &error)),
    }
}

/// Writes what comes; false if it was abandoned.
async fn store(
    shared: &Shared,
    request: &WriteRequest,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<bool, StoreError> {
    let WriteRequest {
        chunk, length_max, ..
    } = *request;
    let mut replica = shared
        .store
        .create(chunk, length_max, Purpose::Write)
        .await?;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Blocks(blocks) => replica.write(blocks.bytes, &blocks.checksums).await?,
            Piece::Finish(finish) => {
                let summary = replica.finish().await?;
                if (summary.length, summary.checksum) != (finish.length, finish.checksum) {
                    return Err(StoreError::Invalid(format!("{chunk}: stored {summary:?}")));
                }
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Passes the chunk on to the rest of the pipeline.
async fn forward(
    shared: &Shared,
    request: &WriteRequest,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Stored, StreamError> {
    let WriteRequest {
        node,
        chunk,
        length_max,
        ref forward,
        ref permit,
    } = *request;
    let failed = |what: &str| StreamError::new(node, StreamErrorKind::Failed, what);
    let pool = shared
        .pool()
        .ok_or_else(|| failed("not in a cluster yet"))?;
    let mut writer = pool
        .write_blocks(forward, (chunk, permit), length_max)
        .await?;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Blocks(blocks) => writer.send(blocks).await?,
            Piece::Finish(finish) if planted::active(Bug::PipelineAcksBeforeTail) => {
                tokio::spawn(writer.finish(finish));
                return Ok(Stored {
                    nodes: forward.iter().map(|target| target.node).collect(),
                    length: finish.length,
                    checksum: finish.checksum,
                    failed: Vec::new(),
                });
            }
            Piece::Finish(finish) => return writer.finish(finish).await,
        }
    }
    Err(failed("the write was abandoned"))
}
