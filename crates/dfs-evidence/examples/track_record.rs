//! Adds up what was recorded: `cargo run --release -p dfs-evidence --example track_record FILES`,
//! of `docs/track-record` if no files are named. What `just soak` and `just soak-sim` write.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::collections::BTreeMap;

use dfs_evidence::report::{Matrix, quantile};
use serde::Deserialize;

/// A line, of either instrument.
#[derive(Deserialize)]
struct Record {
    commit: String,
    /// Of real processes.
    #[serde(default)]
    seeds: Vec<u64>,
    #[serde(default)]
    minutes: f64,
    #[serde(default)]
    stalls_ms: Vec<u64>,
    #[serde(default)]
    waits_ms: Vec<u64>,
    /// Of the simulation.
    #[serde(default)]
    runs: u64,
    #[serde(default)]
    simulated: f64,
    #[serde(default)]
    cpu: f64,
    /// Of both.
    failed: Vec<u64>,
    operations: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    #[serde(default)]
    matrix: Matrix,
}

fn main() -> Result<(), String> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        let of = |name| format!("docs/track-record/{name}.jsonl");
        files = ["simulation", "processes"].map(of).into();
    }
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        let line = |line| serde_json::from_str(line).map_err(|e| format!("{file}: {e}"));
        let records: Vec<Record> = text.lines().map(line).collect::<Result<_, _>>()?;
        println!("{file}");
        for (commit, records) in by_commit(&records) {
            println!("  {commit}: {}", Sum::of(records));
        }
        let sum = Sum::of(records.iter());
        println!("  in all: {sum}\n\n{}", sum.matrix);
    }
    Ok(())
}

/// In the order in which they came.
fn by_commit(records: &[Record]) -> Vec<(&str, impl Iterator<Item = &Record>)> {
    let mut commits: Vec<&str> = Vec::new();
    for record in records {
        if !commits.contains(&record.commit.as_str()) {
            commits.push(&record.commit);
        }
    }
    let of = |commit| records.iter().filter(move |record| record.commit == commit);
    commits
        .into_iter()
        .map(|commit| (commit, of(commit)))
        .collect()
}

#[derive(Default)]
struct Sum {
    runs: u64,
    failed: Vec<u64>,
    seconds: f64,
    cpu: f64,
    stalls: Vec<u64>,
    waits: Vec<u64>,
    done: u64,
    faults: u64,
    matrix: Matrix,
}

impl Sum {
    fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Sum {
        let mut sum = Sum::default();
        for record in records {
            sum.runs += record.runs + record.seeds.len() as u64;
            sum.failed.extend(&record.failed);
            sum.seconds += record.simulated + 60.0 * record.minutes;
            sum.cpu += record.cpu;
            sum.stalls.extend(&record.stalls_ms);
            sum.waits.extend(&record.waits_ms);
            sum.done += record.operations.get("ok").copied().unwrap_or(0);
            sum.faults += record.faults.values().sum::<u64>();
            sum.matrix.merge(&record.matrix);
        }
        sum
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sum {
            runs, done, faults, ..
        } = self;
        let minutes = self.seconds / 60.0;
        write!(f, "{runs} runs, {minutes:.1} minutes, {faults} faults, ")?;
        write!(f, "{done} operations done, failed {:?}", self.failed)?;
        if self.cpu > 0.0 {
            let speed = self.seconds / self.cpu;
            write!(f, "; {speed:.1} simulated seconds a CPU-second")?;
        }
        for (name, times) in [("stalls", &self.stalls), ("longest waits", &self.waits)] {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            for (percent, what) in [(50, "median"), (99, "p99"), (100, "most")] {
                if let Some(ms) = quantile(&sorted, percent) {
                    write!(f, "; {name}: {what} {ms} ms of {}", sorted.len())?;
                }
            }
        }
        Ok(())
    }
}
