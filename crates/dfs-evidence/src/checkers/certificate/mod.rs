//! Points of history as certificates: the primary judge of operations on names.
//!
//! Each answer says which point of history it is of: a change the log entry that made it, a read
//! and a refusal the last entry it has seen. So no order need be searched for. The operations are
//! replayed on the model by their points, each answer and each refusal is compared, and points
//! must not contradict real time: what began after something had ended has a later one.
//!
//! Operations without an answer may have been done, at any point after they began, or may not.
//! They are tried where an operation with an answer depends on them. What no choice of them
//! explains is a violation; where there are too many choices the verdict is *unknown*, which is
//! none of the good ones.
//!
//! It trusts points no further than it can check them; the judge of black boxes
//! ([`judge`](super::judge)) does not use them.

mod order;
mod related;
mod replay;
#[cfg(test)]
mod tests;

use dfs_core::types::Rev;

use crate::history::{End, Op, Operation};
use crate::model::{Namespace, Seen};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What is wrong, one sentence each.
    pub violations: Vec<String>,
    /// Why no verdict was reached, if none was.
    pub unknown: Option<String>,
    /// Operations whose answers were compared.
    pub compared: usize,
    /// Operations without an answer.
    pub unanswered: usize,
}

impl Verdict {
    /// All that is not good, with the promise's id first. An unknown verdict is not good.
    pub fn complaints(&self, promise: &str) -> Vec<String> {
        let violations = self.violations.iter().map(|v| format!("{promise}: {v}"));
        let unknown = self
            .unknown
            .iter()
            .map(|u| format!("{promise}: unknown: {u}"));
        violations.chain(unknown).collect()
    }
}

/// An operation with an answer and a point of history.
struct Step<'a> {
    number: u64,
    operation: &'a Operation<'a>,
    rev: Rev,
    /// It has the entry of its point for itself.
    writes: bool,
    seen: Seen<'a>,
}

/// An operation without an answer.
struct Unanswered<'a> {
    number: u64,
    op: &'a Op,
    /// Its point, if it was done, is later than this.
    after: u64,
}

/// Judges operations on names, in the order in which they began, that started from `start`.
pub fn check(start: &Namespace, operations: &[Operation<'_>]) -> Verdict {
    let mut verdict = Verdict::default();
    let floors = order::check(operations, &mut verdict.violations);
    let mut steps = Vec::with_capacity(operations.len());
    let mut unanswered = Vec::new();
    for ((number, operation), after) in (0..).zip(operations).zip(floors) {
        let (rev, writes, seen) = match operation.end {
            End::Ok {
                rev: Some(rev),
                output,
                ..
            } => {
                if output.is_none() {
                    let complaint = format!("{} gave nothing", tell(operation));
                    verdict.violations.push(complaint);
                }
                (rev, operation.op.changes(), Seen::Done(output))
            }
            End::Fail { rev, error, .. } => match (rev, Seen::refusal(error)) {
                (Some(rev), Some(seen)) => (rev, false, seen),
                (None, Some(_)) => {
                    verdict.violations.push(without_point(operation));
                    continue;
                }
                // It was no matter of names.
                (_, None) => continue,
            },
            End::Ok { rev: None, .. } => {
                verdict.violations.push(without_point(operation));
                continue;
            }
            End::Unknown if operation.op.changes() => {
                let op = operation.op;
                unanswered.push(Unanswered { number, op, after });
                continue;
            }
            End::Unknown => continue,
        };
        steps.push(Step {
            number,
            operation,
            rev,
            writes,
            seen,
        });
    }
    // Reads have seen the change of their point.
    steps.sort_by_key(|step| (step.rev.index, !step.writes));
    verdict.unanswered = unanswered.len();
    replay::replay(start, &steps, &unanswered, &mut verdict);
    verdict
}

/// What points of history contradict, of operations of any kind in any directories, each other or
/// real time.
pub fn contradictions(operations: &[Operation<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    order::check(operations, &mut found);
    found
}

/// For each operation the latest point that had been seen when it began.
pub(super) fn floors(operations: &[Operation<'_>]) -> Vec<u64> {
    order::check(operations, &mut Vec::new())
}

fn without_point(operation: &Operation<'_>) -> String {
    format!("{} has no point of history", tell(operation))
}

/// Whether the judge can judge it.
pub fn is_of_names(op: &Op) -> bool {
    matches!(
        op,
        Op::Mkdir { .. }
            | Op::Create { .. }
            | Op::Link { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::RemoveTree { .. }
            | Op::Restore { .. }
            | Op::Stat { .. }
            | Op::List { .. }
    )
}

fn tell(operation: &Operation<'_>) -> String {
    let Operation {
        process, op, began, ..
    } = operation;
    format!("event {began} (process {process}): {op:?}")
}
