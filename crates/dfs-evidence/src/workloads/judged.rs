//! What the checks of workloads have in common.

use crate::checkers::certificate::{self, is_of_names};
use crate::checkers::last_look;
use crate::history::{Event, Op, Operation, operations};
use crate::model::Namespace;

/// The operations that are wanted, or why the history is none.
pub(super) fn chosen<'a>(
    history: &'a [Event],
    wanted: impl Fn(&Op) -> bool,
) -> Result<Vec<Operation<'a>>, Vec<String>> {
    operations(history, wanted).map_err(|why| vec![format!("the history is unsound: {why}")])
}

/// Whether an operation is of the workload that works in `root`.
pub(super) fn is_in(root: &str, op: &Op) -> bool {
    let inside = |path: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match op {
        Op::Link { from, .. }
        | Op::Rename { from, .. }
        | Op::Clone { from, .. }
        | Op::Concat { from, .. } => inside(from),
        // To where it was: only one workload does that.
        Op::Restore { to: None, .. } => root == super::trash::ROOT,
        Op::Restore { to: Some(to), .. } => inside(to),
        Op::Set { .. } | Op::Get { .. } => root == super::registers::ROOT,
        Op::SetRight { .. }
        | Op::SeeRight { .. }
        | Op::VoidTickets { .. }
        | Op::UseRight { .. } => root == super::rights::ROOT,
        Op::LastLook { of } | Op::Decoded { of } => of == root,
        Op::Mkdir { path }
        | Op::Create { path, .. }
        | Op::Unlink { path, .. }
        | Op::Rmdir { path }
        | Op::RemoveTree { path, .. }
        | Op::DropTrash { path, .. }
        | Op::Stat { path }
        | Op::List { path }
        | Op::ListAll { path }
        | Op::Put { path, .. }
        | Op::Append { path, .. }
        | Op::Overwrite { path, .. }
        | Op::Truncate { path, .. }
        | Op::ReadBlocks { path }
        | Op::Used { path }
        | Op::TakeSnapshot { path, .. }
        | Op::DropSnapshot { path, .. }
        | Op::SeeSnapshot { path, .. }
        | Op::ReadSnapshot { path, .. } => inside(path),
        Op::Fault(_) | Op::Heal => false,
    }
}

/// What points of history say of operations on names.
pub(super) fn names(
    promise: &str,
    start: &Namespace,
    history: &[Event],
    root: &str,
) -> Vec<String> {
    match chosen(history, |op| is_of_names(op) && is_in(root, op)) {
        Ok(operations) => certificate::check(start, &operations).complaints(promise),
        Err(unsound) => unsound,
    }
}

/// What is wrong with the last look of the workload that works in `root`.
pub(super) fn last_look(root: &str, history: &[Event]) -> Vec<String> {
    // What is unsound is told by the other judges.
    let operations = chosen(history, |op| is_in(root, op)).unwrap_or_default();
    last_look::complaints(root, &operations)
}
