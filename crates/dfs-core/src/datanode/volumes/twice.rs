//! Leaves one of two replicas of a chunk that are on two volumes of the node: a disk has come back
//! whose replicas were made again elsewhere meanwhile.
//!
//! The one that stays was read through before, and what is no good goes to quarantine. To the
//! masters it was one replica, and is one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Volume, Volumes};
use crate::datanode::Shared;
use crate::datanode::store::{ReplicaSummary, StoreError};
use crate::types::ChunkId;

/// Replicas listed in one go.
const PAGE: usize = 256;
/// Bytes read a second at most: readers and writers have the rest.
const RATE: u64 = 64 << 20;

/// Goes once through what is on two volumes: it comes about while a volume is away, and volumes
/// come back when the node starts.
pub(in crate::datanode) async fn run(shared: Arc<Shared>) {
    let all = async {
        for (at, volume) in shared.store.all().iter().enumerate().skip(1) {
            match pass(&shared, (at, volume)).await {
                Ok(0) => {}
                Ok(left) => info!(volume = %volume.id, left, "replicas were on two volumes"),
                Err(error) => {
                    warn!(volume = %volume.id, %error, "what is on two volumes stays so");
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = all => {}
    }
}

/// Looks at each replica of a volume once; how many were on two.
async fn pass(shared: &Shared, (at, volume): (usize, &Volume)) -> Result<u64, StoreError> {
    let (mut from, mut left) = (ChunkId(0), 0);
    loop {
        let page = volume.store.list(from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(left);
        };
        from = ChunkId(last.chunk.0.saturating_add(1));
        for replica in page {
            let begun = Instant::now();
            match shared.store.leave_one((at, volume), replica).await {
                Ok(true) => shared.corrupt.clear(replica.chunk),
                Ok(false) => continue,
                Err(StoreError::Corrupt { reason, .. }) => {
                    warn!(chunk = %replica.chunk, reason, "two replicas, and both are corrupt");
                }
                // One is gone by itself.
                Err(StoreError::NotFound(_) | StoreError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
            left += 1;
            let cost = replica.length as f64 / RATE as f64;
            sleep(Duration::from_secs_f64(cost).saturating_sub(begun.elapsed())).await;
        }
    }
}

impl Volumes {
    /// Leaves one of two replicas, one on this volume and one on a volume before it. False if
    /// there are not two that are to be the same.
    ///
    /// # Errors
    /// Both stay: none is right, or a disk has failed.
    pub(super) async fn leave_one(
        &self,
        (at, here): (usize, &Volume),
        replica: ReplicaSummary,
    ) -> Result<bool, StoreError> {
        let chunk = replica.chunk;
        for (before, other) in self.in_use() {
            // What is on a volume that is to be taken out goes from there.
            if before >= at || other.is_leaving || here.is_leaving {
                continue;
            }
            if other.store.list(chunk, 1).await?.first() != Some(&replica) {
                continue;
            }
            let (taken, _place) = self.writing.take(chunk, before);
            if taken != before {
                continue;
            }
            match other.store.verify(chunk).await {
                Ok(()) => here.store.delete(&[chunk]).await?,
                Err(StoreError::Corrupt { reason, .. }) => {
                    here.store.verify(chunk).await?;
                    other.store.quarantine(chunk, &reason).await?;
                }
                Err(error) => return Err(error),
            }
            return Ok(true);
        }
        Ok(false)
    }
}
