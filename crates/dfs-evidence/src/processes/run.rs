//! A run: from a seed to an outcome.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clients::{Clients, Work, now};
use super::cluster::{Cluster, Plan, audit_logs, logs};
use super::nemesis::{Done, Nemesis};
use super::outcome::Outcome;
use super::world;
use crate::checkers;
use crate::faults::{Fault, FaultKind, Schedule, ScheduleConfig};
use crate::history::{Header, Recorder, merge, write};
use crate::workloads::named;

/// What a run is made of.
#[derive(Clone)]
pub struct Config {
    /// Decides on everything but the moment things happen.
    pub seed: u64,
    /// The commit that the daemon was built from, as far as it is known.
    pub commit: String,
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

/// The schedule of a run: what a seed stands for, and in any case once a killed leader, alone so
/// that its stall can be measured, and once one that is cut off, if these are among the kinds. A
/// seed stands for some of the kinds, so that they are not always all together; in a long run
/// each minute has others.
pub fn schedule(seed: u64, kinds: &[FaultKind], length: Duration) -> Schedule {
    let mut faults = Vec::new();
    let mut begin = Duration::ZERO;
    for part in 0_u64.. {
        let rest = length.saturating_sub(begin);
        if rest.is_zero() {
            break;
        }
        let config = ScheduleConfig {
            kinds: kinds.to_vec(),
            length: rest.min(PART),
            gap: Duration::from_secs(5),
            lasts: (Duration::from_millis(500), Duration::from_secs(7)),
        };
        let seed = seed.wrapping_add(part.wrapping_mul(SEEDS_APART));
        for fault in Schedule::generate(seed, &config).faults {
            faults.push(Fault {
                id: u32::try_from(faults.len()).unwrap_or(u32::MAX),
                at: begin + fault.at,
                ..fault
            });
        }
        begin += PART;
    }
    for (kind, at) in [
        (FaultKind::IsolateLeader, 0.6),
        (FaultKind::KillLeader, 0.3),
    ] {
        if !kinds.contains(&kind) {
            continue;
        }
        let at = length.mul_f64(at);
        if kind == FaultKind::KillLeader {
            leave_alone(&mut faults, at, length);
        }
        faults.push(Fault {
            id: u32::try_from(faults.len()).unwrap_or(u32::MAX),
            kind,
            at,
            lasts: Duration::from_secs(5),
            pick: seed,
        });
    }
    faults.sort_by_key(|fault| fault.at);
    Schedule { faults }
}

/// Faults begin later, or end earlier, so that none is near this time.
fn leave_alone(faults: &mut [Fault], at: Duration, length: Duration) {
    let (begin, end) = (at.saturating_sub(QUIET.0), at + QUIET.1);
    for fault in faults.iter_mut().filter(|fault| fault.at < end) {
        if fault.at >= begin {
            fault.at = end.min(length);
        }
        let until = if fault.at < begin { begin } else { length };
        fault.lasts = fault.lasts.min(until.saturating_sub(fault.at));
    }
}

/// How long the faults of one seed go on.
const PART: Duration = Duration::from_secs(60);
/// Seeds of the parts of a run are so far apart: others' are near each other.
const SEEDS_APART: u64 = 1 << 40;

/// Nothing else goes on so long before and after a leader is killed alone.
const QUIET: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));

/// How long everything may take to be well again when all faults are healed.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// Operations must succeed for so long after that.
const PROGRESS: Duration = Duration::from_secs(3);

/// Runs it. This program must be inside a [`world`](super::world), and must be a client when its
/// first argument is [`CLIENT`](super::clients::CLIENT).
///
/// # Errors
/// The instrument failed before there was anything to judge. What the system did wrong is in the
/// outcome, and so is what the instrument could not do later.
pub async fn run(config: &Config) -> Result<Outcome> {
    world::furnish().await?;
    let began = now();
    let clock = move || now() - began;
    let told = || Duration::from_millis(clock() / 1_000_000);
    let file = File::create_new(config.directory.join("nemesis.jsonl"))?;
    let recorder = Recorder::with_sink(clock, file);
    let mut nemesis = prepare(config, began, recorder.clone()).await?;
    (config.tell)(format!("all well after {:.1?}", told()));
    nemesis.clients.start_all()?;
    let carried_out = nemesis.carry_out(&config.schedule, config.length).await;
    let mut wrong = Vec::new();
    known(carried_out, &mut wrong);

    (config.tell)(format!("everything is healed after {:.1?}", told()));
    let healing = Instant::now();
    wrong.extend(become_well(&mut nemesis).await);
    let settled_after = healing.elapsed();
    let healed = clock();
    sleep(PROGRESS).await;
    wrong.extend(look_once_more(&mut nemesis).await);
    let mut outcome = judge(config, nemesis.done(), recorder, wrong).await;
    outcome.settled_after = settled_after;
    if !outcome.changed_after(healed) {
        let violation = "P1: no client changes anything after everything was healed";
        outcome.violations.push(violation.to_owned());
    }
    Ok(outcome)
}

/// What was given; or nothing, and that it is not known is wrong: what was seen until then is
/// still to be judged.
fn known<T: Default>(given: Result<T>, wrong: &mut Vec<String>) -> T {
    given.unwrap_or_else(|error| {
        wrong.push(format!("P1: unknown: the instrument failed: {error}"));
        T::default()
    })
}

/// Waits until all is well; what is not.
async fn become_well(nemesis: &mut Nemesis) -> Option<String> {
    let unsettled = match nemesis.settle(SETTLES_WITHIN).await {
        Ok(unsettled) => unsettled?,
        Err(error) => error.to_string(),
    };
    Some(format!("P1: after {SETTLES_WITHIN:?}: {unsettled}"))
}

/// Ends the work of clients and looks at all there is. What that finds corrupt is mended, too.
async fn look_once_more(nemesis: &mut Nemesis) -> Vec<String> {
    let mut wrong = Vec::new();
    let stopped = nemesis.clients.stop_all().await;
    wrong.extend(stopped.err().map(|e| format!("P1: a client: {e}")));
    if let Err(error) = nemesis.cluster.write_something_new().await {
        wrong.push(format!("P1: nothing new can be written and read: {error}"));
    }
    let concluded = nemesis.clients.conclude().await;
    wrong.extend(concluded.err().map(|e| format!("P1: a client: {e}")));
    // Until then masters have heard of it.
    sleep(PROGRESS).await;
    wrong.extend(become_well(nemesis).await);
    wrong
}

/// A cluster that is well, and clients that have not begun.
async fn prepare(config: &Config, began: u64, recorder: Recorder) -> Result<Nemesis> {
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
        profile: cluster.profile(),
        workloads: config.workloads.clone(),
        workers: config.workers,
        seed: config.seed,
        began,
        directory: config.directory.clone(),
    };
    let mut clients = Clients::new(&mut cluster.network, config.clients, work).await?;
    clients.prepare().await?;
    let clock = move || now() - began;
    let mut nemesis = Nemesis::new(cluster, clients, recorder, clock, config.seed);
    nemesis.tell = Arc::clone(&config.tell);
    match nemesis.settle(SETTLES_WITHIN).await? {
        Some(wrong) => Err(Error::other(format!("before any fault: {wrong}"))),
        None => Ok(nemesis),
    }
}

/// Ends everything and judges what is left.
async fn judge(config: &Config, done: Done, recorder: Recorder, wrong: Vec<String>) -> Outcome {
    let mut violations = done.violations;
    violations.extend(wrong);
    let leaders = done.cluster.leaders.clone();
    violations.extend(done.cluster.stop_and_compare().await);
    let panics = logs::panics_in(&config.directory);
    let panics = known(panics, &mut violations);
    violations.extend(panics);

    let mut histories = known(done.clients.histories(), &mut violations);
    histories.push(recorder.events());
    let history = merge(histories);
    let text = write(&header(config, leaders), &history);
    let written = std::fs::write(config.directory.join("history.jsonl"), text);
    known(written, &mut violations);
    for workload in config.workloads.iter().filter_map(|name| named(name)) {
        violations.extend(workload.check(&history));
    }
    violations.extend(checkers::of_all(&history));
    let compared = audit_logs::compare(&config.directory, &history, &done.deeds);
    let compared = known(compared, &mut violations);
    violations.extend(compared);
    let said = |what| logs::count(&config.directory, what);
    let rebuilt = known(said(logs::REBUILT), &mut violations);
    let rewritten = known(said(logs::REWRITTEN), &mut violations);
    Outcome {
        rebuilt,
        rewritten,
        seed: config.seed,
        workloads: config.workloads.clone(),
        deeds: done.deeds,
        quorum: done.quorum,
        history,
        violations,
        settled_after: Duration::ZERO,
    }
}

/// All it takes to make the history again, but the moments at which things happened.
fn header(config: &Config, leaders: BTreeMap<u64, String>) -> Header {
    let kinds = config.schedule.kinds();
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    let configuration = [
        ("instrument", "processes".to_owned()),
        ("masters", config.masters.to_string()),
        ("data nodes", config.data_nodes.to_string()),
        ("clients", config.clients.to_string()),
        ("workers", config.workers.to_string()),
        ("workloads", config.workloads.join(",")),
        ("faults", kinds.join(",")),
        ("seconds", config.length.as_secs().to_string()),
    ];
    let configuration = configuration.into_iter();
    Header {
        seed: config.seed,
        commit: config.commit.clone(),
        configuration: configuration
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        versions: [("dfs".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        leaders,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_long_run_has_faults_of_most_kinds_and_a_short_one_those_of_its_seed() {
        let kinds = |seconds| {
            let schedule = schedule(77, &FaultKind::ALL, Duration::from_secs(seconds));
            let ids: BTreeSet<u32> = schedule.faults.iter().map(|fault| fault.id).collect();
            assert_eq!(ids.len(), schedule.faults.len());
            schedule.kinds().len()
        };
        assert!(2 * kinds(600) > FaultKind::ALL.len());
        assert!(kinds(600) > kinds(60));
    }

    #[test]
    fn in_every_schedule_a_leader_is_killed_while_nothing_else_goes_on() {
        let length = Duration::from_secs(60);
        for seed in 0..50 {
            let faults = schedule(seed, &FaultKind::ALL, length).faults;
            let kill = |fault: &&Fault| fault.kind == FaultKind::KillLeader;
            let at = Duration::from_secs(18);
            let alone = faults.iter().filter(kill).find(|fault| fault.at == at);
            let alone = alone.unwrap();
            let is_near = |fault: &&Fault| {
                let ends_before = fault.at + fault.lasts <= at - QUIET.0;
                fault.id != alone.id && !ends_before && fault.at < at + QUIET.1
            };
            assert_eq!(faults.iter().find(is_near), None, "seed {seed}");
            let is_over = |fault: &Fault| fault.at + fault.lasts <= length;
            assert!(faults.iter().all(is_over), "seed {seed}");
        }
    }
}
