//! What masters have a data node do: copy, rebuild, delete, verify, rewrite.
//!
//! A task is in one place until the masters have heard how it ended, and while it is there the
//! same task given again is nothing new:
//!
//! ```text
//! offer ─▶ running ─▶ finished ──acknowledged──▶ gone
//! ```
//!
//! To make a replica here makes earlier orders to delete it void, and waits for one that has begun.

mod deletions;
mod rebuild;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Shared;
use super::store::{Purpose, StoreError};
use super::volumes::VolumeWriter;
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::proto::cluster::{StoredChunk, Task, TaskResult};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::combine_blocks;
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::{ByteRange, ChunkId, Permit};
use deletions::Deletions;
use rebuild::Recipe;
use rewrite::{Permits, Rewriting};

/// The tasks of a data node.
pub(super) struct Tasks {
    shared: Arc<Shared>,
    state: Mutex<State>,
    ended: Notify,
    /// Replicas were deleted.
    deleted: Notify,
    copies: Semaphore,
    chores: Semaphore,
    /// Each has its bytes in memory.
    rewrites: Semaphore,
}

/// What comes of a task that is done: chunks that were written for it.
type Done = Vec<StoredChunk>;

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<Task>,
    finished: BTreeMap<Task, Result<Done, String>>,
    deletions: Deletions,
    /// What lets us read the chunks that we are to copy, or to make others from.
    permits: BTreeMap<ChunkId, Permit>,
    /// What lets us rewrite chunks, by the first of the new ones.
    rewrites: BTreeMap<ChunkId, Permits>,
}

impl State {
    /// Begins to delete replicas, and says which: those that are not wanted again.
    fn begin_deletion(&mut self, chunks: &[ChunkId]) -> Vec<ChunkId> {
        for task in &self.running {
            if let Task::Copy { chunk, .. } | Task::Rebuild { chunk, .. } = task {
                self.deletions.want(*chunk);
            }
        }
        let standing = self.deletions.begin(chunks);
        // What was found of them before is no longer so.
        self.finished.retain(|task, _| match task {
            Task::Copy { chunk, .. } | Task::Rebuild { chunk, .. } | Task::Verify { chunk } => {
                !standing.contains(chunk)
            }
            Task::Delete { .. } | Task::Scrub | Task::Rewrite { .. } => true,
        });
        standing
    }
}

impl Tasks {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Tasks> {
        let limits = shared.config.limits;
        Arc::new(Tasks {
            shared,
            state: Mutex::default(),
            ended: Notify::new(),
            deleted: Notify::new(),
            copies: Semaphore::new(limits.copies),
            chores: Semaphore::new(limits.chores),
            rewrites: Semaphore::new(1),
        })
    }

    /// Takes tasks on, as many as there is room for; the others will be given again. With them
    /// come permits for what is to be copied, which replace older ones.
    pub(super) fn offer(
        self: &Arc<Self>,
        tasks: Vec<Task>,
        permits: Vec<(ChunkId, Permit)>,
        rewrites: Vec<(ChunkId, Permit, Permit)>,
    ) {
        let mut state = self.state();
        state.permits = permits.into_iter().collect();
        let rewrites = rewrites.into_iter();
        let rewrites = rewrites.map(|(chunk, read, write)| (chunk, Permits { read, write }));
        state.rewrites = rewrites.collect();
        for task in tasks {
            let known = state.running.contains(&task) || state.finished.contains_key(&task);
            let full =
                state.running.len() + state.finished.len() >= self.shared.config.limits.tasks;
            if known || full {
                continue;
            }
            match &task {
                Task::Copy { chunk, .. } | Task::Rebuild { chunk, .. } => {
                    state.deletions.want(*chunk);
                }
                Task::Delete { chunks } => state.deletions.order(chunks),
                Task::Verify { .. } | Task::Scrub | Task::Rewrite { .. } => {}
            }
            state.running.insert(task.clone());
            let tasks = Arc::clone(self);
            self.shared.background.spawn(async move {
                tokio::select! {
                    biased;
                    () = tasks.shared.stop.cancelled() => {}
                    result = tasks.perform(&task) => tasks.end(task, result),
                }
            });
        }
    }

    /// How tasks ended, as many as go into one message.
    pub(super) fn finished(&self) -> Vec<TaskResult> {
        let mut weight = 0;
        let state = self.state();
        let all = state.finished.iter().take_while(|(task, _)| {
            weight += weight_of(task);
            weight <= ENTRIES_PER_REPLY_MAX || weight == weight_of(task)
        });
        let result = |(task, result): (&Task, &Result<Done, String>)| TaskResult {
            task: task.clone(),
            result: result.as_ref().map(drop).map_err(Clone::clone),
            stored: result.clone().unwrap_or_default(),
        };
        all.map(result).collect()
    }

    /// Forgets tasks of which the masters know how they ended.
    pub(super) fn acknowledged(&self, results: &[TaskResult]) {
        let mut state = self.state();
        for result in results {
            state.finished.remove(&result.task);
        }
    }

    /// Waits until a task ends.
    pub(super) async fn wait_for_finished(&self) {
        self.ended.notified().await;
    }

    fn end(&self, task: Task, result: Result<Done, String>) {
        if let Err(reason) = &result {
            warn!(?task, reason, "a task failed");
        }
        let mut state = self.state();
        state.running.remove(&task);
        state.finished.insert(task, result);
        drop(state);
        self.ended.notify_one();
    }

    async fn perform(&self, task: &Task) -> Result<Done, String> {
        let turn = match task {
            Task::Copy { .. } | Task::Rebuild { .. } => &self.copies,
            Task::Delete { .. } | Task::Verify { .. } | Task::Scrub => &self.chores,
            Task::Rewrite { .. } => &self.rewrites,
        };
        let _turn = turn.acquire().await.map_err(|e| e.to_string())?;
        let done = match task {
            Task::Copy {
                chunk,
                length,
                checksum,
                sources,
            } => {
                let copy = self.copy_of(*chunk, *length, *checksum).await;
                copy.run(sources).await
            }
            Task::Rebuild {
                chunk,
                length,
                checksum,
                index,
                code,
                shape,
                shard_length,
                sources,
            } => {
                let copy = self.copy_of(*chunk, *length, *checksum).await;
                let recipe = Recipe {
                    index: usize::from(*index),
                    code: *code,
                    shape: *shape,
                    shard_length: *shard_length,
                    sources,
                };
                copy.rebuild(&recipe).await
            }
            Task::Delete { chunks } => self.delete(chunks).await,
            Task::Verify { chunk } => self.verify(*chunk).await,
            Task::Scrub => {
                self.shared.store.scrub();
                Ok(())
            }
            Task::Rewrite {
                sources,
                targets,
                stripe,
                ..
            } => {
                let first = targets.first().map(|target| target.chunk);
                let permits = first.and_then(|first| self.state().rewrites.get(&first).cloned());
                let rewriting = Rewriting {
                    shared: &self.shared,
                    permits: permits.unwrap_or_default(),
                    sources,
                    targets,
                    stripe: *stripe,
                };
                return rewriting.run().await;
            }
        };
        done.map(|()| Vec::new())
    }

    /// Gets ready to make a replica: waits until an older one is not being deleted.
    async fn copy_of(&self, chunk: ChunkId, length: u64, checksum: u32) -> Copy<'_> {
        let permit = self.state().permits.get(&chunk).cloned();
        self.wait_for_deletion(chunk).await;
        Copy {
            shared: &self.shared,
            permit: permit.unwrap_or_default(),
            chunk,
            length,
            checksum,
        }
    }

    async fn delete(&self, chunks: &[ChunkId]) -> Result<(), String> {
        let standing = self.state().begin_deletion(chunks);
        let deleted = self.shared.store.delete(&standing).await;
        self.state().deletions.end(&standing);
        self.deleted.notify_waiters();
        deleted.map_err(|e| e.to_string())?;
        for chunk in &standing {
            self.shared.corrupt.clear(*chunk);
        }
        match chunks.len() - standing.len() {
            0 => Ok(()),
            kept => Err(format!("{kept} of {} are wanted again", chunks.len())),
        }
    }

    /// Waits until a replica is not being deleted.
    async fn wait_for_deletion(&self, chunk: ChunkId) {
        loop {
            let mut deleted = pin!(self.deleted.notified());
            deleted.as_mut().enable();
            if !self.state().deletions.is_begun(chunk) {
                return;
            }
            deleted.await;
        }
    }

    async fn verify(&self, chunk: ChunkId) -> Result<(), String> {
        if planted::active(Bug::WitnessDoesNotRead) {
            return Ok(());
        }
        let verified = self.shared.store.verify(chunk).await;
        match &verified {
            Ok(()) => self.shared.corrupt.clear(chunk),
            // It stays where it is until there is a better one: most of its blocks are good.
            Err(StoreError::Corrupt { .. }) => self.shared.corrupt.mark(chunk),
            Err(_) => {}
        }
        verified.map_err(|e| e.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task costs in a message, in chunk ids.
fn weight_of(task: &Task) -> usize {
    match task {
        Task::Copy { sources, .. } => 16 + 16 * sources.len(),
        Task::Delete { chunks } => 16 + chunks.len(),
        Task::Verify { .. } | Task::Scrub => 16,
        Task::Rebuild { sources, .. } => 16 + 32 * sources.len(),
        Task::Rewrite {
            sources, targets, ..
        } => 16 + 32 * (sources.len() + 2 * targets.len()),
    }
}

/// A replica to get from other data nodes.
///
/// A source that has a bad block is left at that block for the next one, which may have it and
/// lack another. The replica that is here, if it is no good as a whole, is one of the sources,
/// and goes only when the new one is complete.
struct Copy<'a> {
    shared: &'a Shared,
    permit: Permit,
    chunk: ChunkId,
    length: u64,
    checksum: u32,
}

/// What is here of a chunk that is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    Nothing,
    Sound,
    Corrupt,
    /// Not what the masters know.
    Other,
}

/// Why a source gave no more.
enum Failed {
    /// Another source may do.
    Source(StreamError),
    /// It is this node's fault.
    Here(StoreError),
}

impl From<StreamError> for Failed {
    fn from(error: StreamError) -> Failed {
        Failed::Source(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Here(error)
    }
}

/// Blocks that have been copied.
struct Copied {
    replica: VolumeWriter,
    checksums: Vec<u32>,
}

impl Copy<'_> {
    async fn run(&self, sources: &[NodeAddress]) -> Result<(), String> {
        let here = self.look().await.map_err(|e| e.to_string())?;
        let us = NodeAddress {
            node: self.shared.node_or_zero(),
            key: self.shared.store.stamp().key,
            address: self.shared.address.clone(),
        };
        let others = sources.iter().filter(|source| source.node != us.node);
        let mut sources: Vec<NodeAddress> = others.cloned().collect();
        self.shared.peers.sort(&mut sources);
        if here == Here::Corrupt {
            sources.push(us);
        }
        self.keep(here, self.collect(sources)).await
    }

    /// Keeps the replica that comes, unless what is here is right.
    async fn keep(
        &self,
        here: Here,
        replica: impl Future<Output = Result<VolumeWriter, String>>,
    ) -> Result<(), String> {
        if here != Here::Sound {
            let replica = replica.await?;
            self.replace(here, replica)
                .await
                .map_err(|e| e.to_string())?;
            info!(chunk = %self.chunk, "replica made");
        }
        self.shared.corrupt.clear(self.chunk);
        Ok(())
    }

    /// What is here.
    async fn look(&self) -> Result<Here, StoreError> {
        let verified = match self.shared.store.open_replica(self.chunk).await {
            Ok(replica)
                if (replica.length(), replica.checksum()) != (self.length, self.checksum) =>
            {
                return Ok(Here::Other);
            }
            Ok(replica) => replica.verify().await,
            Err(error) => Err(error),
        };
        match verified {
            Ok(()) => Ok(Here::Sound),
            Err(StoreError::Corrupt { .. }) if planted::active(Bug::RepairCountsCorrupt) => {
                Ok(Here::Sound)
            }
            Err(StoreError::Corrupt { .. }) => Ok(Here::Corrupt),
            Err(StoreError::NotFound(_)) => Ok(Here::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Gets all blocks, each from a source that has it.
    async fn collect(&self, mut sources: Vec<NodeAddress>) -> Result<VolumeWriter, String> {
        let store = &self.shared.store;
        let replica = store.create(self.chunk, self.length, Purpose::Repair);
        let mut copied = Copied {
            replica: replica.await.map_err(|e| e.to_string())?,
            checksums: Vec::new(),
        };
        while copied.replica.length() < self.length {
            let before = copied.replica.length();
            let mut reasons = Vec::new();
            let mut damaged = Vec::new();
            for source in sources {
                match self.copy_from(&source, &mut copied).await {
                    Ok(()) => break,
                    Err(Failed::Source(error)) => {
                        if error.kind == StreamErrorKind::Corrupt {
                            damaged.push(source);
                        }
                        reasons.push(error.to_string());
                    }
                    Err(Failed::Here(error)) => return Err(error.to_string()),
                }
            }
            if copied.replica.length() == before {
                return Err(format!("no source has it: {}", reasons.join("; ")));
            }
            // What comes after the bad block they may have.
            sources = damaged;
        }
        // Each block is right by its checksum; this says that they are the right blocks.
        if combine_blocks(&copied.checksums, self.length) != self.checksum {
            return Err("the sources have other bytes than they say".to_owned());
        }
        Ok(copied.replica)
    }

    /// Copies what is missing, as far as the source has it.
    async fn copy_from(&self, source: &NodeAddress, copied: &mut Copied) -> Result<(), Failed> {
        let wrong = |what| StreamError::new(source.node, StreamErrorKind::NotFound, what);
        let pool = self.shared.pool();
        let pool = pool.ok_or_else(|| wrong("not in a cluster yet"))?;
        let offset = copied.replica.length();
        let missing = ByteRange::new(offset, self.length - offset);
        let mut reader = pool
            .read(source, (self.chunk, &self.permit), missing)
            .await?;
        if (reader.length(), reader.checksum()) != (self.length, self.checksum) {
            return Err(wrong("not what the masters know").into());
        }
        let mut begun = Instant::now();
        while let Some(blocks) = reader.next_blocks().await? {
            copied.checksums.extend(&blocks.checksums);
            let written = copied.replica.write(blocks.bytes, &blocks.checksums);
            written.await?;
            self.shared.serving.give_way(begun.elapsed()).await;
            begun = Instant::now();
        }
        Ok(())
    }

    /// Makes the new replica durable; what is here goes to quarantine.
    async fn replace(&self, here: Here, replica: VolumeWriter) -> Result<(), StoreError> {
        if here == Here::Other {
            let reason = "it is not what the masters know";
            self.shared.store.quarantine(self.chunk, reason).await?;
        }
        replica.finish().await?;
        Ok(())
    }
}
