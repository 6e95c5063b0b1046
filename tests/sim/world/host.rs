//! One machine and the process on it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::env::{Env, Network, SeededRandom};
use dfs_core::testing::MemoryDisk;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{advance, sleep};

use super::STEP;
use super::env::{HostBlocking, HostClock};
use super::log;

pub(super) struct Host {
    pub(super) name: String,
    seed: u64,
    now: Arc<AtomicU64>,
    runtime: Option<Runtime>,
    env: Option<Env>,
    pub(super) incarnation: u64,
    pub(super) disk: MemoryDisk,
    disks: u64,
    clock_offset: Arc<AtomicI64>,
    slowness: Arc<AtomicU64>,
    pub(super) paused: bool,
    missed: u32,
}

impl Host {
    pub(super) fn new(name: &str, seed: u64, now: Arc<AtomicU64>) -> Host {
        Host {
            name: name.to_owned(),
            seed,
            now,
            runtime: None,
            env: None,
            incarnation: 0,
            disk: MemoryDisk::new(seed),
            disks: 1,
            clock_offset: Arc::default(),
            slowness: Arc::default(),
            paused: false,
            missed: 0,
        }
    }

    pub(super) fn replace_disk(&mut self) {
        self.disks += 1;
        self.disk = MemoryDisk::new(self.seed ^ (self.disks << 32));
    }

    pub(super) fn is_running(&self) -> bool {
        self.runtime.is_some()
    }

    pub(super) fn start<F>(&mut self, network: Arc<dyn Network>, main: impl FnOnce(Env) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.incarnation += 1;
        self.paused = false;
        self.missed = 0;
        let seed = self.seed ^ (self.incarnation << 40);
        let runtime = runtime(seed).expect("a runtime without input and output");
        let slowness = Arc::clone(&self.slowness);
        let env = Env {
            clock: Arc::new(HostClock::new(&self.now, &self.clock_offset)),
            random: Arc::new(SeededRandom::new(seed)),
            network,
            disk: Arc::new(self.disk.clone()),
            blocking: Arc::new(HostBlocking::new(seed ^ 0x626c_6f63, slowness)),
        };
        log::enter(&self.name, &self.now);
        runtime.spawn(main(env.clone()));
        (self.runtime, self.env) = (Some(runtime), Some(env));
    }

    pub(super) fn start_beside<F>(&self, main: impl FnOnce(Env) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match (&self.runtime, &self.env) {
            (Some(runtime), Some(env)) => {
                runtime.spawn(main(env.clone()));
                true
            }
            _ => false,
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Drops all tasks where they are.
    pub(super) fn end(&mut self) {
        log::enter(&self.name, &self.now);
        drop(self.runtime.take());
    }

    pub(super) fn drive(&mut self) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        if self.paused {
            self.missed += 1;
            return;
        }
        log::enter(&self.name, &self.now);
        let missed = std::mem::take(&mut self.missed);
        runtime.block_on(async {
            if missed > 0 {
                advance(STEP * missed).await;
            }
            sleep(STEP).await;
        });
    }

    pub(super) fn set_clock(&self, offset: i64) {
        self.clock_offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn slow_disk(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.slowness.store(millis, Ordering::Relaxed);
    }
}

fn runtime(seed: u64) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    builder.build()
}
