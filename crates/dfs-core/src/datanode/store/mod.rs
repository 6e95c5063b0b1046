//! The chunk store: replicas on one disk, which survive what disks and power supplies do.
//!
//! Chunks are written once. A long one has a file of its own, short ones are packed into
//! segments; `layout` draws both. A replica is here when [`ReplicaWriter::finish`] has
//! returned, and then it is on stable storage; before that it is not here at all.
//!
//! ```no_run
//! # use dfs_core::{datanode::store::*, env::Env, types::*};
//! # async fn sample(bytes: bytes::Bytes) -> Result<(), StoreError> {
//! let (store, recovered) = ChunkStore::open(StoreConfig::new("/disk"), Env::real()).await?;
//! let mut writer = store.create(ChunkId(19), bytes.len() as u64, Purpose::Write).await?;
//! writer.write(bytes.clone(), &checksum::block_crcs(&bytes)).await?;
//! writer.finish().await?;
//! let run = store.open_replica(ChunkId(19)).await?.read(ByteRange::new(0, 10)).await?;
//! assert_eq!(checksum::verify_blocks(&run.bytes, &run.crcs), Ok(()));
//! # Ok(()) }
//! ```
//!
//! Rules:
//! - No replica is deleted but by [`ChunkStore::delete`]. What is found wrong is moved to
//!   quarantine.
//! - A failed write or sync fails the whole directory: it takes no more writes and serves what
//!   it can read. A full disk is no failure: what does not fit is refused and leaves nothing.
//! - The index is a help. Replicas describe themselves, and what they say is compared with it.
//!
//! Not done here: which replicas there should be, when they are read through, how they travel.

mod commit;
mod condition;
mod config;
#[cfg(feature = "testing")]
pub(crate) mod decoders;
mod error;
mod index;
mod layout;
mod open;
mod quarantine;
mod replica;
mod scrubbed;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot, watch};
use tracing::warn;

pub use condition::{Changes, Purpose};
pub use config::{IndexLag, Origin, Reserve, StoreConfig};
pub use error::StoreError;
pub use open::siblings::{Sibling, Siblings, VOLUMES_MAX};
pub use open::stamp::Stamp;
pub(in crate::datanode) use open::stamp::require_in as require_stamp_in;
pub use open::{Finding, Look, RecoveryReport};
pub use replica::{BlockRun, ReplicaReader, ReplicaSummary, ReplicaWriter};
pub use scrubbed::Scrubbed;

use crate::env::{DiskFile, DiskLock, Env};
use crate::planted::{self, Bug};
use crate::types::limits::CHUNK_SIZE_MAX;
use crate::types::{ChunkId, ClusterId, NodeId, Space};
use commit::{Op, Queue};
use condition::{Condition, Room};
use index::{Index, Place};
use layout::{PAGE_LEN, Paths};
use open::{siblings, stamp};
use replica::Opened;

/// The replicas in one directory. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct ChunkStore {
    shared: Arc<Shared>,
    queue: Queue,
}

/// What all parts of a store share.
struct Shared {
    config: StoreConfig,
    env: Env,
    paths: Paths,
    index: Index,
    condition: Condition,
    room: Arc<Room>,
    stamp: Mutex<Stamp>,
    siblings: Mutex<Option<Siblings>>,
    syncs: Semaphore,
    parts: AtomicU64,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl ChunkStore {
    /// Opens the store in a directory, which it locks, and recovers what a crash left. Deletes no
    /// replica.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the settings make no sense, another process has the directory,
    /// it is no store (and may not become one), or a newer program wrote it.
    /// [`StoreError::Failed`] or [`StoreError::OutOfSpace`] if the disk does not do its part.
    pub async fn open(
        config: StoreConfig,
        env: Env,
    ) -> Result<(ChunkStore, RecoveryReport), StoreError> {
        config.validate()?;
        let blocking = env.clone();
        let recovered = blocking
            .run_blocking(move || open::recover(config, env))
            .await?;
        let shared = Arc::clone(&recovered.shared);
        let queue = commit::start(Arc::clone(&shared), recovered.segments);
        Ok((ChunkStore { shared, queue }, recovered.report))
    }

    /// Looks whose directory this is, without taking it.
    ///
    /// # Errors
    /// It cannot be read, or a newer program wrote it.
    pub async fn look(directory: &Path, env: &Env) -> Result<Look, StoreError> {
        let paths = Paths {
            root: directory.to_owned(),
        };
        let disk = Arc::clone(&env.disk);
        env.run_blocking(move || open::look(&*disk, &paths)).await
    }

    /// All volumes of the data node, if it was noted here.
    pub fn siblings(&self) -> Option<Siblings> {
        self.shared.siblings().clone()
    }

    /// Notes all volumes of the data node, durably.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], [`StoreError::Failed`].
    pub async fn set_siblings(&self, siblings: Siblings) -> Result<(), StoreError> {
        self.shared.condition.check()?;
        let shared = Arc::clone(&self.shared);
        let write = move || {
            let mut known = shared.siblings();
            stamp::require(&*shared.env.disk, &shared.paths)?;
            siblings::write(&*shared.env.disk, &shared.paths, &siblings)?;
            *known = Some(siblings);
            Ok(())
        };
        let written = self.shared.env.run_blocking(write).await;
        written.map_err(|e| self.shared.condition.note(e))
    }

    /// Whose directory this is.
    pub fn stamp(&self) -> Stamp {
        *self.shared.stamp()
    }

    /// Stamps the directory with its cluster and its node id. The same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it has another stamp, [`StoreError::OutOfSpace`],
    /// [`StoreError::Failed`].
    pub async fn set_stamp(&self, cluster: ClusterId, node: NodeId) -> Result<(), StoreError> {
        self.shared.condition.check()?;
        let shared = Arc::clone(&self.shared);
        self.shared
            .env
            .run_blocking(move || shared.set_stamp(cluster, node))
            .await
            .map_err(|e| self.shared.condition.note(e))
    }

    /// Begins to write a replica of at most `length_max` bytes.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`] if it would touch the reserve, [`StoreError::Invalid`] if it is
    /// too long for a chunk, [`StoreError::Failed`].
    pub async fn create(
        &self,
        chunk: ChunkId,
        length_max: u64,
        purpose: Purpose,
    ) -> Result<ReplicaWriter, StoreError> {
        self.shared.condition.check()?;
        if length_max > CHUNK_SIZE_MAX {
            return Err(StoreError::Invalid(format!(
                "{chunk}: {length_max} bytes are more than {CHUNK_SIZE_MAX}"
            )));
        }
        if self.shared.index.pending() > 64 * self.shared.config.index_lag.rows {
            let waits = "the index waits for room".into();
            return Err(StoreError::OutOfSpace(waits));
        }
        if length_max > self.shared.config.small_chunk_max || self.shared.room.is_stale() {
            self.refresh_room().await;
        }
        // Its header, and what is lost at the end of the last page.
        let overhead = length_max / 8192 + 2 * PAGE_LEN;
        let wanted = length_max + overhead;
        let promise = match self.shared.room.promise(wanted, purpose) {
            Err(_) => {
                // There may be more by now.
                self.refresh_room().await;
                self.shared.room.promise(wanted, purpose)?
            }
            Ok(promise) => promise,
        };
        let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
        Ok(ReplicaWriter::new(
            shared, queue, chunk, length_max, promise,
        ))
    }

    /// Opens a replica for reading.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Corrupt`] if its header or its length is wrong.
    pub async fn open_replica(&self, chunk: ChunkId) -> Result<ReplicaReader, StoreError> {
        let shared = Arc::clone(&self.shared);
        let opened = self
            .shared
            .env
            .run_blocking(move || shared.open_replica(chunk))
            .await;
        let opened = match opened {
            Ok(opened) => opened,
            Err((e, indexed)) => {
                if indexed && e == StoreError::NotFound(chunk) {
                    // A full disk and a crash kept the index from learning of its deletion.
                    self.delete(&[chunk]).await?;
                }
                return Err(e);
            }
        };
        Ok(ReplicaReader::new(Arc::clone(&self.shared), chunk, opened))
    }

    /// Reads a replica through and compares every block with its checksum.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Corrupt`] with the first bad block.
    pub async fn verify(&self, chunk: ChunkId) -> Result<(), StoreError> {
        let reader = self.open_replica(chunk).await?;
        reader.verify().await
    }

    /// Whether there is a replica of this chunk here, right or not.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the index cannot be read.
    pub async fn holds(&self, chunk: ChunkId) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.shared);
        let known = move || shared.index.get(chunk);
        let known = self.shared.env.run_blocking(known).await;
        known
            .map(|entry| entry.is_some())
            .map_err(|e| self.shared.condition.note(e))
    }

    /// How far the replicas were read through, as it was noted last. If that cannot be read they
    /// count as never read.
    pub async fn scrubbed(&self) -> Scrubbed {
        let shared = Arc::clone(&self.shared);
        let read = move || shared.scrubbed();
        self.shared.env.run_blocking(read).await
    }

    /// Notes how far the replicas were read through, durably.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], [`StoreError::Busy`]: what was noted before stands.
    /// [`StoreError::Failed`].
    pub async fn note_scrubbed(&self, scrubbed: Scrubbed) -> Result<(), StoreError> {
        self.shared.condition.check()?;
        let shared = Arc::clone(&self.shared);
        let write = move || {
            // One at a time: they write the same file.
            let _stamp = shared.stamp();
            scrubbed::write(&*shared.env.disk, &shared.paths, &scrubbed)
        };
        let written = self.shared.env.run_blocking(write).await;
        written.map_err(|e| self.shared.condition.note(e))
    }

    /// Deletes replicas, durably. Those that are not here are no error. Works on a full disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Busy`].
    pub async fn delete(&self, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let (reply, outcome) = oneshot::channel();
        let chunks = chunks.to_vec();
        self.queue.send(Op::Delete { chunks, reply })?;
        Queue::outcome(outcome).await
    }

    /// Takes a replica away that was found corrupt, and keeps its bytes aside.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::OutOfSpace`], [`StoreError::Failed`].
    pub async fn quarantine(&self, chunk: ChunkId, reason: &str) -> Result<(), StoreError> {
        self.queue.quarantine(chunk, reason.to_owned()).await
    }

    /// Up to `limit` replicas with ids from `from` on, in order.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the index cannot be read: then nothing is known of any replica.
    pub async fn list(
        &self,
        from: ChunkId,
        limit: usize,
    ) -> Result<Vec<ReplicaSummary>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let rows = self
            .shared
            .env
            .run_blocking(move || shared.index.list(from, limit))
            .await
            .map_err(|e| self.shared.condition.note(e))?;
        Ok(rows.into_iter().map(|(c, e)| e.summary(c)).collect())
    }

    /// Takes up to `limit` of the changes since this was last called.
    pub fn take_changes(&self, limit: usize) -> Changes {
        self.shared.condition.take(limit)
    }

    /// Gives changes back that could not be reported; what happened since overrides them.
    pub fn put_back_changes(&self, changes: Changes) {
        self.shared.condition.put_back(changes);
    }

    /// Waits until there are changes to take.
    pub async fn wait_for_changes(&self) {
        self.shared.condition.wait().await;
    }

    /// Room on the disk, now.
    pub async fn space(&self) -> Space {
        self.refresh_room().await;
        self.last_space()
    }

    /// Room on the disk when it was asked last.
    pub fn last_space(&self) -> Space {
        let (total, available) = self.shared.room.total_and_available();
        Space {
            total,
            used: self.shared.index.totals().bytes,
            available,
        }
    }

    /// How many replicas there are.
    pub fn replicas(&self) -> u64 {
        self.shared.index.totals().replicas
    }

    /// Why the directory has failed, once it has: it takes no writes from then on.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.condition.failed()
    }

    /// Makes the index durable, so that the next start need not look for anything, and gives the
    /// directory free. Other clones, writers and readers are of no use afterwards.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; replicas are as durable as without it.
    pub async fn close(self) -> Result<(), StoreError> {
        let (reply, outcome) = oneshot::channel();
        self.queue.send(Op::Close { reply })?;
        let result = Queue::outcome(outcome).await;
        let shared = Arc::clone(&self.shared);
        self.shared
            .env
            .run_blocking(move || {
                shared.index.close();
                let mut lock = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
                *lock = None;
            })
            .await;
        result
    }

    async fn refresh_room(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared
            .env
            .run_blocking(move || shared.refresh_room())
            .await;
    }
}

impl fmt::Debug for ChunkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkStore({})", self.shared.paths.root.display())
    }
}

impl Shared {
    /// The file a replica is in, and where in it it begins.
    fn locate(&self, chunk: ChunkId, place: Place) -> (PathBuf, u64) {
        match place {
            Place::Large => (self.paths.chunk(chunk), 0),
            Place::Small { segment, offset } => (self.paths.segment(segment), offset),
        }
    }

    fn next_part(&self) -> u64 {
        self.parts.fetch_add(1, Ordering::Relaxed)
    }

    fn stamp(&self) -> std::sync::MutexGuard<'_, Stamp> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn siblings(&self) -> std::sync::MutexGuard<'_, Option<Siblings>> {
        self.siblings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a replica; again, if it went elsewhere meanwhile. An error comes with whether the
    /// index has it. Blocks.
    fn open_replica(&self, chunk: ChunkId) -> Result<Opened, (StoreError, bool)> {
        let get = || self.index.get(chunk).map_err(|e| (e, false));
        while let Some(entry) = get()? {
            match Opened::open(self, chunk, entry) {
                Ok(opened) => return Ok(opened),
                Err(e) if get()? == Some(entry) => return Err((e, true)),
                Err(_) => {}
            }
        }
        Err((StoreError::NotFound(chunk), false))
    }

    fn set_stamp(&self, cluster: ClusterId, node: NodeId) -> Result<(), StoreError> {
        let mut stamp = self.stamp();
        let refuse = |what: String| {
            let root = self.paths.root.display();
            Err(StoreError::Invalid(format!("{root} belongs to {what}")))
        };
        match (stamp.cluster, stamp.node) {
            (Some(other), _) if other != cluster => refuse(format!("cluster {other}")),
            (_, Some(other)) if other != node => refuse(format!("data node {other}")),
            (Some(_), Some(_)) => Ok(()),
            _ => {
                let new = Stamp {
                    cluster: Some(cluster),
                    node: Some(node),
                    ..*stamp
                };
                stamp::write(&*self.env.disk, &self.paths, &new)?;
                *stamp = new;
                Ok(())
            }
        }
    }

    fn scrubbed(&self) -> Scrubbed {
        match scrubbed::read(&*self.env.disk, &self.paths.scrub()) {
            Ok(Some(scrubbed)) => return scrubbed,
            Ok(None) => {}
            Err(error) => warn!(error, "how far replicas were read through is not known"),
        }
        let is_empty = self.index.totals().replicas == 0;
        Scrubbed::new(self.env.clock.now(), is_empty)
    }

    /// Syncs a file, with others but not with too many.
    ///
    /// An error fails the store: nothing is known of what was written.
    async fn sync_file(&self, file: Arc<dyn DiskFile>, path: PathBuf) -> Result<(), StoreError> {
        // The semaphore is never closed.
        let _permit = self.syncs.acquire().await;
        self.env
            .run_blocking(move || sync_once(&*file).map_err(|e| StoreError::from_sync(&e, &path)))
            .await
            .map_err(|e| self.condition.note(e))
    }

    fn refresh_room(&self) {
        match self.env.disk.space(&self.paths.root) {
            Ok(space) => self.room.update(space),
            Err(e) => warn!(error = %e, "the disk does not say how much room it has"),
        }
    }
}

/// Syncs a file. A planted bug believes the second try.
fn sync_once(file: &dyn DiskFile) -> io::Result<()> {
    match file.sync() {
        Err(_) if planted::active(Bug::FailedChunkFsyncRetried) => file.sync(),
        synced => synced,
    }
}

#[cfg(test)]
mod tests;
