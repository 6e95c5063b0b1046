//! Faults × promises: what each promise has withstood, and what it has not met.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::faults::FaultKind;

/// Every promise that an instrument judges, as `docs/PROMISES.md` calls it. All have a column, so
/// that it is seen which were not judged.
pub const PROMISES: [&str; 20] = [
    "A1", "A2", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "M1", "M2", "M3", "M4", "M5", "M6",
    "N1", "P1", "Q1", "S1",
];

/// What must happen in a run, one of these, for it to say anything of a promise.
fn needed(promise: &str) -> &'static [FaultKind] {
    match promise {
        "D2" => &[FaultKind::ReturnOfDead],
        "D3" => &[FaultKind::BitRot],
        "D8" => &[FaultKind::PowerOne, FaultKind::PowerAll],
        // That nobody who was removed takes part is seen only where one was.
        "S1" => &[FaultKind::Membership],
        _ => &[],
    }
}

/// How often which fault happened while which promise was judged. Sums over runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Matrix {
    counts: BTreeMap<FaultKind, BTreeMap<String, u64>>,
}

impl Matrix {
    /// Takes in a run: all faults that happened in it, and the promises that were looked at. Each
    /// counts once, and only if what it is about has happened.
    pub fn add(&mut self, faults: &[FaultKind], promises: &[&str]) {
        let is_judged = |promise: &str| {
            let needed = needed(promise);
            needed.is_empty() || needed.iter().any(|kind| faults.contains(kind))
        };
        for promise in PROMISES {
            if !promises.contains(&promise) || !is_judged(promise) {
                continue;
            }
            for fault in faults {
                let row = self.counts.entry(*fault).or_default();
                *row.entry(promise.to_owned()).or_default() += 1;
            }
        }
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Matrix) {
        for (fault, row) in &other.counts {
            let own = self.counts.entry(*fault).or_default();
            for (promise, count) in row {
                *own.entry(promise.clone()).or_default() += count;
            }
        }
    }

    /// How often a fault happened while a promise was judged.
    pub fn count(&self, fault: FaultKind, promise: &str) -> u64 {
        let row = self.counts.get(&fault);
        row.and_then(|row| row.get(promise)).copied().unwrap_or(0)
    }
}

impl fmt::Display for Matrix {
    /// A line a fault, a column a promise; a dot where nothing was tried.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:18}", "")?;
        for promise in PROMISES {
            write!(f, "{promise:>6}")?;
        }
        for fault in FaultKind::ALL {
            write!(f, "\n{fault:18}")?;
            for promise in PROMISES {
                match self.count(fault, promise) {
                    0 => write!(f, "{:>6}", "·")?,
                    count => write!(f, "{count:>6}")?,
                }
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_a_dot_in_the_table() {
        let mut matrix = Matrix::default();
        matrix.add(&[FaultKind::KillAll, FaultKind::KillAll], &["M1", "M2"]);
        let text = matrix.to_string();
        let line = |kind: FaultKind| {
            let line = text.lines().find(|line| line.starts_with(kind.name()));
            line.unwrap().split_whitespace().skip(1).collect::<Vec<_>>()
        };
        let tried = PROMISES.map(|promise| match promise {
            "M1" | "M2" => "2",
            _ => "·",
        });
        assert_eq!(line(FaultKind::KillAll), tried);
        assert_eq!(line(FaultKind::Loss), ["·"; PROMISES.len()]);
    }

    #[test]
    fn a_promise_about_what_did_not_happen_was_not_judged() {
        let mut matrix = Matrix::default();
        matrix.add(&[FaultKind::KillAll], &["D1", "D2", "D3", "D8", "S1"]);
        let counts = ["D1", "D2", "D3", "D8", "S1"].map(|p| matrix.count(FaultKind::KillAll, p));
        assert_eq!(counts, [1, 0, 0, 0, 0]);
        let faults = [FaultKind::KillAll, FaultKind::BitRot, FaultKind::PowerOne];
        matrix.add(&faults, &["D2", "D3", "D8"]);
        let counts = ["D2", "D3", "D8"].map(|p| matrix.count(FaultKind::KillAll, p));
        assert_eq!(counts, [0, 1, 1]);
    }

    #[test]
    fn every_promise_that_is_judged_has_a_column() {
        let rows = include_str!("../../../../docs/PROMISES.md").lines();
        let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let is_promise = |row: &Vec<&str>| row.len() == 7 && row[1].len() == 2 && row[1] != "id";
        let rows = rows.filter(is_promise);
        let judged = rows.filter(|row| !row[3].starts_with("*open*"));
        let mut judged: Vec<String> = judged.map(|row| row[1].to_owned()).collect();
        judged.sort_unstable();
        assert_eq!(judged, PROMISES);
    }

    #[test]
    fn two_tables_add_up() {
        let (mut one, mut other) = (Matrix::default(), Matrix::default());
        one.add(&[FaultKind::Loss], &["M1"]);
        other.add(&[FaultKind::Loss, FaultKind::Ring], &["M1", "M2"]);
        one.merge(&other);
        assert_eq!(one.count(FaultKind::Loss, "M1"), 2);
        assert_eq!(one.count(FaultKind::Ring, "M2"), 1);
    }
}
