//! Reading a chunk from one data node.

use std::fmt;
use std::io;

use crate::env::BoxStream;
use bytes::Bytes;
use tokio::time::timeout;

use super::frame::{Frame, FrameKind, read_frame, write_message};
use super::message::{Blocks, Reply, Request, StreamError, StreamErrorKind, decode};
use super::pool::ChunkPool;
use crate::proto::metadata::NodeAddress;
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, NodeId};

/// Bytes of a chunk, verified as they arrive.
pub struct ChunkReader {
    pool: ChunkPool,
    target: NodeAddress,
    /// None once the reply has ended, or failed.
    stream: Option<BoxStream>,
    range: ByteRange,
    /// Where the next blocks begin.
    position: u64,
    length: u64,
    checksum: u32,
}

/// Why there is nothing more to read.
pub(super) enum Broken {
    /// The node said so.
    Answered(StreamError),
    /// The stream failed.
    Stream(io::Error),
}

impl Broken {
    pub(super) fn into_error(self, node: NodeId) -> StreamError {
        match self {
            Broken::Answered(error) => error,
            Broken::Stream(error) => StreamError::from_io(node, &error),
        }
    }

    /// Whether a connection that was kept for long may just have been closed at the other end.
    /// A node that hangs is not meant: asking it again would double the wait.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Broken::Stream(e) if e.kind() != io::ErrorKind::TimedOut)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Stream(error)
    }
}

impl ChunkReader {
    pub(super) async fn start(
        pool: ChunkPool,
        target: &NodeAddress,
        mut stream: BoxStream,
        request: &Request,
        range: ByteRange,
    ) -> Result<ChunkReader, Broken> {
        let deadlines = pool.deadlines();
        write_message(&mut stream, FrameKind::Request, request, deadlines.silence).await?;
        let frame = next_frame(&mut stream, &pool).await?;
        match decode(&frame, FrameKind::Reply)? {
            Reply::Reading { length, .. } if length < range.end() => {
                Err(invalid("the node reads beyond the chunk's end").into())
            }
            Reply::Reading { length, checksum } => Ok(ChunkReader {
                position: range.offset - range.offset % BLOCK_LEN as u64,
                pool,
                target: target.clone(),
                stream: Some(stream),
                range,
                length,
                checksum,
            }),
            Reply::Failed(error) => {
                // Who is denied is let out, too.
                if error.kind != StreamErrorKind::Denied {
                    pool.keep(target, stream);
                }
                Err(Broken::Answered(error))
            }
            Reply::Stored(_) | Reply::End => Err(invalid("the answer to another question").into()),
        }
    }

    /// The chunk's bytes, not only those of the range.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// CRC-32C of all of the chunk's bytes.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// The next bytes of the range, never empty; none after the last. After an error there is
    /// nothing more.
    ///
    /// # Errors
    /// `Corrupt` when bytes fail their checksum, here or at the node; `Unreachable` when the node
    /// goes away or hangs.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        while let Some(blocks) = self.next_blocks().await? {
            let skip = self.range.offset.saturating_sub(blocks.offset);
            let surplus = blocks.end().saturating_sub(self.range.end());
            let mut bytes = blocks.bytes;
            bytes.truncate(bytes.len().saturating_sub(to_len(surplus)));
            let clipped = bytes.split_off(to_len(skip).min(bytes.len()));
            if !clipped.is_empty() {
                return Ok(Some(clipped));
            }
        }
        Ok(None)
    }

    /// The same in whole blocks with their checksums: more than the range where it is not
    /// aligned.
    ///
    /// # Errors
    /// As [`ChunkReader::next`].
    pub async fn next_blocks(&mut self) -> Result<Option<Blocks>, StreamError> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(None);
        };
        let received = self.receive(&mut stream).await;
        match received {
            Ok(Some(blocks)) => {
                self.stream = Some(stream);
                Ok(Some(blocks))
            }
            Ok(None) => {
                self.pool.keep(&self.target, stream);
                Ok(None)
            }
            Err(broken) => {
                if matches!(broken, Broken::Stream(_)) {
                    self.pool.forget(&self.target);
                }
                Err(broken.into_error(self.target.node))
            }
        }
    }

    async fn receive(&mut self, stream: &mut BoxStream) -> Result<Option<Blocks>, Broken> {
        let frame = next_frame(stream, &self.pool).await?;
        if frame.kind == FrameKind::Data {
            let blocks = Blocks::from_frame(frame, self.position)?;
            if blocks.end() > self.length {
                return Err(invalid("more bytes than the chunk has").into());
            }
            self.position = blocks.end();
            return Ok(Some(blocks));
        }
        match decode(&frame, FrameKind::Reply)? {
            Reply::End if self.range.length > 0 && self.position < self.range.end() => {
                Err(invalid("fewer bytes than were asked for").into())
            }
            Reply::End => Ok(None),
            Reply::Failed(error) => Err(Broken::Answered(error)),
            Reply::Stored(_) | Reply::Reading { .. } => {
                Err(invalid("the answer to another question").into())
            }
        }
    }
}

/// The next frame that says more than "still here", which nobody may say for ever.
async fn next_frame(stream: &mut BoxStream, pool: &ChunkPool) -> io::Result<Frame> {
    let deadlines = pool.deadlines();
    let speaking = async {
        loop {
            match read_frame(stream, deadlines.with_worker()).await? {
                Some(frame) if frame.kind == FrameKind::Alive => {}
                Some(frame) => return Ok(frame),
                None => return Err(closed()),
            }
        }
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not get on");
    timeout(deadlines.stall, speaking)
        .await
        .map_err(|_| late())?
}

pub(super) fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the node closed the connection",
    )
}

pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A length that is known to be less than a frame's.
fn to_len(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

impl fmt::Debug for ChunkReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkReader")
            .field("target", &self.target)
            .field("range", &self.range)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
