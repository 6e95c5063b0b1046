//! Writing replicas.
//!
//! What stays short is collected in memory and packed into a segment when it is finished; a
//! longer chunk moves to a file of its own while it arrives.
//!
//! ```text
//! write ─▶ verify ─▶ incoming/c.part … ─▶ finish: header ─▶ sync ─▶ committer: rename, sync dir
//!                └─▶ memory …          ─▶ finish: ───────────────▶ committer: segment, sync
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Opened, ReplicaSummary};
use crate::datanode::store::Shared;
use crate::datanode::store::commit::{Op, Packed, Queue};
use crate::datanode::store::condition::Promise;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::index::{Entry, Place};
use crate::datanode::store::layout::{ReplicaHeader, data_offset_in_file, encode_crcs};
use crate::env::{DiskFile, OpenMode};
use crate::planted::{self, Bug};
use crate::types::ChunkId;
use crate::types::checksum::{block_count, combine_blocks, verify_blocks};
use crate::types::limits::BLOCK_LEN;

/// A replica that is being written. Dropped before it is finished it leaves nothing.
pub struct ReplicaWriter {
    shared: Arc<Shared>,
    queue: Queue,
    chunk: ChunkId,
    length_max: u64,
    length: u64,
    crcs: Vec<u32>,
    target: Target,
    promise: Promise,
}

enum Target {
    Memory(Vec<Bytes>),
    File(Part),
    /// An error made what is there useless, or it was handed on.
    Done,
}

impl ReplicaWriter {
    pub(in crate::datanode::store) fn new(
        shared: Arc<Shared>,
        queue: Queue,
        chunk: ChunkId,
        length_max: u64,
        promise: Promise,
    ) -> ReplicaWriter {
        ReplicaWriter {
            shared,
            queue,
            chunk,
            length_max,
            length: 0,
            crcs: Vec::new(),
            target: Target::Memory(Vec::new()),
            promise,
        }
    }

    /// Which chunk.
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends whole blocks, each with its CRC-32C. Only the chunk's last block may be short.
    ///
    /// After an error the writer is of no more use.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes are not what the checksums say,
    /// [`StoreError::Invalid`] if they follow a short block or are more than was announced,
    /// [`StoreError::OutOfSpace`], [`StoreError::Failed`].
    pub async fn write(&mut self, blocks: Bytes, crcs: &[u32]) -> Result<(), StoreError> {
        let result = self.append(blocks, crcs).await;
        if result.is_err() {
            self.abandon();
        }
        result.map_err(|e| self.shared.condition.note(e))
    }

    async fn append(&mut self, blocks: Bytes, crcs: &[u32]) -> Result<(), StoreError> {
        let (chunk, length) = (self.chunk, blocks.len() as u64);
        let invalid = |what: &str| Err(StoreError::Invalid(format!("{chunk}: {what}")));
        self.shared.condition.check()?;
        if !self.length.is_multiple_of(BLOCK_LEN as u64) {
            return invalid("bytes after a short block");
        }
        if length > self.length_max - self.length {
            return invalid("more bytes than were announced");
        }
        verify_blocks(&blocks, crcs).map_err(|index| StoreError::Corrupt {
            chunk,
            block: Some(self.crcs.len() as u64 + index as u64),
            reason: "what was sent fails its checksum".into(),
        })?;
        if let Target::Memory(parts) = &mut self.target {
            if self.length + length <= self.shared.config.small_chunk_max {
                parts.push(blocks);
                self.crcs.extend_from_slice(crcs);
                self.length += length;
                return Ok(());
            }
            let parts = std::mem::take(parts);
            let blocks = block_count(self.length_max);
            let part = Part::create(&self.shared, &self.queue, chunk, blocks, self.length_max);
            self.target = Target::File(part.await?);
            self.promise.keep();
            for part in parts {
                self.append_to_file(part).await?;
            }
        }
        self.append_to_file(blocks).await?;
        self.crcs.extend_from_slice(crcs);
        self.length += length;
        Ok(())
    }

    async fn append_to_file(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match &mut self.target {
            Target::File(part) => part.append(&self.shared, bytes).await,
            Target::Memory(_) | Target::Done => Err(StoreError::Invalid(format!(
                "{}: the writer is done",
                self.chunk
            ))),
        }
    }

    /// Makes the replica durable and visible.
    ///
    /// If one with the same bytes is here already, that one is kept and this is no error.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if one with other bytes is here, [`StoreError::OutOfSpace`],
    /// [`StoreError::Failed`], [`StoreError::Invalid`] after an earlier error.
    pub async fn finish(mut self) -> Result<ReplicaSummary, StoreError> {
        let shared = Arc::clone(&self.shared);
        shared.condition.check()?;
        let result = self.finish_any().await;
        result.map_err(|e| shared.condition.note(e))
    }

    async fn finish_any(&mut self) -> Result<ReplicaSummary, StoreError> {
        let summary = ReplicaSummary {
            chunk: self.chunk,
            length: self.length,
            checksum: combine_blocks(&self.crcs, self.length),
        };
        // First, so that what is here goes only when this can take its place.
        if let Target::File(part) = &mut self.target {
            part.seal(&self.shared, summary, &self.crcs).await?;
        }
        if self.keep_existing(summary).await? {
            self.abandon();
            return Ok(summary);
        }
        let (reply, outcome) = oneshot::channel();
        let op = match std::mem::replace(&mut self.target, Target::Done) {
            Target::Memory(data) => Op::Pack {
                packed: Packed {
                    chunk: self.chunk,
                    length: self.length,
                    crcs: std::mem::take(&mut self.crcs),
                    data,
                },
                reply,
            },
            Target::File(part) => Op::Publish {
                chunk: self.chunk,
                entry: Entry {
                    place: Place::Large,
                    length: self.length,
                    checksum: summary.checksum,
                    data_offset: part.data_offset,
                },
                part: part.hand_on(),
                reply,
            },
            Target::Done => {
                return Err(StoreError::Invalid(format!(
                    "{}: the writer is done",
                    self.chunk
                )));
            }
        };
        self.queue.send(op)?;
        Queue::outcome(outcome).await?;
        Ok(summary)
    }

    /// Whether a sound replica with these bytes is here. One that is not sound goes to
    /// quarantine: it must not stand in for what was just received.
    async fn keep_existing(&self, summary: ReplicaSummary) -> Result<bool, StoreError> {
        let (shared, chunk) = (Arc::clone(&self.shared), self.chunk);
        let existing = self
            .shared
            .env
            .run_blocking(move || {
                let Some(entry) = shared.index.get(chunk)? else {
                    return Ok(None);
                };
                Opened::open(&shared, chunk, entry)?.verify_at_rest(&shared, chunk)?;
                Ok(Some(entry))
            })
            .await;
        match existing {
            Ok(Some(entry)) if entry.summary(chunk) == summary => Ok(true),
            Ok(Some(_)) => Err(StoreError::Exists(chunk)),
            Ok(None) | Err(StoreError::NotFound(_)) => Ok(false),
            Err(StoreError::Corrupt { reason, .. }) => {
                self.queue.quarantine(chunk, reason).await?;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    fn abandon(&mut self) {
        // Dropping a part has it removed.
        self.target = Target::Done;
    }
}

impl fmt::Debug for ReplicaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaWriter({}, {} bytes)", self.chunk, self.length)
    }
}

/// A file under `incoming`; removed when dropped, unless it was handed on.
struct Part {
    queue: Queue,
    path: Option<PathBuf>,
    file: Arc<dyn DiskFile>,
    data_offset: u32,
    length: u64,
    length_max: u64,
    unsynced: u64,
    /// The outcome of a sync that runs while more arrives.
    syncing: Option<oneshot::Receiver<Result<(), StoreError>>>,
}

impl Part {
    async fn create(
        shared: &Arc<Shared>,
        queue: &Queue,
        chunk: ChunkId,
        blocks: u64,
        length_max: u64,
    ) -> Result<Part, StoreError> {
        let path = shared.paths.part(chunk, shared.next_part());
        let data_offset = data_offset_in_file(blocks);
        let (disk, name) = (Arc::clone(&shared.env.disk), path.clone());
        let file = shared
            .env
            .run_blocking(move || {
                let write = |e| StoreError::from_write(&e, &name);
                let open = |e| StoreError::from_open(&e, &name);
                let file = disk.open(&name, OpenMode::CreateNew).map_err(open)?;
                if let Err(e) = file.reserve(data_offset + length_max) {
                    disk.remove_file(&name).map_err(write)?;
                    return Err(write(e));
                }
                Ok(file)
            })
            .await?;
        Ok(Part {
            queue: queue.clone(),
            path: Some(path),
            file,
            data_offset: data_offset as u32,
            length: 0,
            length_max,
            unsynced: 0,
            syncing: None,
        })
    }

    async fn append(&mut self, shared: &Arc<Shared>, bytes: Bytes) -> Result<(), StoreError> {
        let (file, path) = (
            Arc::clone(&self.file),
            self.path.clone().unwrap_or_default(),
        );
        let offset = u64::from(self.data_offset) + self.length;
        let length = bytes.len() as u64;
        shared
            .env
            .run_blocking(move || {
                let written = file.write_at(&bytes, offset);
                written.map_err(|e| StoreError::from_write(&e, &path))
            })
            .await?;
        self.length += length;
        self.unsynced += length;
        if self.unsynced >= shared.config.write_behind {
            self.sync_behind(shared).await?;
        }
        Ok(())
    }

    /// Begins to sync what is written; waits for the sync before, so that not too much piles up.
    async fn sync_behind(&mut self, shared: &Arc<Shared>) -> Result<(), StoreError> {
        self.wait_for_sync().await?;
        self.unsynced = 0;
        let (done, outcome) = oneshot::channel();
        let (file, path) = (
            Arc::clone(&self.file),
            self.path.clone().unwrap_or_default(),
        );
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let result = shared.sync_file(file, path).await;
            // A writer that went away no longer wants the result; the store has noted it.
            let _ = done.send(result);
        });
        self.syncing = Some(outcome);
        Ok(())
    }

    async fn wait_for_sync(&mut self) -> Result<(), StoreError> {
        match self.syncing.take() {
            Some(outcome) => Queue::outcome(outcome).await,
            None => Ok(()),
        }
    }

    /// Writes the header, gives back what was reserved too much, and syncs.
    async fn seal(
        &mut self,
        shared: &Arc<Shared>,
        summary: ReplicaSummary,
        crcs: &[u32],
    ) -> Result<(), StoreError> {
        self.wait_for_sync().await?;
        let header = ReplicaHeader::new(summary.chunk, summary.length, crcs, 0, self.data_offset);
        let bytes = [header.encode().as_slice(), &encode_crcs(crcs)].concat();
        let (file, path) = (
            Arc::clone(&self.file),
            self.path.clone().unwrap_or_default(),
        );
        let shorter = self.length < self.length_max;
        let end = u64::from(self.data_offset) + self.length;
        let written = Arc::clone(&file);
        let name = path.clone();
        shared
            .env
            .run_blocking(move || {
                let write = |e| StoreError::from_write(&e, &name);
                written.write_at(&bytes, 0).map_err(write)?;
                if shorter {
                    written.set_len(end).map_err(write)?;
                }
                Ok(())
            })
            .await?;
        if planted::active(Bug::LargeChunkWithoutFsync) {
            return Ok(());
        }
        shared.sync_file(file, path).await
    }

    fn hand_on(mut self) -> PathBuf {
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // If the committer is gone, the next start finds the file.
            let _ = self.queue.send(Op::Discard { part: path });
        }
    }
}
