//! Quotas: never more than may be, nothing refused while there is room, and what is counted is
//! what is there.
//!
//! Files have unique names: each is made once at most, and removed once at most. By the points of
//! history it is known of each at which point it came and at which it went, or that nobody knows.
//! So at every point there is a least and a greatest number that may be there.

use std::collections::BTreeMap;

use crate::history::{End, Op, Operation, Output};

/// A reason of a refusal that says that there is no room.
const OVER_QUOTA: &str = "OverQuota";

/// Whether an error of an operation is for this judge.
pub(in crate::checkers) fn judges(error: &str) -> bool {
    error.split(':').next() == Some(OVER_QUOTA)
}

/// When something happened, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum When {
    /// It did not.
    #[default]
    Never,
    /// At this point of history.
    At(u64),
    /// Perhaps, nobody knows when.
    Perhaps,
}

impl When {
    fn of(operation: &Operation<'_>) -> When {
        match operation.end {
            End::Ok { rev, .. } => rev.map_or(When::Perhaps, |rev| When::At(rev.index)),
            End::Fail { .. } => When::Never,
            End::Unknown => When::Perhaps,
        }
    }

    fn is_surely(self, point: u64) -> bool {
        matches!(self, When::At(at) if at <= point)
    }

    fn is_perhaps(self, point: u64) -> bool {
        self == When::Perhaps || self.is_surely(point)
    }
}

/// The files that were tried to be made: when they came, and when they went.
#[derive(Default)]
struct Files(BTreeMap<String, (When, When)>);

impl Files {
    fn of(operations: &[Operation<'_>]) -> Files {
        let mut files = Files::default();
        for operation in operations {
            match operation.op {
                Op::Create { path, .. } => files.file(path).0 = When::of(operation),
                Op::Unlink { path, .. } => {
                    let went = &mut files.file(path).1;
                    // A removal that found nothing says nothing new.
                    let known = When::of(operation);
                    *went = if known == When::Never { *went } else { known };
                }
                _ => {}
            }
        }
        files
    }

    fn file(&mut self, path: &str) -> &mut (When, When) {
        self.0.entry(path.to_owned()).or_default()
    }

    /// How many are there at a point: at least and at most.
    fn at(&self, point: u64) -> (u64, u64) {
        let files = self.0.values();
        let least = files
            .clone()
            .filter(|(came, went)| came.is_surely(point) && !went.is_perhaps(point));
        let most = files.filter(|(came, went)| came.is_perhaps(point) && !went.is_surely(point));
        (least.count() as u64, most.count() as u64)
    }
}

/// What is wrong with the use of a directory in which `limit` files may be.
pub fn complaints(directory: &str, limit: u64, operations: &[Operation<'_>]) -> Vec<String> {
    let files = Files::of(operations);
    let (mut found, mut refused) = (Vec::new(), 0);
    let mut last = None;
    for operation in operations {
        let (op, began) = (operation.op, operation.began);
        let Some(point) = operation.rev().map(|rev| rev.index) else {
            continue;
        };
        let (least, most) = files.at(point);
        match (op, &operation.end) {
            (Op::Create { .. }, End::Ok { .. }) if least > limit => {
                let what = format!("{least} files are there with it, {limit} may be");
                found.push(format!("Q1: event {began}: {op:?} was done: {what}"));
            }
            (Op::Create { .. }, End::Fail { error, .. }) if judges(error) => {
                refused += 1;
                if most < limit {
                    let what = format!("{most} files can be there, {limit} may be");
                    found.push(format!("Q1: event {began}: {op:?} was refused: {what}"));
                }
            }
            (Op::Used { .. }, End::Ok { output, .. }) => {
                let Some(Output::Number(Some(used))) = output else {
                    found.push(format!("Q1: event {began}: nobody says what is used"));
                    continue;
                };
                last = Some(*used);
                if !(least..=most).contains(used) {
                    let what = format!("{used} are counted, {least} to {most} are there");
                    found.push(format!("Q1: event {began}: {what}"));
                }
            }
            _ => {}
        }
    }
    let listed = operations.iter().rev().find_map(|operation| {
        let is_it = matches!(operation.op, Op::ListAll { path } if path == directory);
        match operation.output() {
            Some(Output::Names(names)) if is_it => Some(names.len() as u64),
            _ => None,
        }
    });
    match (last, listed) {
        (Some(used), Some(listed)) if used == listed => {}
        (Some(used), Some(listed)) => {
            found.push(format!(
                "Q1: {used} are counted at the end, {listed} are there"
            ));
        }
        _ => found.push("Q1: unknown: nobody looked at the end".to_owned()),
    }
    if refused == 0 {
        found.push("Q1: unknown: the quota was never full".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, create, file, names};

    const FULL: &str = "OverQuota: over quota: /q";

    fn look() -> Op {
        let path = "/q".to_owned();
        Op::ListAll { path }
    }

    fn used() -> Op {
        let path = "/q".to_owned();
        Op::Used { path }
    }

    fn unlink(path: &str) -> Op {
        let (path, skip_trash) = (path.to_owned(), true);
        Op::Unlink { path, skip_trash }
    }

    fn number(number: u64) -> Option<Output> {
        Some(Output::Number(Some(number)))
    }

    /// One file may be there.
    fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        complaints("/q", 1, &operations(&history, |_| true).unwrap())
    }

    #[test]
    fn what_was_removed_makes_room_and_what_nobody_knows_may_or_may_not_be_there() {
        let found = told(|tale| {
            tale.does(1, create("/q/a"), file(7), 10);
            tale.refused(2, create("/q/b"), FULL, 11);
            tale.does(1, unlink("/q/a"), Some(Output::Trash(None)), 12);
            tale.loses(3, create("/q/c"));
            tale.refused(2, create("/q/d"), FULL, 13);
            tale.does(1, used(), number(1), 14);
            tale.does(1, look(), names(&[("c", 8)]), 0);
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn more_than_may_be_is_found() {
        let found = told(|tale| {
            tale.does(1, create("/q/a"), file(7), 10);
            tale.does(2, create("/q/b"), file(8), 11);
            tale.refused(2, create("/q/c"), FULL, 12);
            tale.does(1, used(), number(2), 13);
            tale.does(1, look(), names(&[("a", 7), ("b", 8)]), 0);
        });
        assert!(
            found.len() == 1 && found[0].contains("2 files are there"),
            "{found:?}"
        );
    }

    #[test]
    fn a_refusal_while_there_is_room_is_found() {
        let found = told(|tale| {
            tale.refused(2, create("/q/c"), FULL, 12);
            tale.does(1, used(), number(0), 13);
            tale.does(1, look(), names(&[]), 0);
        });
        assert!(
            found.len() == 1 && found[0].contains("was refused"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_counted_and_not_there_is_found_at_once_and_at_the_end() {
        let found = told(|tale| {
            tale.does(1, create("/q/a"), file(7), 10);
            tale.refused(2, create("/q/b"), FULL, 11);
            tale.does(1, used(), number(2), 13);
            tale.does(1, look(), names(&[("a", 7)]), 0);
        });
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_quota_that_was_never_full_and_an_end_that_nobody_looked_at_are_no_good() {
        assert_eq!(told(|_| {}).len(), 2);
    }
}
