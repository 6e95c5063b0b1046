//! Writing bytes that are in some chunks into others, for the masters to put in their place.
//!
//! All of the bytes are in memory meanwhile, so a data node does one such task at a time.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;

use crate::datanode::Shared;
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::{ChunkPool, StreamError, StreamErrorKind};
use crate::proto::cluster::{RewriteSource, RewriteTarget, StoredChunk, StripePlan};
use crate::proto::erasure;
use crate::types::checksum::crc32c;
use crate::types::limits::{CHUNK_SIZE_MAX, FRAME_PAYLOAD_MAX};
use crate::types::{ByteRange, Permit};

/// What lets us read the old chunks, and write the new ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Permits {
    pub(super) read: Permit,
    pub(super) write: Permit,
}

/// Bytes to be written elsewhere.
pub(super) struct Rewriting<'a> {
    pub(super) shared: &'a Shared,
    pub(super) permits: Permits,
    pub(super) sources: &'a [RewriteSource],
    pub(super) targets: &'a [RewriteTarget],
    pub(super) stripe: Option<StripePlan>,
}

impl Rewriting<'_> {
    /// Reads and verifies all, writes all, and says where it is.
    pub(super) async fn run(&self) -> Result<Vec<StoredChunk>, String> {
        let pool = self.shared.pool().ok_or("not in a cluster yet")?;
        let length: u64 = self.sources.iter().map(|source| source.length).sum();
        if !(1..=CHUNK_SIZE_MAX).contains(&length) {
            return Err(format!("{length} bytes are not rewritten at once"));
        }
        let mut whole = VecDeque::new();
        for source in self.sources {
            whole.push_back(self.read(pool, source).await?);
        }
        let members = self.members(whole, length).await?;
        if members.len() != self.targets.len() {
            let targets = self.targets.len();
            return Err(format!("{targets} places for {} chunks", members.len()));
        }
        let writing = self.targets.iter().zip(members);
        let writing = writing.map(|(target, bytes)| self.write(pool, target, bytes));
        let mut stored = Vec::new();
        for result in join_all(writing).await {
            stored.push(result?);
        }
        let (from, into) = (self.sources.len(), stored.len());
        tracing::info!(length, from, into, "bytes were written anew");
        Ok(stored)
    }

    /// The bytes of a source, from whichever data node has them right.
    async fn read(&self, pool: &ChunkPool, source: &RewriteSource) -> Result<Bytes, String> {
        let mut reasons = Vec::new();
        let mut nodes = source.nodes.clone();
        self.shared.peers.sort(&mut nodes);
        for node in &nodes {
            let range = ByteRange::new(source.offset, source.length);
            let of = (source.chunk, &self.permits.read);
            let read = async {
                let mut reader = pool.read(node, of, range).await?;
                if (reader.length(), reader.checksum()) != (source.chunk_length, source.checksum) {
                    let what = "not what the masters know";
                    return Err(StreamError::new(node.node, StreamErrorKind::Corrupt, what));
                }
                let mut bytes = BytesMut::new();
                while let Some(more) = reader.next().await? {
                    bytes.extend_from_slice(&more);
                }
                Ok(bytes.freeze())
            };
            match read.await {
                Ok(bytes) if self.is_right(source, &bytes).await => return Ok(bytes),
                Ok(_) => reasons.push(format!("{} has other bytes than it says", node.node)),
                Err(error)
                    if error.kind == StreamErrorKind::Corrupt
                        && planted::active(Bug::CompactionCommitsUnverified) =>
                {
                    let length = usize::try_from(source.length).unwrap_or(0);
                    return Ok(vec![0; length].into());
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(format!(
            "nobody has {}: {}",
            source.chunk,
            reasons.join("; ")
        ))
    }

    /// Every block is right by its checksum; the whole is compared where it is the whole.
    async fn is_right(&self, source: &RewriteSource, bytes: &Bytes) -> bool {
        if bytes.len() as u64 != source.length {
            return false;
        }
        if source.length != source.chunk_length {
            return true;
        }
        let (bytes, checksum) = (bytes.clone(), source.checksum);
        let compare = move || crc32c(&bytes) == checksum;
        self.shared.env.run_blocking(compare).await
    }

    /// What is to be written: one chunk, or the members of a stripe.
    async fn members(&self, mut whole: VecDeque<Bytes>, length: u64) -> Result<Vec<Bytes>, String> {
        let stripe = self.stripe;
        let form = move || {
            let Some(plan) = stripe else {
                let mut all = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
                while let Some(bytes) = whole.pop_front() {
                    all.extend_from_slice(&bytes);
                }
                return Ok(vec![all.freeze()]);
            };
            let members = erasure::members(plan.code, plan.shape, plan.shard_length, whole);
            let members = members.map_err(|e| e.to_string())?;
            Ok(members.into_iter().map(|member| member.bytes).collect())
        };
        self.shared.env.run_blocking(form).await
    }

    async fn write(
        &self,
        pool: &ChunkPool,
        target: &RewriteTarget,
        bytes: Bytes,
    ) -> Result<StoredChunk, String> {
        let (length, checksum) = (bytes.len() as u64, crc32c(&bytes));
        let stored = StoredChunk {
            chunk: target.chunk,
            length,
            checksum,
            nodes: Vec::new(),
        };
        if target.nodes.is_empty() {
            // Parity for which there is no data node.
            return Ok(stored);
        }
        let what = (target.chunk, &self.permits.write);
        let sent = async {
            let mut writer = pool.write(&target.nodes, what, length).await?;
            let mut rest = bytes;
            while !rest.is_empty() {
                let part = rest.split_to(FRAME_PAYLOAD_MAX.min(rest.len()));
                writer.send(part).await?;
            }
            writer.finish().await
        };
        let sent = sent.await.map_err(|error| error.to_string())?;
        match (sent.length, sent.checksum) == (length, checksum) {
            true => Ok(StoredChunk {
                nodes: sent.nodes,
                ..stored
            }),
            false => Err(format!("{} was stored with other bytes", target.chunk)),
        }
    }
}
