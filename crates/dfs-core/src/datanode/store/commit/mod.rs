//! The committer: one task through which everything becomes durable and visible.
//!
//! Whoever wants something durable queues it and waits. The committer takes all that is queued,
//! writes it, syncs each file and directory once for all of them, changes the index in memory and
//! answers; while it syncs the next batch collects.
//!
//! ```text
//! queue ─▶ records of small chunks ─▶ sync segment      ─┐
//!       ─▶ renames of large chunks ─▶ sync directories  ─┼▶ index (memory) ─▶ answers
//!       ─▶ marks, removals         ─▶ sync both         ─┘       └─▶ redb, now and then
//! ```
//! No batch has two operations on one chunk, so their order within it does not matter.

mod dead;
mod queue;
mod removal;
mod removed;
mod segment;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

pub(super) use queue::{Op, Packed, Queue};
pub(super) use removed::Removed;
pub(super) use segment::Segments;

use super::Shared;
use super::condition::Change;
use super::error::StoreError;
use super::index::{Entry, Intent};
use super::quarantine;
use crate::planted::{self, Bug};
use crate::types::ChunkId;
use queue::{Answer, Publish, Reply, Work, gather};

/// Starts the task. It ends when all queues are dropped, or after [`Op::Close`].
pub(super) fn start(shared: Arc<Shared>, segments: Segments) -> Queue {
    let (queue, receiver) = Queue::new();
    let committer = Committer {
        segments,
        unflushed_bytes: 0,
        closed: false,
        shared: Arc::clone(&shared),
    };
    tokio::spawn(run(shared, committer, receiver));
    queue
}

async fn run(
    shared: Arc<Shared>,
    mut committer: Committer,
    mut queue: mpsc::UnboundedReceiver<Op>,
) {
    let _watch = Watch(Arc::clone(&shared));
    let mut held = None;
    let mut flush_at = Instant::now() + shared.config.index_lag.time;
    while !committer.closed {
        let mut batch = Vec::new();
        match held.take() {
            Some(op) => batch.push(op),
            None if shared.index.pending() == 0 => match queue.recv().await {
                Some(op) => batch.push(op),
                None => return,
            },
            None => match timeout_at(flush_at, queue.recv()).await {
                Ok(Some(op)) => batch.push(op),
                Ok(None) => return,
                Err(_) => {}
            },
        }
        gather(&mut batch, &mut held, &mut queue);
        let due = Instant::now() >= flush_at;
        if due {
            flush_at = Instant::now() + shared.config.index_lag.time;
        }
        let work = move || {
            committer.run(batch, due);
            committer
        };
        committer = shared.env.run_blocking(work).await;
    }
}

/// Fails the store if the task panics: without it nothing becomes durable any more.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        // A task that ends, or that a runtime drops when it shuts down, has not failed.
        if std::thread::panicking() {
            let why = "its committer panicked; the log has the reason";
            self.0.condition.note(StoreError::Failed(why.into()));
        }
    }
}

struct Committer {
    shared: Arc<Shared>,
    segments: Segments,
    /// Bytes of packed chunks that the index on disk does not have.
    unflushed_bytes: u64,
    closed: bool,
}

impl Committer {
    fn run(&mut self, batch: Vec<Op>, due: bool) {
        let mut work = Work::default();
        for op in batch {
            work.sort(op);
        }
        let mut answers = Vec::new();
        if self.shared.condition.check().is_ok() {
            self.pack(std::mem::take(&mut work.packs), &mut answers);
        }
        if self.shared.condition.check().is_ok() {
            self.publish(std::mem::take(&mut work.publishes), &mut answers);
        }
        let quarantines = std::mem::take(&mut work.quarantines);
        self.remove(
            quarantines,
            std::mem::take(&mut work.deletions),
            &mut answers,
        );
        self.discard(&work.discards);
        let lag = &self.shared.config.index_lag;
        let late = self.shared.index.pending() >= lag.rows || self.unflushed_bytes >= lag.bytes;
        if due || late || work.close.is_some() {
            // The store has noted a failure; what was answered before does not depend on it.
            let _ = self.flush(&[], work.close.is_some());
        }
        for (reply, result) in work.refuse(&self.shared).into_iter().chain(answers) {
            // Whoever went away does not need the answer.
            let _ = reply.send(result);
        }
        self.shared.refresh_room();
    }

    fn failed_or<T>(
        &mut self,
        work: impl FnOnce(&mut Committer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.condition.check()?;
        work(self).map_err(|e| self.shared.condition.note(e))
    }

    /// Whether the index allows a replica; `Some` is the answer if nothing is left to do.
    fn answer_from_index(
        &self,
        chunk: ChunkId,
        entry: (u64, u32),
    ) -> Option<Result<(), StoreError>> {
        match self.shared.index.get(chunk) {
            Ok(None) => None,
            Ok(Some(e)) if (e.length, e.checksum) == entry => Some(Ok(())),
            Ok(Some(_)) => Some(Err(StoreError::Exists(chunk))),
            Err(e) => Some(Err(e)),
        }
    }

    fn pack(&mut self, packs: Vec<(Packed, Reply)>, answers: &mut Vec<Answer>) {
        let mut fresh = Vec::new();
        for (packed, reply) in packs {
            let checksum = crate::types::checksum::combine_blocks(&packed.crcs, packed.length);
            match self.answer_from_index(packed.chunk, (packed.length, checksum)) {
                Some(answer) => answers.push((reply, answer)),
                None => fresh.push((packed, reply)),
            }
        }
        let records: Vec<&Packed> = fresh.iter().map(|(packed, _)| packed).collect();
        if records.is_empty() {
            return;
        }
        let entries: Vec<Result<Entry, StoreError>> = match self.segments.append(&records) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            // There may be room for some of them.
            Err(StoreError::OutOfSpace(_)) if records.len() > 1 => records
                .iter()
                .map(|record| self.append_one(record))
                .collect(),
            Err(e) => {
                let e = self.shared.condition.note(e);
                records.iter().map(|_| Err(e.clone())).collect()
            }
        };
        for ((packed, reply), entry) in fresh.into_iter().zip(entries) {
            let result = entry.map(|entry| {
                self.unflushed_bytes += entry.stored_len();
                self.appeared(packed.chunk, entry);
            });
            answers.push((reply, result.map_err(|e| self.shared.condition.note(e))));
        }
    }

    fn append_one(&mut self, record: &Packed) -> Result<Entry, StoreError> {
        self.shared.condition.check()?;
        let entries = self.segments.append(&[record]);
        let entries = entries.map_err(|e| self.shared.condition.note(e))?;
        let first = entries.into_iter().next();
        first.ok_or_else(|| StoreError::Invalid("nothing was appended".into()))
    }

    fn publish(&mut self, publishes: Vec<Publish>, answers: &mut Vec<Answer>) {
        let mut renamed = Vec::new();
        let mut directories = BTreeSet::new();
        for publish in publishes {
            let Publish {
                part,
                chunk,
                entry,
                reply,
            } = publish;
            let result = match self.answer_from_index(chunk, (entry.length, entry.checksum)) {
                Some(answer) => {
                    self.discard(std::slice::from_ref(&part));
                    answer
                }
                None => match self.rename(&part, chunk) {
                    Ok(()) => {
                        directories.insert(self.shared.paths.chunk_directory(chunk));
                        renamed.push((chunk, entry, reply));
                        continue;
                    }
                    Err(e) => {
                        self.discard(std::slice::from_ref(&part));
                        Err(self.shared.condition.note(e))
                    }
                },
            };
            answers.push((reply, result));
        }
        let synced = self.sync_directories(directories);
        let synced = synced.map_err(|e| self.shared.condition.note(e));
        for (chunk, entry, reply) in renamed {
            if synced.is_ok() {
                self.appeared(chunk, entry);
            }
            answers.push((reply, synced.clone()));
        }
    }

    fn rename(&self, part: &Path, chunk: ChunkId) -> Result<(), StoreError> {
        let target = self.shared.paths.chunk(chunk);
        let disk = &self.shared.env.disk;
        let write = |e| StoreError::from_write(&e, &target);
        if disk.exists(&target).map_err(write)? {
            quarantine::move_file(&self.shared, &target, "a file the index does not know")?;
        }
        disk.rename(part, &target).map_err(write)
    }

    fn sync_directories(&self, directories: BTreeSet<PathBuf>) -> Result<(), StoreError> {
        if planted::active(Bug::ChunkDirectoryNotSynced) {
            return Ok(());
        }
        for directory in directories {
            let synced = self.shared.env.disk.sync_directory(&directory);
            synced.map_err(|e| StoreError::from_sync(&e, &directory))?;
        }
        Ok(())
    }

    fn appeared(&self, chunk: ChunkId, entry: Entry) {
        self.shared.index.insert(chunk, entry, None);
        let change = Change::Present(entry.summary(chunk));
        self.shared.condition.changed(chunk, change);
    }

    fn discard(&self, parts: &[PathBuf]) {
        for part in parts {
            if let Err(e) = self.shared.env.disk.remove_file(part) {
                warn!(file = %part.display(), error = %e, "an unfinished replica stays behind");
            }
        }
    }

    /// Says whether the index is durable now; if not, it waits for room.
    fn flush(&mut self, intents: &[Intent], close: bool) -> Result<bool, StoreError> {
        self.shared.condition.check()?;
        self.closed |= close;
        match self
            .shared
            .index
            .flush(self.segments.scanned(), intents, close)
        {
            Ok(()) => {
                self.unflushed_bytes = 0;
                Ok(true)
            }
            // Recovery finds what the index lacks; it is written when there is room again.
            Err(StoreError::OutOfSpace(e)) => {
                warn!(error = e, "the index must wait for room");
                Ok(false)
            }
            Err(e) => Err(self.shared.condition.note(e)),
        }
    }
}
