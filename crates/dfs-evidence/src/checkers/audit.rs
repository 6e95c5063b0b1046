//! The audit log: what was acknowledged, and what was refused, has its line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::SHOWN_MAX;
use crate::history::{End, Op, Operation};

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
            End::Fail { at, .. } if is_one_change(operation.op) => (at, "refused"),
            End::Fail { .. } | End::Unknown => continue,
        };
        let (Some((name, path)), Some(rev)) = (written_as(operation.op), operation.rev()) else {
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

/// Whether it is one request to a master, so that its refusal is that of a change.
fn is_one_change(op: &Op) -> bool {
    matches!(
        op,
        Op::Mkdir { .. }
            | Op::Create { .. }
            | Op::Link { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::RemoveTree { .. }
    )
}

/// What the last request of it is called in the log, and where it is; none if it changes nothing.
fn written_as(op: &Op) -> Option<(&'static str, Option<&str>)> {
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
        _ => return None,
    };
    Some((name, path.map(String::as_str)))
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
        tale.loses(2, create("/c"));
        tale
    }

    #[test]
    fn what_has_its_line_is_good() {
        assert_eq!(judged(&tale(), LOG, &[]), Vec::<String>::new());
    }

    #[test]
    fn what_lacks_its_line_is_found_unless_power_was_lost_then() {
        for lacking in ["1.5", "1.6", "1.7"] {
            let log = LOG.replace(lacking, "9.9");
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
    fn a_line_that_says_something_else_is_not_its_line() {
        for (said, instead) in [
            (r#""path":"/a""#, r#""path":"/z""#),
            (r#""outcome":"refused""#, r#""outcome":"done""#),
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
