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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Shared;
use super::condition::Change;
use super::error::StoreError;
use super::index::{Entry, Place};
use super::layout::ReplicaHeader;
use super::quarantine;
use super::segment::Segments;
use crate::env::DiskFile;
use crate::types::ChunkId;

/// A batch takes no more than this, in bytes and operations.
const BATCH_BYTES_MAX: u64 = 16 << 20;
const BATCH_OPS_MAX: usize = 1024;

pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// A small chunk, complete.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) chunk: ChunkId,
    pub(super) length: u64,
    pub(super) crcs: Vec<u32>,
    pub(super) data: Vec<Bytes>,
}

#[derive(Debug)]
pub(super) enum Op {
    /// Append a small chunk to a segment.
    Pack {
        packed: Packed,
        reply: Reply,
    },
    /// Give a synced file its name.
    Publish {
        part: PathBuf,
        chunk: ChunkId,
        entry: Entry,
        reply: Reply,
    },
    Delete {
        chunks: Vec<ChunkId>,
        reply: Reply,
    },
    Quarantine {
        chunk: ChunkId,
        reason: String,
        reply: Reply,
    },
    /// Remove what an abandoned writer left.
    Discard {
        part: PathBuf,
    },
    /// Make everything durable, mark the index clean, end.
    Close {
        reply: Reply,
    },
}

impl Op {
    fn bytes(&self) -> u64 {
        match self {
            Op::Pack { packed, .. } => packed.length,
            _ => 0,
        }
    }

    fn chunks(&self) -> &[ChunkId] {
        match self {
            Op::Pack { packed, .. } => std::slice::from_ref(&packed.chunk),
            Op::Publish { chunk, .. } | Op::Quarantine { chunk, .. } => std::slice::from_ref(chunk),
            Op::Delete { chunks, .. } => chunks,
            Op::Discard { .. } | Op::Close { .. } => &[],
        }
    }
}

/// The way to the committer. It is bounded by its callers: each waits for its one operation.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::UnboundedSender<Op>);

impl Queue {
    pub(super) fn send(&self, op: Op) -> Result<(), StoreError> {
        self.0.send(op).map_err(|_| closed())
    }

    pub(super) async fn outcome(
        outcome: oneshot::Receiver<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn quarantine(
        &self,
        chunk: ChunkId,
        reason: String,
    ) -> Result<(), StoreError> {
        let (reply, outcome) = oneshot::channel();
        self.send(Op::Quarantine {
            chunk,
            reason,
            reply,
        })?;
        Queue::outcome(outcome).await
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".into())
}

/// Starts the task. It ends when all queues are dropped, or after [`Op::Close`].
pub(super) fn start(shared: Arc<Shared>, segments: Segments) -> Queue {
    let (sender, receiver) = mpsc::unbounded_channel();
    let committer = Committer {
        segments,
        unflushed_bytes: 0,
        closed: false,
        shared: Arc::clone(&shared),
    };
    tokio::spawn(run(shared, committer, receiver));
    Queue(sender)
}

async fn run(
    shared: Arc<Shared>,
    mut committer: Committer,
    mut queue: mpsc::UnboundedReceiver<Op>,
) {
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

/// Adds what else is queued, up to the first operation that does not fit.
fn gather(batch: &mut Vec<Op>, held: &mut Option<Op>, queue: &mut mpsc::UnboundedReceiver<Op>) {
    let mut bytes: u64 = batch.iter().map(Op::bytes).sum();
    let mut chunks: BTreeSet<ChunkId> = batch.iter().flat_map(Op::chunks).copied().collect();
    while batch.len() < BATCH_OPS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(op) = queue.try_recv() else {
            return;
        };
        bytes += op.bytes();
        if bytes > BATCH_BYTES_MAX || !op.chunks().iter().all(|chunk| chunks.insert(*chunk)) {
            *held = Some(op);
            return;
        }
        batch.push(op);
    }
}

struct Committer {
    shared: Arc<Shared>,
    segments: Segments,
    /// Bytes of packed chunks that the index on disk does not have.
    unflushed_bytes: u64,
    closed: bool,
}

/// An operation's answer, kept until all that it depends on is durable.
type Answer = (Reply, Result<(), StoreError>);

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
        for (chunk, reason, reply) in std::mem::take(&mut work.quarantines) {
            let result = self.failed_or(|this| this.quarantine(chunk, &reason));
            answers.push((reply, result));
        }
        let deletions = std::mem::take(&mut work.deletions);
        let mut deleted = false;
        for (chunks, reply) in deletions {
            let result = self.failed_or(|this| this.delete(&chunks));
            deleted = true;
            answers.push((reply, result));
        }
        self.discard(&work.discards);
        let lag = &self.shared.config.index_lag;
        let late = self.shared.index.pending() >= lag.rows || self.unflushed_bytes >= lag.bytes;
        if deleted || due || late || work.close.is_some() {
            self.flush(work.close.is_some());
        }
        for (reply, result) in work.refuse(&self.shared).into_iter().chain(answers) {
            // Whoever went away does not need the answer.
            let _ = reply.send(result);
        }
        self.shared.refresh_room();
    }

    fn failed_or(
        &mut self,
        work: impl FnOnce(&mut Committer) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
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

    /// The bytes go before the index row does, durably: a crash in between shows replicas again
    /// that will be deleted again, and a full disk hinders none of it.
    fn delete(&mut self, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        let mut directories = BTreeSet::new();
        let mut marked = Marked::default();
        for chunk in chunks.iter().copied().collect::<BTreeSet<ChunkId>>() {
            let Some(entry) = self.shared.index.get(chunk)? else {
                continue;
            };
            match entry.place {
                Place::Large => {
                    self.remove_large(chunk)?;
                    directories.insert(self.shared.paths.chunk_directory(chunk));
                }
                Place::Small { segment, offset } => {
                    self.mark(&mut marked, chunk, segment, offset)?;
                }
            }
            gone.push((chunk, entry));
        }
        self.sync_marked(&marked)?;
        self.sync_directories(directories)?;
        for (chunk, entry) in gone {
            self.disappeared(chunk, entry, Change::Absent);
        }
        self.reclaim(&marked)
    }

    fn remove_large(&self, chunk: ChunkId) -> Result<(), StoreError> {
        let path = self.shared.paths.chunk(chunk);
        match self.shared.env.disk.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Failed(format!("{}: {e}", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn mark(
        &self,
        marked: &mut Marked,
        chunk: ChunkId,
        segment: u64,
        offset: u64,
    ) -> Result<(), StoreError> {
        let files = &mut marked.files;
        let header = self.segments.mark_deleted(files, chunk, segment, offset)?;
        marked.records.extend(header.map(|h| (segment, offset, h)));
        Ok(())
    }

    fn sync_marked(&self, marked: &Marked) -> Result<(), StoreError> {
        for (segment, file) in &marked.files {
            let path = self.shared.paths.segment(*segment);
            file.sync().map_err(|e| StoreError::from_sync(&e, &path))?;
        }
        Ok(())
    }

    /// Gives back the room of marked records, of which the index knows nothing any more.
    fn reclaim(&mut self, marked: &Marked) -> Result<(), StoreError> {
        for (segment, offset, header) in &marked.records {
            if let Some(file) = marked.files.get(segment) {
                self.segments.punch(&**file, *segment, *offset, header)?;
            }
        }
        self.segments.remove_empty()
    }

    fn disappeared(&mut self, chunk: ChunkId, entry: Entry, change: Change) {
        self.shared.index.remove(chunk, entry);
        if let Place::Small { segment, .. } = entry.place {
            self.segments.forget(segment);
        }
        self.shared.condition.changed(chunk, change);
    }

    fn quarantine(&mut self, chunk: ChunkId, reason: &str) -> Result<(), StoreError> {
        let Some(entry) = self.shared.index.get(chunk)? else {
            return Err(StoreError::NotFound(chunk));
        };
        let mut marked = Marked::default();
        match entry.place {
            Place::Large => {
                let path = self.shared.paths.chunk(chunk);
                let exists = self.shared.env.disk.exists(&path);
                if exists.map_err(|e| StoreError::from_write(&e, &path))? {
                    quarantine::move_file(&self.shared, &path, reason)?;
                    let directory = self.shared.paths.chunk_directory(chunk);
                    self.sync_directories(BTreeSet::from([directory]))?;
                }
            }
            Place::Small { segment, offset } => {
                quarantine::copy_record(&self.shared, chunk, entry, reason)?;
                self.mark(&mut marked, chunk, segment, offset)?;
                self.sync_marked(&marked)?;
            }
        }
        self.disappeared(chunk, entry, Change::Corrupt);
        self.reclaim(&marked)
    }

    fn discard(&self, parts: &[PathBuf]) {
        for part in parts {
            if let Err(e) = self.shared.env.disk.remove_file(part) {
                warn!(file = %part.display(), error = %e, "an unfinished replica stays behind");
            }
        }
    }

    fn flush(&mut self, clean: bool) {
        let clean = clean && self.shared.condition.check().is_ok();
        match self.shared.index.flush(self.segments.scanned(), clean) {
            Ok(()) => self.unflushed_bytes = 0,
            // Recovery finds what the index lacks; it is written when there is room again.
            Err(StoreError::OutOfSpace(e)) => warn!(error = e, "the index must wait for room"),
            Err(e) => {
                self.shared.condition.note(e);
            }
        }
        self.closed |= clean;
    }
}

/// Records that were marked as deleted, and the files they are in.
#[derive(Default)]
struct Marked {
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    records: Vec<(u64, u64, ReplicaHeader)>,
}

struct Publish {
    part: PathBuf,
    chunk: ChunkId,
    entry: Entry,
    reply: Reply,
}

/// A batch by kind of operation.
#[derive(Default)]
struct Work {
    packs: Vec<(Packed, Reply)>,
    publishes: Vec<Publish>,
    deletions: Vec<(Vec<ChunkId>, Reply)>,
    quarantines: Vec<(ChunkId, String, Reply)>,
    discards: Vec<PathBuf>,
    close: Option<Reply>,
}

impl Work {
    fn sort(&mut self, op: Op) {
        match op {
            Op::Pack { packed, reply } => self.packs.push((packed, reply)),
            Op::Publish {
                part,
                chunk,
                entry,
                reply,
            } => self.publishes.push(Publish {
                part,
                chunk,
                entry,
                reply,
            }),
            Op::Delete { chunks, reply } => self.deletions.push((chunks, reply)),
            Op::Quarantine {
                chunk,
                reason,
                reply,
            } => {
                self.quarantines.push((chunk, reason, reply));
            }
            Op::Discard { part } => self.discards.push(part),
            Op::Close { reply } => self.close = Some(reply),
        }
    }

    /// The answers to what was not done because the store has failed, and to a close.
    fn refuse(self, shared: &Shared) -> Vec<Answer> {
        let state = shared.condition.check();
        let packs = self.packs.into_iter().map(|(_, reply)| reply);
        let publishes = self.publishes.into_iter().map(|publish| publish.reply);
        let replies = packs.chain(publishes).chain(self.close);
        replies.map(|reply| (reply, state.clone())).collect()
    }
}
