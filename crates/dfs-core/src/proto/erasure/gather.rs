//! Members of a stripe, from whichever data nodes have them: enough to give another.
//!
//! ```text
//! d0 ├──── bytes ────▶
//! d2 ├──── fails       p0 ├──── bytes ────▶          the next in its place
//! d3 ├──── slow ─ ─ ─ ─ ─ ─  p1 ├── bytes ──▶ done   one more when nothing came for a while
//! ```

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::proto::chunk_stream::{ChunkPool, StreamError, StreamErrorKind};
use crate::proto::metadata::NodeAddress;
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, ChunkId, NodeId, Permit, StripeShape};

/// Bytes of all members that one decoding has in memory.
const GATHERED_MAX: u64 = 4 << 20;

/// A member that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where among the members it is.
    pub index: usize,
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes; those of a full member beyond them are zero.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// What lets us read it.
    pub permit: Permit,
    /// Who has it, best choice first.
    pub nodes: Vec<NodeAddress>,
}

/// What came, and what did not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gathered {
    /// Members with their indexes, as many as there is data; fewer if no more can be read.
    pub members: Vec<(usize, Bytes)>,
    /// The reads that failed.
    pub failed: Vec<(ChunkId, StreamError)>,
}

/// How many bytes of each member to gather at a time: whole blocks.
pub fn slice_length(shape: StripeShape) -> u64 {
    let block = BLOCK_LEN as u64;
    let part = GATHERED_MAX / u64::from(shape.data).max(1);
    (part - part % block).max(block)
}

/// Reads the same range of members until there are as many as the shape has data, the first of
/// `sources` first. The range is one that can be coded: aligned, and within the longest member.
/// When nothing comes for `patience` one more is asked.
pub async fn gather(
    pool: &ChunkPool,
    shape: StripeShape,
    sources: &[Source],
    range: ByteRange,
    patience: Duration,
) -> Gathered {
    let mut waiting = sources.iter();
    let mut running = FuturesUnordered::new();
    let mut gathered = Gathered::default();
    loop {
        while gathered.members.len() + running.len() < shape.data() {
            match waiting.next() {
                Some(source) => running.push(fetch(pool, source, range)),
                None => break,
            }
        }
        if gathered.members.len() >= shape.data() || running.is_empty() {
            return gathered;
        }
        let may_ask_more = waiting.len() > 0;
        tokio::select! {
            biased;
            Some((source, result)) = running.next() => {
                let (bytes, failed) = result;
                let failed = failed.into_iter().map(|error| (source.chunk, error));
                gathered.failed.extend(failed);
                if let Some(bytes) = bytes {
                    gathered.members.push((source.index, bytes));
                }
            }
            () = sleep(patience), if may_ask_more => {
                running.extend(waiting.next().map(|source| fetch(pool, source, range)));
            }
        }
    }
}

/// What a member gave, and which of its data nodes failed.
type Fetched = (Option<Bytes>, Vec<StreamError>);

async fn fetch<'a>(
    pool: &ChunkPool,
    source: &'a Source,
    range: ByteRange,
) -> (&'a Source, Fetched) {
    let end = range.end().min(source.length);
    let there = ByteRange::new(range.offset, end.saturating_sub(range.offset));
    let mut failed = Vec::new();
    if there.length == 0 {
        return (source, (Some(padded(BytesMut::new(), range)), failed));
    }
    if source.nodes.is_empty() {
        let what = "nobody has it";
        failed.push(StreamError::new(NodeId(0), StreamErrorKind::NotFound, what));
    }
    for node in &source.nodes {
        match fetch_from(pool, source, node, there).await {
            Ok(bytes) => return (source, (Some(padded(bytes, range)), failed)),
            Err(error) => failed.push(error),
        }
    }
    (source, (None, failed))
}

async fn fetch_from(
    pool: &ChunkPool,
    source: &Source,
    node: &NodeAddress,
    there: ByteRange,
) -> Result<BytesMut, StreamError> {
    let failed = |kind, what: &str| Err(StreamError::new(node.node, kind, what));
    let of = (source.chunk, &source.permit);
    let mut reader = pool.read(node, of, there).await?;
    if (reader.length(), reader.checksum()) != (source.length, source.checksum) {
        return failed(StreamErrorKind::Corrupt, "not what the masters know");
    }
    // No more than a slice: what is kept of it longer takes no more memory than it has bytes.
    let length = usize::try_from(there.length.min(GATHERED_MAX)).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(length);
    while let Some(more) = reader.next().await? {
        bytes.extend_from_slice(&more);
    }
    match bytes.len() as u64 == there.length {
        true => Ok(bytes),
        false => failed(
            StreamErrorKind::Failed,
            "fewer bytes came than were asked for",
        ),
    }
}

/// The bytes, and zeroes up to the length of the range.
fn padded(mut bytes: BytesMut, range: ByteRange) -> Bytes {
    let length = usize::try_from(range.length).unwrap_or(bytes.len());
    bytes.resize(length.max(bytes.len()), 0);
    bytes.freeze()
}
