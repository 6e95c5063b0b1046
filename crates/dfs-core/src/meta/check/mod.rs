//! Every invariant of the whole state, in one callable.
//!
//! Tests call it after each script, the simulator after each step, and `dfs fsck` on a live view.
//! It reads all tables and needs memory proportional to the number of inodes and chunks (some
//! hundred bytes each), so it is not for every day on a large system.

mod accounts;
mod chunks;
mod extents;
mod members;
mod snapshots;
mod stripes;
mod tree;
mod uses;

use std::fmt;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::counters;

/// How many violations are listed before the rest is only counted.
const LISTED_MAX: usize = 1000;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong, and with what.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Verifies every invariant of the state; an empty list is a sound state.
///
/// # Errors
/// A row cannot be read or decoded.
pub fn check(state: &impl ReadState) -> Result<Vec<Violation>, Fatal> {
    let mut findings = Findings::default();
    if !counters::is_founded(state)? {
        return Ok(findings.list);
    }
    let inodes = tree::check(state, &mut findings)?;
    let mut used = extents::check(state, &inodes, &mut findings)?;
    snapshots::check(state, &mut used, &mut findings)?;
    chunks::check(state, &used, &mut findings)?;
    stripes::check(state, &used, &mut findings)?;
    uses::check(state, &mut findings)?;
    members::check(state, &mut findings)?;
    accounts::check(state, &mut findings)?;
    Ok(findings.close())
}

/// What a check has found so far.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Violation>,
    unlisted: usize,
}

impl Findings {
    /// Notes a violation unless `holds`.
    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if holds {
            return;
        }
        if self.list.len() < LISTED_MAX {
            self.list.push(Violation { what: what() });
        } else {
            self.unlisted += 1;
        }
    }

    /// Notes a violation unless two values are equal.
    fn equal<T: PartialEq + fmt::Debug>(&mut self, found: T, expected: T, what: impl fmt::Display) {
        let holds = found == expected;
        self.require(holds, || {
            format!("{what}: {found:?} instead of {expected:?}")
        });
    }

    fn close(mut self) -> Vec<Violation> {
        if self.unlisted > 0 {
            self.list.push(Violation {
                what: format!("and {} more", self.unlisted),
            });
        }
        self.list
    }
}

#[cfg(test)]
mod tests;
