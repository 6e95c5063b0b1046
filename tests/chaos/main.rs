//! Real processes under attack: kills, pauses, partitions, power cuts, full and rotten disks.
//!
//! Without arguments it is a test: one short run, for CI. With `--minutes` it is a soak: run after
//! run, each with another seed, until one fails.
//!
//! ```console
//! $ cargo test -p dfs-tests --test chaos -- --minutes 120
//! $ cargo test -p dfs-tests --test chaos -- --seed 7 --seconds 60 --faults kill-leader,halves
//! ```

mod arguments;
mod tell;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arguments::Arguments;
use clap::Parser;
use dfs_evidence::processes::{Config, Outcome, clients, run, schedule, world};
use tell::tell;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.first().and_then(|first| first.to_str()) {
        Some(clients::CLIENT) => be_a_client(&arguments),
        _ if is_for_others(&arguments) => Ok(true),
        _ if world::is_inside() => inside(Arguments::parse()),
        _ => outside(&Arguments::parse(), arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether these are a filter for other tests, or a question of the test runner.
fn is_for_others(arguments: &[OsString]) -> bool {
    let first = arguments.first().and_then(|first| first.to_str());
    first.is_some_and(|first| {
        let is_filter = !first.starts_with('-') && !"chaos".contains(first);
        is_filter || ["--list", "--exact", "--nocapture", "--ignored"].contains(&first)
    })
}

fn be_a_client(arguments: &[OsString]) -> Result<bool> {
    let task = arguments.get(1).and_then(|task| task.to_str());
    runtime()?.block_on(clients::client_main(task.unwrap_or_default()))?;
    Ok(true)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

/// Enters a world, if this may be done here, once for each run.
fn outside(arguments: &Arguments, given: Vec<OsString>) -> Result<bool> {
    if !world::is_root() {
        tell("skipped: chaos needs root, for namespaces and mounts");
        return Ok(std::env::var_os("CI").is_none());
    }
    let start = Instant::now();
    let mut seed = arguments.seed;
    loop {
        let directory = tempfile::Builder::new().prefix("dfs-chaos-").tempdir()?;
        let mut given = given.clone();
        given.extend(["--seed".into(), seed.to_string().into()]);
        given.extend(["--directory".into(), directory.path().into()]);
        if !world::enter(&given)?.success() {
            let kept = directory.keep();
            tell(&format!("logs and histories: {}", kept.display()));
            return Ok(false);
        }
        seed += 1;
        let minutes = arguments.minutes.unwrap_or(0);
        if start.elapsed() >= Duration::from_secs(60 * minutes) {
            return Ok(true);
        }
    }
}

/// One run.
fn inside(arguments: Arguments) -> Result<bool> {
    let length = Duration::from_secs(arguments.seconds);
    let seed = arguments.seed;
    let schedule = match arguments.only.is_empty() {
        true => schedule(seed, &arguments.kinds(), length),
        false => schedule(seed, &arguments.kinds(), length).only(&arguments.only),
    };
    let directory = arguments.directory.clone().ok_or("no directory")?;
    tell(&format!(
        "run of seed {seed}, {length:?}; again: {}",
        arguments.again()
    ));
    let config = Config {
        seed,
        program: program()?,
        directory: directory.clone(),
        schedule,
        length,
        masters: 3,
        data_nodes: 4,
        clients: arguments.clients,
        workers: arguments.workers,
        workloads: arguments.workloads(),
        tell: Arc::new(|line| tell(&line)),
    };
    let outcome = runtime()?.block_on(run(&config))?;
    Ok(judge(&outcome))
}

/// Tells what came out, and whether it is good.
fn judge(outcome: &Outcome) -> bool {
    let counts = outcome.counts();
    let latencies = outcome.latencies();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    let (stall, when) = outcome.longest_stall();
    tell(&format!(
        "{} operations done, {} refused, {} unknown, in {:?}",
        counts.ok,
        counts.fail,
        counts.info,
        outcome.length()
    ));
    tell(&format!("latency: median {:?}, p99 {:?}", at(50), at(99)));
    let when = Duration::from_nanos(when);
    tell(&format!(
        "longest stall with a quorum: {stall:?}, from {when:?}"
    ));
    for kind in outcome.kinds() {
        let stalls = outcome.stalls(kind);
        if !stalls.is_empty() {
            tell(&format!(
                "stalls when {kind} fell on the leader: {stalls:?}"
            ));
        }
    }
    tell(&format!(
        "well again {:?} after the last was healed",
        outcome.settled_after
    ));
    let rejected = outcome.rejected();
    for why in &rejected {
        tell(&format!("REJECTED: {why}"));
    }
    for violation in &outcome.violations {
        tell(&format!("VIOLATION: {violation}"));
    }
    rejected.is_empty() && outcome.violations.is_empty()
}

/// The daemon: beside this program, where `cargo` puts it.
fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("DFS_NODE") {
        return Ok(program.into());
    }
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent);
    let program = built
        .map(|built| built.join("dfs-node"))
        .filter(|p| p.exists());
    program.ok_or_else(|| "build the daemon first: `cargo build -p dfs-node`".into())
}
