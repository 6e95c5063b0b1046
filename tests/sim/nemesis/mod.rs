//! Carries out a schedule of faults, each within what the system promises to withstand.
//!
//! Damage at rest, and loss of a whole disk, come one at a time: only when everything else is
//! well, and for data nodes always to the same one, since what is damaged is found when it is
//! read, and that may be late. Everything else may come together.

mod damage;
mod links;
mod processes;
mod quorum;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::env::{Random, SeededRandom};
use dfs_evidence::faults::{Fault, FaultKind};
use dfs_evidence::history::{Actor, Op, Recorder};

use super::cluster::{Cluster, Role};
use super::net::{HostId, Link};
use super::world::Crash;
pub(super) use damage::CLOCK_WRONG_MAX;
use quorum::HarmedQuorum;

/// How a fault is undone.
enum Heal {
    /// Nothing is left of it.
    Nothing,
    /// Processes run again.
    Run(Vec<usize>),
    /// A process goes on.
    Resume(usize),
    /// Links are whole.
    Uncut(Vec<Link>),
    /// Links are as fast as usual.
    Undelay(Vec<Link>),
    /// A disk is as fast as usual.
    Unslow(HostId),
    /// Syncs succeed, and whoever stopped writing starts again.
    Sync(usize),
    /// A disk has room.
    Room(usize, HostId),
    /// Files can be opened.
    Handles(usize),
    /// A clock is right.
    Clock(HostId),
    /// The master that had joined leaves for good.
    Leave(usize),
    /// More processes are to be stopped gently, one every while.
    Rolling(Vec<usize>),
    /// More steps are to be taken.
    Quorum(Box<HarmedQuorum>),
}

struct Active {
    fault: Fault,
    until: Duration,
    heal: Heal,
}

/// Whoever makes the faults.
pub(super) struct Nemesis {
    recorder: Recorder,
    active: Vec<Active>,
    counts: BTreeMap<FaultKind, u64>,
    carried_out: Vec<u32>,
    crashed_clients: Vec<usize>,
    /// A master that is asked out of the group, and whether it is out or cannot be.
    leaving: Option<(usize, processes::Removal)>,
    /// A data node is being emptied and taken back, and whether that is done.
    emptying: Option<Arc<AtomicBool>>,
    /// The one data node whose disk may be damaged in this run.
    victim: u64,
    /// Coverage: a link between the leader and a majority was cut.
    pub(super) quorum_cuts: u64,
    /// Coverage: the process that led was killed.
    pub(super) leaders_killed: u64,
}

/// Chance for one fault, on whom it falls and how hard.
pub(super) struct Pick(SeededRandom);

impl Pick {
    fn of(fault: Fault) -> Pick {
        Pick(SeededRandom::new(fault.pick))
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap_or(0)
    }

    pub(super) fn one<T: Copy>(&self, among: &[T]) -> Option<T> {
        among.get(self.below(among.len())).copied()
    }

    pub(super) fn one_of<T>(&self, mut among: Vec<T>) -> Option<T> {
        let chosen = self.below(among.len());
        (chosen < among.len()).then(|| among.swap_remove(chosen))
    }

    /// In another order.
    pub(super) fn shuffle<T>(&self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

impl Nemesis {
    /// What it can do.
    pub(super) const KINDS: [FaultKind; 27] = [
        FaultKind::KillLeader,
        FaultKind::KillSome,
        FaultKind::KillAll,
        FaultKind::PowerOne,
        FaultKind::PowerAll,
        FaultKind::PauseLeader,
        FaultKind::PauseNode,
        FaultKind::IsolateLeader,
        FaultKind::Halves,
        FaultKind::OneWay,
        FaultKind::Bridge,
        FaultKind::Ring,
        FaultKind::Delay,
        FaultKind::SlowDisk,
        FaultKind::FailedSync,
        FaultKind::DiskFull,
        FaultKind::BitRot,
        FaultKind::ClockJump,
        FaultKind::Membership,
        FaultKind::SnapshotInstall,
        FaultKind::Wipe,
        FaultKind::ReturnOfDead,
        FaultKind::Drain,
        FaultKind::ClientCrash,
        FaultKind::RollingRestart,
        FaultKind::HandleLimit,
        FaultKind::HarmedQuorum,
    ];

    pub(super) fn new(seed: u64, recorder: Recorder) -> Nemesis {
        Nemesis {
            recorder,
            active: Vec::new(),
            counts: BTreeMap::new(),
            carried_out: Vec::new(),
            crashed_clients: Vec::new(),
            leaving: None,
            emptying: None,
            victim: seed,
            quorum_cuts: 0,
            leaders_killed: 0,
        }
    }

    /// Faults are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.active.is_empty() || self.leaving.is_some() || self.emptying.is_some()
    }

    /// Clients that are to be killed now.
    pub(super) fn crashed_clients(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.crashed_clients)
    }

    /// How many faults of each kind were carried out.
    pub(super) fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.counts.clone()
    }

    /// The faults that were carried out.
    pub(super) fn carried_out(&self) -> Vec<u32> {
        self.carried_out.clone()
    }

    /// Lets a fault happen, if it is allowed now; says whether.
    pub(super) fn begin(&mut self, fault: Fault, cluster: &mut Cluster) -> bool {
        let pick = Pick::of(fault);
        let Some((heal, longer)) = self.carry_out(fault, &pick, cluster) else {
            return false;
        };
        let pending = self.recorder.invoke(Actor::Nemesis, Op::Fault(fault));
        pending.info("it has begun");
        tracing::info!(?fault, "a fault begins");
        *self.counts.entry(fault.kind).or_default() += 1;
        self.carried_out.push(fault.id);
        let until = cluster.world.now() + fault.lasts.max(longer);
        self.active.push(Active { fault, until, heal });
        true
    }

    /// Whether others wait for this one until all is well: loss at rest must come alone.
    pub(super) fn is_waited_for(kind: FaultKind) -> bool {
        matches!(
            kind,
            FaultKind::BitRot | FaultKind::Wipe | FaultKind::HarmedQuorum
        )
    }

    /// How to undo it and how long it must last at least; none if it cannot be now.
    fn carry_out(
        &mut self,
        fault: Fault,
        pick: &Pick,
        cluster: &mut Cluster,
    ) -> Option<(Heal, Duration)> {
        let now = |heal| Some((heal, Duration::ZERO));
        match fault.kind {
            FaultKind::KillLeader
            | FaultKind::KillSome
            | FaultKind::KillAll
            | FaultKind::PowerOne
            | FaultKind::PowerAll => now(self.kill(fault, pick, cluster)?),
            FaultKind::PauseLeader | FaultKind::PauseNode => {
                processes::pause(fault.kind, pick, cluster)
            }
            FaultKind::IsolateLeader
            | FaultKind::Halves
            | FaultKind::OneWay
            | FaultKind::Bridge
            | FaultKind::Ring => now(self.partition(fault.kind, pick, cluster)?),
            FaultKind::Delay => now(links::delay(pick, cluster)),
            FaultKind::SlowDisk
            | FaultKind::FailedSync
            | FaultKind::DiskFull
            | FaultKind::HandleLimit => now(damage::trouble(fault.kind, pick, cluster)?),
            FaultKind::BitRot => now(self.rot(pick, cluster)?),
            FaultKind::Wipe => now(self.wipe(pick, cluster)?),
            FaultKind::ClockJump => now(damage::clock_jump(pick, cluster)?),
            FaultKind::Membership => now(processes::join_the_spare(cluster)?),
            FaultKind::SnapshotInstall => processes::away(Role::Master, pick, cluster),
            FaultKind::ReturnOfDead => processes::away(Role::DataNode, pick, cluster),
            FaultKind::Drain => now(self.drain(fault, pick, cluster)?),
            FaultKind::ClientCrash => {
                let clients = cluster.clients.len() - 1;
                self.crashed_clients.push(1 + pick.below(clients));
                now(Heal::Nothing)
            }
            FaultKind::RollingRestart => processes::rolling(pick, cluster),
            FaultKind::HarmedQuorum => {
                let (case, long) = self.harm_quorum(Pick::of(fault), cluster)?;
                Some((Heal::Quorum(Box::new(case)), long))
            }
            _ => None,
        }
    }

    /// Undoes what has lasted long enough, and goes on with what takes several steps.
    pub(super) fn heal_what_is_over(&mut self, cluster: &mut Cluster) {
        let now = cluster.world.now();
        for active in &mut self.active {
            match &mut active.heal {
                Heal::Rolling(left) => processes::roll(left, cluster),
                Heal::Quorum(case) => case.go_on(cluster),
                _ => {}
            }
        }
        let over = |active: &mut Active| active.until <= now;
        for active in self.active.extract_if(.., over).collect::<Vec<_>>() {
            self.heal(active, cluster);
        }
        processes::see_off(&mut self.leaving, cluster);
        self.emptying.take_if(|done| done.load(Ordering::Relaxed));
    }

    fn heal(&mut self, active: Active, cluster: &mut Cluster) {
        tracing::info!(fault = ?active.fault, "a fault is healed");
        match active.heal {
            Heal::Leave(index) => self.leaving = processes::ask_out(index, cluster),
            Heal::Nothing | Heal::Rolling(_) => {}
            Heal::Run(servers) => {
                for index in servers {
                    cluster.want(index);
                }
            }
            Heal::Resume(index) => {
                let host = cluster.servers[index].host;
                cluster.world.pause(host, false);
            }
            Heal::Uncut(links) => cluster.world.net.heal(&links),
            Heal::Undelay(links) => cluster.world.net.delay(&links, None),
            Heal::Unslow(host) => cluster.world.slow_disk(host, Duration::ZERO),
            Heal::Sync(index) => {
                let host = cluster.servers[index].host;
                let disk = cluster.world.disk(host);
                disk.fail_syncs(0);
                disk.fail_directory_syncs(0);
                disk.fail_writes(0);
                cluster.healed(host);
                // What the failed sync lost is seen only when memory no longer has it.
                cluster.crash(index, Crash::Power, Duration::from_millis(100));
            }
            Heal::Handles(index) => {
                let server = &mut cluster.servers[index];
                server.starved = server.starved.saturating_sub(1);
                let host = server.host;
                cluster.world.disk(host).be_short_of_handles(false);
                cluster.healed(host);
            }
            Heal::Quorum(mut case) => case.end(cluster),
            Heal::Room(index, host) => {
                let server = &mut cluster.servers[index];
                server.starved = server.starved.saturating_sub(1);
                cluster.world.disk(host).set_capacity(damage::CAPACITY);
                cluster.healed(host);
            }
            Heal::Clock(host) => cluster.world.set_clock(host, 0),
        }
        let healed = self
            .recorder
            .invoke(Actor::Nemesis, Op::Fault(active.fault));
        healed.ok(None, None);
    }
}
