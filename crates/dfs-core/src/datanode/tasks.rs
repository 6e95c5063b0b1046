//! What masters have a data node do: copy, delete, verify.
//!
//! A task is in one place until the masters have heard how it ended, and while it is there the
//! same task given again is nothing new:
//!
//! ```text
//! offer ─▶ running ─▶ finished ──acknowledged──▶ gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};
use tracing::{info, warn};

use super::Shared;
use super::store::{Purpose, StoreError};
use crate::proto::chunk_stream::{ChunkReader, StreamError};
use crate::proto::cluster::{Task, TaskResult};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::combine_blocks;
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::{ByteRange, ChunkId};

/// The tasks of a data node.
pub(super) struct Tasks {
    shared: Arc<Shared>,
    state: Mutex<State>,
    ended: Notify,
    copies: Semaphore,
    chores: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<Task>,
    finished: BTreeMap<Task, Result<(), String>>,
}

impl Tasks {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Tasks> {
        let limits = shared.config.limits;
        Arc::new(Tasks {
            shared,
            state: Mutex::default(),
            ended: Notify::new(),
            copies: Semaphore::new(limits.copies),
            chores: Semaphore::new(limits.chores),
        })
    }

    /// Takes tasks on, as many as there is room for; the others will be given again.
    pub(super) fn offer(self: &Arc<Self>, tasks: Vec<Task>) {
        let mut state = self.state();
        for task in tasks {
            let known = state.running.contains(&task) || state.finished.contains_key(&task);
            let full =
                state.running.len() + state.finished.len() >= self.shared.config.limits.tasks;
            if known || full {
                continue;
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
        let result = |(task, result): (&Task, &Result<(), String>)| TaskResult {
            task: task.clone(),
            result: result.clone(),
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

    fn end(&self, task: Task, result: Result<(), String>) {
        if let Err(reason) = &result {
            warn!(?task, reason, "a task failed");
        }
        let mut state = self.state();
        state.running.remove(&task);
        state.finished.insert(task, result);
        drop(state);
        self.ended.notify_one();
    }

    async fn perform(&self, task: &Task) -> Result<(), String> {
        let turn = match task {
            Task::Copy { .. } => &self.copies,
            Task::Delete { .. } | Task::Verify { .. } => &self.chores,
        };
        let _turn = turn.acquire().await.map_err(|e| e.to_string())?;
        match task {
            Task::Copy {
                chunk,
                length,
                checksum,
                sources,
            } => {
                let copy = Copy {
                    shared: &self.shared,
                    chunk: *chunk,
                    length: *length,
                    checksum: *checksum,
                };
                copy.run(sources).await
            }
            Task::Delete { chunks } => self.delete(chunks).await,
            Task::Verify { chunk } => self.verify(*chunk).await,
        }
    }

    async fn delete(&self, chunks: &[ChunkId]) -> Result<(), String> {
        self.shared
            .store
            .delete(chunks)
            .await
            .map_err(|e| e.to_string())?;
        for chunk in chunks {
            self.shared.corrupt.clear(*chunk);
        }
        Ok(())
    }

    async fn verify(&self, chunk: ChunkId) -> Result<(), String> {
        let verified = self.shared.store.verify(chunk).await;
        match &verified {
            Ok(()) => self.shared.corrupt.clear(chunk),
            Err(StoreError::Corrupt { .. }) => {
                let reason = verified
                    .as_ref()
                    .err()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                self.shared.corrupt.mark(chunk);
                self.shared
                    .store
                    .quarantine(chunk, &reason)
                    .await
                    .map_err(|e| e.to_string())?;
            }
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
        Task::Verify { .. } => 16,
    }
}

/// A replica to get from another data node.
struct Copy<'a> {
    shared: &'a Shared,
    chunk: ChunkId,
    length: u64,
    checksum: u32,
}

/// Why one attempt to copy failed.
enum Failed {
    /// Another source may do.
    Source(String),
    /// It is this node's fault.
    Here(StoreError),
}

impl From<StreamError> for Failed {
    fn from(error: StreamError) -> Failed {
        Failed::Source(error.to_string())
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Here(error)
    }
}

impl Copy<'_> {
    async fn run(&self, sources: &[NodeAddress]) -> Result<(), String> {
        if self.is_here().await.map_err(|e| e.to_string())? {
            return Ok(());
        }
        let us = self.shared.node_or_zero();
        let mut reasons = Vec::new();
        for source in sources.iter().filter(|s| s.node != us) {
            match self.copy_from(source).await {
                Ok(()) => {
                    self.shared.corrupt.clear(self.chunk);
                    info!(chunk = %self.chunk, source = %source.node, "replica copied");
                    return Ok(());
                }
                Err(Failed::Source(reason)) => reasons.push(reason),
                Err(Failed::Here(error)) => return Err(error.to_string()),
            }
        }
        Err(format!("no source has it: {}", reasons.join("; ")))
    }

    /// Whether a sound replica is here. One that is not goes to quarantine.
    async fn is_here(&self) -> Result<bool, StoreError> {
        let store = &self.shared.store;
        let reason = match store.open_replica(self.chunk).await {
            Ok(replica)
                if (replica.length(), replica.checksum()) != (self.length, self.checksum) =>
            {
                "it is not what the masters know".to_owned()
            }
            Ok(_) => match store.verify(self.chunk).await {
                Ok(()) => {
                    self.shared.corrupt.clear(self.chunk);
                    return Ok(true);
                }
                Err(error @ StoreError::Corrupt { .. }) => error.to_string(),
                Err(StoreError::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error),
            },
            Err(error @ StoreError::Corrupt { .. }) => error.to_string(),
            Err(StoreError::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        store.quarantine(self.chunk, &reason).await?;
        Ok(false)
    }

    async fn copy_from(&self, source: &NodeAddress) -> Result<(), Failed> {
        let pool = self.shared.pool();
        let pool = pool.ok_or_else(|| Failed::Source("not in a cluster yet".to_owned()))?;
        let all = ByteRange::new(0, self.length);
        let reader: ChunkReader = pool.read(source, self.chunk, all).await?;
        if (reader.length(), reader.checksum()) != (self.length, self.checksum) {
            return Err(Failed::Source(format!(
                "{}: not what the masters know",
                source.node
            )));
        }
        self.keep(reader, source).await
    }

    async fn keep(&self, mut reader: ChunkReader, source: &NodeAddress) -> Result<(), Failed> {
        let store = &self.shared.store;
        let mut replica = store
            .create(self.chunk, self.length, Purpose::Repair)
            .await?;
        let mut checksums = Vec::new();
        while let Some(blocks) = reader.next_blocks().await? {
            replica.write(blocks.bytes, &blocks.checksums).await?;
            checksums.extend(blocks.checksums);
        }
        // Each block is right by its checksum; this says that they are the right blocks.
        if combine_blocks(&checksums, self.length) != self.checksum {
            return Err(Failed::Source(format!(
                "{}: other bytes than it says",
                source.node
            )));
        }
        replica.finish().await?;
        Ok(())
    }
}
