//! What a sceptic wants to see, measured with real processes on loopback:
//!
//! ```text
//! cargo bench -p dfs-node --bench faults              all faults
//! cargo bench -p dfs-node --bench faults -- --help    the rest
//! ```
//!
//! Three masters and four data nodes run as processes of their own and are killed with SIGKILL or
//! hung with SIGSTOP under load. Everything that was acknowledged is read back and compared. A
//! figure that misses its target, or anything lost, fails the command.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failed step ends the measurement, which is what it prints"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it reads and writes files of its own, and looks into /proc"
)]

#[allow(dead_code, reason = "shared with `tests/processes`")]
#[path = "../../tests/cluster/mod.rs"]
mod cluster;
mod content;
mod figures;
mod leader;
mod memory;
mod nodes;
mod repair;
mod writers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dfs_core::env::{Random, SeededRandom};
use figures::Figure;
use tokio::time::{Instant, sleep};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The leading master is killed again and again while writers create files
    LeaderKilled,
    /// The leading master hangs while writers create files
    LeaderHung,
    /// A data node hangs during a streaming read, and during a streaming write
    NodeHung,
    /// A data node is killed during a streaming read, and during a streaming write
    NodeKilled,
    /// Data nodes are killed for good, and what they held is copied (not among the default modes)
    Repair,
    /// Memory of the masters with a million files (not among the default modes)
    MasterMemory,
    /// Memory of `dfs put` and `dfs get` with a large file (not among the default modes)
    CopyMemory,
}

/// Measures failover, stalls, repair and memory with real processes.
#[derive(Debug, Parser)]
struct Options {
    /// What to do; all faults unless given
    #[arg(value_enum)]
    modes: Vec<Mode>,
    /// Kills of the leader
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Hangs of the leader
    #[arg(long, default_value_t = 5)]
    hangs: u32,
    /// Writers that create files meanwhile, each with a client of its own
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Length of the file that is read or written while a data node fails, in MiB
    #[arg(long, default_value_t = 384)]
    mib: u64,
    /// What is stored for `repair`, in MiB, in three copies
    #[arg(long, default_value_t = 2048)]
    stored: u64,
    /// Files for `master-memory`
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Length of the file for `copy-memory`, in GiB
    #[arg(long, default_value_t = 8)]
    gib: u64,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Where the cluster keeps its files; a temporary directory unless given
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What each measurement is given.
struct Stage<'a> {
    options: &'a Options,
    random: &'a SeededRandom,
    directory: &'a Path,
}

impl Stage<'_> {
    /// A random time between two.
    fn between(&self, min: Duration, max: Duration) -> Duration {
        let span = (max - min).as_micros() as u64;
        min + Duration::from_micros(self.random.below(span))
    }
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| {
        let os = dfs_core::env::Env::real().random;
        os.below(1_000_000)
    });
    eprintln!("seed {seed}");
    let faults = [
        Mode::LeaderKilled,
        Mode::LeaderHung,
        Mode::NodeHung,
        Mode::NodeKilled,
    ];
    let modes = match options.modes.is_empty() {
        true => &faults[..],
        false => &options.modes,
    };
    let mut figures = Vec::new();
    for mode in modes {
        let temporary = match &options.directory {
            Some(directory) => tempfile::tempdir_in(directory)?,
            None => tempfile::tempdir()?,
        };
        let stage = Stage {
            options: &options,
            random: &SeededRandom::new(seed),
            directory: temporary.path(),
        };
        figures.extend(measure(*mode, &stage).await?);
    }
    match options.json {
        true => println!("{}", figures::json(seed, &figures)),
        false => print!("{}", figures::table(&figures)),
    }
    Ok(match figures.iter().all(Figure::is_met) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn measure(mode: Mode, stage: &Stage<'_>) -> Outcome<Vec<Figure>> {
    match mode {
        Mode::LeaderKilled => leader::measure(stage, leader::Fault::Killed).await,
        Mode::LeaderHung => leader::measure(stage, leader::Fault::Hung).await,
        Mode::NodeHung => nodes::measure(stage, nodes::Fault::Hung).await,
        Mode::NodeKilled => nodes::measure(stage, nodes::Fault::Killed).await,
        Mode::Repair => repair::measure(stage).await,
        Mode::MasterMemory => memory::masters(stage).await,
        Mode::CopyMemory => memory::copies(stage).await,
    }
}

/// Polls until something is so, for a minute at most.
async fn until<F>(what: &str, mut is_so: impl FnMut() -> F) -> Outcome<()>
where
    F: Future<Output = Outcome<bool>>,
{
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await? {
        if Instant::now() > deadline {
            return Err(format!("waited a minute in vain: {what}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
