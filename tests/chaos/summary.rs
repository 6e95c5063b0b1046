//! What runs add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dfs_evidence::checkers::coverage::Coverage;
use dfs_evidence::faults::FaultKind;
use dfs_evidence::processes::Outcome;
use serde::{Deserialize, Serialize};

/// Of one run or several.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    commit: String,
    /// The first seed.
    seed: u64,
    /// Seeds that broke a promise.
    pub(crate) failed: Vec<u64>,
    runs: u64,
    length: Duration,
    ok: u64,
    fail: u64,
    info: u64,
    /// How often a fault of each kind was carried out.
    faults: BTreeMap<FaultKind, u64>,
    /// How long no operation succeeded, whenever the leader was killed.
    stalls: Vec<Duration>,
}

const FILE: &str = "summary.json";

impl Summary {
    pub(crate) fn of(outcome: &Outcome) -> Summary {
        let coverage = Coverage::of(&outcome.history);
        let mut stalls = outcome.stalls(FaultKind::KillLeader);
        stalls.sort_unstable();
        Summary {
            runs: 1,
            seed: outcome.seed,
            length: outcome.length(),
            ok: coverage.done,
            fail: coverage.failed,
            info: coverage.unknown,
            faults: coverage.faults,
            stalls,
            ..Summary::default()
        }
    }

    /// Of no run yet, from this seed on.
    pub(crate) fn from(commit: String, seed: u64) -> Summary {
        Summary {
            commit,
            seed,
            ..Summary::default()
        }
    }

    pub(crate) fn add(&mut self, other: Summary) {
        self.runs += other.runs;
        self.length += other.length;
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.stalls.extend(other.stalls);
        self.stalls.sort_unstable();
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
        let Summary {
            runs,
            ok,
            fail,
            info,
            ..
        } = self;
        let seconds = self.length.as_secs();
        write!(
            f,
            "{runs} runs, {seconds} s, {ok} operations done, {fail} refused, "
        )?;
        write!(f, "{info} of unknown outcome; faults:")?;
        for (kind, count) in &self.faults {
            write!(f, " {kind} {count}")?;
        }
        let at = |percent: usize| self.stalls.get(self.stalls.len() * percent / 100);
        match (at(50), self.stalls.last()) {
            (Some(median), Some(most)) => {
                write!(
                    f,
                    "; stalls by a killed leader: median {median:.1?}, most {most:.1?}"
                )
            }
            _ => Ok(()),
        }
    }
}
