//! Carries out a schedule of faults, in real time.
//!
//! On whom a fault falls is decided when it begins. Faults compose, with two exceptions. What
//! the system does not promise to survive is never combined: files are lost or rot only on one
//! node, while all others are well and every chunk has its copies. And bits rot always on the
//! same data node and the same master of a run, because rot that nobody has read yet still
//! counts.
//!
//! Whatever is not held down by a fault is started when it is found dead, as an init system
//! would, and a death that no fault explains is a violation.

mod disks;
mod members;
mod partitions;
mod restarts;
mod supervisor;
mod targets;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::clients::Clients;
use super::cluster::{Cluster, DEAD_AFTER, LOG_ENTRIES};
use crate::faults::{Fault, FaultKind, Schedule};
use crate::history::{Actor, Op, Recorder};

/// A fault as it was carried out.
#[derive(Debug, Clone)]
pub struct Deed {
    /// Which.
    pub fault: Fault,
    /// On whom it fell: `m1`, `n2`, `c1`.
    pub on: Vec<String>,
    /// Nanoseconds since the run began; when it had begun.
    pub began: u64,
    /// The same, when it was healed.
    pub healed: u64,
    /// Whether it fell on the leader.
    pub hit_leader: bool,
    /// Whether all was well until then; asked only for faults of the leader.
    pub was_well: bool,
    /// Whether the leader was cut off from the majority of masters.
    pub cut_quorum: bool,
    /// Why it could not be carried out, if it was not; or what is to be known about it.
    pub note: Option<String>,
    /// Whether it was carried out.
    pub done: bool,
}

/// `12.3 s: kill-leader of m1`, and what is to be known about it.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_nanos(self.began).as_secs_f64();
        write!(f, "{seconds:.1} s: {}", self.fault.kind)?;
        if !self.on.is_empty() {
            write!(f, " of {}", self.on.join(" "))?;
        }
        if !self.done {
            f.write_str(", not done")?;
        }
        self.note.iter().try_for_each(|note| write!(f, ": {note}"))
    }
}

/// Who carries out.
pub(super) struct Nemesis {
    pub(super) cluster: Cluster,
    pub(super) clients: Clients,
    recorder: Recorder,
    now: Box<dyn Fn() -> u64 + Send>,
    start: Instant,
    length: Duration,
    /// Faults of the leader, for when there is one, and such as all must be well for.
    put_off: Vec<Fault>,
    active: Vec<Active>,
    deeds: Vec<Deed>,
    /// When there began to be a quorum, and when there began to be none.
    quorum: Vec<(u64, bool)>,
    watched: BTreeMap<usize, supervisor::Watched>,
    violations: Vec<String>,
    seed: u64,
    pub(super) tell: Arc<dyn Fn(String) + Send + Sync>,
}

/// What is to be healed.
struct Active {
    fault: Fault,
    places: Vec<usize>,
    ends: Instant,
    /// Where the masters' log ended when it began, if that matters.
    log: Option<u64>,
    deed: Deed,
}

/// What was done, and what was seen doing it.
pub(super) struct Done {
    pub(super) cluster: Cluster,
    pub(super) clients: Clients,
    pub(super) deeds: Vec<Deed>,
    pub(super) quorum: Vec<(u64, bool)>,
    pub(super) violations: Vec<String>,
}

/// What is to be known of a fault on several nodes. It was carried out if it was on one.
#[derive(Default)]
struct Notes {
    done: bool,
    notes: Vec<String>,
}

impl Notes {
    fn add(&mut self, done: Result<Option<String>>) {
        match done {
            Ok(note) => {
                self.done = true;
                self.notes.extend(note);
            }
            Err(error) => self.notes.push(error.to_string()),
        }
    }

    fn end(self) -> Result<Option<String>> {
        let notes = self.notes.join(", ");
        match self.done {
            true => Ok((!notes.is_empty()).then_some(notes)),
            false => Err(Error::other(notes)),
        }
    }
}

/// How long a fault waits until all is well.
const WAITS: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(50);

impl Nemesis {
    pub(super) fn new(
        cluster: Cluster,
        clients: Clients,
        recorder: Recorder,
        now: impl Fn() -> u64 + Send + 'static,
        seed: u64,
    ) -> Nemesis {
        Nemesis {
            cluster,
            clients,
            recorder,
            now: Box::new(now),
            start: Instant::now(),
            length: Duration::ZERO,
            put_off: Vec::new(),
            active: Vec::new(),
            deeds: Vec::new(),
            quorum: Vec::new(),
            watched: BTreeMap::new(),
            violations: Vec::new(),
            seed,
            tell: Arc::new(|_| ()),
        }
    }

    /// Carries out all of a schedule, and heals everything.
    pub(super) async fn carry_out(&mut self, schedule: &Schedule, length: Duration) -> Result<()> {
        (self.start, self.length) = (Instant::now(), length);
        let mut faults = schedule.faults.iter().copied().peekable();
        while self.start.elapsed() < length || faults.peek().is_some() {
            self.heal_those_due().await?;
            for fault in std::mem::take(&mut self.put_off) {
                self.begin(fault).await?;
            }
            let is_due = |fault: &Fault| fault.at <= self.start.elapsed();
            if let Some(fault) = faults.next_if(is_due) {
                self.begin(fault).await?;
            } else {
                sleep(TICK).await;
            }
            self.supervise().await?;
        }
        for fault in std::mem::take(&mut self.put_off) {
            self.begin(fault).await?;
        }
        // Some are none unless they last.
        while !self.active.is_empty() {
            self.heal_those_due().await?;
            self.supervise().await?;
            sleep(TICK).await;
        }
        let pending = self.recorder.invoke(Actor::Nemesis, Op::Heal);
        pending.ok(None, None);
        Ok(())
    }

    /// Watches over processes until everything is as it should be, or `within` is over: then
    /// gives what is not.
    pub(super) async fn settle(&mut self, within: Duration) -> Result<Option<String>> {
        let start = Instant::now();
        loop {
            self.supervise().await?;
            let Err(wrong) = self.all_is_well().await else {
                return Ok(None);
            };
            if start.elapsed() > within {
                return Ok(Some(wrong));
            }
            sleep(4 * TICK).await;
        }
    }

    pub(super) fn done(self) -> Done {
        Done {
            cluster: self.cluster,
            clients: self.clients,
            deeds: self.deeds,
            quorum: self.quorum,
            violations: self.violations,
        }
    }

    async fn begin(&mut self, fault: Fault) -> Result<()> {
        let mut random = StdRng::seed_from_u64(fault.pick);
        let leader = self.cluster.leader().await;
        if leader.is_none() && is_of_leader(fault.kind) && self.start.elapsed() < self.length {
            self.put_off.push(fault);
            return Ok(());
        }
        let places = self.targets(&fault, leader, &mut random).await;
        let mut deed = Deed {
            fault,
            on: Vec::new(),
            began: (self.now)(),
            healed: 0,
            hit_leader: false,
            was_well: is_of_leader(fault.kind) && self.all_is_well().await.is_ok(),
            cut_quorum: false,
            note: None,
            done: true,
        };
        let places = match places {
            Ok(places) => places,
            Err(_) if damages(fault.kind) && self.may_wait(&fault) => {
                self.put_off.push(fault);
                return Ok(());
            }
            Err(why) => {
                deed.note = Some(why);
                deed.done = false;
                (self.tell)(deed.to_string());
                self.deeds.push(deed);
                return Ok(());
            }
        };
        deed.on = self.names(fault.kind, &places);
        deed.hit_leader = fault.kind != FaultKind::ClientCrash
            && leader.is_some_and(|leader| places.contains(&leader));
        let pending = self.recorder.invoke(Actor::Nemesis, Op::Fault(fault));
        let done = self.act(&fault, &places, leader, &mut random).await;
        match done {
            Ok(note) => {
                pending.info(deed.on.join(" "));
                deed.note = note;
            }
            Err(error) => {
                let why = format!("could not: {error}");
                pending.fail(why.clone(), None);
                deed.note = Some(why);
                deed.done = false;
            }
        }
        let hears = |leader| self.cluster.hears_majority(leader);
        deed.cut_quorum = leader.is_some_and(|leader| !hears(leader));
        (self.tell)(deed.to_string());
        let (least, most) = lasts(fault.kind);
        let lasts = match deed.done {
            true => fault.lasts.clamp(least, most),
            // What was begun and came to nothing is undone.
            false => Duration::ZERO,
        };
        let log = self.log_before(fault.kind).await;
        self.active.push(Active {
            fault,
            places,
            ends: Instant::now() + lasts,
            log,
            deed,
        });
        Ok(())
    }

    async fn log_before(&mut self, kind: FaultKind) -> Option<u64> {
        match kind {
            FaultKind::SnapshotInstall => self.cluster.log_end().await,
            _ => None,
        }
    }

    /// Whether it may be tried again in a moment: all may be well then.
    fn may_wait(&self, fault: &Fault) -> bool {
        self.start.elapsed() < self.length.min(fault.at + WAITS)
    }

    async fn act(
        &mut self,
        fault: &Fault,
        places: &[usize],
        leader: Option<usize>,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        match fault.kind {
            FaultKind::IsolateLeader
            | FaultKind::Halves
            | FaultKind::OneWay
            | FaultKind::Bridge
            | FaultKind::Ring => {
                self.partition(fault, leader, random).await?;
                Ok(None)
            }
            FaultKind::Delay | FaultKind::Loss | FaultKind::Duplicate | FaultKind::Reorder => {
                self.worsen(fault, places, random).await
            }
            FaultKind::SlowDisk
            | FaultKind::FailedSync
            | FaultKind::DiskFull
            | FaultKind::InodesFull
            | FaultKind::BitRot
            | FaultKind::Wipe
            | FaultKind::Membership => self.attack_disks(fault, places, random).await,
            FaultKind::Drain => self.drain(places).await,
            FaultKind::KillLeader
            | FaultKind::KillSome
            | FaultKind::KillAll
            | FaultKind::PowerOne
            | FaultKind::PowerAll
            | FaultKind::PauseLeader
            | FaultKind::PauseNode
            | FaultKind::ClockJump
            | FaultKind::MemoryLimit
            | FaultKind::HandleLimit
            | FaultKind::ClientCrash
            | FaultKind::SnapshotInstall
            | FaultKind::ReturnOfDead
            | FaultKind::RollingRestart => self.attack_processes(fault, places, random).await,
            FaultKind::HarmedQuorum => Err(Error::other("it is simulated only")),
        }
    }

    async fn heal_those_due(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(due) = self.active.iter().position(|active| active.ends <= now) {
            let active = self.active.remove(due);
            self.heal(active).await?;
        }
        Ok(())
    }

    async fn heal(&mut self, active: Active) -> Result<()> {
        let id = active.fault.id;
        self.cluster.network.mend(id).await?;
        for place in &active.places {
            match active.fault.kind {
                FaultKind::ClientCrash => self.clients.start(*place)?,
                kind => {
                    let healed = match kind {
                        // A disk that did not fail is trusted.
                        FaultKind::FailedSync if !active.deed.done => Ok(()),
                        _ => self.heal_place(id, kind, *place).await,
                    };
                    let name = &self.cluster.node(*place)?.name;
                    healed.map_err(|e| Error::other(format!("healing {kind} of {name}: {e}")))?;
                }
            }
        }
        let none = self.had_no_effect(&active).await?;
        let mut deed = active.deed;
        deed.healed = (self.now)();
        if deed.done
            && let Some(why) = none
        {
            deed.done = false;
            deed.note.get_or_insert_default().push_str(why);
            (self.tell)(deed.to_string());
        }
        let pending = self.recorder.invoke(Actor::Nemesis, Op::Fault(deed.fault));
        pending.ok(None, None);
        self.deeds.push(deed);
        Ok(())
    }

    /// Why a fault was none, as it turned out.
    async fn had_no_effect(&mut self, active: &Active) -> Result<Option<&'static str>> {
        match active.fault.kind {
            FaultKind::SlowDisk | FaultKind::FailedSync => {
                for place in &active.places {
                    if self.cluster.node(*place)?.was_tampered_with()? {
                        return Ok(None);
                    }
                }
                Ok(Some(", but no sync met it"))
            }
            FaultKind::SnapshotInstall => {
                let ends = active.log.zip(self.cluster.log_end().await);
                let missed = ends.map(|(was, is)| is.saturating_sub(was));
                let needs_one = missed.is_some_and(|missed| missed > u64::from(LOG_ENTRIES));
                Ok((!needs_one).then_some(", but the log that was missed may not have been cut"))
            }
            _ => Ok(None),
        }
    }

    async fn heal_place(&mut self, id: u32, kind: FaultKind, place: usize) -> Result<()> {
        let now = Instant::now();
        self.excuse_until(place, kind, now + Duration::from_secs(5));
        let node = self.cluster.node(place)?;
        node.go_on(id)?;
        node.down.remove(&id);
        match kind {
            FaultKind::DiskFull | FaultKind::InodesFull => node.free_disk()?,
            FaultKind::SlowDisk => node.end_trace().await?,
            // A disk that failed once is not trusted again by who saw it, until a person restarts
            // it. What the sync did not write is in memory still, and must not count.
            FaultKind::FailedSync => node.power_off().await?,
            FaultKind::Drain => self.cluster.take_back_later(place),
            FaultKind::ClockJump => node.set_clock(0)?,
            FaultKind::MemoryLimit => node.limit("data=unlimited").await,
            FaultKind::HandleLimit => node.limit("nofile=1024").await,
            _ => {}
        }
        self.start_if_free(place).await
    }

    fn names(&mut self, kind: FaultKind, places: &[usize]) -> Vec<String> {
        let name = |place: &usize| match kind {
            FaultKind::ClientCrash => self.clients.hosts().get(*place).map(|h| h.name.clone()),
            _ => self.cluster.nodes.get(*place).map(|n| n.name.clone()),
        };
        places.iter().filter_map(name).collect()
    }
}

/// Whether somebody loses files by it: only while all is well, or more could be lost than is
/// promised to be survived.
fn damages(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::BitRot | FaultKind::Wipe | FaultKind::Membership
    )
}

/// What a fault takes of a node that it gives back when it is healed: two that take the same of
/// one node would undo each other.
fn takes(kind: FaultKind) -> Option<&'static str> {
    match kind {
        FaultKind::DiskFull | FaultKind::InodesFull => Some("room"),
        FaultKind::SlowDisk | FaultKind::FailedSync => Some("syncs"),
        FaultKind::MemoryLimit => Some("memory"),
        FaultKind::HandleLimit => Some("handles"),
        FaultKind::ClockJump => Some("clock"),
        _ => None,
    }
}

/// How long a fault must last to be one, and may last so that others can happen.
fn lasts(kind: FaultKind) -> (Duration, Duration) {
    let (least, most) = match kind {
        FaultKind::KillAll | FaultKind::PowerAll => (0, 2),
        // A process looks at its clock once a second.
        FaultKind::PauseLeader | FaultKind::ClockJump => (3, 10),
        FaultKind::SnapshotInstall => (5, 10),
        FaultKind::ReturnOfDead => (DEAD_AFTER.as_secs() + 4, 30),
        _ => (0, 30),
    };
    (Duration::from_secs(least), Duration::from_secs(most))
}

/// Whether there must be a leader for it.
fn is_of_leader(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::KillLeader
            | FaultKind::PauseLeader
            | FaultKind::IsolateLeader
            | FaultKind::OneWay
    )
}
