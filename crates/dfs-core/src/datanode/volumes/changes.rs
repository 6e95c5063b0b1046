//! What has changed on volumes, together: for heartbeats.

use std::sync::atomic::Ordering;

use futures::future::select_all;

use super::Volumes;
use crate::datanode::store::Changes;
use crate::types::ChunkId;

impl Volumes {
    /// Takes up to `limit` of the changes since this was last called.
    pub(in crate::datanode) async fn take_changes(&self, limit: usize) -> Changes {
        let mut sum = Changes {
            overflowed: self.is_doubtful.swap(false, Ordering::Relaxed),
            ..Changes::default()
        };
        if let [only] = self.all.as_slice() {
            let mut changes = only.store.take_changes(limit);
            changes.overflowed |= sum.overflowed;
            return changes;
        }
        for volume in &self.all {
            if volume.is_failed() {
                sum.overflowed |= !volume.is_failure_told.swap(true, Ordering::Relaxed);
                continue;
            }
            let taken = sum.present.len() + sum.absent.len() + sum.corrupt.len();
            let changes = volume.store.take_changes(limit.saturating_sub(taken));
            sum.present.extend(changes.present);
            sum.absent.extend(changes.absent);
            sum.corrupt.extend(changes.corrupt);
            sum.overflowed |= changes.overflowed;
        }
        // What went from one volume may be on another by now.
        let mut kept = Vec::new();
        for chunk in std::mem::take(&mut sum.absent) {
            if !self.is_in_use(chunk).await {
                kept.push(chunk);
            }
        }
        sum.absent = kept;
        sum
    }

    async fn is_in_use(&self, chunk: ChunkId) -> bool {
        for (_, volume) in self.in_use() {
            if matches!(volume.store.holds(chunk).await, Ok(true)) {
                return true;
            }
        }
        false
    }

    /// Gives changes back that could not be reported.
    pub(in crate::datanode) fn put_back_changes(&self, changes: Changes) {
        match self.all.as_slice() {
            [only] => only.store.put_back_changes(changes),
            // Which is of which volume is not known any more, and so not what is newer.
            _ => self.is_doubtful.store(true, Ordering::Relaxed),
        }
    }

    /// Waits until there are changes to take.
    pub(in crate::datanode) async fn wait_for_changes(&self) {
        if self.is_doubtful.load(Ordering::Relaxed) {
            return;
        }
        let is_alone = self.all.len() == 1;
        let waits = self.all.iter().map(|volume| {
            Box::pin(async move {
                if is_alone {
                    return volume.store.wait_for_changes().await;
                }
                let mut failed = volume.store.failed();
                let is_told = volume.is_failure_told.load(Ordering::Relaxed);
                let failure = async {
                    let has_failed = failed.wait_for(Option::is_some).await.is_ok();
                    if !has_failed || is_told {
                        std::future::pending::<()>().await;
                    }
                };
                let changes = async {
                    if is_told {
                        std::future::pending::<()>().await;
                    }
                    volume.store.wait_for_changes().await;
                };
                tokio::select! {
                    () = failure => {}
                    () = changes => {}
                }
            })
        });
        select_all(waits).await;
    }
}
