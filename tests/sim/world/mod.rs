//! Hosts on one thread and one simulated clock.
//!
//! Each host has a tokio runtime of its own, whose clock stands still unless the world drives it:
//! in every step the network delivers what is due, then each host runs until its clock is one
//! [`STEP`] further. What a host sends takes at least one step, so the order of hosts within a
//! step is free; chance decides it.
//!
//! A crash drops the runtime: every task ends at the await where it stood. A pause does not drive
//! the host, then lets its clock jump.

mod env;
mod host;
pub(crate) mod log;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::env::{Env, Random, SeededRandom};
use dfs_core::testing::MemoryDisk;

use super::net::{HostId, Net};
use super::trace::Trace;
use host::Host;

/// How far the clocks go in one step.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// How a process ends that is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is killed; the machine keeps what it was told.
    Kill,
    /// The machine loses power.
    Power,
}

/// All hosts.
pub(crate) struct World {
    seed: u64,
    now: Arc<AtomicU64>,
    hosts: Vec<Host>,
    random: SeededRandom,
    /// How they are connected.
    pub(crate) net: Net,
    /// What happened so far.
    pub(crate) trace: Trace,
}

impl World {
    /// A world without hosts, in which all chance comes from `seed`.
    pub(crate) fn new(seed: u64) -> World {
        let trace = Trace::default();
        World {
            seed,
            now: Arc::default(),
            hosts: Vec::new(),
            random: SeededRandom::new(seed),
            net: Net::new(seed ^ 0x6e65_7400, trace.clone()),
            trace,
        }
    }

    /// Simulated time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    /// The same for those who outlive a borrow: milliseconds.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.now)
    }

    /// The world's own chance.
    pub(crate) fn random(&self) -> &SeededRandom {
        &self.random
    }

    /// Adds a machine on which nothing runs.
    pub(crate) fn add_host(&mut self, name: &str, window: usize) -> HostId {
        let id = self.net.add_host(name, window);
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(id as u64);
        self.hosts.push(Host::new(name, seed, self.clock()));
        id
    }

    /// How many machines there are.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// What is said from now on, until a host runs, is said by this.
    pub(crate) fn log_as(&self, name: &str) {
        log::enter(name, &self.now);
    }

    /// A machine's name.
    pub(crate) fn name(&self, host: HostId) -> &str {
        &self.hosts[host].name
    }

    /// A machine's disk.
    pub(crate) fn disk(&self, host: HostId) -> &MemoryDisk {
        &self.hosts[host].disk
    }

    /// Puts a new disk into a machine on which nothing runs.
    pub(crate) fn replace_disk(&mut self, host: HostId) {
        self.hosts[host].replace_disk();
    }

    /// Whether a process runs there.
    pub(crate) fn is_running(&self, host: HostId) -> bool {
        self.hosts[host].is_running()
    }

    /// Starts a process: what `main` makes of its environment.
    pub(crate) fn start<F>(&mut self, host: HostId, main: impl FnOnce(Env) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.net.set_power(host, true);
        let network = self.net.of(host);
        self.hosts[host].start(network, main);
    }

    /// Starts a task in the process of a host that runs.
    pub(crate) fn spawn(&self, host: HostId, task: impl Future<Output = ()> + Send + 'static) {
        self.hosts[host].spawn(task);
    }

    /// Starts a task in the process of a host, with the same environment; false if none runs.
    pub(crate) fn start_beside<F>(&self, host: HostId, main: impl FnOnce(Env) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hosts[host].start_beside(main)
    }

    /// Ends a process without asking it.
    pub(crate) fn crash(&mut self, host: HostId, how: Crash) {
        // First the disk: what runs while tasks are dropped must not write any more.
        self.hosts[host].disk.lose_power_after(0);
        self.net.close_all(host, how == Crash::Power);
        if how == Crash::Power {
            self.net.set_power(host, false);
        }
        self.hosts[host].end();
        match how {
            Crash::Kill => self.hosts[host].disk.kill_process(),
            Crash::Power => self.hosts[host].disk.cut_power(),
        }
    }

    /// Lets a process stand still, or run again: then its clock jumps.
    pub(crate) fn pause(&mut self, host: HostId, paused: bool) {
        self.hosts[host].paused = paused;
    }

    /// Sets a wall clock forward or back, in milliseconds from the true time.
    pub(crate) fn set_clock(&self, host: HostId, offset: i64) {
        self.hosts[host].set_clock(offset);
    }

    /// Makes all work on a disk take this much longer.
    pub(crate) fn slow_disk(&self, host: HostId, by: Duration) {
        self.hosts[host].slow_disk(by);
    }

    /// Lets one step of time pass.
    pub(crate) fn step(&mut self) {
        let now = self.now.load(Ordering::Relaxed);
        self.net.deliver(now);
        let count = self.hosts.len() as u64;
        let first = self.random.below(count);
        let forwards = self.random.below(2) == 0;
        for turn in 0..count {
            let turn = if forwards { turn } else { count - 1 - turn };
            let host = ((first + turn) % count) as usize;
            self.hosts[host].drive();
        }
        self.now
            .store(now + STEP.as_millis() as u64, Ordering::Relaxed);
        if now.is_multiple_of(1000) {
            self.note_disks();
        }
    }

    fn note_disks(&self) {
        for host in &self.hosts {
            self.trace.note([host.disk.changes(), host.disk.written()]);
        }
    }
}
