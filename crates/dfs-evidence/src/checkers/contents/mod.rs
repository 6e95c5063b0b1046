//! Contents: every read of a file shows what it held at some moment of the read.
//!
//! Files of blocks come in two kinds. A file with one writer is a register of whole files: each
//! state it had is known, so a read must show one that was not over when it began, and none that
//! an earlier read had left behind. A log, to which several append, only grows: all reads are
//! beginnings of the longest, and each append is in it once, whole, where it was said to be.

mod log;
mod single;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::history::{Block, End, Op, Operation};

/// Whether a file is appended to by several.
type IsLog<'a> = &'a dyn Fn(&str) -> bool;

/// What is wrong with the files that operations wrote and read. After the last listing of
/// `directory` each file is looked at once more, and must be found.
pub fn complaints(directory: &str, is_log: IsLog<'_>, operations: &[Operation<'_>]) -> Vec<String> {
    let mut files: BTreeMap<&str, Vec<&Operation<'_>>> = BTreeMap::new();
    let mut last_look = None;
    for operation in operations {
        if let Some(path) = path(operation.op) {
            files.entry(path).or_default().push(operation);
        }
        if let (Op::ListAll { path }, End::Ok { at, .. }) = (operation.op, &operation.end)
            && path == directory
        {
            last_look = Some(*at);
        }
    }
    let mut found = Vec::new();
    for (path, operations) in &files {
        found.extend(match is_log(path) {
            true => log::complaints(path, operations),
            false => single::complaints(path, operations),
        });
        let wrote = operations.iter().any(|o| o.is_ok() && !is_read(o));
        if let Some(last_look) = last_look
            && wrote
            && !operations
                .iter()
                .any(|o| is_read(o) && o.is_ok() && o.began > last_look)
        {
            found.push(format!(
                "D1: {path}: it cannot be read at the end{}",
                why(operations)
            ));
        }
    }
    if last_look.is_none() && !files.is_empty() {
        found.push("D1: unknown: nobody looked at all files at the end".to_owned());
    }
    found
}

fn why(operations: &[&Operation<'_>]) -> String {
    let mut errors = operations
        .iter()
        .filter_map(|operation| match operation.end {
            End::Fail { error, .. } if is_read(operation) => Some(error),
            _ => None,
        });
    errors
        .next_back()
        .map(|error| format!(": {error}"))
        .unwrap_or_default()
}

fn is_read(operation: &Operation<'_>) -> bool {
    matches!(operation.op, Op::ReadBlocks { .. })
}

fn path(op: &Op) -> Option<&str> {
    match op {
        Op::Put { path, .. }
        | Op::Append { path, .. }
        | Op::Overwrite { path, .. }
        | Op::Truncate { path, .. }
        | Op::ReadBlocks { path } => Some(path),
        _ => None,
    }
}

/// A read that was done: when, and what it showed. Nothing: there was no file.
struct Read<'a> {
    began: u64,
    ended: u64,
    shown: Option<&'a [Block]>,
}

/// The reads that were done, in the order in which they ended.
fn reads<'a>(operations: &[&'a Operation<'a>]) -> Vec<Read<'a>> {
    let read = |operation: &&'a Operation<'a>| match (operation.op, &operation.end) {
        (Op::ReadBlocks { .. }, End::Ok { at, output, .. }) => Some(Read {
            began: operation.began,
            ended: *at,
            shown: match output {
                Some(crate::history::Output::Blocks(blocks)) => Some(blocks),
                _ => None,
            },
        }),
        _ => None,
    };
    let mut reads: Vec<Read<'_>> = operations.iter().filter_map(read).collect();
    reads.sort_by_key(|read| read.ended);
    reads
}
