//! What runs add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dfs_evidence::faults::FaultKind;
use dfs_evidence::processes::Outcome;
use dfs_evidence::report::{Coverage, Matrix, quantile};
use serde::{Deserialize, Serialize};

/// Of one run or several. All of it adds up: lists become longer, counts larger.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    commit: String,
    /// Of the daemon: `release`, `debug`.
    build: String,
    seeds: Vec<u64>,
    /// Seeds of runs that broke a promise, or could not be carried out.
    pub(crate) failed: Vec<u64>,
    /// Seeds of runs that proved nothing, and count for nothing else.
    rejected: Vec<u64>,
    /// What was wrong: the seed, then the promise.
    violations: Vec<String>,
    minutes: f64,
    operations: BTreeMap<String, u64>,
    /// How often a fault of each kind was carried out.
    faults: BTreeMap<FaultKind, u64>,
    /// How often it was tried and could not be.
    not_done: BTreeMap<FaultKind, u64>,
    elections: u64,
    leaders_killed: u64,
    quorums_cut: u64,
    /// How long no operation succeeded, whenever the leader was killed and nothing else was wrong.
    pub(crate) stalls_ms: Stalls,
    /// How long the operation took then that took longest of those under way.
    #[serde(default)]
    waits_ms: Stalls,
    /// How long it took until all was well again, once all was healed.
    settled_ms: Vec<u64>,
    pub(crate) matrix: Matrix,
    /// Members of stripes made from others, by data nodes; workers whose clients did so; rewrites.
    #[serde(default)]
    met: BTreeMap<String, u64>,
}

const FILE: &str = "summary.json";

impl Summary {
    pub(crate) fn of(outcome: &Outcome) -> Summary {
        let coverage = Coverage::of(&outcome.history);
        let stalls = outcome.stalls(FaultKind::KillLeader);
        let waits = outcome.waits(FaultKind::KillLeader);
        let (mut faults, mut not_done) = (BTreeMap::new(), BTreeMap::new());
        for deed in &outcome.deeds {
            let counts = match deed.done {
                true => &mut faults,
                false => &mut not_done,
            };
            *counts.entry(deed.fault.kind).or_default() += 1;
        }
        let seed = outcome.seed;
        let violations = outcome.violations.iter();
        let violations: Vec<_> = violations.map(|v| format!("seed {seed}: {v}")).collect();
        let is_good = violations.is_empty();
        let operations = [
            ("ok", coverage.done),
            ("failed", coverage.failed),
            ("unknown", coverage.unknown),
        ];
        let met = [
            ("rebuilt", outcome.rebuilt),
            ("decoded", outcome.decoded()),
            ("rewritten", outcome.rewritten),
        ];
        Summary {
            seeds: vec![seed],
            failed: (!is_good).then_some(seed).into_iter().collect(),
            rejected: (is_good && !outcome.rejected().is_empty())
                .then_some(seed)
                .into_iter()
                .collect(),
            violations,
            minutes: outcome.length().as_secs_f64() / 60.0,
            operations: operations.map(|(name, n)| (name.to_owned(), n)).into(),
            faults,
            not_done,
            elections: outcome.elections(),
            leaders_killed: outcome.leaders_killed(),
            quorums_cut: outcome.quorums_cut(),
            stalls_ms: Stalls::of(&stalls),
            waits_ms: Stalls::of(&waits),
            settled_ms: vec![outcome.settled_after.as_millis() as u64],
            matrix: outcome.matrix(),
            met: met.map(|(name, n)| (name.to_owned(), n)).into(),
            ..Summary::default()
        }
    }

    /// Of no run yet.
    pub(crate) fn from(commit: String, build: String) -> Summary {
        Summary {
            commit,
            build,
            ..Summary::default()
        }
    }

    /// Of a run that came to no end.
    pub(crate) fn died(seed: u64, why: impl fmt::Display) -> Summary {
        Summary {
            seeds: vec![seed],
            failed: vec![seed],
            violations: vec![format!("seed {seed}: not carried out: {why}")],
            ..Summary::default()
        }
    }

    /// A run that proves nothing counts for nothing.
    pub(crate) fn add(&mut self, other: Summary) {
        self.seeds.extend(other.seeds);
        if !other.rejected.is_empty() {
            self.rejected.extend(other.rejected);
            return;
        }
        self.failed.extend(other.failed);
        self.violations.extend(other.violations);
        self.minutes += other.minutes;
        for (name, count) in other.operations {
            *self.operations.entry(name).or_default() += count;
        }
        for (all, some) in [
            (&mut self.faults, other.faults),
            (&mut self.not_done, other.not_done),
        ] {
            for (kind, count) in some {
                *all.entry(kind).or_default() += count;
            }
        }
        self.elections += other.elections;
        self.leaders_killed += other.leaders_killed;
        self.quorums_cut += other.quorums_cut;
        self.stalls_ms.0.extend(other.stalls_ms.0);
        self.waits_ms.0.extend(other.waits_ms.0);
        self.settled_ms.extend(other.settled_ms);
        self.matrix.merge(&other.matrix);
        for (name, count) in other.met {
            *self.met.entry(name).or_default() += count;
        }
    }

    /// How many runs prove something.
    pub(crate) fn runs(&self) -> usize {
        self.seeds.len() - self.rejected.len()
    }

    /// Whether a killed leader stalled clients for too long; only a fast daemon is judged so.
    pub(crate) fn stalls_are_judged(&self) -> Option<Verdict> {
        (self.build != "debug").then(|| self.stalls_ms.verdict())
    }

    pub(crate) fn read(directory: &Path) -> std::io::Result<Summary> {
        let text = fs::read_to_string(directory.join(FILE))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Adds it to a file of such lines.
    pub(crate) fn append(&self, file: &Path) -> std::io::Result<()> {
        let mut file = fs::File::options().create(true).append(true).open(file)?;
        writeln!(file, "{}", serde_json::to_string(self)?)
    }

    #[allow(clippy::disallowed_methods, reason = "a real file beside real disks")]
    pub(crate) fn write(&self, directory: &Path) -> std::io::Result<()> {
        fs::write(directory.join(FILE), serde_json::to_string(self)?)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.runs();
        write!(f, "{runs} runs, {:.1} minutes", self.minutes)?;
        if !self.rejected.is_empty() {
            write!(f, ", and {:?} prove nothing", self.rejected)?;
        }
        write!(f, "; operations {:?}; faults", self.operations)?;
        for (kind, count) in &self.faults {
            write!(f, " {kind} {count}")?;
        }
        f.write_str("; not done")?;
        for (kind, count) in &self.not_done {
            write!(f, " {kind} {count}")?;
        }
        let (killed, elections) = (self.leaders_killed, self.elections);
        write!(f, "; {killed} leaders killed, {elections} elections")?;
        write!(f, "; stalls by a killed leader: {}", self.stalls_ms)?;
        write!(f, "; longest waits then: {}", self.waits_ms)?;
        write!(f, "; of stripes {:?}", self.met)
    }
}

/// Milliseconds for which nothing succeeded, or one operation did not.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stalls(Vec<u64>);

/// What is to be said of stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    TooLong,
    TooFew,
}

impl Stalls {
    /// Of 100 stalls 99 must be shorter.
    pub(crate) const LIMIT_MS: u64 = 1000;
    /// Fewer are not judged.
    pub(crate) const JUDGED_MIN: usize = 20;

    fn of(all: &[Duration]) -> Stalls {
        Stalls(all.iter().map(|one| one.as_millis() as u64).collect())
    }

    /// Of 100 so many are no longer.
    fn percentile(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        quantile(&sorted, percent)
    }

    fn verdict(&self) -> Verdict {
        match self.percentile(99) {
            Some(slow) if self.0.len() >= Stalls::JUDGED_MIN => match slow < Stalls::LIMIT_MS {
                true => Verdict::Good,
                false => Verdict::TooLong,
            },
            _ => Verdict::TooFew,
        }
    }
}

/// `23: median 412 ms, p99 730 ms, most 730 ms`.
impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())?;
        let names = [(50, ": median"), (99, ", p99"), (100, ", most")];
        for (percent, name) in names {
            if let Some(stall) = self.percentile(percent) {
                write!(f, "{name} {stall} ms")?;
            }
        }
        Ok(())
    }
}
