//! The volumes of a data node: several directories, each a disk with a store of its own, that
//! look like one store to the rest of the node.
//!
//! - A replica is on one volume. Where a new one goes decides what volumes may still take; one
//!   that is here already, or being written, is not written to another.
//! - A volume that fails is taken out alone and not taken in again before a restart: it gets no
//!   replicas, and those it has are not reported, so that they are repaired. What can still be
//!   read of them is served. The node has failed when all of its volumes have.
//! - A volume that is to be taken out gets no replicas, and those it has go to others (`leaving`).
//! - One that comes back may have what was made again meanwhile: one of the two goes (`twice`).
//! - What was begun on one volume does not go on on another: the writer is told, and begins anew.

mod changes;
mod choose;
mod home;
mod leaving;
mod open;
mod twice;
mod writing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::config::DataNodeConfig;
use super::scrub::Scrubbing;
use super::store::{
    ChunkStore, Purpose, RecoveryReport, ReplicaReader, ReplicaSummary, Stamp, StoreError,
    require_stamp_in,
};
use crate::env::{Env, Timestamp};
use crate::planted::{self, Bug};
use crate::types::{ChunkId, ClusterId, NodeId, Space, Volume as Told, VolumeId};
pub(super) use leaving::run as empty_leaving;
use open::Offline;
pub(super) use twice::run as leave_one_of_two;
pub(super) use writing::VolumeWriter;
use writing::{WritePlace, Writing};

/// How long a disk may take to say how much room it has.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// One directory and its store.
pub(super) struct Volume {
    id: VolumeId,
    directory: PathBuf,
    /// It is to be taken out.
    is_leaving: bool,
    pub(super) store: ChunkStore,
    pub(super) scrubbing: Arc<Scrubbing>,
    /// That it has failed is in what was told of changes.
    is_failure_told: AtomicBool,
    /// The disk was asked how much room it has, and has not answered.
    is_asked: Arc<AtomicBool>,
}

/// The volumes of a data node. There is at least one.
pub(super) struct Volumes {
    env: Env,
    all: Vec<Arc<Volume>>,
    /// The directory of one of them; see [`Volumes::home`].
    home: PathBuf,
    offline: Vec<Offline>,
    writing: Writing,
    /// What was told of changes may be wrong: only a full report is right.
    is_doubtful: AtomicBool,
}

impl Volume {
    /// Why it has failed.
    fn failure(&self) -> Option<String> {
        self.store.failed().borrow().clone()
    }

    /// Room on it. A disk that hangs is not waited for, and neither is one that has failed: the
    /// others have something to say.
    async fn space(&self) -> Space {
        if !self.is_failed() && !self.is_asked.swap(true, Ordering::Relaxed) {
            let (store, is_asked) = (self.store.clone(), Arc::clone(&self.is_asked));
            let asked = tokio::spawn(async move {
                store.space().await;
                is_asked.store(false, Ordering::Relaxed);
            });
            // What it said last is good enough.
            let _ = timeout(ANSWER_WITHIN, asked).await;
        }
        self.store.last_space()
    }

    fn is_failed(&self) -> bool {
        self.failure().is_some() && !planted::active(Bug::FailedVolumeRetried)
    }
}

impl Volumes {
    /// Opens the directories of a data node.
    ///
    /// # Errors
    /// They do not belong together, or none can be used.
    pub(super) async fn open(
        config: &DataNodeConfig,
        env: &Env,
    ) -> Result<(Volumes, RecoveryReport), StoreError> {
        let opened = open::open(config, env).await?;
        let leaves = |directory: &PathBuf| config.leaving().contains(directory);
        let mut all = Vec::new();
        for volume in opened.opened {
            all.push(Arc::new(Volume {
                scrubbing: Scrubbing::of(&volume.store).await,
                id: volume.id,
                is_leaving: leaves(&volume.directory),
                directory: volume.directory,
                store: volume.store,
                is_failure_told: AtomicBool::new(false),
                is_asked: Arc::default(),
            }));
        }
        let directories = all.iter().map(|volume| volume.directory.clone());
        let (leaving, staying): (Vec<_>, Vec<_>) = directories.partition(leaves);
        let mut volumes = Volumes {
            env: env.clone(),
            all,
            home: PathBuf::new(),
            offline: opened.offline,
            writing: Writing::default(),
            is_doubtful: AtomicBool::new(false),
        };
        match home::settle(env, &staying, &leaving).await {
            Ok(home) => volumes.home = home,
            Err(error) => {
                volumes.close().await?;
                return Err(error);
            }
        }
        Ok((volumes, opened.recovered))
    }

    /// Those that could be opened.
    pub(super) fn all(&self) -> &[Arc<Volume>] {
        &self.all
    }

    /// Those that are in use; if all have failed, all: what can be read of them is better than
    /// nothing.
    fn in_use(&self) -> Vec<(usize, &Volume)> {
        let all = || self.all.iter().map(|volume| &**volume).enumerate();
        let in_use: Vec<_> = all().filter(|(_, volume)| !volume.is_failed()).collect();
        match in_use.is_empty() {
            true => all().collect(),
            false => in_use,
        }
    }

    /// The same, without those that have failed before them.
    fn out_of_use(&self) -> Vec<(usize, &Volume)> {
        let in_use = self.in_use();
        let all = self.all.iter().map(|volume| &**volume).enumerate();
        all.filter(|(at, _)| !in_use.iter().any(|(other, _)| other == at))
            .collect()
    }

    /// Where what is the node's and no volume's is: its papers, its audit log.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Refuses if the home is gone with its disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub(super) async fn require_home(&self) -> Result<(), StoreError> {
        require_stamp_in(&self.home, &self.env).await
    }

    /// Whose directories these are.
    pub(super) fn stamp(&self) -> Stamp {
        let mut stamps = self.all.iter().map(|volume| volume.store.stamp());
        // One that was added last may have none of a cluster yet.
        let joined = stamps.clone().find(|stamp| stamp.cluster.is_some());
        joined.or_else(|| stamps.next()).unwrap_or(Stamp::NOBODY)
    }

    /// Stamps all with their cluster and their node. See [`ChunkStore::set_stamp`].
    pub(super) async fn set_stamp(
        &self,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<(), StoreError> {
        for (_, volume) in self.in_use() {
            match volume.store.set_stamp(cluster, node).await {
                // It is out of use from now on.
                Err(StoreError::Failed(_)) if self.failed().is_none() => {}
                stamped => stamped?,
            }
        }
        Ok(())
    }

    /// Why the node has failed: all of its volumes have.
    pub(super) fn failed(&self) -> Option<String> {
        let reasons = self.all.iter().map(|volume| {
            let failed = volume.failure();
            failed.map(|why| (volume.directory.display().to_string(), why))
        });
        let reasons: Option<Vec<_>> = reasons.collect();
        match reasons?.as_slice() {
            [(_, why)] => Some(why.clone()),
            many => {
                let each = many.iter().map(|(path, why)| format!("{path}: {why}"));
                Some(each.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// Begins to write a replica. See [`ChunkStore::create`].
    pub(super) async fn create(
        &self,
        chunk: ChunkId,
        length_max: u64,
        purpose: Purpose,
    ) -> Result<VolumeWriter, StoreError> {
        if let [only] = self.all.as_slice() {
            let replica = only.store.create(chunk, length_max, purpose).await?;
            return Ok(VolumeWriter::new(replica, None));
        }
        let mut refused = None;
        for at in self.places() {
            let (at, place) = self.take_place(chunk, at).await;
            let Some(volume) = self.all.get(at) else {
                continue;
            };
            match volume.store.create(chunk, length_max, purpose).await {
                Ok(replica) => {
                    return Ok(VolumeWriter::new(replica, Some(place)));
                }
                Err(error @ (StoreError::OutOfSpace(_) | StoreError::Failed(_))) => {
                    // That there is no room says more than that a disk has failed.
                    if !matches!(refused, Some(StoreError::OutOfSpace(_))) {
                        refused = Some(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let none = || StoreError::Failed("there is no volume".to_owned());
        Err(refused.unwrap_or_else(none))
    }

    /// Where a replica may go that is nowhere yet, best first.
    fn places(&self) -> Vec<usize> {
        let mut in_use = self.in_use();
        in_use.retain(|(_, volume)| !volume.is_leaving);
        let available: Vec<u64> = in_use
            .iter()
            .map(|(_, v)| v.store.last_space().available)
            .collect();
        let order = choose::order(&available, self.env.random.next_u64());
        let places = order.into_iter().filter_map(|at| in_use.get(at));
        places.map(|(at, _)| *at).collect()
    }

    /// Takes a place for a chunk: where it is being written, or where it is, or else `at`.
    async fn take_place(&self, chunk: ChunkId, at: usize) -> (usize, WritePlace) {
        let taken = self.writing.take(chunk, at);
        // Nobody begins elsewhere from now on, and who has ended is seen.
        for (holder, volume) in self.in_use() {
            let holds = holder != taken.0 && matches!(volume.store.holds(chunk).await, Ok(true));
            if holds {
                drop(taken);
                return self.writing.take(chunk, holder);
            }
        }
        taken
    }

    /// Opens a replica on a volume that is in use. See [`ChunkStore::open_replica`].
    pub(super) async fn open_replica(&self, chunk: ChunkId) -> Result<ReplicaReader, StoreError> {
        open_first(chunk, self.in_use()).await
    }

    /// Opens a replica wherever it can be read, to serve it.
    pub(super) async fn open_in_spite(&self, chunk: ChunkId) -> Result<ReplicaReader, StoreError> {
        let opened = self.open_replica(chunk).await;
        let Err(StoreError::NotFound(_) | StoreError::Failed(_)) = opened else {
            return opened;
        };
        match open_first(chunk, self.out_of_use()).await {
            Ok(reader) => Ok(reader),
            Err(_) => opened,
        }
    }

    /// Reads a replica through. See [`ChunkStore::verify`].
    pub(super) async fn verify(&self, chunk: ChunkId) -> Result<(), StoreError> {
        self.open_replica(chunk).await?.verify().await
    }

    /// Deletes replicas from all volumes in use. See [`ChunkStore::delete`].
    pub(super) async fn delete(&self, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let in_use = self.in_use();
        let mut deleted = Vec::new();
        for (_, volume) in &in_use {
            deleted.push(volume.store.delete(chunks));
        }
        for deleted in join_all(deleted).await {
            match deleted {
                // It is out of use from now on, and what it has is reported no more. If it comes
                // back, it is reported again.
                Err(StoreError::Failed(_)) if self.failed().is_none() => {}
                deleted => deleted?,
            }
        }
        Ok(())
    }

    /// Puts a replica aside. See [`ChunkStore::quarantine`].
    pub(super) async fn quarantine(&self, chunk: ChunkId, why: &str) -> Result<(), StoreError> {
        for (_, volume) in self.in_use() {
            if volume.store.holds(chunk).await? {
                return volume.store.quarantine(chunk, why).await;
            }
        }
        Err(StoreError::NotFound(chunk))
    }

    /// Replicas on volumes in use, by id. See [`ChunkStore::list`].
    pub(super) async fn list(
        &self,
        from: ChunkId,
        limit: usize,
    ) -> Result<Vec<ReplicaSummary>, StoreError> {
        let mut all: BTreeMap<ChunkId, ReplicaSummary> = BTreeMap::new();
        let in_use = self.in_use();
        for (_, volume) in &in_use {
            match volume.store.list(from, limit).await {
                Ok(replicas) => all.extend(replicas.into_iter().map(|r| (r.chunk, r))),
                Err(StoreError::Failed(_)) if self.failed().is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all.into_values().take(limit).collect())
    }

    /// Room on all volumes in use.
    pub(super) async fn space(&self) -> Space {
        let mut sum = Space::default();
        for (_, volume) in self.in_use() {
            let space = volume.space().await;
            sum.total = sum.total.saturating_add(space.total);
            sum.used = sum.used.saturating_add(space.used);
            let available = if volume.is_leaving {
                0
            } else {
                space.available
            };
            sum.available = sum.available.saturating_add(available);
        }
        sum
    }

    /// How many replicas there are on volumes in use.
    pub(super) fn replicas(&self) -> u64 {
        let in_use = self.in_use();
        in_use.iter().map(|(_, v)| v.store.replicas()).sum()
    }

    /// What the masters are told of each volume.
    pub(super) async fn tell(&self, now: Timestamp) -> Vec<Told> {
        let mut all = Vec::new();
        for volume in &self.all {
            all.push(Told {
                id: volume.id,
                directory: volume.directory.display().to_string(),
                failed: volume.failure(),
                space: volume.space().await,
                replicas: volume.store.replicas(),
                scrub: volume.scrubbing.report(now),
                leaving: volume.is_leaving,
            });
        }
        all.extend(self.offline.iter().map(Offline::tell));
        all.sort_by_key(|told| told.id);
        all
    }

    /// Has all be read through, now and at full pace.
    pub(super) fn scrub(&self) {
        self.all.iter().for_each(|volume| volume.scrubbing.ask());
    }

    /// Closes all.
    ///
    /// # Errors
    /// The first that could not be closed cleanly.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let mut closed = Vec::new();
        for volume in &self.all {
            closed.push(volume.store.clone().close());
        }
        let closed = join_all(closed).await;
        // That some have failed is known.
        let only_of_failed = self.failed().is_none();
        let closed = closed.into_iter().zip(&self.all);
        closed
            .filter(|(_, volume)| !only_of_failed || !volume.is_failed())
            .try_for_each(|(closed, _)| closed)
    }
}

impl fmt::Debug for Volumes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.iter().map(|volume| (volume.id, &volume.store));
        f.debug_map().entries(all).finish()
    }
}

/// Opens a replica on the first volume that has a right one, as far as its header says.
async fn open_first(
    chunk: ChunkId,
    volumes: Vec<(usize, &Volume)>,
) -> Result<ReplicaReader, StoreError> {
    let mut wrong = StoreError::NotFound(chunk);
    for (_, volume) in volumes {
        match volume.store.open_replica(chunk).await {
            Err(StoreError::NotFound(_)) => {}
            Err(error) => wrong = error,
            opened => return opened,
        }
    }
    Err(wrong)
}

#[cfg(test)]
mod tests;
