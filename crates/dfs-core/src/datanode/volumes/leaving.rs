//! Empties volumes that are to be taken out while their disks are still good: what they have goes
//! to other volumes of the node, so that no chunk lacks a copy meanwhile.
//!
//! ```text
//! read and compare ─▶ written elsewhere, durable ─▶ deleted here
//! ```
//!
//! - Between the last two a replica is on both, and counts as one. A crash leaves it so; the next
//!   start goes on.
//! - One that is corrupt, or for which there is no room, stays. The first is reported as a
//!   reader's finding.
//! - Nothing new is written to such a volume, but in place of what is corrupt there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Volume, Volumes};
use crate::datanode::Shared;
use crate::datanode::store::{Purpose, ReplicaSummary, StoreError};
use crate::types::checksum::combine_blocks;
use crate::types::{ByteRange, ChunkId};

/// Replicas listed in one go.
const PAGE: usize = 256;
/// Bytes moved a second at most: readers and writers have the rest.
const RATE: u64 = 64 << 20;
/// What a replica costs at least.
const COST_MIN: u64 = 64 << 10;
/// How long to wait before what stayed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Empties the volumes that are to be taken out, until the node stops.
pub(in crate::datanode) async fn run(shared: Arc<Shared>) {
    let all = shared.store.all().iter();
    let leaving: Vec<Arc<Volume>> = all.filter(|volume| volume.is_leaving).cloned().collect();
    let empty = async {
        for volume in leaving.iter().cycle() {
            let before = volume.store.replicas();
            if let Err(error) = pass(&shared, volume).await {
                warn!(volume = %volume.id, %error, "the volume cannot be emptied now");
            }
            if before > 0 && volume.store.replicas() == 0 {
                info!(volume = %volume.id, "the volume is empty, and can be taken out");
            }
            sleep(AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = empty => {}
    }
}

/// Moves each replica once. Those that are corrupt, or being written, stay.
async fn pass(shared: &Shared, volume: &Volume) -> Result<(), StoreError> {
    let mut from = ChunkId(0);
    loop {
        let page = volume.store.list(from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        from = ChunkId(last.chunk.0.saturating_add(1));
        for replica in page {
            let begun = Instant::now();
            match shared.store.move_off(volume, replica).await {
                Err(StoreError::Corrupt { reason, .. }) => {
                    if !shared.corrupt.contains(replica.chunk) {
                        warn!(chunk = %replica.chunk, reason, "a replica to be moved is corrupt");
                        shared.corrupt.mark(replica.chunk);
                    }
                }
                Err(error @ StoreError::Exists(_)) => {
                    warn!(volume = %volume.id, %error, "a replica is on two volumes, and differs");
                }
                // It is gone by itself, or stays for now.
                Ok(()) | Err(StoreError::NotFound(_) | StoreError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
            let cost = replica.length.max(COST_MIN) as f64 / RATE as f64;
            sleep(Duration::from_secs_f64(cost).saturating_sub(begun.elapsed())).await;
        }
    }
}

impl Volumes {
    /// Moves a replica to another volume of the node.
    ///
    /// # Errors
    /// It is where it was: it is corrupt, there is no room elsewhere, or a disk has failed.
    pub(super) async fn move_off(
        &self,
        from: &Volume,
        replica: ReplicaSummary,
    ) -> Result<(), StoreError> {
        let chunk = replica.chunk;
        let mut refused = StoreError::OutOfSpace("no other volume takes replicas".to_owned());
        for at in self.places() {
            let (at, _place) = self.writing.take(chunk, at);
            let Some(to) = self.all.get(at).filter(|to| !to.is_leaving) else {
                return Err(StoreError::Busy("it is being written".to_owned()));
            };
            match copy(from, to, replica).await {
                Ok(()) => return from.store.delete(&[chunk]).await,
                Err(error @ (StoreError::OutOfSpace(_) | StoreError::Failed(_)))
                    if !from.is_failed() =>
                {
                    refused = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }
}

/// Sees to it that a volume has a right replica that another has.
async fn copy(from: &Volume, to: &Volume, replica: ReplicaSummary) -> Result<(), StoreError> {
    let ReplicaSummary { chunk, length, .. } = replica;
    if to.store.holds(chunk).await? {
        // A crash came between: but only the same bytes are a copy.
        let there = to.store.open_replica(chunk).await?;
        if (there.length(), there.checksum()) != (length, replica.checksum) {
            return Err(StoreError::Exists(chunk));
        }
        return there.verify().await;
    }
    let reader = from.store.open_replica(chunk).await?;
    let mut writer = to.store.create(chunk, length, Purpose::Repair).await?;
    let (mut offset, mut checksums) = (0, Vec::new());
    while offset < length {
        let rest = ByteRange {
            offset,
            length: length - offset,
        };
        let run = reader.read(rest).await?;
        offset += run.bytes.len() as u64;
        checksums.extend_from_slice(&run.crcs);
        writer.write(run.bytes, &run.crcs).await?;
    }
    if combine_blocks(&checksums, length) != replica.checksum {
        return Err(StoreError::Corrupt {
            chunk,
            block: None,
            reason: "its blocks have checksums of their own, and not its".to_owned(),
        });
    }
    writer.finish().await.map(drop)
}
