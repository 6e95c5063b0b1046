//! What of the world a process sees besides network and disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::env::{Blocking, Clock, Random, SeededRandom, Timestamp};
use tokio::runtime::Handle;
use tokio::time::sleep;

/// When the world begins: 2023-11-14, in microseconds.
const EPOCH: u64 = 1_700_000_000_000_000;

/// A wall clock that may be set wrong.
pub(super) struct HostClock {
    now: Arc<AtomicU64>,
    offset: Arc<AtomicI64>,
}

impl HostClock {
    pub(super) fn new(now: &Arc<AtomicU64>, offset: &Arc<AtomicI64>) -> HostClock {
        HostClock {
            now: Arc::clone(now),
            offset: Arc::clone(offset),
        }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let since = self.now.load(Ordering::Relaxed) * 1000;
        let offset = self.offset.load(Ordering::Relaxed) * 1000;
        Timestamp((EPOCH + since).saturating_add_signed(offset))
    }
}

/// Work that blocks is done on the spot, or a little later as on a thread of its own.
pub(super) struct HostBlocking {
    random: SeededRandom,
    /// Milliseconds that everything takes longer.
    slowness: Arc<AtomicU64>,
}

impl HostBlocking {
    pub(super) fn new(seed: u64, slowness: Arc<AtomicU64>) -> HostBlocking {
        HostBlocking {
            random: SeededRandom::new(seed),
            slowness,
        }
    }

    fn delay(&self) -> u64 {
        let usual = match self.random.below(16) {
            0..12 => 0,
            12..15 => 1,
            _ => 1 + self.random.below(4),
        };
        let slowness = self.slowness.load(Ordering::Relaxed);
        usual + self.random.below(2 * slowness + 1)
    }
}

impl Blocking for HostBlocking {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        match (self.delay(), Handle::try_current()) {
            (0, _) | (_, Err(_)) => work(),
            (delay, Ok(runtime)) => {
                // Dropped with the runtime: a crash leaves it undone.
                runtime.spawn(async move {
                    sleep(Duration::from_millis(delay)).await;
                    work();
                });
            }
        }
    }
}
