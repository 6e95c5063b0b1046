//! What the headers of frames say.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::frame::{Frame, FrameKind};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::verify_blocks;
use crate::types::limits::{BLOCK_LEN, CHUNK_SIZE_MAX, REPLICAS_MAX};
use crate::types::{ByteRange, ChunkId, NodeId, Permit};

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Keep a chunk whose bytes follow.
    Write(WriteRequest),
    /// Send bytes of a chunk.
    Read(ReadRequest),
}

/// Keep a chunk, and pass it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// Who is meant; another node that got its address refuses.
    pub node: NodeId,
    /// Which chunk.
    pub chunk: ChunkId,
    /// What lets the caller write it; the nodes of the pipeline pass it on.
    pub permit: Permit,
    /// Most bytes that will come.
    pub length_max: u64,
    /// The rest of the pipeline, next node first.
    pub forward: Vec<NodeAddress>,
}

/// Send bytes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// Who is meant; another node that got its address refuses.
    pub node: NodeId,
    /// Which chunk.
    pub chunk: ChunkId,
    /// What lets the caller read it.
    pub permit: Permit,
    /// Which bytes; none of them asks only what there is.
    pub range: ByteRange,
    /// They are for a copy that nobody waits for: others go first.
    pub gives_way: bool,
}

impl Request {
    /// Checks it against the limits.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            Request::Write(write) if !(1..=CHUNK_SIZE_MAX).contains(&write.length_max) => Err(
                format!("a chunk of {} bytes is not possible", write.length_max),
            ),
            Request::Write(write) if write.forward.len() >= usize::from(REPLICAS_MAX) => {
                Err(format!("a pipeline is at most {REPLICAS_MAX} nodes long"))
            }
            Request::Read(read) if read.range.offset.checked_add(read.range.length).is_none() => {
                Err(format!("no chunk has the range {}", read.range))
            }
            _ => Ok(()),
        }
    }
}

/// Which blocks a data frame carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataHeader {
    /// Where in the chunk they begin; a whole number of blocks.
    pub offset: u64,
    /// CRC-32C of each, made once by the writer of the chunk.
    pub checksums: Vec<u32>,
}

/// All bytes of a chunk have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// How many.
    pub length: u64,
    /// CRC-32C of all of them.
    pub checksum: u32,
}

/// What a data node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A write is done.
    Stored(Stored),
    /// A read begins: data frames follow, then [`Reply::End`].
    Reading {
        /// The chunk's bytes.
        length: u64,
        /// CRC-32C of them.
        checksum: u32,
    },
    /// A read is done.
    End,
    /// It could not be done.
    Failed(StreamError),
}

/// Who has a chunk after a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The nodes that have it on stable storage, in pipeline order; at least one.
    pub nodes: Vec<NodeId>,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// The nodes known to have failed, and how. A node of the pipeline that is in neither list
    /// came after one that failed.
    pub failed: Vec<StreamError>,
}

/// What a caller can do about a failed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StreamErrorKind {
    /// The node has no such replica: ask another.
    NotFound,
    /// The replica, or bytes on their way, fail their checksums: ask another, report it.
    Corrupt,
    /// The node has no room: take another.
    OutOfSpace,
    /// The node has too much to do: take another, or wait.
    Busy,
    /// The request makes no sense, to any node.
    Invalid,
    /// The permit is not good, or no longer: ask the masters again.
    Denied,
    /// The node could not do it: its disk, or something it did not expect.
    Failed,
    /// The node cannot be reached, went away or hangs.
    Unreachable,
}

/// Why a stream failed, and which node's fault it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{node}: {kind}: {message}")]
pub struct StreamError {
    /// The node at fault.
    pub node: NodeId,
    /// What to do about it.
    pub kind: StreamErrorKind,
    /// For people.
    pub message: String,
}

/// Longest message of an error that is sent.
const MESSAGE_LEN_MAX: usize = 400;

impl StreamError {
    /// An error of `node`. A message that is too long to send is cut.
    pub fn new(node: NodeId, kind: StreamErrorKind, message: impl fmt::Display) -> StreamError {
        let mut message = message.to_string();
        if message.len() > MESSAGE_LEN_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_LEN_MAX));
        }
        StreamError {
            node,
            kind,
            message,
        }
    }

    /// What went wrong with the stream to `node`.
    pub fn from_io(node: NodeId, error: &io::Error) -> StreamError {
        let kind = match error.kind() {
            io::ErrorKind::InvalidData => StreamErrorKind::Corrupt,
            io::ErrorKind::InvalidInput => StreamErrorKind::Invalid,
            _ => StreamErrorKind::Unreachable,
        };
        StreamError::new(node, kind, error)
    }
}

impl fmt::Display for StreamErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamErrorKind::NotFound => "not found",
            StreamErrorKind::Corrupt => "corrupt",
            StreamErrorKind::OutOfSpace => "out of space",
            StreamErrorKind::Busy => "busy",
            StreamErrorKind::Invalid => "invalid request",
            StreamErrorKind::Denied => "denied",
            StreamErrorKind::Failed => "failed",
            StreamErrorKind::Unreachable => "unreachable",
        })
    }
}

/// Blocks of a chunk with their checksums, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// Where in the chunk they begin; a whole number of blocks.
    pub offset: u64,
    /// Their bytes; only the last block of a chunk is shorter than [`BLOCK_LEN`].
    pub bytes: bytes::Bytes,
    /// CRC-32C of each.
    pub checksums: Vec<u32>,
}

impl Blocks {
    /// Takes a data frame apart and verifies every block.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it does not begin at `offset`, or a block fails.
    pub fn from_frame(frame: Frame, offset: u64) -> io::Result<Blocks> {
        let header: DataHeader = decode(&frame, FrameKind::Data)?;
        if header.offset != offset {
            return Err(invalid(format!(
                "bytes of {} where {offset} is due",
                header.offset
            )));
        }
        if frame.payload.is_empty() {
            return Err(invalid("a data frame without data".to_owned()));
        }
        if let Err(block) = verify_blocks(&frame.payload, &header.checksums) {
            let at = offset.saturating_add(block as u64 * BLOCK_LEN as u64);
            return Err(invalid(format!("the block at {at} fails its checksum")));
        }
        Ok(Blocks {
            offset,
            bytes: frame.payload,
            checksums: header.checksums,
        })
    }

    /// The first byte of the chunk after them.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// The header of a frame that must be of `kind`.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`]: it is of another kind, or malformed.
pub fn decode<T: serde::de::DeserializeOwned>(frame: &Frame, kind: FrameKind) -> io::Result<T> {
    if frame.kind != kind {
        return Err(invalid(format!(
            "a {:?} frame where {kind:?} is due",
            frame.kind
        )));
    }
    postcard::from_bytes(&frame.header).map_err(|_| invalid(format!("a malformed {kind:?} frame")))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
