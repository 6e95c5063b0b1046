//! What came of a run: lines for a terminal, and a page.

use std::time::Duration;

use dfs_evidence::faults::FaultKind;
use dfs_evidence::processes::{Deed, Outcome};
use dfs_evidence::report::{Band, Coverage, Page, duration, quantile};

/// What came of a run, to be told.
pub(super) struct Report<'a> {
    pub(super) outcome: &'a Outcome,
    /// The command that repeats the run.
    pub(super) again: String,
}

impl Report<'_> {
    /// For a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .figures()
            .into_iter()
            .map(|(name, value)| format!("{name:34} {value}"))
            .collect();
        lines.push(String::new());
        lines.extend(self.outcome.matrix().to_string().lines().map(str::to_owned));
        let rejected = self.outcome.rejected();
        lines.extend(rejected.iter().map(|why| format!("proves nothing: {why}")));
        let violations = self.outcome.violations.iter();
        lines.extend(violations.map(|what| format!("broken: {what}")));
        if self.outcome.violations.is_empty() && rejected.is_empty() {
            lines.push("no promise was broken".to_owned());
        }
        lines
    }

    /// As a page of HTML.
    pub(super) fn page(&self) -> String {
        let (matrix, rejected) = (self.outcome.matrix(), self.outcome.rejected());
        let page = Page {
            title: format!("Attack on a cluster, seed {}", self.outcome.seed),
            violations: &self.outcome.violations,
            rejected: &rejected,
            figures: self.figures(),
            history: &self.outcome.history,
            bands: self.outcome.done().map(band).collect(),
            matrix: &matrix,
            replay: self.again.clone(),
        };
        page.html()
    }

    fn figures(&self) -> Vec<(String, String)> {
        let counts = Coverage::of(&self.outcome.history);
        let latencies = self.outcome.latencies();
        let at = |percent| quantile(&latencies, percent);
        let (stall, from) = self.outcome.longest_stall();
        let from = Duration::from_nanos(from).as_secs_f64();
        let mut stalls = self.outcome.stalls(FaultKind::KillLeader);
        stalls.sort_unstable();
        let longest = format!("longest stall, at {from:.0} s");
        let mut figures: Vec<(&str, String)> = vec![
            ("operations done", counts.done.to_string()),
            ("refused", counts.failed.to_string()),
            ("outcome unknown", counts.unknown.to_string()),
            (
                "faults carried out",
                self.outcome.done().count().to_string(),
            ),
            ("latency, median", time(at(50))),
            ("latency, 99 of 100", time(at(99))),
            (&longest, time(Some(stall))),
            ("well again after", time(Some(self.outcome.settled_after))),
            ("members made again", self.outcome.rebuilt.to_string()),
            (
                "times bytes were rewritten",
                self.outcome.rewritten.to_string(),
            ),
        ];
        if let Some(worst) = stalls.last() {
            figures.push(("longest stall at a leader's kill", time(Some(*worst))));
        }
        let named = figures
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        named.collect()
    }
}

fn band(deed: &Deed) -> Band {
    Band {
        kind: deed.fault.kind.name().to_owned(),
        label: deed.on.join(" "),
        begin: deed.began,
        end: deed.healed,
    }
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || "none".to_owned(),
        |time| duration(time.as_nanos() as f64),
    )
}
