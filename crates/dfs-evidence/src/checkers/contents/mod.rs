//! Contents: every read of a file shows what it held at some moment of the read.
//!
//! Files of blocks come in two kinds. Those with one writer are a family: each state that it had
//! is known, with all names that led to the files and all entries of the trash. So a read at any
//! of its paths must show a state that was not over when it began, and none that an earlier read
//! had left behind. A log, to which several append, only grows: all reads are beginnings of the
//! longest, and each append is in it once, whole, where it was said to be.

mod family;
mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Block, End, Op, Operation, Output};

/// Which files are of which kind, and where.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// What the last look calls all of them.
    pub root: &'a str,
    /// The directories that they are in.
    pub directories: &'a [&'a str],
    /// The one file to which several append.
    pub log: &'a str,
}

impl Files<'_> {
    /// The paths of one family are the same up to their first point.
    fn family<'p>(&self, path: &'p str) -> &'p str {
        path.split('.').next().unwrap_or(path)
    }

    /// What is wrong with the files that operations wrote and read. In the last look each of them
    /// is listed and read once more.
    pub fn complaints(&self, operations: &[Operation<'_>]) -> Vec<String> {
        let mut families: BTreeMap<&str, Vec<&Operation<'_>>> = BTreeMap::new();
        for operation in operations {
            if let Some(path) = path(operation.op) {
                let family = families.entry(self.family(path));
                family.or_default().push(operation);
            }
        }
        let last_look = LastLook::of(self, operations);
        let look = last_look.as_ref();
        let mut found = Vec::new();
        for (name, operations) in &families {
            if *name != self.log {
                found.extend(family::complaints(name, operations, look));
                continue;
            }
            found.extend(log::complaints(name, operations));
            let appended = operations.iter().any(|o| o.is_ok() && !is_read(o));
            found.extend(
                look.filter(|_| appended)
                    .and_then(|l| l.unread(name, operations)),
            );
        }
        match look {
            Some(look) => {
                let known = |path: &&String| !families.contains_key(self.family(path));
                let strange = look.listed.iter().filter(known).filter(|p| *p != self.log);
                found.extend(strange.map(|path| format!("D1: {path}: nobody made it")));
            }
            None if families.is_empty() => {}
            None => found.push("D1: unknown: nobody looked at all files at the end".to_owned()),
        }
        found
    }
}

/// The last listings of all files, when nobody changed them any more.
struct LastLook {
    /// When the last of them was done.
    at: u64,
    listed: BTreeSet<String>,
}

impl LastLook {
    fn of(files: &Files<'_>, operations: &[Operation<'_>]) -> Option<LastLook> {
        let is_begin = |o: &&Operation<'_>| matches!(o.op, Op::LastLook { of } if of == files.root);
        let begin = operations.iter().find(is_begin)?.began;
        let mut look = LastLook {
            at: begin,
            listed: BTreeSet::new(),
        };
        for directory in files.directories {
            let looks = operations.iter().filter(|o| o.began > begin);
            let listing = |operation: &Operation<'_>| match (operation.op, &operation.end) {
                (
                    Op::ListAll { path },
                    End::Ok {
                        at,
                        output: Some(Output::Names(names)),
                        ..
                    },
                ) if path == directory => {
                    let names = names.iter().map(|(n, _)| format!("{directory}/{n}"));
                    Some((*at, names.collect::<Vec<_>>()))
                }
                _ => None,
            };
            let (at, names) = looks.filter_map(listing).next_back()?;
            look.at = look.at.max(at);
            look.listed.extend(names);
        }
        Some(look)
    }

    fn shows(&self, path: &str) -> bool {
        self.listed.contains(path)
    }

    /// The complaint that a path was not read after that.
    fn unread(&self, path: &str, operations: &[&Operation<'_>]) -> Option<String> {
        let is_of = |o: &&&Operation<'_>| matches!(o.op, Op::ReadBlocks { path: p } if p == path);
        let reads = operations
            .iter()
            .filter(|o| o.began > self.at)
            .filter(is_of);
        let mut why = String::new();
        for read in reads {
            match read.end {
                End::Ok { .. } => return None,
                End::Fail { error, .. } => why = format!(": {error}"),
                End::Unknown => {}
            }
        }
        Some(format!("D1: {path}: it cannot be read at the end{why}"))
    }
}

fn is_read(operation: &Operation<'_>) -> bool {
    matches!(operation.op, Op::ReadBlocks { .. })
}

/// One of the paths of an operation on files of blocks: the others are of the same family.
fn path(op: &Op) -> Option<&str> {
    match op {
        Op::Put { path, .. }
        | Op::Append { path, .. }
        | Op::Overwrite { path, .. }
        | Op::Truncate { path, .. }
        | Op::ReadBlocks { path }
        | Op::Link { from: path, .. }
        | Op::Clone { from: path, .. }
        | Op::Concat { from: path, .. }
        | Op::Rename { from: path, .. }
        | Op::Unlink { path, .. }
        | Op::Restore { to: Some(path), .. }
        | Op::DropTrash { path, .. } => Some(path),
        _ => None,
    }
}

/// A read that was done: where, when, and what it showed. Nothing: there was no file.
struct Read<'a> {
    path: &'a str,
    began: u64,
    ended: u64,
    shown: Option<&'a [Block]>,
}

/// The reads that were done, in the order in which they ended.
fn reads<'a>(operations: &[&'a Operation<'a>]) -> Vec<Read<'a>> {
    let read = |operation: &&'a Operation<'a>| match (operation.op, &operation.end) {
        (Op::ReadBlocks { path }, End::Ok { at, output, .. }) => Some(Read {
            path,
            began: operation.began,
            ended: *at,
            shown: match output {
                Some(Output::Blocks(blocks)) => Some(blocks),
                _ => None,
            },
        }),
        _ => None,
    };
    let mut reads: Vec<Read<'_>> = operations.iter().filter_map(read).collect();
    reads.sort_by_key(|read| read.ended);
    reads
}
