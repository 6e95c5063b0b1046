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
    /// Decides on everything but the moment things happen.
    #[arg(long, default_value_t = 2, overrides_with = "seed")]
    pub(crate) seed: u64,
    /// Kinds of faults; all, if none are named.
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
    /// For disks, logs and histories.
    #[arg(long, hide = true)]
    pub(crate) directory: Option<PathBuf>,
}

/// What a short run is made of: everything but what takes long to heal.
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
        match (self.faults.is_empty(), self.minutes) {
            (false, _) => self.faults.clone(),
            (true, None) => SHORT.to_vec(),
            (true, Some(_)) => processes::kinds(),
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
