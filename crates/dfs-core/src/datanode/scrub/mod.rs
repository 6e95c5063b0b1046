//! Scrub: every replica is read through within a period, whether anybody wants it or not.
//!
//! Disks forget, and what nobody reads nobody misses until the last good copy is gone. So each
//! volume is read through by id, pass after pass, at an even pace:
//!
//! ```text
//! list ─▶ open ─▶ read a run ─▶ compare ─▶ pause ─▶ … ─▶ position noted, now and then
//!                                  └─▶ corrupt: marked, reported, repaired as a reader's finding
//! ```
//!
//! - The position is kept beside the replicas: a restart goes on where it was.
//! - Whoever reads or writes chunks goes first: while streams are served, most of the time is
//!   theirs.
//! - Nothing is deleted here, and nothing replaced.

mod corrupt;
mod pace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub(super) use corrupt::CorruptReplicas;
pub use pace::ScrubConfig;

use super::Shared;
use super::store::{ChunkStore, ReplicaSummary, Scrubbed, StoreError};
use crate::env::{Env, Timestamp};
use crate::planted::{self, Bug};
use crate::types::{ChunkId, Scrub};

/// Replicas listed in one go.
const PAGE: usize = 256;
/// What a replica costs at least, however short: a page of the disk.
const COST_MIN: u64 = 4096;
/// Shorter pauses are made together.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// At least this often it is looked whether the pace is still right.
const LOOK: Duration = Duration::from_secs(30);
/// The position is noted this often, and when the node stops.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// In a period there are so many steps, and what is left is counted anew as often.
const STEPS: u32 = 32;
/// How long to wait when a store, or this machine, cannot do it now.
const RETRY: Duration = Duration::from_secs(10);

/// The scrub of one volume, for those who ask of it.
#[derive(Debug)]
pub(super) struct Scrubbing {
    scrubbed: Mutex<Scrubbed>,
    /// Counts the passes that were asked for.
    asked: watch::Sender<u64>,
    corrupt: AtomicU64,
}

impl Scrubbing {
    /// Finds out how far a store was read through.
    pub(super) async fn of(store: &ChunkStore) -> Arc<Scrubbing> {
        Arc::new(Scrubbing {
            scrubbed: Mutex::new(store.scrubbed().await),
            asked: watch::Sender::new(0),
            corrupt: AtomicU64::new(0),
        })
    }

    /// Has a pass begin now, at full pace.
    pub(super) fn ask(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// How far it is.
    pub(super) fn report(&self, now: Timestamp) -> Scrub {
        let scrubbed = self.scrubbed();
        let (replicas, bytes) = scrubbed.read();
        Scrub {
            unchecked: scrubbed.unchecked(now),
            reading: scrubbed.position().is_some(),
            replicas,
            bytes,
            corrupt: self.corrupt.load(Ordering::Relaxed),
        }
    }

    fn scrubbed(&self) -> MutexGuard<'_, Scrubbed> {
        self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a store through, again and again, until the node stops.
pub(super) async fn run(shared: Arc<Shared>, store: ChunkStore, scrubbing: Arc<Scrubbing>) {
    let mut scrubber = Scrubber {
        asked: scrubbing.asked.subscribe(),
        is_hurried: false,
        remaining: 0,
        counted: None,
        debt: 0,
        noted: Instant::now(),
        config: shared.config.scrub,
        shared: Arc::clone(&shared),
        store,
        scrubbing,
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = scrubber.pass_after_pass() => {}
    }
    scrubber.note().await;
}

struct Scrubber {
    shared: Arc<Shared>,
    store: ChunkStore,
    scrubbing: Arc<Scrubbing>,
    config: ScrubConfig,
    asked: watch::Receiver<u64>,
    /// The pass was asked for: it does not take its time.
    is_hurried: bool,
    /// Bytes that this pass has yet to read, about, and when they were counted.
    remaining: u64,
    counted: Option<Instant>,
    /// Bytes that were read and not waited for.
    debt: u64,
    /// When the position was noted.
    noted: Instant,
}

impl Scrubber {
    async fn pass_after_pass(&mut self) {
        self.look_again().await;
        loop {
            if self.position().is_none() {
                self.wait_for_the_next().await;
                self.begin();
            }
            match self.pass().await {
                Ok(()) => {
                    self.scrubbing.scrubbed().end();
                    let scrub = self.scrubbing.report(self.now());
                    info!(store = ?self.store, ?scrub, "all replicas are read through");
                    self.note().await;
                }
                Err(error) => {
                    warn!(store = ?self.store, %error, "the scrub cannot go on");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads once more what was corrupt when the node stopped.
    async fn look_again(&mut self) {
        let corrupt = self.scrubbing.scrubbed().corrupt().to_vec();
        for chunk in corrupt {
            if let Err(StoreError::Corrupt { reason, .. }) = self.store.verify(chunk).await {
                warn!(%chunk, reason, "a replica is corrupt, as before the restart; reported");
                self.shared.corrupt.mark(chunk);
            }
        }
    }

    async fn wait_for_the_next(&mut self) {
        loop {
            let elapsed = self.scrubbing.scrubbed().elapsed(self.now());
            let left = self.config.period.saturating_sub(elapsed);
            if left.is_zero() || self.wait_unless_asked(left.min(LOOK)).await {
                return;
            }
        }
    }

    /// Waits so long; true if a pass is asked for.
    async fn wait_unless_asked(&mut self, pause: Duration) -> bool {
        // Whoever asks is as long here as this is.
        matches!(timeout(pause, self.asked.changed()).await, Ok(Ok(()))) && {
            self.is_hurried = true;
            self.asked.mark_changed();
            true
        }
    }

    fn begin(&mut self) {
        self.is_hurried = self.asked.has_changed().unwrap_or(false);
        self.asked.mark_unchanged();
        self.scrubbing.scrubbed().begin(self.now());
        (self.counted, self.debt) = (None, 0);
    }

    /// Reads from the position to the end.
    async fn pass(&mut self) -> Result<(), StoreError> {
        while let Some(position) = self.position() {
            if self.store.failed().borrow().is_some() {
                // Its replicas count no more.
                std::future::pending::<()>().await;
            }
            let page = self.store.list(position, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for replica in page {
                if self.asked.has_changed().unwrap_or(false) {
                    self.begin();
                    break;
                }
                self.count(replica.chunk).await?;
                self.check(replica).await?;
                let cost = replica.length.max(COST_MIN);
                self.remaining = self.remaining.saturating_sub(cost);
                let (now, spacing) = (self.now(), self.config.period / STEPS);
                self.scrubbing
                    .scrubbed()
                    .passed(replica.chunk, replica.length, now, spacing);
                if self.noted.elapsed() >= NOTED_EVERY {
                    self.note().await;
                }
            }
        }
        Ok(())
    }

    /// Reads one replica through.
    async fn check(&mut self, replica: ReplicaSummary) -> Result<(), StoreError> {
        if planted::active(Bug::ScrubSkipsBlocks) {
            return Ok(());
        }
        let chunk = replica.chunk;
        loop {
            match self.read(replica).await {
                Err(StoreError::Corrupt { reason, .. }) => {
                    if !self.shared.corrupt.contains(chunk) {
                        self.scrubbing.corrupt.fetch_add(1, Ordering::Relaxed);
                        warn!(%chunk, reason, "scrub found a corrupt replica; reported");
                        self.shared.corrupt.mark(chunk);
                    }
                }
                Err(StoreError::Busy(why)) => {
                    warn!(%chunk, why, "scrub waits for this machine");
                    sleep(RETRY).await;
                    continue;
                }
                Err(error @ StoreError::Failed(_)) => return Err(error),
                // It went meanwhile, or is right.
                Ok(()) | Err(_) => {}
            }
            return Ok(());
        }
    }

    async fn read(&mut self, replica: ReplicaSummary) -> Result<(), StoreError> {
        let begun = Instant::now();
        let reader = self.store.open_replica(replica.chunk).await?;
        if reader.length() == 0 {
            return Ok(());
        }
        let (mut offset, mut begun) = (0, begun);
        while offset < reader.length() {
            let before = offset;
            offset = reader.verify_run(before).await?;
            self.debt += (offset - before).max(COST_MIN);
            let rest = reader.length() - offset;
            self.pause(begun.elapsed(), rest).await;
            begun = Instant::now();
        }
        Ok(())
    }

    /// Waits as long as the pace wants after what was read, which took so long. `rest` of the
    /// replica is counted as read when all of it is.
    async fn pause(&mut self, took: Duration, rest: u64) {
        let since = Instant::now();
        self.shared.serving.give_way_to_all(took).await;
        let left = match self.is_hurried {
            true => Duration::ZERO,
            false => {
                let elapsed = self.scrubbing.scrubbed().elapsed(self.now());
                self.config.left(elapsed)
            }
        };
        loop {
            let remaining = self.remaining.saturating_sub(self.debt).max(rest);
            let pause = self.config.pause(left, remaining, self.debt);
            if pause < PAUSE_MIN {
                return;
            }
            let wait = pause.saturating_sub(since.elapsed());
            if wait.is_zero() || self.wait_unless_asked(wait.min(LOOK)).await {
                break;
            }
            if self.noted.elapsed() >= NOTED_EVERY {
                self.note().await;
            }
            if let Some(position) = self.position() {
                // The index that cannot be read now is told by whoever lists it next.
                let _ = self.count(position).await;
            }
        }
        self.debt = 0;
    }

    /// Counts anew what this pass has yet to read, if that was long ago.
    async fn count(&mut self, from: ChunkId) -> Result<(), StoreError> {
        let late = self.config.period / STEPS;
        if self.counted.is_some_and(|then| then.elapsed() < late) {
            return Ok(());
        }
        self.counted = Some(Instant::now());
        let (mut from, mut bytes) = (from, 0u64);
        loop {
            let page = self.store.list(from, 16 * PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            from = ChunkId(last.chunk.0.saturating_add(1));
            let costs = page.iter().map(|replica| replica.length.max(COST_MIN));
            bytes = costs.fold(bytes, u64::saturating_add);
        }
        self.remaining = bytes;
        Ok(())
    }

    /// Notes how far it is. Without it a restart reads some replicas again, so an error is no
    /// more than told; one of the disk's the store has noted.
    async fn note(&mut self) {
        self.noted = Instant::now();
        if self.store.failed().borrow().is_some() {
            return;
        }
        let mut corrupt = Vec::new();
        for chunk in self.shared.corrupt.in_range(ChunkId(0), None) {
            if matches!(self.store.holds(chunk).await, Ok(true)) {
                corrupt.push(chunk);
            }
        }
        let scrubbed = {
            let mut scrubbed = self.scrubbing.scrubbed();
            scrubbed.note_corrupt(corrupt);
            scrubbed.clone()
        };
        if let Err(error) = self.store.note_scrubbed(scrubbed).await {
            warn!(store = ?self.store, %error, "how far the scrub is was not noted");
        }
    }

    fn position(&self) -> Option<ChunkId> {
        self.scrubbing.scrubbed().position()
    }

    fn now(&self) -> Timestamp {
        let env: &Env = &self.shared.env;
        env.clock.now()
    }
}
