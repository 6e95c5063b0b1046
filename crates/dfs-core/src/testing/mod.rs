//! Parts of a world for tests: a disk in memory with faults, and all decoders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

#[cfg(feature = "testing")]
pub mod decoders;
mod disk;

pub use disk::MemoryDisk;

use std::sync::Arc;

use crate::env::{Blocking, Clock, Env, SeededRandom, Tcp, Timestamp};

/// An environment on one thread: this disk, chance from a seed, a clock that stands still, and
/// blocking work done on the spot.
pub fn test_env(seed: u64, disk: &MemoryDisk) -> Env {
    Env {
        clock: Arc::new(Still),
        random: Arc::new(SeededRandom::new(seed)),
        network: Arc::new(Tcp),
        disk: Arc::new(disk.clone()),
        blocking: Arc::new(OnTheSpot),
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

struct OnTheSpot;

impl Blocking for OnTheSpot {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
