//! Columns of a stripe some of whose members cannot be read: read once, and decoded once.
//!
//! ```text
//! d0 lost, 9+70K wanted   ─▶ blocks 0..128K of d2, d3, p0, p1 ─▶ decode ─▶ 9+70K of d0
//! d1 lost, the same                                                       9+70K of d1
//! d2, the same                                        as it is            9+70K of d2
//! ```
//!
//! What is read is verified block by block, as always; what is made of it by the checksum of the
//! whole chunk, if it is the whole.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::super::Client;
use super::fetch::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::erasure::gather::{self, Gathered, Source};
use crate::proto::erasure::{CodeError, decode_data};
use crate::types::checksum::crc32c;
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, ChunkId, StripeLayout};

/// Decodings at a time of one client: each has some megabytes in memory.
pub(in crate::client) const DECODINGS_MAX: usize = 8;

/// Pieces of members of a stripe that are made together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) stripe: &'a StripeLayout,
    /// They are of the same columns: the first has them all.
    pub(super) pieces: &'a [&'a Piece],
    /// A member that is not asked for: it was, or is being asked.
    pub(super) without: Option<ChunkId>,
}

/// A piece that comes.
#[derive(Debug, Default)]
struct Coming {
    index: usize,
    parts: Vec<Bytes>,
    /// Whether something of it could not be read.
    is_made: bool,
}

/// Makes pieces from whichever members of their stripe can be read, themselves too: as many as
/// there is data, once for all pieces. `patience` is how long nothing may come before one more of
/// them is asked.
///
/// # Errors
/// `Corrupt` if the bytes made are not those of a chunk; `Unavailable` if too few members can be
/// read.
pub(super) async fn make(
    client: &Client,
    columns: Columns<'_>,
    patience: Duration,
) -> Result<Vec<Vec<Bytes>>> {
    let Columns { stripe, pieces, .. } = columns;
    let Some(first) = pieces.first() else {
        return Ok(Vec::new());
    };
    let mut coming = Vec::new();
    for piece in pieces {
        let index = data_index(stripe, piece.chunk)?;
        coming.push(Coming {
            index,
            ..Coming::default()
        });
    }
    let sources = sources(client, first, &columns).await;
    let block = BLOCK_LEN as u64;
    let (step, end) = (gather::slice_length(stripe.shape), first.range.end());
    let mut offset = first.range.offset - first.range.offset % block;
    while offset < end {
        let until = (offset + step).min(end.next_multiple_of(block));
        let until = until.min(stripe.shard_length);
        let range = ByteRange::new(offset, until.saturating_sub(offset));
        if range.length == 0 {
            break;
        }
        let decoding = client.inner.decodings.acquire().await;
        let _one_of_few = decoding.map_err(|e| Error::unavailable(e.to_string()))?;
        let (data, read) = slice(client, first, stripe, &sources, range, patience).await?;
        for (piece, coming) in pieces.iter().zip(&mut coming) {
            let bytes = data.get(coming.index).cloned().unwrap_or_default();
            let wanted = within(&bytes, range, piece.range);
            if !wanted.is_empty() {
                coming.is_made |= !read.contains(&coming.index);
                coming.parts.push(wanted);
            }
        }
        offset = until;
    }
    let mut made = Vec::new();
    for (piece, coming) in pieces.iter().zip(coming) {
        verify(piece, stripe, &coming)?;
        let is_made = u64::from(coming.is_made);
        client.inner.decoded.fetch_add(is_made, Ordering::Relaxed);
        made.push(coming.parts);
    }
    Ok(made)
}

/// Where among the data of a stripe a chunk is.
fn data_index(stripe: &StripeLayout, chunk: ChunkId) -> Result<usize> {
    let index = stripe.index_of(chunk);
    let index = index.filter(|index| *index < stripe.shape.data());
    index.ok_or_else(|| {
        let message = format!("{chunk} is not among the data of its stripe");
        Error::new(ErrorKind::Internal, message)
    })
}

/// The members, those that are likely to answer soon first, and data before parity.
async fn sources(client: &Client, piece: &Piece, columns: &Columns<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    for (index, member) in columns.stripe.members.iter().enumerate() {
        if columns.without == Some(member.chunk) {
            continue;
        }
        let mut nodes = Vec::new();
        for node in client.inner.nodes.order(&member.replicas) {
            // One whose address nobody knows cannot be asked.
            nodes.extend(client.address_of(node).await.ok());
        }
        if !nodes.is_empty() {
            sources.push(Source {
                index,
                chunk: member.chunk,
                length: member.length,
                checksum: member.checksum,
                permit: piece.permit.clone(),
                nodes,
            });
        }
    }
    let nodes = &client.inner.nodes;
    let is_bad = |source: &Source| {
        let first = source.nodes.first();
        first.is_some_and(|node| nodes.is_suspect(node.node))
    };
    sources.sort_by_key(is_bad);
    sources
}

/// A range of all data of a stripe, and which of it was read.
async fn slice(
    client: &Client,
    piece: &Piece,
    stripe: &StripeLayout,
    sources: &[Source],
    range: ByteRange,
    patience: Duration,
) -> Result<(Vec<Bytes>, BTreeSet<usize>)> {
    let (code, shape) = (stripe.code, stripe.shape);
    let pool = &client.inner.pool;
    let gathered = gather::gather(pool, shape, sources, range, patience).await;
    note(client, &gathered);
    let Gathered { members, failed } = gathered;
    let read = members.iter().map(|(index, _)| *index).collect();
    let decoding = move || decode_data(code, shape, &members);
    let decoded = client.inner.env.run_blocking(decoding).await;
    let data = decoded.map_err(|error| match error {
        CodeError::TooFew { .. } => {
            let reasons = failed.iter().map(|(chunk, why)| format!("{chunk}: {why}"));
            let reasons: Vec<String> = reasons.collect();
            Error::unavailable(format!(
                "{} cannot be made from its stripe: {error}: {}",
                piece.chunk,
                reasons.join("; ")
            ))
        }
        error => Error::with_source(ErrorKind::Internal, "a stripe cannot be decoded", error),
    })?;
    Ok((data, read))
}

fn note(client: &Client, gathered: &Gathered) {
    for (chunk, error) in &gathered.failed {
        client.node_failed(error);
        client.found_bad(*chunk, error);
    }
}

/// The part of `bytes`, which are those of `range`, that is wanted.
fn within(bytes: &Bytes, range: ByteRange, wanted: ByteRange) -> Bytes {
    let place = |offset: u64| to_len(offset.saturating_sub(range.offset)).min(bytes.len());
    let (from, to) = (place(wanted.offset), place(wanted.end()));
    bytes.slice(from..to.max(from))
}

/// Compares the whole of a chunk with its checksum.
fn verify(piece: &Piece, stripe: &StripeLayout, coming: &Coming) -> Result<()> {
    let length: u64 = coming.parts.iter().map(|bytes| bytes.len() as u64).sum();
    let wrong = |what: &str| {
        let message = format!("{} made from its stripe {what}", piece.chunk);
        Err(Error::new(ErrorKind::Corrupt, message))
    };
    if length != piece.range.length {
        return wrong("has another length");
    }
    let checksum = stripe.members.get(coming.index).map(|m| m.checksum);
    if coming.is_made && length == piece.chunk_length {
        let whole = coming.parts.concat();
        if Some(crc32c(&whole)) != checksum {
            return wrong("is not what was written");
        }
    }
    Ok(())
}

fn to_len(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
