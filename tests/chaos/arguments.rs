//! The arguments of a soak.

use std::path::PathBuf;

use clap::Parser;
use dfs_evidence::faults::FaultKind;
use dfs_evidence::{processes, workloads};

/// Attacks a cluster of real processes.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// A filter, as the test runner gives it.
    filter: Option<String>,
    /// Run after run for so long, each with the next seed.
    #[arg(long)]
    pub(crate) minutes: Option<u64>,
    /// How long faults go on in one run.
    #[arg(long, default_value_t = 60, overrides_with = "seconds")]
    pub(crate) seconds: u64,
    /// Decides on everything but the moment things happen. CI takes it from the commit.
    #[arg(
        long,
        default_value_t = 2,
        env = "DFS_CHAOS_SEED",
        overrides_with = "seed"
    )]
    pub(crate) seed: u64,
    /// Kinds of faults. If none are named all in a soak and with odd seeds; else those that are
    /// healed soon.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<FaultKind>,
    /// Numbers of the only faults of the schedule to carry out.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<u32>,
    /// Workloads; all, if none are named.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Client processes.
    #[arg(long, default_value_t = 3)]
    pub(crate) clients: usize,
    /// Workers of each workload in each of them.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u64,
    /// Adds what the runs come to to this file, a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Fails where nothing can be run, instead of passing.
    #[arg(long, env = "DFS_CHAOS_REQUIRED", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) required: bool,
    /// Fails if it takes longer.
    #[arg(long, env = "DFS_CHAOS_SECONDS_MAX", allow_negative_numbers = true)]
    pub(crate) seconds_max: Option<i64>,
    /// For disks, logs and histories.
    #[arg(long, hide = true)]
    pub(crate) directory: Option<PathBuf>,
}

/// What every second short run is made of: everything but what takes long to heal.
const SHORT: [FaultKind; 12] = [
    FaultKind::KillLeader,
    FaultKind::KillSome,
    FaultKind::KillAll,
    FaultKind::PowerOne,
    FaultKind::PowerAll,
    FaultKind::PauseLeader,
    FaultKind::PauseNode,
    FaultKind::IsolateLeader,
    FaultKind::Halves,
    FaultKind::OneWay,
    FaultKind::DiskFull,
    FaultKind::ClientCrash,
];

impl Arguments {
    pub(crate) fn kinds(&self) -> Vec<FaultKind> {
        let is_short = self.minutes.is_none() && self.seed.is_multiple_of(2);
        match (self.faults.is_empty(), is_short) {
            (false, _) => self.faults.clone(),
            (true, true) => SHORT.to_vec(),
            (true, false) => processes::kinds(),
        }
    }

    pub(crate) fn workloads(&self) -> Vec<String> {
        match self.workloads.is_empty() {
            false => self.workloads.clone(),
            true => workloads::all()
                .iter()
                .map(|w| w.name().to_owned())
                .collect(),
        }
    }

    /// The command of the same run.
    pub(crate) fn again(&self) -> String {
        let names = |kinds: Vec<FaultKind>| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            names.join(",")
        };
        format!(
            "cargo test -p dfs-tests --test chaos -- --seed {} --seconds {} --faults {} \
             --workloads {} --clients {} --workers {}",
            self.seed,
            self.seconds,
            names(self.kinds()),
            self.workloads().join(","),
            self.clients,
            self.workers
        )
    }
}
