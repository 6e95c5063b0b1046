//! Which operations without an answer may matter to one with an answer.
//!
//! One matters if what it touches now meets what the other touches, or if the two share a name
//! that some operation of the history gives or takes away: then it may matter after a third one.
//! And what matters to one that matters does, too.

use std::collections::BTreeSet;

use super::{Step, Unanswered};
use crate::history::Op;
use crate::model::{Footprint, Namespace};

/// The names that come and go in a history.
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn of(steps: &[Step<'_>], unanswered: &[Unanswered<'_>]) -> Names {
        let ops = steps.iter().map(|step| step.operation.op);
        let ops = ops
            .chain(unanswered.iter().map(|u| u.op))
            .filter(|op| op.changes());
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        Names(ops.flat_map(|op| paths(op).map(last)).collect())
    }

    fn in_both(&self, one: &Op, other: &Op) -> bool {
        let names = |path: &'_ str| -> Vec<String> { path.split('/').map(str::to_owned).collect() };
        let theirs: BTreeSet<String> = paths(other).flat_map(names).collect();
        let mut shared = paths(one).flat_map(names);
        shared.any(|name| theirs.contains(&name) && self.0.contains(&name))
    }
}

/// The paths that an operation is given.
fn paths(op: &Op) -> impl Iterator<Item = &str> {
    let (one, other) = match op {
        Op::Link { from, to } | Op::Rename { from, to, .. } => (Some(from), Some(to)),
        Op::Restore { to, .. } => (to.as_ref(), None),
        Op::Mkdir { path }
        | Op::Create { path, .. }
        | Op::Unlink { path, .. }
        | Op::Rmdir { path }
        | Op::RemoveTree { path, .. }
        | Op::Stat { path }
        | Op::List { path } => (Some(path), None),
        _ => (None, None),
    };
    one.into_iter().chain(other).map(String::as_str)
}

/// Of `open`, those that may matter to `op` in this state.
pub(super) fn related<'a>(
    state: &Namespace,
    op: &Op,
    open: &[&'a Unanswered<'a>],
    names: &Names,
) -> Vec<&'a Unanswered<'a>> {
    let mut rest: Vec<(&Unanswered<'_>, Footprint)> =
        open.iter().map(|u| (*u, state.touch(u.op).0)).collect();
    let mut found = Vec::new();
    let mut todo = vec![(op, state.touch(op).0)];
    while let Some((op, touched)) = todo.pop() {
        let matters = |(other, touches): &(&Unanswered<'_>, Footprint)| {
            touched.meets(touches) || names.in_both(op, other.op)
        };
        let (matter, others) = rest.into_iter().partition(matters);
        rest = others;
        let matter: Vec<(&Unanswered<'_>, Footprint)> = matter;
        for (unanswered, touches) in matter {
            found.push(unanswered);
            todo.push((unanswered.op, touches));
        }
    }
    found.sort_by_key(|unanswered| unanswered.number);
    found
}
