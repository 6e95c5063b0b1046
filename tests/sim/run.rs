//! One run: found a cluster, attack it while clients work, heal it, judge it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_core::env::{Env, Random};
use dfs_core::types::{PolicyChange, ReplicationTarget};
use dfs_evidence::checkers;
use dfs_evidence::faults::{Fault, FaultKind, Schedule, ScheduleConfig};
use dfs_evidence::history::{Actor, Event, Kind, Op, Recorder};
use dfs_evidence::report::Matrix;
use dfs_evidence::workloads::{self, Worker, Workload, done_of};
use futures::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::audit;
use super::cluster::{Cluster, DATA_NODES, MASTERS, connect};
use super::nemesis::Nemesis;
use super::verdict;
use super::world::{Crash, log};

/// Workers of each workload, in one process.
const WORKERS: u64 = 3;
/// Their pauses are longer than beside real processes, in some seeds more than in others: most of
/// what goes wrong goes wrong between operations, and that costs less to simulate.
const SLOWNESS: [f64; 8] = [4.0, 12.0, 18.0, 18.0, 20.0, 25.0, 30.0, 30.0];
/// Workloads of a run.
const WORKLOADS: usize = 3;
/// The workload whose files are in stripes.
const CODED: &str = "coded";
/// How long founding, preparing and stopping may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Faults with these numbers and greater ones are in every schedule, and are waited for.
const SURE: u32 = 1_000_000;
/// How long a fault that must come alone, or must come, is waited for.
const WAIT: Duration = Duration::from_secs(15);
/// How long workers go on after everything is healed.
const CALM: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// All chance comes from it.
    pub seed: u64,
    /// How long faults go on.
    pub length: Duration,
    /// The faults, if they are not those of the seed.
    pub schedule: Option<Schedule>,
    /// Faults of the schedule that are left out.
    pub without: Vec<u32>,
    /// The kinds of faults; all that the simulation knows if empty.
    pub kinds: Vec<FaultKind>,
    /// The only workloads; some that the seed chooses if empty.
    pub workloads: Vec<String>,
}

/// What a run gave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Seconds that passed in the simulation.
    pub simulated: f64,
    /// Seconds that it had a CPU for, as far as the caller says.
    pub cpu: f64,
    /// The workloads.
    pub workloads: Vec<String>,
    /// Operations by how they ended.
    pub operations: BTreeMap<String, u64>,
    /// Operations that succeeded, by workload.
    pub done: BTreeMap<String, u64>,
    /// Faults that were carried out, by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What each promise has withstood.
    pub matrix: Matrix,
    /// The numbers of the faults that were carried out.
    pub carried_out: Vec<u32>,
    /// Times that another master led.
    pub elections: u64,
    /// Who was seen to lead in a term.
    pub leaders: BTreeMap<u64, String>,
    /// Times that the process that led was killed.
    pub leaders_killed: u64,
    /// Times that links between the leader and a majority were cut.
    pub quorum_cuts: u64,
    /// Times that a process was started again.
    pub restarts: u64,
    /// Replicas that were read on disks when their data nodes started again.
    pub audited: u64,
    /// Members of stripes that were made from others by data nodes.
    pub rebuilt: u64,
    /// Workers that read bytes which their clients made from other members.
    pub decoded: u64,
    /// Rewrites that data nodes did.
    pub rewritten: u64,
    /// Seconds until all was well when everything was healed.
    pub settled: f64,
    /// Rotten disks with which a process did not start.
    pub refusals: Vec<String>,
    /// What is wrong.
    pub violations: Vec<String>,
    /// Errors that were logged.
    pub errors: u64,
    /// A number that is the same in every run of the seed.
    pub trace: String,
}

/// Lets time pass on hosts where nothing happens, and says on how many.
pub fn idle(long: Duration) -> usize {
    let mut cluster = Cluster::new(0, DATA_NODES, 4);
    let hosts = cluster.servers.iter().map(|server| server.host);
    let hosts: Vec<_> = hosts.chain(cluster.clients.clone()).collect();
    for host in &hosts {
        let nothing = |_: Env| std::future::pending::<()>();
        cluster.world.start(*host, nothing);
    }
    while cluster.world.now() < long {
        cluster.world.step();
    }
    hosts.len()
}

struct Run {
    cluster: Cluster,
    recorder: Recorder,
    actors: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    workloads: Vec<Arc<dyn Workload>>,
    working: Arc<AtomicU64>,
    slowness: f64,
    settled: Duration,
    violations: Vec<String>,
}

/// The schedule of a run.
pub fn schedule(settings: &Settings) -> Schedule {
    if let Some(schedule) = &settings.schedule {
        return schedule.without(&settings.without);
    }
    let kinds = match settings.kinds.is_empty() {
        true => Nemesis::KINDS.to_vec(),
        false => settings.kinds.clone(),
    };
    let config = ScheduleConfig {
        kinds,
        length: settings.length,
        gap: Duration::from_secs(3),
        lasts: (Duration::from_millis(300), Duration::from_secs(9)),
    };
    let mut schedule = Schedule::generate(settings.seed, &config);
    if settings.kinds.is_empty() {
        schedule.faults.extend(sure(settings));
        schedule.faults.sort_by_key(|fault| fault.at);
    }
    schedule.without(&settings.without)
}

/// What no run does without: a leader is killed, and one is cut off from the majority.
fn sure(settings: &Settings) -> [Fault; 2] {
    let fault = |id, kind, at| Fault {
        id,
        kind,
        at: settings.length.mul_f64(at),
        lasts: Duration::from_secs(2),
        pick: settings.seed,
    };
    [
        fault(SURE, FaultKind::KillLeader, 0.2),
        fault(SURE + 1, FaultKind::IsolateLeader, 0.6),
    ]
}

/// Runs one seed; gives its history too.
pub fn run(settings: &Settings) -> (Outcome, Vec<Event>) {
    let workloads = choose_workloads(settings);
    // The first client prepares and concludes.
    let data_nodes = data_nodes(settings.seed, &workloads);
    let cluster = Cluster::new(settings.seed, data_nodes, 1 + workloads.len());
    let now = cluster.world.clock();
    let mut run = Run {
        recorder: Recorder::new(move || now.load(Ordering::Relaxed) * 1_000_000),
        cluster,
        actors: Arc::default(),
        stop: Arc::default(),
        workloads,
        working: Arc::default(),
        slowness: SLOWNESS[settings.seed as usize % SLOWNESS.len()],
        settled: Duration::ZERO,
        violations: Vec::new(),
    };
    let mut nemesis = Nemesis::new(settings.seed, run.recorder.clone());
    run.whole(&mut nemesis, schedule(settings));
    run.outcome(settings.seed, &nemesis)
}

/// As many data nodes as stripes take, or fewer than the widest do, or one to spare.
fn data_nodes(seed: u64, workloads: &[Arc<dyn Workload>]) -> usize {
    match workloads.iter().any(|w| w.name() == CODED) {
        true => DATA_NODES + usize::try_from(seed % 3).unwrap_or(0),
        false => DATA_NODES,
    }
}

/// Some of all workloads: a run with few does more of each.
fn choose_workloads(settings: &Settings) -> Vec<Arc<dyn Workload>> {
    let mut random = StdRng::seed_from_u64(settings.seed ^ 0x776f_726b);
    let mut all = workloads::all();
    let wanted = &settings.workloads;
    // Whoever asks is the system itself here.
    all.retain(|w| !w.needs_users());
    all.retain(|w| wanted.is_empty() || wanted.iter().any(|name| name == w.name()));
    all.shuffle(&mut random);
    all.truncate(WORKLOADS);
    all.into_iter().map(Arc::from).collect()
}

impl Run {
    fn whole(&mut self, nemesis: &mut Nemesis, schedule: Schedule) {
        if !self.found() || !self.prepare() {
            return;
        }
        for client in 1..self.cluster.clients.len() {
            self.start_worker(client);
        }
        self.attack(nemesis, &schedule);
        let calm = self.cluster.world.now() + CALM;
        self.cluster.run_until(CALM * 2, |c| c.world.now() >= calm);
        self.stop.store(true, Ordering::Relaxed);
        let working = Arc::clone(&self.working);
        let ended = self
            .cluster
            .run_until(PATIENCE, |_| working.load(Ordering::Relaxed) == 0);
        if !ended {
            let left = self.working.load(Ordering::Relaxed);
            self.wrong(format!(
                "P1: {left} workers do not end though all is healed"
            ));
        }
        self.cluster.restart_rotten();
        let (found, settled) = verdict::judge(&mut self.cluster);
        self.settled = settled;
        self.violations.extend(found);
        self.conclude();
    }

    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    fn found(&mut self) -> bool {
        let whole = Some((MASTERS, self.cluster.data_nodes));
        let founded = self.cluster.run_until(PATIENCE, |c| c.strength() == whole);
        if !founded {
            self.wrong("P1: the cluster is not founded".to_owned());
        }
        founded
    }

    /// Starts the process of the first client, which sets things up.
    fn prepare(&mut self) -> bool {
        let config = self.cluster.client_config();
        let workloads = self.workloads.clone();
        let result: Arc<Mutex<Option<Result<(), String>>>> = Arc::default();
        let into = Arc::clone(&result);
        let host = self.cluster.clients[0];
        self.cluster.world.start(host, |env| async move {
            let client = connect(config, env).await;
            let small = PolicyChange {
                replicas: Some(ReplicationTarget(3)),
                chunk_size: Some(64 << 10),
                ..PolicyChange::default()
            };
            let mut prepared = client.set_policy("/", small).await.map(|_| ());
            for workload in &workloads {
                if prepared.is_ok() {
                    prepared = workload.prepare(&client).await;
                }
            }
            client.close().await;
            *into.lock().unwrap() = Some(prepared.map_err(|e| e.to_string()));
            std::future::pending::<()>().await;
        });
        self.cluster
            .run_until(PATIENCE, |_| result.lock().unwrap().is_some());
        let result = result.lock().unwrap().take();
        match result {
            Some(Ok(())) => true,
            other => {
                self.wrong(format!("P1: workloads cannot be prepared: {other:?}"));
                false
            }
        }
    }

    /// Starts the process of a client: the workers of one workload.
    fn start_worker(&mut self, client: usize) {
        let workload = Arc::clone(&self.workloads[client - 1]);
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| (self.worker(number), Counted::new(&self.working)))
            .collect();
        let config = self.cluster.client_config();
        let host = self.cluster.clients[client];
        self.cluster.world.start(host, |env: Env| async move {
            let work = workers.into_iter().map(|(make, working)| {
                let connected = connect(config.clone(), env.clone());
                let workload = &workload;
                async move {
                    workload.work(make(connected.await)).await;
                    drop(working);
                }
            });
            join_all(work).await;
            std::future::pending::<()>().await;
        });
    }

    fn worker(
        &self,
        number: u64,
    ) -> impl FnOnce(dfs_core::client::Client) -> Worker + Send + 'static {
        let random = StdRng::seed_from_u64(self.cluster.world.random().next_u64());
        let recorder = self.recorder.clone();
        let (actors, stop) = (Arc::clone(&self.actors), Arc::clone(&self.stop));
        let slowness = self.slowness;
        move |client| Worker::new(number, client, random, recorder, actors, stop).slower(slowness)
    }

    /// Carries the schedule out and heals everything.
    fn attack(&mut self, nemesis: &mut Nemesis, schedule: &Schedule) {
        let mut begin = self.cluster.world.now();
        let mut faults = schedule.faults.iter().peekable();
        while faults.peek().is_some() || nemesis.is_busy() {
            self.cluster.step();
            let now = self.cluster.world.now();
            while let Some(fault) = faults.peek().filter(|fault| begin + fault.at <= now) {
                let late = now - begin - fault.at;
                let waits = Nemesis::is_waited_for(fault.kind) || fault.id >= SURE;
                let waits = waits && late < WAIT;
                // To see whether all is well takes a while.
                if waits && !late.subsec_millis().is_multiple_of(250) {
                    break;
                }
                if !nemesis.begin(**fault, &mut self.cluster) && waits {
                    break;
                }
                // What comes after it keeps its distance: what waits does so because it must be
                // alone when it begins.
                begin += late;
                faults.next();
            }
            nemesis.heal_what_is_over(&mut self.cluster);
            for client in nemesis.crashed_clients() {
                let host = self.cluster.clients[client];
                self.cluster.world.crash(host, Crash::Kill);
                self.start_worker(client);
            }
        }
    }

    /// Something new is written and read, which must work now.
    fn write_something_new(&mut self) {
        let config = self.cluster.client_config();
        let host = self.cluster.clients[0];
        self.cluster.world.crash(host, Crash::Kill);
        let result: Arc<Mutex<Option<Result<bool, String>>>> = Arc::default();
        let into = Arc::clone(&result);
        self.cluster.world.start(host, |env| async move {
            let client = connect(config, env).await;
            let bytes = vec![7; 300 << 10];
            let read = match client.write("/new", bytes.clone()).await {
                Ok(_) => client.read("/new").await.map(|read| read == bytes),
                Err(error) => Err(error),
            };
            *into.lock().unwrap() = Some(read.map_err(|e| e.to_string()));
            std::future::pending::<()>().await;
        });
        self.cluster
            .run_until(PATIENCE, |_| result.lock().unwrap().is_some());
        let result = result.lock().unwrap().take();
        if result != Some(Ok(true)) {
            self.wrong(format!(
                "P1: nothing new can be written and read: {result:?}"
            ));
        }
    }

    /// Every workload's last look.
    fn conclude(&mut self) {
        for workload in self.workloads.clone() {
            let make = self.worker(u64::MAX);
            let config = self.cluster.client_config();
            let host = self.cluster.clients[0];
            self.cluster.world.crash(host, Crash::Kill);
            let done = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&done);
            let looker = Arc::clone(&workload);
            self.cluster.world.start(host, |env| async move {
                let client = connect(config, env).await;
                looker.conclude(make(client)).await;
                told.store(true, Ordering::Relaxed);
                std::future::pending::<()>().await;
            });
            let ended = self
                .cluster
                .run_until(PATIENCE, |_| done.load(Ordering::Relaxed));
            if !ended {
                self.wrong(format!("P1: {} does not conclude", workload.name()));
            }
            let found = workload.check(&self.recorder.events());
            self.violations.extend(found);
        }
        let found = checkers::of_all(&self.recorder.events());
        self.violations.extend(found);
        let found = audit::at_the_end(&mut self.cluster);
        self.violations.extend(found);
        self.write_something_new();
        let (found, _) = verdict::judge(&mut self.cluster);
        self.violations.extend(found);
    }

    fn outcome(mut self, seed: u64, nemesis: &Nemesis) -> (Outcome, Vec<Event>) {
        let simulated = self.cluster.world.now().as_secs_f64();
        let events = self.recorder.events();
        let mut operations: BTreeMap<String, u64> = BTreeMap::new();
        for event in &events {
            let name = match event.kind {
                Kind::Invoke => "invoked",
                Kind::Ok => "ok",
                Kind::Fail => "failed",
                Kind::Info => "unknown",
            };
            let of_clients = u64::from(event.actor != Actor::Nemesis);
            *operations.entry(name.to_owned()).or_default() += of_clients;
            self.cluster.world.trace.note_text(&format!("{event:?}"));
        }
        let panics = log::panics();
        self.violations
            .extend(panics.iter().map(|panic| format!("P1: a panic: {panic}")));
        self.violations.append(&mut self.cluster.wrong);
        let mut promises = vec!["M1", "M4", "M6", "P1", "S1"];
        if self.cluster.audits.replicas > 0 {
            promises.extend(["D2", "D4", "D5", "D6", "D8"]);
        }
        promises.extend(self.workloads.iter().flat_map(|w| w.promises()));
        let is_decoding = |event: &Event| matches!(event.op, Op::Decoded { .. });
        let decoded = events.iter().filter(|e| is_decoding(e)).count() as u64 / 2;
        if decoded + log::rebuilt() > 0 {
            promises.push("D7");
        }
        let counts = nemesis.counts().into_iter();
        let faults = counts.flat_map(|(kind, times)| vec![kind; times as usize]);
        let mut matrix = Matrix::default();
        matrix.add(&faults.collect::<Vec<_>>(), &promises);
        let workloads: Vec<String> = self.workloads.iter().map(|w| w.name().to_owned()).collect();
        let done = workloads
            .iter()
            .map(|name| (name.clone(), done_of(name, &events)));
        let outcome = Outcome {
            seed,
            matrix,
            simulated,
            cpu: 0.0,
            done: done.collect(),
            workloads,
            operations,
            faults: nemesis.counts(),
            carried_out: nemesis.carried_out(),
            elections: self.cluster.elections,
            leaders: self.cluster.leaders,
            leaders_killed: nemesis.leaders_killed,
            quorum_cuts: nemesis.quorum_cuts,
            restarts: self.cluster.restarts,
            audited: self.cluster.audits.replicas,
            rebuilt: log::rebuilt(),
            decoded,
            rewritten: log::rewritten(),
            settled: self.settled.as_secs_f64(),
            refusals: std::mem::take(&mut self.cluster.refusals),
            violations: std::mem::take(&mut self.violations),
            errors: log::errors().len() as u64,
            trace: format!("{:016x}", self.cluster.world.trace.hash()),
        };
        (outcome, events)
    }
}

/// Counts a worker as long as it works, or until it is lost in a crash.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(count: &Arc<AtomicU64>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
