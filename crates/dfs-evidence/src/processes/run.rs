//! A run: from a seed to an outcome.

use std::fs::File;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clients::{Clients, Work, now};
use super::cluster::{Cluster, Plan};
use super::nemesis::Nemesis;
use super::outcome::Outcome;
use super::world;
use crate::faults::{Fault, FaultKind, Schedule, ScheduleConfig};
use crate::history::{Recorder, merge};
use crate::workloads::named;

/// What a run is made of.
#[derive(Clone)]
pub struct Config {
    /// Decides on everything but the moment things happen.
    pub seed: u64,
    /// The daemon, `dfs-node`.
    pub program: PathBuf,
    /// For disks, logs and histories; must exist.
    pub directory: PathBuf,
    /// What goes wrong.
    pub schedule: Schedule,
    /// How long it may go wrong.
    pub length: Duration,
    /// How many masters.
    pub masters: usize,
    /// How many data nodes.
    pub data_nodes: usize,
    /// How many client processes.
    pub clients: usize,
    /// How many workers of each workload has each of them.
    pub workers: u64,
    /// Names of workloads.
    pub workloads: Vec<String>,
    /// Is told what happens.
    pub tell: Arc<dyn Fn(String) + Send + Sync>,
}

/// The schedule of a run: what a seed stands for, and in any case once a killed leader and once
/// one that is cut off, if these are among the kinds.
pub fn schedule(seed: u64, kinds: &[FaultKind], length: Duration) -> Schedule {
    let config = ScheduleConfig {
        kinds: kinds.to_vec(),
        length,
        gap: Duration::from_secs(5),
        lasts: (Duration::from_millis(500), Duration::from_secs(7)),
    };
    let mut schedule = Schedule::generate(seed, &config);
    for (kind, at) in [(FaultKind::KillLeader, 0.3), (FaultKind::IsolateLeader, 0.6)] {
        if kinds.contains(&kind) {
            schedule.faults.push(Fault {
                id: u32::try_from(schedule.faults.len()).unwrap_or(u32::MAX),
                kind,
                at: length.mul_f64(at),
                lasts: Duration::from_secs(5),
                pick: seed,
            });
        }
    }
    schedule.faults.sort_by_key(|fault| fault.at);
    schedule
}

/// How long everything may take to be well again when all faults are healed.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// Operations must succeed for so long after that.
const PROGRESS: Duration = Duration::from_secs(3);

/// Runs it. This program must be inside a [`world`](super::world), and must be a client when its
/// first argument is [`CLIENT`](super::clients::CLIENT).
///
/// # Errors
/// The instrument failed. What the system did wrong is in the outcome.
pub async fn run(config: &Config) -> Result<Outcome> {
    let tell = &config.tell;
    world::furnish().await?;
    let began = now();
    let plan = Plan {
        program: config.program.clone(),
        directory: config.directory.clone(),
        masters: config.masters,
        data_nodes: config.data_nodes,
        seed: config.seed,
        clocks: config.schedule.kinds().contains(&FaultKind::ClockJump),
    };
    let mut cluster = Cluster::found(plan).await?;
    let work = Work {
        masters: cluster.masters(),
        workloads: config.workloads.clone(),
        workers: config.workers,
        seed: config.seed,
        began,
        directory: config.directory.clone(),
    };
    let mut clients = Clients::new(&mut cluster.network, config.clients, work).await?;
    clients.prepare().await?;
    tell(format!("the cluster is up after {:?}", since(began)));

    let file = File::create(config.directory.join("nemesis.jsonl"))?;
    let clock = move || now() - began;
    let recorder = Recorder::with_sink(clock, file);
    let mut nemesis = Nemesis::new(cluster, clients, recorder.clone(), clock, config.seed);
    nemesis.tell = Arc::clone(tell);
    if let Some(wrong) = nemesis.settle(SETTLES_WITHIN).await? {
        return Err(Error::other(format!("before any fault: {wrong}")));
    }
    nemesis.clients.start_all()?;
    nemesis.carry_out(&config.schedule, config.length).await?;

    tell(format!("everything is healed after {:?}", since(began)));
    let healing = Instant::now();
    let unsettled = nemesis.settle(SETTLES_WITHIN).await?;
    let settled_after = healing.elapsed();
    let healed = clock();
    sleep(PROGRESS).await;
    let mut done = nemesis.done();
    let mut violations = done.violations;
    violations.extend(unsettled.map(|wrong| format!("L1: after {SETTLES_WITHIN:?}: {wrong}")));
    violations.extend(done.clients.stop_all().await.err().map(|e| format!("L3: {e}")));
    violations.extend(done.clients.conclude().await.err().map(|e| format!("L3: {e}")));
    tell(format!("settled after {settled_after:?}; the masters are compared"));
    violations.extend(done.cluster.stop_and_compare().await?);

    let mut histories = done.clients.histories()?;
    histories.push(recorder.events());
    let history = merge(histories);
    for name in &config.workloads {
        if let Some(workload) = named(name) {
            violations.extend(workload.check(&history));
        }
    }
    let mut outcome = Outcome {
        seed: config.seed,
        deeds: done.deeds,
        quorum: done.quorum,
        history,
        violations,
        settled_after,
    };
    if !outcome.succeeded_after(healed) {
        let violation = "L1: no operation succeeds after everything was healed";
        outcome.violations.push(violation.to_owned());
    }
    Ok(outcome)
}

fn since(began: u64) -> Duration {
    Duration::from_millis((now() - began) / 1_000_000)
}
