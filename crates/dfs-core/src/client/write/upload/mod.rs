//! The bytes of one write, whatever its length: into chunks, and then into a file.
//!
//! ```text
//! a few bytes   ─▶ one commit with the bytes in it
//! some chunks   ─▶ chunks … ─▶ one commit
//! many chunks   ─▶ begin ─▶ chunks … ─▶ commit ─▶ chunks … ─▶ commit ─▶ … ─▶ publish
//! ```

mod commit;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

pub(super) use commit::is_too_large;
pub(in crate::client) use commit::{is_grant_expired, is_too_few};

use super::super::{Client, SLICE_LEN};
use super::chunk::{self, Job, Stored};
use super::grants::Grants;
use super::stripe;
use crate::error::Result;
use crate::types::change::{Changed, NewAttr, WriteOffset};
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{Attr, Change, FileKind, InodeId, Location, Policy, Refusal, RefusalKind};

/// Chunks that may be on their way at a time, besides the one being filled.
const FLYING_MAX: usize = 8;
/// With so many chunks a commit is made. One stripe more is within the limits.
const COMMIT_CHUNKS_MAX: usize = 64;
/// Longest time between commits: grants expire, and so do sessions with their uploads.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) enum Target {
    /// Into a new file.
    New {
        at: Location,
        attr: NewAttr,
        replace: bool,
    },
    /// Into a file that exists. Each commit is seen on its own.
    Existing { at: Location, offset: WriteOffset },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::client) struct Written {
    pub(in crate::client) attr: Attr,
    /// Where in the file the first byte went.
    pub(in crate::client) offset: u64,
    pub(in crate::client) bytes: u64,
    pub(in crate::client) chunks: u64,
    pub(in crate::client) degraded: u64,
}

/// A write under way. To give it up, [`Upload::abandon`] it.
#[derive(Debug)]
pub(in crate::client) struct Upload {
    client: Client,
    target: Target,
    policy: Policy,
    grants: Arc<Grants>,
    size_hint: Option<u64>,
    /// Bytes that no chunk has yet: less than a slice.
    slice: BytesMut,
    filling: Option<Filling>,
    /// Chunks that have all their bytes, in the order of the file.
    flying: VecDeque<Job>,
    /// Chunks that are stored, and in no commit yet.
    stored: Vec<Stored>,
    /// The unpublished file of an upload of many commits.
    unpublished: Option<InodeId>,
    /// What the first commit to a file gave.
    first: Option<Changed>,
    /// When all that was stored was in a commit.
    secured: Instant,
    bytes: u64,
    /// Bytes that were given to chunks.
    chunked: u64,
    committed: u64,
    chunks: u64,
    degraded: u64,
}

#[derive(Debug)]
struct Filling {
    job: Job,
    room: u64,
    /// Whether it takes part in the budget; otherwise it is alone on its way.
    budgeted: bool,
}

impl Upload {
    pub(in crate::client) fn new(
        client: Client,
        target: Target,
        policy: Policy,
        size_hint: Option<u64>,
    ) -> Upload {
        Upload {
            grants: Arc::new(Grants::new(client.clone(), policy)),
            client,
            target,
            policy,
            size_hint,
            slice: BytesMut::new(),
            filling: None,
            flying: VecDeque::new(),
            stored: Vec::new(),
            unpublished: None,
            first: None,
            secured: Instant::now(),
            bytes: 0,
            chunked: 0,
            committed: 0,
            chunks: 0,
            degraded: 0,
        }
    }

    /// How many bytes were given to it.
    pub(in crate::client) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether some of the bytes are part of the file already.
    pub(super) fn has_committed(&self) -> bool {
        self.committed > 0
    }

    /// Waits for `more` bytes, however long; what was written meanwhile expires with no grant
    /// and no session.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub(in crate::client) async fn wait<T>(&mut self, more: impl Future<Output = T>) -> Result<T> {
        let mut more = pin!(more);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.secured + COMMIT_AGE_MAX) => self.secure().await?,
                more = &mut more => return Ok(more),
            }
        }
    }

    /// Commits what is in chunks. If nothing is, an upload under way is named all the same, so
    /// that its session lives on.
    async fn secure(&mut self) -> Result<()> {
        self.secured = Instant::now();
        if let Some(filling) = self.filling.take() {
            self.let_fly(filling).await?;
        }
        self.land(0).await?;
        match self.stored.is_empty() && self.unpublished.is_none() {
            true => Ok(()),
            false => self.commit_part().await,
        }
    }

    /// Adds bytes. Waits while too many are on their way.
    ///
    /// # Errors
    /// `OutOfSpace`, `Unavailable`; `Exists` and others of the target, where known early.
    pub(in crate::client) async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > FILE_LEN_MAX {
            return Err(Refusal::new(RefusalKind::TooLarge, "a file of 2^62 bytes").into());
        }
        while !bytes.is_empty() {
            if self.slice.is_empty() && bytes.len() >= SLICE_LEN {
                let whole = bytes.split_to(SLICE_LEN);
                self.push(whole, false).await?;
                continue;
            }
            let room = SLICE_LEN.saturating_sub(self.slice.len());
            self.slice
                .extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.slice.len() >= SLICE_LEN {
                let whole = self.slice.split().freeze();
                self.push(whole, false).await?;
            }
        }
        Ok(())
    }

    /// Puts a slice into chunks; `last` says that no other follows.
    async fn push(&mut self, mut slice: Bytes, last: bool) -> Result<()> {
        while !slice.is_empty() {
            let mut filling = match self.filling.take() {
                Some(filling) => filling,
                None => self.begin_chunk(slice.len() as u64, last).await?,
            };
            let room = usize::try_from(filling.room).unwrap_or(usize::MAX);
            let part = slice.split_to(room.min(slice.len()));
            filling.room -= part.len() as u64;
            self.chunked += part.len() as u64;
            filling.job.send(part).await;
            if filling.room > 0 && !filling.job.is_finished() {
                self.filling = Some(filling);
            } else {
                self.let_fly(filling).await?;
            }
        }
        Ok(())
    }

    /// Begins a chunk with room for as much as is to come, `length` bytes at least, or a part.
    async fn begin_chunk(&mut self, length: u64, last: bool) -> Result<Filling> {
        self.land(FLYING_MAX - 1).await?;
        let more = self.size_hint.map(|hint| hint.saturating_sub(self.chunked));
        let budget = &self.client.inner.write_budget;
        // Half of it, so that the next chunk is filled while this one is made durable.
        let max = self.chunk_max(budget.total() / 2);
        let room = match more {
            _ if last => length,
            Some(more) if more >= length => more,
            _ => u64::MAX,
        };
        let room = room.min(max);
        let long = |more: u64| more > SLICE_LEN as u64;
        if self.chunked == 0 && !last && more.is_none_or(long) {
            self.check_target().await?;
        }
        let expected = more.map_or(0, |more| more.div_ceil(room.max(1)));
        self.grants.expect(expected).await;
        let hold = budget.take(self.in_memory(room)).await;
        let budgeted = hold.is_some();
        let room = match budgeted {
            true => room,
            false => {
                self.land(0).await?;
                room.min(SLICE_LEN as u64)
            }
        };
        let (client, grants) = (self.client.clone(), self.grants.clone());
        let job = match self.policy.stripes_at_once() {
            None => chunk::begin(client, grants, self.policy, room, hold),
            Some(shape) => stripe::begin(client, grants, (self.policy, shape), room, hold),
        };
        Ok(Filling {
            job,
            room,
            budgeted,
        })
    }

    /// The longest chunk, or stripe, whose bytes in memory are no more than `bytes`.
    fn chunk_max(&self, bytes: u64) -> u64 {
        let Some(shape) = self.policy.stripes_at_once() else {
            return self.policy.chunk_size.min(bytes).max(1);
        };
        let data = u64::from(shape.data);
        let members = data.saturating_add(shape.parity.into()).max(1);
        let full = shape
            .shard_length(self.policy.chunk_size)
            .saturating_mul(data);
        full.min(bytes / members * data).max(1)
    }

    /// What so many bytes take in memory, with their parity.
    fn in_memory(&self, bytes: u64) -> u64 {
        let shape = self.policy.stripes_at_once();
        shape.map_or(bytes, |shape| stripe::with_parity(shape, bytes))
    }

    async fn let_fly(&mut self, mut filling: Filling) -> Result<()> {
        filling.job.end();
        self.flying.push_back(filling.job);
        match filling.budgeted {
            true => self.land(FLYING_MAX).await,
            false => self.land(0).await,
        }
    }

    /// Waits until at most `flying_max` chunks are on their way, and takes in those that are done.
    async fn land(&mut self, flying_max: usize) -> Result<()> {
        loop {
            let done = self.flying.front().is_some_and(Job::is_finished);
            if !done && self.flying.len() <= flying_max {
                break;
            }
            let Some(job) = self.flying.pop_front() else {
                break;
            };
            let stored = job.stored().await?;
            self.chunks += stored.chunks.len() as u64;
            self.degraded += u64::from(stored.degraded);
            self.stored.push(stored);
            let chunks: usize = self.stored.iter().map(|stored| stored.chunks.len()).sum();
            if chunks >= COMMIT_CHUNKS_MAX {
                self.commit_part().await?;
            }
        }
        if !self.stored.is_empty() && self.secured.elapsed() >= COMMIT_AGE_MAX {
            self.commit_part().await?;
        }
        Ok(())
    }

    /// Finds out early what the commit would be refused for.
    async fn check_target(&self) -> Result<()> {
        let Target::New { at, replace, .. } = &self.target else {
            return Ok(());
        };
        match self.client.symlink_metadata(at).await {
            Ok(attr) if attr.kind == FileKind::Directory => {
                Err(Refusal::new(RefusalKind::IsADirectory, at).into())
            }
            Ok(_) if !replace => Err(Refusal::new(RefusalKind::Exists, at).into()),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == crate::error::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sends all bytes on their way and waits until they are stored.
    async fn store_all(&mut self) -> Result<()> {
        let rest = self.slice.split().freeze();
        if !rest.is_empty() {
            self.push(rest, true).await?;
        }
        if let Some(filling) = self.filling.take() {
            self.let_fly(filling).await?;
        }
        self.land(0).await
    }

    /// Gives the write up: of a new file nothing stays.
    pub(in crate::client) async fn abandon(&mut self) {
        self.filling = None;
        self.flying.clear();
        let Some(upload) = self.unpublished.take() else {
            return;
        };
        let abandoned = self.client.change(Change::AbandonUpload { upload }).await;
        if let Err(error) = abandoned {
            debug!(%upload, %error, "not abandoned; it goes with the session");
        }
    }
}
