//! One range of a member of a stripe that cannot be read itself: made from the other members.
//!
//! ```text
//! d1 wanted 9+70K ─▶ blocks 0..128K of d0, d2, p0, p1 ─▶ decode ─▶ 9+70K of d1
//! ```
//!
//! What is read of the others is verified block by block, as always; what is made of it by the
//! checksum of the whole chunk, if it is the whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::super::Client;
use super::fetch::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::chunk_stream::StreamErrorKind;
use crate::proto::erasure::gather::{self, Gathered, Source};
use crate::proto::erasure::{CodeError, decode};
use crate::types::checksum::crc32c;
use crate::types::limits::BLOCK_LEN;
use crate::types::{ByteRange, StripeLayout};

/// Decodings at a time of one client: each has some megabytes in memory.
pub(in crate::client) const DECODINGS_MAX: usize = 8;

/// Makes a piece of a chunk from the other members of its stripe. `patience` is how long nothing
/// may come before one more of them is asked.
///
/// # Errors
/// `Corrupt` if the bytes made are not those of the chunk; `Unavailable` if too few of the others
/// can be read.
pub(super) async fn rebuild(
    client: &Client,
    piece: &Piece,
    stripe: &Arc<StripeLayout>,
    patience: Duration,
) -> Result<Vec<Bytes>> {
    let Some(index) = stripe.index_of(piece.chunk) else {
        let message = format!("{} is no member of its stripe", piece.chunk);
        return Err(Error::new(ErrorKind::Internal, message));
    };
    let sources = sources(client, piece, stripe).await;
    let block = BLOCK_LEN as u64;
    let step = gather::slice_length(stripe.shape);
    let (mut made, end) = (Vec::new(), piece.range.end());
    let mut offset = piece.range.offset - piece.range.offset % block;
    while offset < end {
        let until = (offset + step).min(end.next_multiple_of(block));
        let until = until.min(stripe.shard_length);
        let range = ByteRange::new(offset, until.saturating_sub(offset));
        if range.length == 0 {
            break;
        }
        let decoding = client.inner.decodings.acquire().await;
        let _one_of_few = decoding.map_err(|e| Error::unavailable(e.to_string()))?;
        let bytes = part(client, (piece, stripe), (index, &sources), range, patience).await?;
        let skip = piece.range.offset.saturating_sub(offset);
        let keep = end.min(until).saturating_sub(offset);
        let bytes = bytes.slice(to_len(skip).min(bytes.len())..to_len(keep).min(bytes.len()));
        made.push(bytes);
        offset = until;
    }
    verify(piece, stripe, index, &made)?;
    client.inner.decoded.fetch_add(1, Ordering::Relaxed);
    Ok(made)
}

/// The other members, those that are likely to answer soon first.
async fn sources(client: &Client, piece: &Piece, stripe: &StripeLayout) -> Vec<Source> {
    let mut sources = Vec::new();
    for (index, member) in stripe.members.iter().enumerate() {
        if member.chunk == piece.chunk {
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

async fn part(
    client: &Client,
    (piece, stripe): (&Piece, &StripeLayout),
    (index, sources): (usize, &[Source]),
    range: ByteRange,
    patience: Duration,
) -> Result<Bytes> {
    let (code, shape) = (stripe.code, stripe.shape);
    let pool = &client.inner.pool;
    let gathered = gather::gather(pool, shape, sources, range, patience).await;
    note(client, &gathered);
    let Gathered { members, failed } = gathered;
    let decoding = move || decode(code, shape, &members, index);
    let decoded = client.inner.env.run_blocking(decoding).await;
    decoded.map(Bytes::from).map_err(|error| match error {
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
    })
}

fn note(client: &Client, gathered: &Gathered) {
    for (chunk, error) in &gathered.failed {
        client.node_failed(error);
        if error.kind == StreamErrorKind::Corrupt {
            client.found_corrupt(*chunk, error.node);
        }
    }
}

/// Compares the whole of a chunk with its checksum.
fn verify(piece: &Piece, stripe: &StripeLayout, index: usize, made: &[Bytes]) -> Result<()> {
    let length: u64 = made.iter().map(|bytes| bytes.len() as u64).sum();
    let wrong = |what: &str| {
        let message = format!("{} made from its stripe {what}", piece.chunk);
        Err(Error::new(ErrorKind::Corrupt, message))
    };
    if length != piece.range.length {
        return wrong("has another length");
    }
    let checksum = stripe.members.get(index).map(|member| member.checksum);
    if length == piece.chunk_length {
        let whole = made.concat();
        if Some(crc32c(&whole)) != checksum {
            return wrong("is not what was written");
        }
    }
    Ok(())
}

fn to_len(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
