//! `dfs chaos`: attacks a cluster of its own on this machine, and reports.
//!
//! The command runs itself again inside namespaces of its own ([`world::enter`]), founds a cluster
//! of real processes there, attacks it, judges what clients saw, and leaves nothing behind but the
//! report.

mod faults;
mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use dfs_core::env::Env;
use dfs_evidence::faults::FaultKind;
use dfs_evidence::processes::{Config, Outcome, clients, run as attack, schedule, world};
use dfs_evidence::workloads;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::{Doing, Exit, Failure, Result};
use faults::Choice;

const EXAMPLES: &str = "\
Examples:
  sudo dfs chaos                                  two minutes of everything
  sudo dfs chaos --minutes 10 --faults kill,partition,disk
  sudo dfs chaos --seed 7 --faults pause-leader --report leader.html

It needs root, for namespaces and file systems of its own, and some tools; it names those that are
missing. Nothing outside of it is touched. Kinds of faults:
  kill        kill-leader kill-some kill-all client-crash
  pause       pause-leader pause-node
  power       power-one power-all
  partition   isolate-leader halves one-way bridge ring
  network     delay loss duplicate reorder
  disk        slow-disk failed-sync disk-full inodes-full bit-rot
  clock       clock-jump
  limits      memory-limit handle-limit
  members     membership snapshot-install wipe return-of-dead drain rolling-restart

Exit status: 0 no promise was broken, 4 one was, 1 the run proves nothing (too little happened),
3 it could not be carried out. Unless it is 0, logs, histories and disks are kept.";

/// Attack a cluster on this machine and report what it withstood.
///
/// Founds a cluster of three masters and six data nodes, real processes in networks and on file
/// systems of their own, lets clients work, makes faults at random, heals everything, and judges
/// every answer that clients got.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChaosArgs {
    /// How long faults go on.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    minutes: u64,

    /// Kinds of faults, or groups of them; all, unless named.
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    faults: Vec<Choice>,

    /// What decides on everything but the moment things happen; chosen and shown, unless given.
    #[arg(long)]
    seed: Option<u64>,

    /// What clients do; everything, unless named: registers, names, set, bank, contents, coded,
    /// trash, rights, quota, snapshots.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    workloads: Vec<String>,

    /// Where the page goes [default: `dfs-chaos-SEED.html`].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Keeps logs and histories in this directory, which is made and must not be there yet.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// The daemon [default: `dfs-node` beside this program].
    #[arg(long, value_name = "FILE")]
    node_program: Option<PathBuf>,
}

/// The argument after which this program is a client of a run.
pub(crate) const CLIENT: &str = clients::CLIENT;

/// Is a client of a run, until it is told to stop.
///
/// # Errors
/// The task makes no sense, or its history cannot be written.
pub(crate) async fn be_a_client(task: &str) -> std::io::Result<()> {
    clients::client_main(task).await
}

/// Runs it.
pub(crate) async fn run(args: ChaosArgs, context: &Context) -> Result<()> {
    for name in &args.workloads {
        if workloads::named(name).is_none() {
            let failure = Failure::usage(format!("no workload is called `{name}`"));
            return Err(failure.hint("see `dfs chaos --help`"));
        }
    }
    match world::is_inside() {
        true => inside(args, context).await,
        false => outside(args, context).await,
    }
}

/// Enters a world, with everything decided that the run inside must not decide anew.
async fn outside(args: ChaosArgs, context: &Context) -> Result<()> {
    if let Some(why) = world::forbidden() {
        let failure = Failure::refused(format!("no cluster can be attacked here: {why}"));
        return Err(failure.hint("try `sudo dfs chaos`; nothing outside of the run is touched"));
    }
    let missing = world::missing_packages();
    if !missing.is_empty() {
        let failure = Failure::refused("tools are missing");
        return Err(failure.hint(format!("on Debian: apt-get install {}", missing.join(" "))));
    }
    let program = program(args.node_program.as_deref())?;
    let seed = args
        .seed
        .unwrap_or_else(|| Env::real().random.below(1 << 32));
    let report = args
        .report
        .unwrap_or_else(|| format!("dfs-chaos-{seed}.html").into());
    let keep = args.keep.clone();
    let temporary = std::env::temp_dir().join(format!("dfs-chaos-{}", std::process::id()));
    let directory = keep.clone().unwrap_or(temporary);
    // Nothing of another run may be in it.
    tokio::fs::create_dir(&directory)
        .await
        .doing("make", directory.display())?;
    let kinds: Vec<&str> = kinds(&args.faults).iter().map(|kind| kind.name()).collect();
    let mut given: Vec<OsString> = vec!["chaos".into(), "--minutes".into()];
    given.push(args.minutes.to_string().into());
    given.extend(["--seed".into(), seed.to_string().into()]);
    given.extend(["--faults".into(), kinds.join(",").into()]);
    if !args.workloads.is_empty() {
        given.extend(["--workloads".into(), args.workloads.join(",").into()]);
    }
    given.extend(["--report".into(), report.clone().into_os_string()]);
    given.extend(["--keep".into(), directory.clone().into_os_string()]);
    given.extend(["--node-program".into(), program.into_os_string()]);
    context.output.note(format!("seed {seed}"));
    let entered = Env::real().run_blocking(move || world::enter(&given)).await;
    let status = entered.doing("attack", "a cluster")?;
    if !status.success() {
        let kept = directory.display();
        context
            .output
            .note(format!("logs, histories and disks: {kept}"));
    } else if keep.is_none() {
        let removed = tokio::fs::remove_dir_all(&directory).await;
        removed.doing("remove", directory.display())?;
    }
    let Some(code) = status.code() else {
        return Err(Failure::interrupted());
    };
    let known = [Exit::Refused, Exit::Integrity];
    let exit = known.into_iter().find(|exit| *exit as i32 == code);
    match code {
        0 => Ok(()),
        _ => Err(Failure::Told(exit.unwrap_or(Exit::Unavailable))),
    }
}

/// One run, inside a world.
async fn inside(args: ChaosArgs, context: &Context) -> Result<()> {
    let (Some(seed), Some(report), Some(directory), Some(program)) =
        (args.seed, args.report, args.keep, args.node_program)
    else {
        return Err(Failure::usage("only `dfs chaos` enters a world"));
    };
    let length = Duration::from_secs(60 * args.minutes);
    let kinds = kinds(&args.faults);
    let workloads = match args.workloads.is_empty() {
        true => workloads::all()
            .iter()
            .map(|w| w.name().to_owned())
            .collect(),
        false => args.workloads.clone(),
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    let config = Config {
        seed,
        commit: env!("CARGO_PKG_VERSION").to_owned(),
        program,
        directory,
        schedule: schedule(seed, &kinds, length),
        length,
        masters: 3,
        data_nodes: 6,
        clients: 3,
        workers: 1,
        workloads: workloads.clone(),
        // Nobody listens any more once the run is over.
        tell: Arc::new(move |line| drop(tell.send(line))),
    };
    let mut attack = Box::pin(attack(&config));
    let outcome = loop {
        tokio::select! {
            Some(line) = told.recv() => context.output.note(line),
            outcome = &mut attack => break outcome.map_err(not_carried_out)?,
        }
    };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let again = format!(
        "dfs chaos --minutes {} --seed {seed} --faults {} --workloads {}",
        args.minutes,
        names.join(","),
        workloads.join(",")
    );
    let report_of = report::Report {
        outcome: &outcome,
        again,
    };
    tokio::fs::write(&report, report_of.page())
        .await
        .doing("write", report.display())?;
    context.output.lines(report_of.lines())?;
    context
        .output
        .line(format!("report: {}", report.display()))?;
    context.output.flush()?;
    verdict(&outcome)
}

/// There was nothing to judge.
fn not_carried_out(error: std::io::Error) -> Failure {
    Failure::unavailable(format!("the attack could not be carried out: {error}"))
}

fn verdict(outcome: &Outcome) -> Result<()> {
    if !outcome.violations.is_empty() {
        return Err(Failure::Told(Exit::Integrity));
    }
    match outcome.rejected().is_empty() {
        true => Ok(()),
        false => Err(Failure::Told(Exit::Refused)),
    }
}

fn kinds(chosen: &[Choice]) -> Vec<FaultKind> {
    if chosen.is_empty() {
        return dfs_evidence::processes::kinds();
    }
    let all = FaultKind::ALL.into_iter();
    all.filter(|kind| chosen.iter().any(|choice| choice.kinds().contains(kind)))
        .collect()
}

/// The daemon to attack.
fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe().doing("find", "this program")?;
    let beside = own.with_file_name("dfs-node");
    match beside.exists() {
        true => Ok(beside),
        false => {
            let failure = Failure::refused(format!("{} is not there", beside.display()));
            Err(failure.hint("build it with `cargo build --release`, or pass `--node-program`"))
        }
    }
}
