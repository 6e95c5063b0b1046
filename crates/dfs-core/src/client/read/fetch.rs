//! One range of one chunk: from whichever replica is right, and soon.
//!
//! ```text
//! n1 ├────────── hangs ──────────────▶ (given up when n2 is done)
//! n2 .......├───── verified ─────▶ done      asked after the hedge delay, or when n1 failed
//! ```
//!
//! A member of a stripe has one replica; in the place of a second there is what can be made of
//! the other members, and what they give besides is handed to whoever wants it next.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::super::Client;
use super::beside::Beside;
use super::degraded::{self, Columns};
use crate::error::{Error, ErrorKind};
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::types::{ByteRange, ChunkId, NodeId, Permit, StripeLayout};

/// A range of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) chunk: ChunkId,
    /// All bytes of the chunk.
    pub(super) chunk_length: u64,
    pub(super) range: ByteRange,
    /// Who is meant to have it, best choice first.
    pub(super) replicas: Vec<NodeId>,
    /// What lets us read it.
    pub(super) permit: Permit,
    /// The stripe that it is a member of.
    pub(super) stripe: Option<Arc<StripeLayout>>,
}

/// What came of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Its bytes, from a replica.
    Read(Vec<Bytes>),
    /// Its bytes, and some of its stripe were made from others.
    Made(Vec<Bytes>),
    /// Nothing: it can be made, and others with it.
    Lost,
}

/// What to do about a piece of a stripe whose data node turns out to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// To say so.
    Tell,
    /// To make it.
    Make,
}

impl Piece {
    /// Whether all who are meant to have it failed a moment ago.
    pub(super) fn is_lost(&self, client: &Client) -> bool {
        let nodes = &client.inner.nodes;
        self.replicas.iter().all(|node| nodes.is_suspect(*node))
    }
}

/// Reads a piece, whole and verified; with those `beside` it, if there are any, from the members
/// of their stripe.
///
/// # Errors
/// `Corrupt` if replicas were found corrupt and none else is left to hope for; `Unavailable`.
pub(super) async fn fetch(
    client: &Client,
    piece: &Piece,
    beside: Vec<Beside>,
    loss: Loss,
) -> Result<Fetched, Error> {
    let Some(stripe) = &piece.stripe else {
        return fetch_replica(client, piece).await.map(Fetched::Read);
    };
    let patience = with_hedge(client, |h| h.delay(piece.range.length));
    if !beside.is_empty() || piece.is_lost(client) {
        // What failed a moment ago is not waited for again, where there is another way.
        return match make_with(client, piece, stripe, beside, patience).await {
            Ok(made) => Ok(Fetched::Made(made)),
            Err(other) => {
                let read = fetch_replica(client, piece).await;
                read.map(Fetched::Read).map_err(|error| worse(error, other))
            }
        };
    }
    let mut reading = pin!(fetch_replica(client, piece));
    let mut failed = tokio::select! {
        biased;
        read = &mut reading => match read {
            Ok(bytes) => return Ok(Fetched::Read(bytes)),
            Err(error) => Some(error),
        },
        () = sleep_until(Instant::now() + patience) => None,
    };
    if failed.is_none() && !with_hedge(client, |h| h.allow()) {
        match (&mut reading).await {
            Ok(bytes) => return Ok(Fetched::Read(bytes)),
            Err(error) => failed = Some(error),
        }
    }
    if failed.is_some() && loss == Loss::Tell && piece.is_lost(client) {
        return Ok(Fetched::Lost);
    }
    let making = pin!(make_from_others(client, piece, stripe, patience));
    if let Some(error) = failed {
        let made = making.await.map(Fetched::Made);
        return made.map_err(|other| worse(error, other));
    }
    // It is slow: whichever is first.
    match select(reading, making).await {
        Either::Left((Ok(bytes), _)) => Ok(Fetched::Read(bytes)),
        Either::Left((Err(error), making)) => {
            let made = making.await.map(Fetched::Made);
            made.map_err(|other| worse(error, other))
        }
        Either::Right((Ok(bytes), _)) => {
            let slow = piece.replicas.iter();
            slow.for_each(|node| client.inner.nodes.slow(*node));
            Ok(Fetched::Made(bytes))
        }
        Either::Right((Err(other), reading)) => {
            let read = reading.await.map(Fetched::Read);
            read.map_err(|error| worse(error, other))
        }
    }
}

/// Makes a piece and those beside it, which are handed to whoever waits for them.
async fn make_with(
    client: &Client,
    piece: &Piece,
    stripe: &StripeLayout,
    beside: Vec<Beside>,
    patience: Duration,
) -> Result<Vec<Bytes>, Error> {
    let others = beside.iter().map(|beside| &beside.piece);
    let pieces: Vec<&Piece> = [piece].into_iter().chain(others).collect();
    let columns = Columns {
        stripe,
        pieces: &pieces,
        without: None,
    };
    let mut made = degraded::make(client, columns, patience).await?.into_iter();
    let own = made.next().unwrap_or_default();
    for (beside, parts) in beside.into_iter().zip(made) {
        beside.hand_over(parts);
    }
    Ok(own)
}

/// Makes a piece from the others of its stripe.
async fn make_from_others(
    client: &Client,
    piece: &Piece,
    stripe: &StripeLayout,
    patience: Duration,
) -> Result<Vec<Bytes>, Error> {
    let columns = Columns {
        stripe,
        pieces: &[piece],
        without: Some(piece.chunk),
    };
    let made = degraded::make(client, columns, patience).await?;
    Ok(made.into_iter().next().unwrap_or_default())
}

/// The error of a piece that could neither be read nor made: corrupt is only what nothing else
/// can be hoped for.
fn worse(reading: Error, making: Error) -> Error {
    let hopeless = |error: &Error| error.kind() == ErrorKind::Corrupt;
    match hopeless(&reading) && hopeless(&making) {
        true => reading,
        false => Error::unavailable(format!("{reading}; {making}")),
    }
}

/// Reads a piece from one of its replicas.
async fn fetch_replica(client: &Client, piece: &Piece) -> Result<Vec<Bytes>, Error> {
    let mut waiting = client.inner.nodes.order(&piece.replicas).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut slow = Vec::new();
    loop {
        if running.is_empty() {
            let Some(node) = waiting.next() else {
                return Err(verdict(piece, &failures));
            };
            running.push(fetch_from(client, piece, node));
            slow.push(node);
        }
        let may_hedge = waiting.len() > 0;
        let hedge_at = Instant::now() + with_hedge(client, |h| h.delay(piece.range.length));
        tokio::select! {
            biased;
            Some(result) = running.next() => match result {
                Ok((node, bytes)) => {
                    client.inner.nodes.worked(node);
                    // Those asked before it and still not done are slow.
                    let before = slow.iter().take_while(|other| **other != node);
                    before.for_each(|other| client.inner.nodes.slow(*other));
                    return Ok(bytes);
                }
                Err(error) => {
                    slow.retain(|node| *node != error.node);
                    note(client, piece, &error);
                    failures.push(error);
                    if let Some(node) = waiting.next() {
                        running.push(fetch_from(client, piece, node));
                        slow.push(node);
                    }
                }
            },
            () = sleep_until(hedge_at), if may_hedge => {
                if with_hedge(client, |h| h.allow())
                    && let Some(node) = waiting.next()
                {
                    running.push(fetch_from(client, piece, node));
                    slow.push(node);
                }
            }
        }
    }
}

async fn fetch_from(
    client: &Client,
    piece: &Piece,
    node: NodeId,
) -> Result<(NodeId, Vec<Bytes>), StreamError> {
    let failed = |kind, message: String| StreamError::new(node, kind, message);
    let target = client
        .address_of(node)
        .await
        .map_err(|e| failed(StreamErrorKind::Unreachable, e.to_string()))?;
    let began = Instant::now();
    let pool = &client.inner.pool;
    let mut reader = pool
        .read(&target, (piece.chunk, &piece.permit), piece.range)
        .await?;
    if let Some(wrong) = mismatch(piece, reader.length(), reader.checksum()) {
        return Err(failed(StreamErrorKind::Corrupt, wrong));
    }
    let (mut parts, mut length) = (Vec::new(), 0);
    while let Some(bytes) = reader.next().await? {
        length += bytes.len() as u64;
        parts.push(bytes);
    }
    if length != piece.range.length {
        let message = format!("{length} bytes came of {}", piece.range.length);
        return Err(failed(StreamErrorKind::Failed, message));
    }
    with_hedge(client, |h| h.record(piece.range.length, began.elapsed()));
    Ok((node, parts))
}

/// What a replica has that is not what the masters know of the chunk: the length, and of a member
/// of a stripe, which may have been made from others, the checksum too.
fn mismatch(piece: &Piece, length: u64, checksum: u32) -> Option<String> {
    let should = piece.chunk_length;
    if length != should {
        return Some(format!("it is {length} bytes long, not {should}"));
    }
    let stripe = piece.stripe.as_ref()?;
    let member = stripe.members.get(stripe.index_of(piece.chunk)?)?;
    let known = member.checksum;
    (checksum != known).then(|| format!("its checksum is {checksum:08x}, not {known:08x}"))
}

fn note(client: &Client, piece: &Piece, error: &StreamError) {
    client.node_failed(error);
    client.found_bad(piece.chunk, error);
}

fn with_hedge<T>(client: &Client, act: impl FnOnce(&mut super::Hedge) -> T) -> T {
    let hedge = client.inner.hedge.lock();
    act(&mut hedge.unwrap_or_else(PoisonError::into_inner))
}

/// What it means that all replicas failed so.
fn verdict(piece: &Piece, failures: &[StreamError]) -> Error {
    let hopeless =
        |e: &StreamError| matches!(e.kind, StreamErrorKind::Corrupt | StreamErrorKind::NotFound);
    let corrupt = failures.iter().any(|e| e.kind == StreamErrorKind::Corrupt);
    let reasons: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let message = format!(
        "no replica of {} can be read: {}",
        piece.chunk,
        match reasons.is_empty() {
            true => "there is none".to_owned(),
            false => reasons.join("; "),
        }
    );
    match corrupt && failures.iter().all(hopeless) {
        true => Error::new(ErrorKind::Corrupt, message),
        false => Error::unavailable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::StripeShape;
    use crate::types::stripe::{Code, StripeMember};

    #[test]
    fn a_member_of_a_stripe_with_another_checksum_than_the_masters_know_is_not_read() {
        let member = |chunk| StripeMember {
            chunk: ChunkId(chunk),
            length: 64,
            checksum: 7,
            replicas: vec![NodeId(1)],
        };
        let stripe = StripeLayout {
            code: Code::Leopard16,
            shape: StripeShape { data: 2, parity: 1 },
            shard_length: 64,
            members: (1..=3).map(member).collect(),
        };
        let mut piece = Piece {
            chunk: ChunkId(2),
            chunk_length: 64,
            range: ByteRange::new(0, 1),
            replicas: vec![NodeId(1)],
            permit: Permit::default(),
            stripe: Some(Arc::new(stripe)),
        };
        assert_eq!(mismatch(&piece, 64, 7), None);
        assert!(mismatch(&piece, 64, 8).is_some());
        assert!(mismatch(&piece, 63, 7).is_some());
        // Of others only their blocks are known to be right.
        piece.stripe = None;
        assert_eq!(mismatch(&piece, 64, 8), None);
    }

    #[test]
    fn only_replicas_without_hope_make_a_chunk_corrupt() {
        let piece = Piece {
            chunk: ChunkId(1),
            chunk_length: 1,
            range: ByteRange::new(0, 1),
            replicas: Vec::new(),
            permit: Permit::default(),
            stripe: None,
        };
        let failure = |kind| StreamError::new(NodeId(1), kind, "");
        let kind_of = |kinds: &[StreamErrorKind]| {
            let failures: Vec<_> = kinds.iter().map(|kind| failure(*kind)).collect();
            verdict(&piece, &failures).kind()
        };
        use StreamErrorKind::{Corrupt, NotFound, Unreachable};
        assert_eq!(kind_of(&[Corrupt, Corrupt, NotFound]), ErrorKind::Corrupt);
        for hopeful in [&[Corrupt, Unreachable][..], &[NotFound], &[]] {
            assert!(matches!(kind_of(hopeful), ErrorKind::Unavailable { .. }));
        }
    }
}
