//! Faults × promises: what each promise has withstood, and what it has not met.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::faults::FaultKind;

/// How often which fault happened while which promise was judged. Sums over runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Matrix {
    counts: BTreeMap<FaultKind, BTreeMap<String, u64>>,
    promises: BTreeSet<String>,
}

impl Matrix {
    /// Takes in a run: the faults that happened in it, and the promises that were judged.
    pub fn add(&mut self, faults: &[FaultKind], promises: &[&str]) {
        self.promises.extend(promises.iter().map(|&p| p.to_owned()));
        for fault in faults {
            let row = self.counts.entry(*fault).or_default();
            for promise in promises {
                *row.entry((*promise).to_owned()).or_default() += 1;
            }
        }
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Matrix) {
        self.promises.extend(other.promises.iter().cloned());
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

    /// The promises that were ever judged, sorted.
    pub fn promises(&self) -> impl Iterator<Item = &str> {
        self.promises.iter().map(String::as_str)
    }
}

impl fmt::Display for Matrix {
    /// A line a fault, a column a promise; a dot where nothing was tried.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:18}", "")?;
        for promise in self.promises() {
            write!(f, "{promise:>7}")?;
        }
        for fault in FaultKind::ALL {
            write!(f, "\n{fault:18}")?;
            for promise in self.promises() {
                match self.count(fault, promise) {
                    0 => write!(f, "{:>7}", "·")?,
                    count => write!(f, "{count:>7}")?,
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
        matrix.add(&[FaultKind::BitRot], &["D3"]);
        let text = matrix.to_string();
        let line = |kind: FaultKind| {
            let line = text.lines().find(|line| line.starts_with(kind.name()));
            line.unwrap().split_whitespace().skip(1).collect::<Vec<_>>()
        };
        assert_eq!(line(FaultKind::KillAll), ["·", "2", "2"]);
        assert_eq!(line(FaultKind::BitRot), ["1", "·", "·"]);
        assert_eq!(line(FaultKind::Loss), ["·", "·", "·"]);
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
