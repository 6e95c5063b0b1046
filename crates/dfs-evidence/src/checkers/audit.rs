//! The audit log: what was acknowledged, and what was refused, has its line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{SHOWN_MAX, certificate};
use crate::history::{End, Op, Operation, Right, Use};

/// What is looked at of a line.
#[derive(Debug, Deserialize)]
struct Line {
    operation: String,
    path: Option<String>,
    outcome: String,
    rev: Option<String>,
}

/// What is wrong, by the lines in the logs of all masters that there ever were. Lines of the
/// moments before a loss of power may be missing: `is_excused` says so of the index of the event
/// at which an operation ended.
pub fn complaints(
    operations: &[Operation<'_>],
    log: &str,
    is_excused: impl Fn(u64) -> bool,
) -> Vec<String> {
    // What the loss of power left of a line is none.
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut written: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        if let Some(rev) = line.rev.clone() {
            written.entry(rev).or_default().push(line);
        }
    }
    let mut found = Vec::new();
    for operation in operations {
        let (at, outcome) = match operation.end {
            End::Ok { at, .. } => (at, "done"),
            End::Fail { at, error, .. } if is_one_request(operation.op, error) => (at, "refused"),
            End::Fail { .. } | End::Unknown => continue,
        };
        let written_as = written_as(operation.op, outcome);
        let Some((name, path)) = written_as else {
            continue;
        };
        let Some(rev) = operation.rev() else {
            if outcome == "done" && operation.op.changes() {
                let op = operation.op;
                found.push(format!(
                    "A2: unknown: it is not known when this was done: {op:?}"
                ));
            }
            continue;
        };
        let lines = written.get(&rev.to_string());
        let mut lines = lines.into_iter().flatten();
        let is_it = |line: &Line| {
            // An open file is named by its inode.
            let paths = (line.path.as_deref().filter(|p| p.starts_with('/')), path);
            let is_there = !matches!(paths, (Some(one), Some(other)) if one != other);
            line.operation == name && line.outcome == outcome && is_there
        };
        if !lines.any(is_it) && !is_excused(at) {
            found.push(format!(
                "A2: no audit log says that at {rev} this was {outcome}: {:?}",
                operation.op
            ));
        }
    }
    let more = found.len().saturating_sub(SHOWN_MAX);
    found.truncate(SHOWN_MAX);
    found.extend((more > 0).then(|| format!("A2: and {more} more")));
    found
}

/// Whether it is one request to a master, so that its refusal has a line of its name. Who is not
/// let in has one of another kind.
fn is_one_request(op: &Op, error: &str) -> bool {
    match op {
        Op::SetRight { .. } | Op::VoidTickets { .. } => true,
        Op::UseRight { .. } => error.starts_with("AccessDenied"),
        op => certificate::is_of_names(op) && op.changes(),
    }
}

/// What the last request of it is called in the log, and where it is; none if it has no line when
/// it ends so.
fn written_as<'a>(op: &'a Op, outcome: &str) -> Option<(&'static str, Option<&'a str>)> {
    let (name, path) = match op {
        Op::Mkdir { path } => ("mkdir", Some(path)),
        Op::Create { path, .. } => ("create", Some(path)),
        Op::Link { from, .. } => ("link", Some(from)),
        Op::Rename { from, .. } => ("rename", Some(from)),
        Op::Unlink { path, .. } => ("unlink", Some(path)),
        Op::Rmdir { path } => ("rmdir", Some(path)),
        Op::RemoveTree { path, .. } => ("remove-tree", Some(path)),
        Op::Restore { .. } => ("restore", None),
        Op::DropTrash { .. } => ("drop-trash", None),
        Op::Set { .. } | Op::Put { .. } | Op::Append { .. } | Op::Overwrite { .. } => {
            ("write", None)
        }
        Op::Truncate { .. } => ("truncate", None),
        Op::Clone { from, .. } => ("clone", Some(from)),
        Op::Concat { to, .. } => ("concat", Some(to)),
        Op::TakeSnapshot { path, .. } => ("make-snapshot", Some(path)),
        Op::DropSnapshot { path, .. } => ("remove-snapshot", Some(path)),
        Op::SetRight { right, on } => return Some(given_as(right, *on)),
        Op::VoidTickets { .. } => ("user-password", None),
        Op::UseRight { how, path, .. } => (used_as(*how, outcome)?, Some(path)),
        _ => return None,
    };
    Some((name, path.map(String::as_str)))
}

fn given_as(right: &Right, on: bool) -> (&'static str, Option<&str>) {
    match (right, on) {
        (Right::LogIn(_) | Right::Change(_), _) => ("user-set", None),
        (Right::Key(_), true) => ("user-key-add", None),
        (Right::Key(_), false) => ("user-key-remove", None),
        (Right::Member(_), true) => ("group-member-add", None),
        (Right::Member(_), false) => ("group-member-remove", None),
        (Right::Named(path), _) => ("set-acl", Some(path)),
        (Right::Mode(path), _) => ("set-attr", Some(path)),
    }
}

fn used_as(how: Use, outcome: &str) -> Option<&'static str> {
    match how {
        // Names and attributes are told without a line.
        Use::List | Use::Stat if outcome == "done" => None,
        Use::List => Some("list"),
        Use::Stat => Some("stat"),
        Use::Find => Some("read"),
        Use::Make => Some("create"),
        Use::Remove => Some("unlink"),
        Use::Cut => Some("truncate"),
        // Of many requests.
        Use::Read => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, create};

    const LOG: &str = concat!(
        r#"{"operation":"create","path":"/a","outcome":"done","rev":"1.5"}"#,
        "\n{\"oper\n\0\0\0\n",
        r#"{"operation":"create","path":"/b","outcome":"refused","rev":"1.6"}"#,
        "\n",
        r#"{"operation":"write","path":"i7","outcome":"done","rev":"1.7"}"#,
        "\n",
        r#"{"operation":"user-set","subject":"u7","outcome":"done","rev":"1.20"}"#,
        "\n",
        r#"{"operation":"group-member-remove","subject":"g7","outcome":"refused","rev":"1.21"}"#,
        "\n",
        r#"{"operation":"list","path":"/all","outcome":"refused","rev":"1.22"}"#,
        "\n",
        r#"{"operation":"read","path":"/all","outcome":"done","rev":"1.23"}"#,
        "\n",
    );

    fn judged(tale: &Tale, log: &str, excused: &[u64]) -> Vec<String> {
        let history = tale.history();
        let operations = operations(&history, |_| true).unwrap();
        complaints(&operations, log, |at| excused.contains(&at))
    }

    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.does(1, create("/a"), None, 5);
        tale.refused(1, create("/b"), "Exists: /b", 6);
        let set = Op::Set {
            key: "/r".to_owned(),
            number: 1,
        };
        tale.does(1, set, None, 7);
        tale.does(
            1,
            Op::Stat {
                path: "/a".to_owned(),
            },
            None,
            8,
        );
        let taken = |right| Op::SetRight { right, on: false };
        let (user, all) = (|| "alice".to_owned(), || "/all".to_owned());
        tale.does(1, taken(Right::LogIn(user())), None, 20);
        tale.refused(1, taken(Right::Member(all())), "NotFound: alice", 21);
        let uses = |how| Op::UseRight {
            user: user(),
            right: Right::Mode(all()),
            how,
            path: all(),
        };
        tale.refused(1, uses(Use::List), "AccessDenied: /all", 22);
        tale.does(1, uses(Use::Find), None, 23);
        tale.does(1, uses(Use::Stat), None, 24);
        tale.refused(1, uses(Use::Stat), "LoginRequired: alice", 25);
        tale.loses(2, create("/c"));
        tale
    }

    #[test]
    fn what_has_its_line_is_good() {
        assert_eq!(judged(&tale(), LOG, &[]), Vec::<String>::new());
    }

    #[test]
    fn what_lacks_its_line_is_found_unless_power_was_lost_then() {
        for lacking in ["1.5", "1.6", "1.7", "1.20", "1.21", "1.22", "1.23"] {
            let log = LOG.replace(&format!("\"{lacking}\""), "\"9.9\"");
            let found = judged(&tale(), &log, &[]);
            assert!(
                matches!(&*found, [one] if one.contains(lacking)),
                "{found:?}"
            );
        }
        // Its last event is the one of this index.
        assert!(judged(&tale(), &LOG.replace("1.5", "9.9"), &[1]).is_empty());
    }

    #[test]
    fn a_change_whose_point_is_not_known_cannot_be_looked_for() {
        let mut history = tale().history();
        for event in &mut history {
            event.rev = event.rev.filter(|rev| rev.index != 7);
        }
        let operations = operations(&history, |_| true).unwrap();
        let found = complaints(&operations, LOG, |_| false);
        assert!(
            matches!(&*found, [one] if one.starts_with("A2: unknown")),
            "{found:?}"
        );
    }

    #[test]
    fn a_line_that_says_something_else_is_not_its_line() {
        for (said, instead) in [
            (r#""path":"/a""#, r#""path":"/z""#),
            (r#""refused","rev":"1.6""#, r#""done","rev":"1.6""#),
            (r#""operation":"write""#, r#""operation":"unlink""#),
        ] {
            assert_eq!(
                judged(&tale(), &LOG.replace(said, instead), &[]).len(),
                1,
                "{said}"
            );
        }
    }
}
