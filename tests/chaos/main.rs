//! Real processes under attack: kills, pauses, partitions, power cuts, full and rotten disks.
//!
//! Without arguments it is a test: one short run, for CI. With `--minutes` it is a soak: run after
//! run, each with another seed, until one fails.
//!
//! Where no world may be made, for want of root or in some containers, nothing is run: the test
//! says "skipped" and passes. With `DFS_CHAOS_REQUIRED=1`, as in CI, that fails.
//!
//! ```console
//! $ cargo test -p dfs-tests --test chaos -- --minutes 120
//! $ cargo test -p dfs-tests --test chaos -- --seed 7 --seconds 60 --faults kill-leader,halves
//! ```

mod arguments;
mod summary;
mod tell;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arguments::Arguments;
use clap::Parser;
use dfs_evidence::processes::{Config, Outcome, clients, run, schedule, world};
use dfs_evidence::report::quantile;
use dfs_tests::commit;
use summary::{Stalls, Summary, Verdict};
use tell::tell;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// In a soak of this length there must be enough stalls to be judged.
const LONG: Duration = Duration::from_secs(60 * 60);
/// How a run ends that proves nothing.
const REJECTED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.first().and_then(|first| first.to_str()) {
        Some(clients::CLIENT) => be_a_client(&arguments),
        Some("--list") => Ok(ExitCode::SUCCESS),
        _ if is_for_others(&arguments) => {
            tell("skipped: these arguments are for other tests");
            Ok(ExitCode::SUCCESS)
        }
        _ if world::is_inside() => inside(&Arguments::parse()),
        _ => outside(&Arguments::parse(), &arguments),
    };
    done.unwrap_or_else(|error| {
        tell(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

/// Whether these are a filter for other tests, or options of their runner.
fn is_for_others(arguments: &[OsString]) -> bool {
    let first = arguments.first().and_then(|first| first.to_str());
    first.is_some_and(|first| {
        let is_filter = !first.starts_with('-') && !"chaos".contains(first);
        is_filter || ["--exact", "--nocapture", "--ignored"].contains(&first)
    })
}

fn be_a_client(arguments: &[OsString]) -> Result<ExitCode> {
    let task = arguments.get(1).and_then(|task| task.to_str());
    runtime()?.block_on(clients::client_main(task.unwrap_or_default()))?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

/// Enters a world, if this may be done here, once for each run.
fn outside(arguments: &Arguments, given: &[OsString]) -> Result<ExitCode> {
    if let Some(why) = world::forbidden() {
        return Ok(skip(arguments, why));
    }
    let start = tokio::time::Instant::now();
    let minutes = Duration::from_secs(60 * arguments.minutes.unwrap_or(0));
    let mut total = Summary::from(commit(), build(&program()?));
    let mut good = true;
    for seed in arguments.seed.. {
        let directory = tempfile::Builder::new().prefix("dfs-chaos-").tempdir()?;
        let mut given = given.to_vec();
        given.extend(["--seed".into(), seed.to_string().into()]);
        given.extend(["--directory".into(), directory.path().into()]);
        let ended = world::enter(&given)?;
        let summary = Summary::read(directory.path());
        total.add(summary.unwrap_or_else(|_| Summary::died(seed, ended)));
        let goes_on = arguments.minutes.is_some() && ended.code() == Some(REJECTED.into());
        if !ended.success() && !goes_on {
            let kept = directory.keep();
            tell(&format!("logs, histories and disks: {}", kept.display()));
            good = false;
            break;
        }
        if start.elapsed() >= minutes {
            break;
        }
    }
    tell(&format!("in all: {total}"));
    if arguments.minutes.is_some() {
        tell(&total.matrix.to_string());
        good &= judge_stalls(&total, minutes);
        if total.runs() == 0 {
            tell("no run proves anything");
            good = false;
        }
    }
    if let Some(file) = &arguments.record {
        total.append(file)?;
    }
    good &= judge_time(start.elapsed(), arguments.seconds_max);
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Tells how long it took, and whether it may take so long.
fn judge_time(took: Duration, most: Option<i64>) -> bool {
    let took = took.as_secs();
    let Some(most) = most else {
        tell(&format!("took {took} s"));
        return true;
    };
    let good = i64::try_from(took).is_ok_and(|took| took <= most);
    let verdict = if good { "good" } else { "TOO LONG" };
    tell(&format!(
        "took {took} s of the {most} s that were left: {verdict}"
    ));
    good
}

/// Nothing is run: good only where nobody counts on it.
fn skip(arguments: &Arguments, why: &str) -> ExitCode {
    match arguments.required {
        true => {
            tell(&format!("FAILED: a run is required, and {why}"));
            ExitCode::FAILURE
        }
        false => {
            tell(&format!("skipped: {why}"));
            ExitCode::SUCCESS
        }
    }
}

/// Tells whether killed leaders stalled clients for too long in a soak. A single run has too few
/// of them, and a daemon that was built for debugging is too slow, to be judged so.
fn judge_stalls(total: &Summary, length: Duration) -> bool {
    let (least, limit) = (Stalls::JUDGED_MIN, Stalls::LIMIT_MS);
    let (verdict, good) = match total.stalls_are_judged() {
        None => (
            "not judged: this daemon is built for debugging".to_owned(),
            true,
        ),
        Some(Verdict::TooFew) => {
            let is_short = length < LONG;
            (format!("not judged: fewer than {least}"), is_short)
        }
        Some(Verdict::Good) => (format!("good: p99 is below {limit} ms"), true),
        Some(Verdict::TooLong) => (format!("TOO LONG: p99 must be below {limit} ms"), false),
    };
    tell(&format!("stalls by a killed leader: {verdict}"));
    good
}

/// One run.
fn inside(arguments: &Arguments) -> Result<ExitCode> {
    let length = Duration::from_secs(arguments.seconds);
    let seed = arguments.seed;
    let mut schedule = schedule(seed, &arguments.kinds(), length);
    if !arguments.only.is_empty() {
        schedule = schedule.only(&arguments.only);
    }
    let directory = arguments.directory.clone().ok_or("no directory")?;
    tell(&format!("run of seed {seed}; again: {}", arguments.again()));
    let config = Config {
        seed,
        commit: commit(),
        program: program()?,
        directory: directory.clone(),
        schedule,
        length,
        masters: 3,
        data_nodes: 6,
        clients: arguments.clients,
        workers: arguments.workers,
        workloads: arguments.workloads(),
        tell: Arc::new(|line| tell(&line)),
    };
    let ended = runtime()?.block_on(async {
        tokio::select! {
            outcome = run(&config) => outcome,
            // Process 1 ends by no signal that it does not ask for.
            _ = tokio::signal::ctrl_c() => Err(std::io::Error::other("interrupted")),
        }
    });
    let summary = match &ended {
        Ok(outcome) => Summary::of(outcome),
        Err(error) => Summary::died(seed, error),
    };
    summary.write(&directory)?;
    Ok(judge(&ended?))
}

/// Tells what came out, and whether it is good.
fn judge(outcome: &Outcome) -> ExitCode {
    tell(&Summary::of(outcome).to_string());
    tell(&outcome.matrix().to_string());
    let latencies = outcome.latencies();
    let at = |percent| quantile(&latencies, percent);
    let (median, slow) = (at(50).unwrap_or_default(), at(99).unwrap_or_default());
    tell(&format!("latency: median {median:.1?}, p99 {slow:.1?}"));
    let (stall, when) = outcome.longest_stall();
    let when = Duration::from_nanos(when);
    tell(&format!(
        "longest stall with a quorum: {stall:.1?}, from {when:.1?}"
    ));
    let settled = outcome.settled_after;
    tell(&format!("all well {settled:.1?} after all was healed"));
    let rejected = outcome.rejected();
    for why in &rejected {
        tell(&format!("REJECTED: {why}"));
    }
    for violation in &outcome.violations {
        tell(&format!("VIOLATION: {violation}"));
    }
    match (outcome.violations.is_empty(), rejected.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(REJECTED),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// How a daemon was built: `debug` or `release`, as `cargo` calls the directory it is in.
fn build(program: &Path) -> String {
    let directory = program.parent().and_then(Path::file_name);
    directory.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
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
