//! Snapshots: each shows one moment, that at which it was made, and shows it for ever.
//!
//! Files have unique names; what is in each is written by who made it alone. By the points of
//! history it is known of each at which it came, changed and went, or that nobody knows. So it is
//! known what a snapshot must show, and what it may.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Block, End, Op, Operation, Output};

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

/// A file: all that it held in turn, when each came to be, and when it went.
#[derive(Debug, Default)]
struct File {
    states: Vec<(When, Vec<Block>)>,
    went: When,
}

impl File {
    fn came(&self) -> When {
        self.states.first().map_or(When::Never, |(came, _)| *came)
    }

    /// Whether it must be there at a point, and whether it may.
    fn at(&self, point: u64) -> (bool, bool) {
        let must = self.came().is_surely(point) && !self.went.is_perhaps(point);
        let may = self.came().is_perhaps(point) && !self.went.is_surely(point);
        (must, may)
    }

    /// Whether it may hold these blocks at a point.
    fn may_hold(&self, blocks: &[Block], point: u64) -> bool {
        let surely = self.states.iter().filter(|(came, _)| came.is_surely(point));
        let least = surely.count();
        let may = self
            .states
            .iter()
            .take_while(|(came, _)| came.is_perhaps(point));
        may.enumerate()
            .any(|(number, (_, held))| number + 1 >= least && held == blocks)
    }
}

/// A snapshot: when it came and went, and what was seen of it.
#[derive(Debug, Default)]
struct Seen {
    came: When,
    went: When,
    names: Option<BTreeSet<String>>,
}

/// What a history is about.
#[derive(Default)]
struct Known {
    files: BTreeMap<String, File>,
    snapshots: BTreeMap<String, Seen>,
}

impl Known {
    fn of(operations: &[Operation<'_>]) -> Known {
        let mut known = Known::default();
        for operation in operations {
            let when = When::of(operation);
            match operation.op {
                op @ (Op::Put { path, .. }
                | Op::Append { path, .. }
                | Op::Overwrite { path, .. }
                | Op::Truncate { path, .. })
                    if when != When::Never =>
                {
                    let file = known.files.entry(path.clone()).or_default();
                    let before = file.states.last().map(|(_, held)| held.clone());
                    file.states
                        .push((when, changed(before.unwrap_or_default(), op)));
                }
                // A removal that found nothing says nothing new.
                Op::Unlink { path, .. } if when != When::Never => {
                    known.files.entry(path.clone()).or_default().went = when;
                }
                Op::TakeSnapshot { name, .. } => {
                    known.snapshots.entry(name.clone()).or_default().came = when;
                }
                Op::DropSnapshot { name, .. } if when != When::Never => {
                    known.snapshots.entry(name.clone()).or_default().went = when;
                }
                _ => {}
            }
        }
        known
    }
}

/// What a file holds after a change.
fn changed(mut held: Vec<Block>, op: &Op) -> Vec<Block> {
    let (file, version, first, from, count) = match *op {
        Op::Append {
            file,
            version,
            blocks,
            ..
        } => (file, version, 0, held.len(), blocks),
        Op::Overwrite {
            file,
            version,
            first,
            blocks,
            ..
        } => (file, version, first, first as usize, blocks),
        Op::Put {
            file,
            version,
            blocks,
            ..
        } => (file, version, 0, 0, blocks),
        Op::Truncate { blocks, .. } => {
            held.resize(blocks as usize, Block::Hole);
            return held;
        }
        _ => return held,
    };
    held.resize(held.len().max(from + count as usize), Block::Hole);
    for (place, block) in (first..first + count).zip(held.iter_mut().skip(from)) {
        *block = Block::Data {
            file,
            version,
            place,
        };
    }
    held
}

/// What is wrong with the snapshots of a directory.
pub fn complaints(directory: &str, operations: &[Operation<'_>]) -> Vec<String> {
    let mut known = Known::of(operations);
    let (mut found, mut looks) = (Vec::new(), 0);
    for operation in operations {
        let (began, output) = (operation.began, operation.output());
        let complaint = match operation.op {
            Op::SeeSnapshot { name, .. } => {
                looks += u64::from(output.is_some());
                let seen = known.snapshots.entry(name.clone()).or_default();
                names(directory, &known.files, seen, operation)
            }
            Op::ReadSnapshot { name, path, .. } => {
                let seen = known.snapshots.entry(name.clone()).or_default();
                blocks(known.files.get(path), seen, output)
            }
            _ => None,
        };
        found
            .extend(complaint.map(|what| format!("N1: event {began}: {:?}: {what}", operation.op)));
    }
    if looks == 0 {
        found.push("N1: unknown: nobody looked at a snapshot".to_owned());
    }
    found
}

/// What is wrong with the names that a snapshot showed.
fn names(
    directory: &str,
    files: &BTreeMap<String, File>,
    seen: &mut Seen,
    operation: &Operation<'_>,
) -> Option<String> {
    let point = operation.rev().map(|rev| rev.index);
    let Some(Output::Names(listed)) = operation.output() else {
        // It must be there from the answer that it is until it may have been removed.
        let missed =
            matches!(&operation.end, End::Fail { error, .. } if error.starts_with("NotFound"));
        let point = point.filter(|_| missed)?;
        let is_there = seen.came.is_surely(point) && !seen.went.is_perhaps(point);
        return is_there.then(|| "it is there, and was not found".to_owned());
    };
    if point.is_some_and(|point| seen.went.is_surely(point)) {
        return Some("it was removed, and is shown".to_owned());
    }
    let listed: BTreeSet<String> = listed.iter().map(|(name, _)| name.clone()).collect();
    match &seen.names {
        Some(before) if *before != listed => {
            let differ: Vec<_> = before.symmetric_difference(&listed).collect();
            return Some(format!("it shows other names than before: {differ:?}"));
        }
        _ => seen.names = Some(listed.clone()),
    }
    let points = match seen.came {
        When::At(point) => vec![point],
        // It was made at some point, of which nobody told.
        When::Perhaps => points(files),
        When::Never => return Some("it was never made".to_owned()),
    };
    let fits = |point: &u64| unfit(directory, files, &listed, *point).is_none();
    match points.as_slice() {
        [point] => unfit(directory, files, &listed, *point),
        many if many.iter().any(fits) => None,
        _ => Some("it shows what was there at no point".to_owned()),
    }
}

/// All points at which something came or went.
fn points(files: &BTreeMap<String, File>) -> Vec<u64> {
    let whens = files.values().flat_map(|file| [file.came(), file.went]);
    let at = whens.filter_map(|when| match when {
        When::At(point) => Some(point),
        When::Never | When::Perhaps => None,
    });
    [0].into_iter().chain(at).collect()
}

/// What of the names was not there at a point, or was there and lacks.
fn unfit(
    directory: &str,
    files: &BTreeMap<String, File>,
    listed: &BTreeSet<String>,
    point: u64,
) -> Option<String> {
    for (path, file) in files {
        let name = path.strip_prefix(directory)?.trim_start_matches('/');
        let ((must, may), is_shown) = (file.at(point), listed.contains(name));
        if must && !is_shown {
            return Some(format!("{path} was there at {point}, and lacks"));
        }
        if is_shown && !may {
            return Some(format!("{path} was not there at {point}, and is shown"));
        }
    }
    let is_known = |name: &&String| files.contains_key(&format!("{directory}/{name}"));
    let foreign = listed.iter().find(|name| !is_known(name));
    foreign.map(|name| format!("{name} was never made"))
}

/// What is wrong with the blocks of a file that a snapshot showed.
fn blocks(file: Option<&File>, seen: &Seen, output: Option<&Output>) -> Option<String> {
    let Some(Output::Blocks(blocks)) = output else {
        return None;
    };
    let Some(file) = file else {
        return Some("there never was such a file".to_owned());
    };
    let fits = match seen.came {
        When::At(point) => file.may_hold(blocks, point),
        When::Perhaps => points_of(file).any(|point| file.may_hold(blocks, point)),
        When::Never => return Some("it was never made".to_owned()),
    };
    let length = blocks.len();
    (!fits).then(|| format!("its {length} blocks are not what it held then"))
}

fn points_of(file: &File) -> impl Iterator<Item = u64> {
    let whens = file.states.iter().map(|(came, _)| match came {
        When::At(point) => *point,
        When::Never | When::Perhaps => u64::MAX,
    });
    whens.chain([u64::MAX])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::operations;
    use crate::history::tale::{Tale, names, unlink};

    const PATH: &str = "/s";

    fn put(path: &str, file: u64) -> Op {
        let (path, version, blocks) = (path.to_owned(), file, 2);
        Op::Put {
            path,
            file,
            version,
            blocks,
        }
    }

    fn append(path: &str, file: u64, version: u64) -> Op {
        let (path, blocks) = (path.to_owned(), 1);
        Op::Append {
            path,
            file,
            version,
            blocks,
        }
    }

    fn of(name: &str, op: impl Fn(String, String) -> Op) -> Op {
        op(PATH.to_owned(), name.to_owned())
    }

    fn take(name: &str) -> Op {
        of(name, |path, name| Op::TakeSnapshot { path, name })
    }

    fn drop_it(name: &str) -> Op {
        of(name, |path, name| Op::DropSnapshot { path, name })
    }

    fn see(name: &str) -> Op {
        of(name, |path, name| Op::SeeSnapshot { path, name })
    }

    fn read(name: &str, path: &str) -> Op {
        let (path, name) = (path.to_owned(), name.to_owned());
        Op::ReadSnapshot { path, name }
    }

    fn data(file: u64, version: u64, places: std::ops::Range<u64>) -> Vec<Block> {
        let block = |place| Block::Data {
            file,
            version,
            place,
        };
        places.map(block).collect()
    }

    fn told(tell: impl Fn(&mut Tale)) -> Vec<String> {
        let mut tale = Tale::default();
        tell(&mut tale);
        let history = tale.history();
        complaints(PATH, &operations(&history, |_| true).unwrap())
    }

    fn one(found: &[String], part: &str) {
        assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
    }

    #[test]
    fn what_was_there_at_its_moment_is_right_and_what_nobody_knows_may_be_there() {
        let found = told(|tale| {
            tale.does(1, put("/s/a", 1), None, 10);
            tale.loses(3, put("/s/b", 2));
            tale.does(1, append("/s/a", 1, 7), None, 11);
            tale.does(2, take("x"), None, 12);
            tale.does(1, append("/s/a", 1, 8), None, 13);
            tale.does(1, unlink("/s/a"), None, 14);
            tale.does(1, put("/s/c", 3), None, 15);
            tale.does(2, see("x"), names(&[("a", 5), ("b", 6)]), 16);
            let held = [data(1, 1, 0..2), data(1, 7, 0..1)].concat();
            tale.does(2, read("x", "/s/a"), Some(Output::Blocks(held)), 0);
            tale.does(2, drop_it("x"), None, 17);
            tale.refused(2, see("x"), "NotFound: x", 18);
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn what_lacks_and_what_came_later_is_found() {
        let with = |shown: &[(&str, u64)]| {
            told(|tale| {
                tale.does(1, put("/s/a", 1), None, 10);
                tale.does(2, take("x"), None, 12);
                tale.does(1, put("/s/c", 3), None, 15);
                tale.does(2, see("x"), names(shown), 16);
            })
        };
        assert_eq!(with(&[("a", 5)]), Vec::<String>::new());
        one(&with(&[]), "/s/a was there at 12, and lacks");
        one(&with(&[("a", 5), ("c", 6)]), "/s/c was not there at 12");
        one(&with(&[("a", 5), ("z", 6)]), "z was never made");
    }

    #[test]
    fn a_snapshot_that_changes_is_found_though_nobody_knows_when_it_was_made() {
        let found = told(|tale| {
            tale.loses(1, put("/s/a", 1));
            tale.loses(2, take("x"));
            tale.does(4, see("x"), names(&[("a", 5)]), 16);
            tale.does(4, see("x"), names(&[]), 17);
        });
        one(&found, "other names than before");
    }

    #[test]
    fn what_was_never_there_together_is_found() {
        let found = told(|tale| {
            tale.does(1, put("/s/a", 1), None, 10);
            tale.does(1, unlink("/s/a"), None, 11);
            tale.does(1, put("/s/b", 2), None, 12);
            tale.loses(2, take("x"));
            tale.does(4, see("x"), names(&[("a", 5), ("b", 6)]), 16);
        });
        one(&found, "at no point");
    }

    #[test]
    fn blocks_of_another_moment_are_found() {
        let with = |blocks: Vec<Block>| {
            told(|tale| {
                tale.does(1, put("/s/a", 1), None, 10);
                tale.does(2, take("x"), None, 12);
                tale.does(1, append("/s/a", 1, 7), None, 13);
                tale.does(2, see("x"), names(&[("a", 5)]), 14);
                tale.does(
                    2,
                    read("x", "/s/a"),
                    Some(Output::Blocks(blocks.clone())),
                    0,
                );
            })
        };
        assert_eq!(with(data(1, 1, 0..2)), Vec::<String>::new());
        one(&with(data(1, 1, 0..1)), "not what it held then");
        one(&with(vec![Block::Hole; 2]), "not what it held then");
        let later = [data(1, 1, 0..2), data(1, 7, 0..1)].concat();
        one(&with(later), "not what it held then");
    }

    #[test]
    fn what_was_written_over_or_cut_off_later_is_still_shown() {
        let over = || Op::Overwrite {
            path: "/s/a".to_owned(),
            file: 1,
            version: 7,
            first: 1,
            blocks: 2,
        };
        let cut = || Op::Truncate {
            path: "/s/a".to_owned(),
            file: 1,
            version: 8,
            blocks: 1,
        };
        let with = |name: &str, blocks: Vec<Block>| {
            told(|tale| {
                tale.does(1, put("/s/a", 1), None, 10);
                tale.does(2, take("x"), None, 12);
                tale.does(1, over(), None, 13);
                tale.does(2, take("y"), None, 14);
                tale.does(1, cut(), None, 15);
                tale.does(2, take("z"), None, 16);
                tale.does(2, see(name), names(&[("a", 5)]), 17);
                tale.does(
                    2,
                    read(name, "/s/a"),
                    Some(Output::Blocks(blocks.clone())),
                    0,
                );
            })
        };
        let (first, second) = (
            data(1, 1, 0..2),
            [data(1, 1, 0..1), data(1, 7, 1..3)].concat(),
        );
        let third = data(1, 1, 0..1);
        for (name, held) in [("x", &first), ("y", &second), ("z", &third)] {
            assert_eq!(with(name, held.clone()), Vec::<String>::new(), "{name}");
        }
        one(&with("x", second.clone()), "not what it held then");
        one(&with("y", first), "not what it held then");
        one(&with("z", second), "not what it held then");
    }

    #[test]
    fn a_snapshot_that_is_lost_or_comes_back_is_found() {
        let found = told(|tale| {
            tale.does(2, take("x"), None, 12);
            tale.does(2, see("x"), names(&[]), 13);
            tale.refused(2, see("x"), "NotFound: x", 14);
        });
        one(&found, "was not found");
        let found = told(|tale| {
            tale.does(2, take("x"), None, 12);
            tale.does(2, drop_it("x"), None, 13);
            tale.does(2, see("x"), names(&[]), 14);
        });
        one(&found, "was removed, and is shown");
    }
}
