//! What the checks of workloads have in common.

use crate::checkers::certificate::{self, is_of_names};
use crate::checkers::identity;
use crate::history::{Event, Op, Operation, operations};
use crate::model::Namespace;

/// The operations that are wanted, or why the history is none.
pub(super) fn chosen<'a>(
    history: &'a [Event],
    wanted: impl Fn(&Op) -> bool,
) -> Result<Vec<Operation<'a>>, Vec<String>> {
    operations(history, wanted).map_err(|why| vec![format!("the history is unsound: {why}")])
}

/// Whether an operation on names is of the workload that works in `root`. Only one restores.
pub(super) fn is_in(root: &str, op: &Op) -> bool {
    let inside = |path: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match op {
        Op::Link { from, .. } | Op::Rename { from, .. } => inside(from),
        Op::Restore { .. } => root == super::trash::ROOT,
        Op::Mkdir { path }
        | Op::Create { path, .. }
        | Op::Unlink { path, .. }
        | Op::Rmdir { path }
        | Op::RemoveTree { path, .. }
        | Op::Stat { path }
        | Op::List { path }
        | Op::ListAll { path }
        | Op::Put { path, .. }
        | Op::Append { path, .. }
        | Op::Overwrite { path, .. }
        | Op::Truncate { path, .. }
        | Op::ReadBlocks { path } => inside(path),
        Op::Set { .. } | Op::Get { .. } | Op::Fault(_) | Op::Heal => false,
    }
}

/// What points of history and ids say of operations on names.
pub(super) fn names(
    promise: &str,
    start: &Namespace,
    history: &[Event],
    root: &str,
) -> Vec<String> {
    let wanted = |op: &Op| is_of_names(op) && is_in(root, op);
    match chosen(history, wanted) {
        Ok(operations) => {
            let verdict = certificate::check(start, &operations);
            let mut found = verdict.complaints(promise);
            found.extend(identity::complaints(&operations));
            found
        }
        Err(unsound) => unsound,
    }
}
