//! The log as openraft sees it: recent entries in memory, all of them in files.
//!
//! ```text
//! openraft ─▶ here ─▶ writer ─▶ file ─▶ segment     one commit = one frame = one fsync
//!              └────────────────▶ file              reads of what memory has no more
//! ```

pub(crate) mod file;
mod index;
pub(crate) mod recovery;
pub(crate) mod segment;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::{Stream, TryStreamExt, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::codec::encode_entry;
use crate::env::Env;
use crate::machine::Rev;
use crate::replica::failure::Failure;
use crate::types::{self, Entry, LogId, TypeConfig, Vote};
use file::{Contents, LogFile};
use segment::Change;
use writer::{Done, Flushed, Request, Writer};

/// Entries handed out at once, in bytes: to a follower in one message, to apply in one piece.
const READ_BYTES_MAX: usize = 1 << 20;

/// Makes the state durable up to an index before the log loses the entries behind it.
pub(crate) type PurgeGate = Arc<dyn Fn(u64) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// The log of one replica. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writer: Writer,
    gate: PurgeGate,
}

struct Shared {
    env: Env,
    file: Arc<LogFile>,
    cache_bytes_max: usize,
    recent: Mutex<Recent>,
}

/// The newest entries, without a gap up to the last one.
struct Recent {
    vote: Option<Vote>,
    committed: Option<Rev>,
    purged: Option<Rev>,
    last: Option<Rev>,
    /// The index of the first entry of the log.
    first: u64,
    /// The index of the first entry in `entries`; smaller ones are only in the file.
    start: u64,
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    /// Entries from this one on are not in the file yet and stay here.
    unflushed: u64,
    /// Counts truncations: what was appended before one says nothing of what is there after.
    generation: u64,
    log_bytes: u64,
    log_entries: u64,
}

impl LogStore {
    /// The log in `file`, whose contents were read before.
    pub(crate) fn new(
        env: Env,
        file: Arc<LogFile>,
        contents: &Contents,
        cache_bytes_max: usize,
        failure: Failure,
        gate: PurgeGate,
    ) -> LogStore {
        let next = contents.last.map_or(0, |rev| rev.index + 1);
        let recent = Recent {
            vote: contents.notes.vote,
            committed: contents.notes.committed,
            purged: contents.notes.purged,
            last: contents.last,
            first: contents.notes.purged.map_or(0, |rev| rev.index + 1),
            start: next,
            entries: VecDeque::new(),
            bytes: 0,
            unflushed: next,
            generation: 0,
            log_bytes: contents.bytes,
            log_entries: contents.entries,
        };
        let shared = Arc::new(Shared {
            env: env.clone(),
            file: file.clone(),
            cache_bytes_max,
            recent: Mutex::new(recent),
        });
        let flushed = {
            let shared = shared.clone();
            move |flushed| shared.flushed(flushed)
        };
        let writer = Writer::start(env, file, failure, flushed);
        LogStore {
            shared,
            writer,
            gate,
        }
    }

    /// The way to its writer.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Bytes and number of the entries in it, about.
    pub(crate) fn size(&self) -> (u64, u64) {
        let recent = self.shared.recent();
        (recent.log_bytes, recent.log_entries)
    }
}

impl Shared {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flushed(&self, flushed: Flushed) {
        let mut recent = self.recent();
        if recent.generation == flushed.generation {
            recent.unflushed = recent.unflushed.max(flushed.next);
        }
        recent.evict(self.cache_bytes_max);
    }

    /// The entries of a range of indexes, until their sizes exceed `bytes_max`.
    async fn read(&self, from: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (from, file_end) = {
            let recent = self.recent();
            let end = end.min(recent.last.map_or(0, |rev| rev.index + 1));
            let from = from.max(recent.first);
            if from >= end {
                return Ok(Vec::new());
            }
            if from >= recent.start {
                return Ok(recent.copy(from, end, bytes_max));
            }
            (from, end.min(recent.start))
        };
        let file = self.file.clone();
        let range = from..=file_end - 1;
        let read = move || file.read(range, bytes_max);
        let mut entries = self
            .env
            .run_blocking(read)
            .await
            .map_err(io::Error::other)?;
        let next = entries.last().map_or(from, |e| e.log_id.index + 1);
        let bytes: usize = entries.iter().map(entry_weight).sum();
        if next == file_end && next < end && bytes < bytes_max {
            let recent = self.recent();
            if next >= recent.start {
                entries.extend(recent.copy(next, end, bytes_max - bytes));
            }
        }
        Ok(entries)
    }
}

impl Recent {
    fn copy(&self, from: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let skip = from.saturating_sub(self.start) as usize;
        let count = end.saturating_sub(from) as usize;
        let mut copied = Vec::with_capacity(count.min(self.entries.len()));
        for (entry, size) in self.entries.iter().skip(skip).take(count) {
            copied.push(entry.clone());
            bytes += size;
            if bytes > bytes_max {
                break;
            }
        }
        copied
    }

    fn push(&mut self, entry: Entry, size: usize) {
        if self.entries.is_empty() {
            self.start = entry.log_id.index;
        }
        if self.log_entries == 0 {
            self.first = entry.log_id.index;
        }
        self.last = Some(types::rev(&entry.log_id));
        self.bytes += size;
        self.log_bytes += size as u64;
        self.log_entries += 1;
        self.entries.push_back((entry, size));
    }

    fn pop_front(&mut self) {
        if let Some((_, size)) = self.entries.pop_front() {
            self.bytes -= size;
            self.start += 1;
        }
    }

    fn evict(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.start < self.unflushed {
            self.pop_front();
        }
    }

    fn truncate(&mut self, last: Option<Rev>) {
        let next = last.map_or(0, |rev| rev.index + 1);
        if self.last.is_none_or(|last| last.index < next) {
            return;
        }
        while let Some((entry, size)) = self.entries.back() {
            if entry.log_id.index < next {
                break;
            }
            self.bytes -= size;
            self.log_bytes = self.log_bytes.saturating_sub(*size as u64);
            self.log_entries = self.log_entries.saturating_sub(1);
            self.entries.pop_back();
        }
        // What follows is appended here, so the file must not be asked for it.
        self.start = self.start.min(next);
        self.unflushed = self.unflushed.min(next);
        self.generation += 1;
        self.last = last.max(self.purged);
    }

    fn purge(&mut self, upto: Rev) {
        let gone = (upto.index + 1).saturating_sub(self.first);
        let gone = gone.min(self.log_entries);
        self.first = self.first.max(upto.index + 1);
        let average = self.log_bytes / self.log_entries.max(1);
        self.log_entries -= gone;
        self.log_bytes = match self.log_entries {
            0 => 0,
            _ => self.log_bytes.saturating_sub(gone * average),
        };
        self.purged = self.purged.max(Some(upto));
        while !self.entries.is_empty() && self.start <= upto.index {
            self.pop_front();
        }
        self.start = self.start.max(upto.index + 1);
        if self.last.is_none_or(|last| last.index < upto.index) {
            self.last = Some(upto);
        }
    }
}

fn entry_weight(entry: &Entry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => 32 + proposal.weight(),
        openraft::EntryPayload::Blank => 32,
        openraft::EntryPayload::Membership(_) => 256,
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, end) = bounds(&range);
        self.shared.read(from, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(start, end, READ_BYTES_MAX).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, end) = bounds(&range);
        let shared = self.shared.clone();
        let pieces = stream::try_unfold(from, move |from| {
            let shared = shared.clone();
            async move {
                if from >= end {
                    return Ok(None);
                }
                let entries = shared.read(from, end, READ_BYTES_MAX).await?;
                let Some(last) = entries.last() else {
                    return Ok::<_, io::Error>(None);
                };
                let next = last.log_id.index + 1;
                Ok(Some((stream::iter(entries.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(pieces.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.recent().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let recent = self.shared.recent();
        Ok(LogState {
            last_purged_log_id: recent.purged.map(types::log_id),
            last_log_id: recent.last.map(types::log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.writer.write(vec![Change::Vote(*vote)]).await?;
        self.shared.recent().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let committed = committed.as_ref().map(types::rev);
        self.shared.recent().committed = committed;
        let changes = vec![Change::Committed(committed)];
        let done = Done::Nothing;
        self.writer.submit(Request { changes, done }).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.recent().committed.map(types::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut changes = Vec::new();
        let mut encoded = Vec::new();
        for entry in entries {
            let stored = encode_entry(&entry).map_err(io::Error::other)?;
            encoded.push((entry, stored.len()));
            let index = encoded.last().map_or(0, |(e, _)| e.log_id.index);
            changes.push(Change::Append { index, stored });
        }
        let next = encoded.last().map_or(0, |(e, _)| e.log_id.index + 1);
        let generation = {
            let mut recent = self.shared.recent();
            for (entry, size) in encoded {
                recent.push(entry, size);
            }
            recent.generation
        };
        let done = Done::Appended(callback, Flushed { next, generation });
        self.writer.submit(Request { changes, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.as_ref().map(types::rev);
        self.shared.recent().truncate(last);
        let from = last.map_or(0, |rev| rev.index + 1);
        // What replaces the tail may be in the state before the next commit of the log, and a tail
        // that conflicts with the state must not come back.
        self.writer.write(vec![Change::Truncate { from }]).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        (self.gate)(upto.index).await?;
        let upto = types::rev(&upto);
        self.shared.recent().purge(upto);
        let changes = vec![Change::Purge(upto)];
        let done = Done::Nothing;
        self.writer.submit(Request { changes, done }).await
    }
}
