//! Many runs, each in a process of its own: only so does nothing of one touch another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use dfs_evidence::faults::FaultKind;
use dfs_evidence::report::Matrix;
use dfs_tests::commit;
use dfs_tests::sim::run::Outcome;
use serde::Serialize;

use super::{Arguments, What};

/// A run with fewer operations that succeeded shows nothing.
const OPERATIONS_MIN: u64 = 100;
/// Nor does one in which a workload has fewer.
const OPERATIONS_OF_WORKLOAD_MIN: u64 = 20;
/// So many runs together must have tried everything.
const RUNS_MIN: u64 = 20;

/// A run that takes longer stands still.
const CPU_SECONDS_MAX: u64 = 300;

/// Runs a seed in a process of its own.
pub(crate) fn run(seed: u64, what: &What) -> Result<Outcome, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    // A run whose time stands still must end, too.
    let mut command = Command::new("prlimit");
    command.arg(format!("--cpu={CPU_SECONDS_MAX}")).arg(program);
    command.args(["run", &seed.to_string(), "--json"]);
    command.args(what.arguments()).stderr(Stdio::piped());
    let output = command.output().map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        format!("{}: {}", output.status, last.join(" | "))
    })
}

/// Runs a seed twice and compares.
pub(crate) fn twice(seed: u64, what: &What) -> bool {
    let runs = [(); 2].map(|()| run(seed, what));
    let runs = runs.map(|run| run.map(|outcome| (outcome.trace, outcome.violations)));
    match &runs {
        [Ok((first, wrong)), Ok((second, _))] if first == second => {
            println!("seed {seed}: twice the trace {first} {wrong:?}");
            wrong.is_empty()
        }
        _ => {
            println!("seed {seed}: not the same twice: {runs:?}");
            false
        }
    }
}

/// What many runs come to.
#[derive(Default, Serialize)]
struct Sum {
    commit: String,
    range: String,
    length: u64,
    runs: u64,
    failed: Vec<u64>,
    rejected: u64,
    /// Seeds of those in which hardly anything was done.
    #[serde(skip)]
    idle: Vec<u64>,
    simulated: f64,
    cpu: f64,
    operations: BTreeMap<String, u64>,
    faults: BTreeMap<FaultKind, u64>,
    elections: u64,
    restarts: u64,
    /// Replicas that were read on disks when their data nodes started again.
    audited: u64,
    /// Disks that were replaced because they were rotten.
    replaced: u64,
    /// Errors that were logged.
    errors: u64,
    /// The most seconds until all was well when everything was healed.
    settled_max: f64,
    /// Members of stripes made from others, by data nodes; workers whose clients did so; rewrites.
    rebuilt: u64,
    decoded: u64,
    rewritten: u64,
    matrix: Matrix,
}

/// Runs many seeds and sums up.
pub(crate) fn seeds(range: &str, what: &What, jobs: usize, record: Option<&Path>) -> bool {
    let ends = range.split_once("..");
    let ends = ends.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<u64>().ok()?)));
    let Some((from, to)) = ends else {
        eprintln!("error: `{range}` is not FROM..TO");
        return false;
    };
    let sum = Sum {
        commit: commit(),
        range: range.to_owned(),
        length: what.length,
        ..Sum::default()
    };
    let runs = (from..to).map(|seed| (seed, what.clone())).collect();
    let sum = sum.of(runs, jobs);
    sum.show();
    let unknown = sum.operations.get("unknown").copied().unwrap_or(0);
    let audits = sum.audited > 0 && unknown > 0 || sum.runs < RUNS_MIN;
    let says_little = sum.rejected * 5 > sum.runs || !audits;
    if says_little {
        eprintln!("error: too many runs were rejected, or none lost an answer or read a disk");
    }
    if let Some(file) = record
        && let Err(error) = sum.record(file)
    {
        eprintln!("error: cannot write {}: {error}", file.display());
        return false;
    }
    sum.failed.is_empty() && !says_little
}

/// Seeds that found something once, with their arguments.
const CORPUS: &str = include_str!("../corpus/seeds.txt");

/// Runs the seeds that are kept.
pub(crate) fn corpus(jobs: usize) -> bool {
    let lines = CORPUS
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let lines = lines.filter(|line| !line.trim().is_empty());
    let mut runs = Vec::new();
    for line in lines {
        let words = ["sim", "run"].into_iter().chain(line.split_whitespace());
        match Arguments::try_parse_from(words) {
            Ok(Arguments {
                command: super::Command::Run { seed, what, .. },
            }) => runs.push((seed, what)),
            _ => {
                eprintln!("error: no seed and arguments: `{line}`");
                return false;
            }
        }
    }
    let sum = Sum::default().of(runs, jobs);
    sum.show();
    // Few faults are what some of them are kept for, but operations there must be.
    if !sum.idle.is_empty() {
        eprintln!("error: hardly anything was done: {:?}", sum.idle);
    }
    sum.failed.is_empty() && sum.idle.is_empty()
}

impl Sum {
    /// Runs all of these, some at a time.
    fn of(self, runs: Vec<(u64, What)>, jobs: usize) -> Sum {
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(self);
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    while let Some((seed, what)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcome = run(*seed, what);
                        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                        sum.add(*seed, what, outcome);
                    }
                });
            }
        });
        sum.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self, seed: u64, what: &What, outcome: Result<Outcome, String>) {
        self.runs += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                println!("seed {seed}: died: {error}");
                println!("  again: sim run {seed} {}", what.arguments().join(" "));
                self.failed.push(seed);
                return;
            }
        };
        let little = idles(&outcome);
        self.idle.extend(little.is_some().then_some(seed));
        if !outcome.violations.is_empty() {
            super::show(&outcome, what);
            self.failed.push(seed);
        } else if let Some(why) = little.or_else(|| misses(&outcome)) {
            println!("seed {seed}: rejected: {why}");
            self.rejected += 1;
            return;
        }
        self.simulated += outcome.simulated;
        self.cpu += outcome.cpu;
        self.elections += outcome.elections;
        self.matrix.merge(&outcome.matrix);
        self.restarts += outcome.restarts;
        self.audited += outcome.audited;
        self.rebuilt += outcome.rebuilt;
        self.decoded += outcome.decoded;
        self.rewritten += outcome.rewritten;
        self.replaced += outcome.refusals.len() as u64;
        self.errors += outcome.errors;
        self.settled_max = self.settled_max.max(outcome.settled);
        for (name, count) in outcome.operations {
            *self.operations.entry(name).or_default() += count;
        }
        for (kind, count) in outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    fn show(&self) {
        let (hours, speed) = (self.simulated / 3600.0, self.simulated / self.cpu);
        println!(
            "{} seeds: {} failed {:?}, {} rejected (too little happened)",
            self.runs,
            self.failed.len(),
            self.failed,
            self.rejected
        );
        println!("{hours:.2} simulated hours, {speed:.0} simulated seconds a CPU-second");
        println!("operations: {:?}", self.operations);
        println!("faults: {:?}", self.faults);
        println!(
            "elections: {}, restarts: {}, replicas read on disks then: {}, disks replaced: {}",
            self.elections, self.restarts, self.audited, self.replaced
        );
        println!(
            "all well after {:.0} s at most, {} errors logged",
            self.settled_max, self.errors
        );
        println!(
            "members made from others: {}, workers that read so: {}, rewrites: {}",
            self.rebuilt, self.decoded, self.rewritten
        );
        println!("{}", self.matrix);
    }

    #[allow(clippy::disallowed_methods, reason = "a program that writes a file")]
    fn record(&self, file: &Path) -> std::io::Result<()> {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(file)?;
        writeln!(file, "{}", serde_json::to_string(self)?)
    }
}

/// What was hardly done in a run, which then says nothing.
pub(crate) fn idles(outcome: &Outcome) -> Option<String> {
    let done = outcome.operations.get("ok").copied().unwrap_or(0);
    if done < OPERATIONS_MIN {
        return Some(format!("only {done} operations succeeded"));
    }
    let of_workload = |name: &String| outcome.done.get(name).copied().unwrap_or(0);
    let mut workloads = outcome.workloads.iter();
    let idle = workloads.find(|name| of_workload(name) < OPERATIONS_OF_WORKLOAD_MIN)?;
    let done = of_workload(idle);
    Some(format!("only {done} operations of {idle} succeeded"))
}

/// What did not happen though it is in the schedule of every seed: then it says too little.
pub(crate) fn misses(outcome: &Outcome) -> Option<String> {
    let missed = match (outcome.leaders_killed, outcome.quorum_cuts) {
        (0, _) => "no leader was killed",
        (_, 0) => "no leader was cut off from a majority",
        _ => return None,
    };
    Some(missed.to_owned())
}

/// The promises that violations break: what they begin with.
fn promises(violations: &[String]) -> BTreeSet<&str> {
    let words = violations.iter().map(|violation| violation.split(':'));
    words.filter_map(|mut words| words.next()).collect()
}

/// Leaves faults out as long as the seed breaks a promise without them that it broke with them.
pub(crate) fn minimise(seed: u64, what: &What) -> bool {
    let violations = |what: &What| match run(seed, what) {
        Ok(outcome) => outcome.violations,
        Err(error) => vec![error],
    };
    let first = violations(what);
    if first.is_empty() {
        println!("seed {seed} does not fail");
        return false;
    }
    println!("seed {seed} fails: {first:?}");
    let first = promises(&first);
    let fails = |what: &What| {
        let violations = violations(what);
        let same = !promises(&violations).is_disjoint(&first);
        same.then_some(violations)
    };
    let mut best = what.clone();
    let all = dfs_tests::sim::run::schedule(&what.settings(seed)).faults;
    let mut left: Vec<u32> = all.iter().map(|fault| fault.id).collect();
    let mut piece = left.len().div_ceil(2);
    while piece > 0 {
        let mut needed = Vec::new();
        let mut untried = std::mem::take(&mut left);
        while !untried.is_empty() {
            let rest = untried.split_off(piece.min(untried.len()));
            let some = std::mem::replace(&mut untried, rest);
            let mut fewer = best.clone();
            fewer.without.extend(&some);
            match fails(&fewer) {
                Some(violations) => {
                    best = fewer;
                    let count = needed.len() + untried.len();
                    println!("{count} faults left: {violations:?}");
                }
                None => needed.extend(some),
            }
        }
        left = needed;
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    for fault in all.iter().filter(|fault| left.contains(&fault.id)) {
        println!("{fault:?}");
    }
    println!("again: sim run {seed} {}", best.arguments().join(" "));
    true
}
