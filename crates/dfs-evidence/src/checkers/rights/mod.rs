//! Rights: what was taken away is gone, and what was given is there.
//!
//! Each right is a register that holds *on* or *off*, and begins with *on*. Who gives it or takes
//! it away writes to it. Who uses it sees what it holds: that something was done says that all it
//! takes were on, that it was refused says which one was off. Both are compared, twice:
//!
//! - by points of history: what is seen is what was written last before, unless an operation of
//!   unknown outcome explains it. Each of those explains one change of the register at most;
//! - by real time alone: what was seen must have been written by something that may have been
//!   later than all that had ended before. A point that lies hides nothing from it, and what has
//!   no point, a file that was read or a login that failed, is judged by it.
//!
//! What is judged is what masters are asked. Who was told where bytes are may read them from data
//! nodes for as long as the permit says, a quarter of an hour: nobody who was refused says that
//! he has no permit left.

mod register;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{SHOWN_MAX, certificate};
use crate::history::{End, Op, Operation, Output, Right, Use};
use crate::model::Seen;
use register::{Register, Sight, Write};

/// Why somebody was not let in, or may not do something.
const OF_RIGHTS: [&str; 3] = ["AccessDenied", "LoginRequired", "NotPermitted"];

/// Whether an error is a matter of rights, of an operation that this judges.
pub fn judges(op: &Op, error: &str) -> bool {
    matches!(op, Op::UseRight { .. }) && OF_RIGHTS.contains(&reason(error))
}

fn reason(error: &str) -> &str {
    error.split(':').next().unwrap_or_default()
}

/// What was seen of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Times that something was done.
    pub permitted: u64,
    /// Times that something was refused because a right was off.
    pub refused: u64,
    /// Times that a right was taken away.
    pub taken: u64,
}

/// Counts what was seen.
pub fn account(operations: &[Operation<'_>]) -> Account {
    let mut account = Account::default();
    for operation in operations {
        let count = match (operation.op, &operation.end) {
            (Op::UseRight { .. }, End::Ok { .. }) => &mut account.permitted,
            (op, End::Fail { error, .. }) if judges(op, error) => &mut account.refused,
            (Op::SetRight { on: false, .. }, End::Ok { .. }) => &mut account.taken,
            _ => continue,
        };
        *count += 1;
    }
    account
}

/// What is wrong, of operations in the order in which they began.
pub fn complaints(operations: &[Operation<'_>]) -> Vec<String> {
    let mut judge = Judge::default();
    for (operation, floor) in operations.iter().zip(certificate::floors(operations)) {
        judge.write(operation, floor);
    }
    for operation in operations {
        judge.see(operation);
    }
    for (right, register) in &mut judge.registers {
        let found = register.contradictions().into_iter();
        let found = found.map(|what| format!("A1: {right:?}: {what}"));
        judge.found.extend(found.take(SHOWN_MAX));
    }
    judge.found
}

#[derive(Default)]
struct Judge {
    registers: BTreeMap<Right, Register>,
    found: Vec<String>,
}

impl Judge {
    fn register(&mut self, right: &Right) -> &mut Register {
        self.registers.entry(right.clone()).or_default()
    }

    fn write(&mut self, operation: &Operation<'_>, floor: u64) {
        let Op::SetRight { right, on } = operation.op else {
            return;
        };
        let (ended, at) = match operation.end {
            End::Ok { at, rev, .. } => match rev {
                Some(rev) => (Some(at), Some(rev.index)),
                None => return self.complain(operation, "has no point of history"),
            },
            End::Fail { .. } => return,
            End::Unknown => (None, None),
        };
        let began = operation.began;
        self.register(right).write(Write {
            on: *on,
            began,
            ended,
            at,
            floor,
        });
    }

    fn see(&mut self, operation: &Operation<'_>) {
        match (operation.op, &operation.end) {
            (Op::SeeRight { right }, End::Ok { output, .. }) => match output {
                Some(Output::Is(on)) => self.saw(operation, right, *on),
                _ => self.complain(operation, "gave nothing"),
            },
            (
                Op::UseRight {
                    user, right, how, ..
                },
                end,
            ) => match end {
                End::Ok { .. } => {
                    self.was_let_in(operation, user, *how);
                    self.saw(operation, right, true);
                }
                End::Fail { error, rev, .. } => {
                    let used = (user.as_str(), right, *how);
                    self.refused(operation, used, (reason(error), rev.is_some()));
                }
                End::Unknown => {}
            },
            _ => {}
        }
    }

    fn refused(
        &mut self,
        operation: &Operation<'_>,
        (user, right, how): (&str, &Right, Use),
        (reason, at_a_point): (&str, bool),
    ) {
        match (reason, at_a_point) {
            ("AccessDenied", true) => {
                self.was_let_in(operation, user, how);
                self.saw(operation, right, false);
            }
            ("NotPermitted", true) if how.changes() => {
                self.was_let_in(operation, user, Use::Stat);
                self.saw(operation, &Right::Change(user.to_owned()), false);
            }
            ("AccessDenied" | "LoginRequired", _) => self.was_shut_out(operation, user),
            // Not a matter of this time: of faults, or judged elsewhere.
            _ if Seen::refusal(reason).is_none() => {}
            _ => self.complain(operation, &format!("was refused with {reason}")),
        }
    }

    fn was_let_in(&mut self, operation: &Operation<'_>, user: &str, how: Use) {
        let user = || user.to_owned();
        self.saw(operation, &Right::LogIn(user()), true);
        self.saw(operation, &Right::Key(user()), true);
        if how.changes() {
            self.saw(operation, &Right::Change(user()), true);
        }
    }

    fn was_shut_out(&mut self, operation: &Operation<'_>, user: &str) {
        let sight = sight(operation, false);
        let rights = [Right::LogIn(user.to_owned()), Right::Key(user.to_owned())];
        let is_explained = rights
            .iter()
            .any(|right| self.register(right).contradicting(&sight).is_none());
        if !is_explained {
            self.complain(
                operation,
                "was not let in, though nothing shut the user out",
            );
        }
    }

    fn saw(&mut self, operation: &Operation<'_>, right: &Right, on: bool) {
        let sight = sight(operation, on);
        let register = self.register(right);
        if let Some(written) = register.contradicting(&sight) {
            let state = if on { "on" } else { "off" };
            let what = format!("saw {right:?} {state}, against what ended before, event {written}");
            return self.complain(operation, &what);
        }
        register.see(sight);
    }

    fn complain(&mut self, operation: &Operation<'_>, what: &str) {
        let Operation {
            process, op, began, ..
        } = operation;
        let told = format!("A1: event {began} (process {process}) {what}: {op:?}");
        self.found.push(told);
    }
}

fn sight(operation: &Operation<'_>, on: bool) -> Sight {
    let (began, at) = (operation.began, operation.rev().map(|rev| rev.index));
    Sight {
        on,
        began,
        ended: operation.ended().unwrap_or(u64::MAX),
        at,
        changes: operation.is_ok() && operation.op.changes(),
    }
}
