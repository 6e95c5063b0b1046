//! The simulation, one seed a process; see `docs/internals/simulation.md`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the words of a program"
)]
#![recursion_limit = "256"]

mod bugs;
mod many;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dfs_evidence::faults::{FaultKind, Schedule};
use dfs_evidence::history::{self, Header};
use dfs_tests::sim;
use dfs_tests::sim::run::{Outcome, Settings};

/// Runs a whole cluster on one thread, in simulated time, under attack.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed.
    Run {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        what: What,
        /// Writes the history of all operations and faults there.
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
        /// Shows what processes log, for example `dfs_core=debug`.
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
        /// Prints one line of JSON.
        #[arg(long)]
        json: bool,
        /// Runs it in two processes and demands that the same happens.
        #[arg(long)]
        twice: bool,
    },
    /// Runs many seeds, each in a process of its own.
    Seeds {
        /// The seeds: `1..100`.
        range: String,
        #[command(flatten)]
        what: What,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Adds the sum to this file, a line of JSON.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// Runs the seeds that are kept: those that found something once.
    Corpus {
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Finds few faults with which a seed that fails still fails.
    Minimise {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        what: What,
    },
    /// Lists the faults of a seed.
    Schedule {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        what: What,
        /// As a file to keep.
        #[arg(long)]
        json: bool,
    },
    /// Runs seeds with each planted bug until one finds it (feature `planted`).
    Planted {
        /// The bugs; all if none are named.
        bugs: Vec<String>,
        /// Seeds to try for each.
        #[arg(long, default_value_t = 40)]
        seeds: u64,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        #[command(flatten)]
        what: What,
    },
    /// Measures what hosts cost on which nothing happens.
    Idle {
        /// Simulated seconds.
        #[arg(default_value_t = 100)]
        seconds: u64,
    },
}

/// What is run.
#[derive(Args, Clone, Debug)]
struct What {
    /// How long faults go on, in simulated seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    length: u64,
    /// Numbers of faults that are left out.
    #[arg(long, value_delimiter = ',', value_name = "FAULTS")]
    without: Vec<u32>,
    /// Only these kinds of faults.
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    kinds: Vec<FaultKind>,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOADS")]
    workloads: Vec<String>,
    /// A file with the faults, instead of those of the seed; as `sim schedule SEED --json` says
    /// them. What is kept is in `tests/sim/corpus`.
    #[arg(long, value_name = "FILE", value_parser = read_schedule)]
    schedule: Option<Kept>,
    /// A bug to plant (feature `planted`).
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
}

/// A schedule and the name of the file it is in.
#[derive(Clone, Debug)]
struct Kept(String, Schedule);

#[allow(clippy::disallowed_methods, reason = "a program that reads a file")]
fn read_schedule(name: &str) -> Result<Kept, String> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sim/corpus")
        .join(name);
    let path = if kept.exists() {
        kept
    } else {
        PathBuf::from(name)
    };
    let json = std::fs::read(path).map_err(|e| e.to_string())?;
    let schedule = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    Ok(Kept(name.to_owned(), schedule))
}

impl What {
    fn settings(&self, seed: u64) -> Settings {
        Settings {
            seed,
            length: Duration::from_secs(self.length),
            schedule: self.schedule.as_ref().map(|kept| kept.1.clone()),
            without: self.without.clone(),
            kinds: self.kinds.clone(),
            workloads: self.workloads.clone(),
        }
    }

    /// The arguments that say the same.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--length={}", self.length)];
        if !self.without.is_empty() {
            let ids: Vec<String> = self.without.iter().map(u32::to_string).collect();
            arguments.push(format!("--without={}", ids.join(",")));
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
            arguments.push(format!("--kinds={}", kinds.join(",")));
        }
        if !self.workloads.is_empty() {
            arguments.push(format!("--workloads={}", self.workloads.join(",")));
        }
        let schedule = self.schedule.iter();
        arguments.extend(schedule.map(|Kept(name, _)| format!("--schedule={name}")));
        arguments.extend(self.plant.iter().map(|bug| format!("--plant={bug}")));
        arguments
    }
}

fn main() -> ExitCode {
    let good = match Arguments::parse().command {
        Command::Run {
            seed,
            what,
            twice: true,
            ..
        } => many::twice(seed, &what),
        Command::Run {
            seed,
            what,
            history,
            log,
            json,
            ..
        } => run(seed, &what, history, log.as_deref(), json),
        Command::Seeds {
            range,
            what,
            jobs,
            record,
        } => many::seeds(&range, &what, jobs, record.as_deref()),
        Command::Planted {
            bugs,
            seeds,
            jobs,
            what,
        } => bugs::find(&bugs, seeds, jobs, &what),
        Command::Corpus { jobs } => many::corpus(jobs),
        Command::Minimise { seed, what } => many::minimise(seed, &what),
        Command::Schedule { seed, what, json } => {
            let schedule = sim::run::schedule(&what.settings(seed));
            match json {
                true => println!("{}", serde_json::to_string(&schedule).unwrap_or_default()),
                false => schedule
                    .faults
                    .iter()
                    .for_each(|fault| println!("{fault:?}")),
            }
            true
        }
        Command::Idle { seconds } => {
            let before = cpu_seconds();
            let hosts = sim::run::idle(Duration::from_secs(seconds));
            let speed = seconds as f64 / (cpu_seconds() - before);
            println!("{hosts} idle hosts: {speed:.0} simulated seconds a CPU-second");
            true
        }
    };
    match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run(seed: u64, what: &What, history: Option<PathBuf>, log: Option<&str>, json: bool) -> bool {
    sim::listen(log);
    if let Some(bug) = &what.plant
        && let Err(why) = bugs::plant(bug)
    {
        eprintln!("error: {why}");
        return false;
    }
    let (mut outcome, events) = sim::run::run(&what.settings(seed));
    outcome.cpu = cpu_seconds();
    if let Some(path) = history {
        let lines = history::write(&header(seed, what, &outcome), &events);
        #[allow(clippy::disallowed_methods, reason = "a program that writes a file")]
        if let Err(error) = std::fs::write(&path, lines) {
            eprintln!("error: cannot write {}: {error}", path.display());
        }
    }
    match json {
        true => println!("{}", serde_json::to_string(&outcome).unwrap_or_default()),
        false => {
            show(&outcome, what);
            println!("{}", outcome.matrix);
        }
    }
    outcome.violations.is_empty()
}

/// All it takes to make the history again.
fn header(seed: u64, what: &What, outcome: &Outcome) -> Header {
    let configuration = [
        ("instrument", "simulation".to_owned()),
        ("arguments", what.arguments().join(" ")),
        ("workloads", outcome.workloads.join(",")),
        ("trace", outcome.trace.clone()),
    ];
    let configuration = configuration.into_iter();
    Header {
        seed,
        commit: dfs_tests::commit(),
        configuration: configuration
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        versions: [("dfs".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        leaders: outcome.leaders.clone(),
    }
}

fn show(outcome: &Outcome, what: &What) {
    let Outcome {
        seed,
        simulated,
        cpu,
        ..
    } = outcome;
    let speed = simulated / cpu;
    println!("seed {seed}: {simulated:.0} simulated seconds, {cpu:.1} CPU-seconds ({speed:.0}x)");
    println!(
        "  {}: {:?}",
        outcome.workloads.join(", "),
        outcome.operations
    );
    println!("  faults: {:?}", outcome.faults);
    println!(
        "  {} elections, {} restarts, {} errors logged, trace {}",
        outcome.elections, outcome.restarts, outcome.errors, outcome.trace
    );
    for refusal in &outcome.refusals {
        println!("  replaced a disk: {refusal}");
    }
    if let Some(why) = many::idles(outcome).or_else(|| many::misses(outcome)) {
        println!("  says too little: {why}");
    }
    for violation in &outcome.violations {
        println!("  VIOLATION {violation}");
    }
    if !outcome.violations.is_empty() {
        let arguments = what.arguments().join(" ");
        println!("  again: sim run {seed} {arguments}");
        println!("  with fewer faults: sim minimise {seed} {arguments}");
    }
}

/// The time that this process has had a CPU for, in seconds.
#[allow(clippy::disallowed_methods, reason = "the kernel tells it in a file")]
fn cpu_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanos.unwrap_or(f64::NAN) / 1e9
}
