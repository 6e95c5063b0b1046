//! How much of the log is kept, and for whom.
//!
//! ```text
//!      purged          needed            applied       last
//! ───────┼───────────────┼──────────────────┼────────────┤
//!        └─ may be cut ──┘◀ log_entries_kept ▶
//! ```
//!
//! A member that was away briefly is sent entries, one that was away for long a snapshot. What
//! comes after that snapshot is kept until the member has it: otherwise it would be too far behind
//! again by the time it has the snapshot, and under steady load would never catch up.
//!
//! Nobody is waited for without bound. A member that follows too slowly is sent no more entries of
//! those that are to be cut, and so a snapshot.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, timeout};

use crate::config::ReplicaConfig;
use crate::machine::StateMachine;
use crate::replica::membership::last_answer;
use crate::replica::node::Node;
use crate::types::MemberId;

/// Entries of which the log has no more for the sake of a member. The place of each is held in
/// memory, in 24 bytes.
const ENTRIES_MAX: u64 = 4 << 20;

/// How long a cut waits for the snapshot before it.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(5);

/// What the log holds, and who needs it.
#[derive(Debug, Clone, Copy)]
struct Log {
    /// The last index that is gone.
    purged: u64,
    /// The last index that is applied.
    applied: u64,
    entries: u64,
    bytes: u64,
    /// The last index that every member has who follows, or is being brought up to it.
    needed: Option<u64>,
}

impl Log {
    /// The index up to which the log is to be cut; `None` while it is short enough.
    fn cut(&self, config: &ReplicaConfig) -> Option<u64> {
        let entry_bytes = (self.bytes / self.entries.max(1)).max(1);
        let by_bytes = config.log_bytes_kept / entry_bytes;
        let kept = config.log_entries_kept.min(by_bytes).min(ENTRIES_MAX / 2);
        let spare = self.applied.saturating_sub(kept);
        let bearable =
            self.bytes <= config.log_bytes_kept.saturating_mul(2) && self.entries <= ENTRIES_MAX;
        let upto = match self.needed {
            Some(needed) if bearable => spare.min(needed),
            _ => spare,
        };
        let step = config.log_cut_entries.min(by_bytes).max(1);
        (upto >= self.purged.saturating_add(step)).then_some(upto)
    }
}

impl<M: StateMachine> Node<M> {
    /// Cuts the log if it became too long.
    pub(super) async fn bound_log(&self) {
        let Some(upto) = self.log_in_use().cut(&self.config) else {
            return;
        };
        if let Err(e) = self.cut_log(upto).await {
            tracing::debug!(error = %e, upto, "the log was not cut");
        }
    }

    fn log_in_use(&self) -> Log {
        let (bytes, entries) = self.log.size();
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let matched = |member: MemberId| {
            let replication = now.replication.as_ref()?;
            Some(replication.get(&member)?.as_ref()?.index)
        };
        let went_on = |member: MemberId, last, arrived: Instant| {
            let answered = last_answer(&now, member).is_some_and(|ago| ago < arrived.elapsed());
            answered && matched(member).is_some_and(|m| m >= last)
        };
        let receiving = self.peers.outgoing().oldest(went_on);
        let members = now.replication.iter().flat_map(|r| r.keys());
        let following = members.filter(|member| self.answered_lately(&now, **member));
        let following = following.filter_map(|member| matched(*member));
        Log {
            purged: now.purged.map_or(0, |id| id.index),
            applied: now.last_applied.map_or(0, |id| id.index),
            entries,
            bytes,
            needed: following.chain(receiving).min(),
        }
    }

    /// Cuts the log up to an index, once a snapshot includes it.
    async fn cut_log(&self, upto: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut metrics = self.raft.metrics();
        let included = |index: Option<u64>| index.is_some_and(|index| index >= upto);
        if !included(metrics.borrow_watched().snapshot.map(|id| id.index)) {
            self.raft.snapshot().await?;
            let wait = async {
                while !included(metrics.borrow_watched().snapshot.map(|id| id.index)) {
                    metrics.changed().await?;
                }
                Ok::<_, openraft::async_runtime::watch::RecvError>(())
            };
            timeout(SNAPSHOT_WITHIN, wait).await??;
        }
        self.raft.purge_log(upto).await?;
        // openraft cuts nothing that it is sending.
        self.peers.send_nothing_up_to(upto);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ReplicaConfig {
        let mut config = ReplicaConfig::new("x");
        config.log_cut_entries = 100;
        config.log_entries_kept = 50;
        config.log_bytes_kept = 10_000;
        config
    }

    /// A log of entries of ten bytes, the last of which is applied.
    fn log(entries: u64, needed: Option<u64>) -> Log {
        let (purged, applied, bytes) = (1000, 1000 + entries, 10 * entries);
        Log {
            purged,
            applied,
            entries,
            bytes,
            needed,
        }
    }

    #[test]
    fn a_log_is_cut_in_steps_down_to_what_is_kept() {
        assert_eq!(log(149, None).cut(&config()), None);
        assert_eq!(log(150, None).cut(&config()), Some(1100));
    }

    #[test]
    fn what_a_member_is_being_brought_up_to_is_kept_as_far_as_it_is_bearable() {
        assert_eq!(log(400, Some(1000)).cut(&config()), None);
        assert_eq!(log(400, Some(1200)).cut(&config()), Some(1200));
        assert_eq!(log(400, Some(1399)).cut(&config()), Some(1350));
        assert_eq!(log(2001, Some(1000)).cut(&config()), Some(2951));
    }

    #[test]
    fn a_log_of_many_small_entries_is_not_kept_for_anyone() {
        let mut log = log(ENTRIES_MAX + 1, Some(1000));
        log.bytes = 10_000;
        assert_eq!(log.cut(&config()), Some(1000 + ENTRIES_MAX + 1 - 50));
    }

    #[test]
    fn a_log_of_large_entries_is_cut_by_its_bytes() {
        let mut log = log(20, None);
        log.bytes = 20 * 1000;
        assert_eq!(log.cut(&config()), Some(1010));
    }
}
