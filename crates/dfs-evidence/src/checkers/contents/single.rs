//! Files with one writer.

use super::{Read, is_read, reads};
use crate::history::{Block, End, Op, Operation, Output};

/// A write, and what the file holds after it.
struct Write {
    began: u64,
    /// None if nobody knows whether it was done: then it is the last.
    ended: Option<u64>,
    after: Vec<Block>,
}

pub(super) fn complaints(path: &str, operations: &[&Operation<'_>]) -> Vec<String> {
    let (writes, mut found) = writes(path, operations);
    // How far reads have come: by when they ended, the latest state seen.
    let mut seen: Vec<(u64, usize)> = Vec::new();
    for read in reads(operations) {
        let acknowledged = writes
            .iter()
            .filter(|w| w.ended.is_some_and(|at| at < read.began));
        let before = seen.partition_point(|(ended, _)| *ended < read.began);
        let reached = before.checked_sub(1).and_then(|last| seen.get(last));
        let least = acknowledged
            .count()
            .max(reached.map_or(0, |(_, state)| *state));
        let most = writes.iter().filter(|w| w.began < read.ended).count();
        let mut possible = least..=most;
        match possible.find(|state| read.shown == holds(&writes, *state)) {
            Some(state) => {
                let furthest = seen.last().map_or(0, |(_, furthest)| *furthest);
                seen.push((read.ended, state.max(furthest)));
            }
            None => {
                let began = read.began;
                let what = explain(&read, &writes, least, most);
                found.push(format!("{what}: {path}, read by event {began}"));
            }
        }
    }
    found
}

/// What the file holds after so many writes; before the first there is none.
fn holds(writes: &[Write], state: usize) -> Option<&[Block]> {
    let last = state.checked_sub(1)?;
    writes.get(last).map(|write| write.after.as_slice())
}

fn writes(path: &str, operations: &[&Operation<'_>]) -> (Vec<Write>, Vec<String>) {
    let (mut writes, mut found): (Vec<Write>, Vec<String>) = (Vec::new(), Vec::new());
    for operation in operations {
        let refused = matches!(operation.end, End::Fail { .. });
        if is_read(operation) || refused {
            continue;
        }
        let began = operation.began;
        let (before, is_free) = match writes.last() {
            Some(last) => (
                last.after.as_slice(),
                last.ended.is_some_and(|at| at < began),
            ),
            None => (&[][..], true),
        };
        if !is_free {
            found.push(format!(
                "D1: unknown: {path} has two writers at a time, at event {began}"
            ));
            continue;
        }
        if let (Op::Append { .. }, Some(Output::Offset(at))) = (operation.op, operation.output())
            && *at != before.len() as u64
        {
            let length = before.len();
            found.push(format!(
                "D1: an append went to block {at} and not to {length}: {path}, event {began}"
            ));
        }
        writes.push(Write {
            began,
            ended: operation.ended(),
            after: after(before, operation.op),
        });
    }
    (writes, found)
}

/// What a file holds after a write.
fn after(before: &[Block], op: &Op) -> Vec<Block> {
    let mut blocks = before.to_vec();
    let made = |file: u64, version: u64, first: u64, count: u64| {
        (first..first + count).map(move |place| Block::Data {
            file,
            version,
            place,
        })
    };
    let size = |blocks: u64| usize::try_from(blocks).unwrap_or(usize::MAX);
    match *op {
        Op::Put {
            file,
            version,
            blocks: count,
            ..
        } => made(file, version, 0, count).collect(),
        Op::Append {
            file,
            version,
            blocks: count,
            ..
        } => {
            blocks.extend(made(file, version, 0, count));
            blocks
        }
        Op::Overwrite {
            file,
            version,
            first,
            blocks: count,
            ..
        } => {
            let end = size(first + count).max(blocks.len());
            blocks.resize(end, Block::Hole);
            let places = blocks.iter_mut().skip(size(first));
            for (place, block) in places.zip(made(file, version, first, count)) {
                *place = block;
            }
            blocks
        }
        Op::Truncate { blocks: count, .. } => {
            blocks.resize(size(count), Block::Hole);
            blocks
        }
        _ => blocks,
    }
}

/// What kind of wrong a read is.
fn explain(read: &Read<'_>, writes: &[Write], least: usize, most: usize) -> String {
    let Some(shown) = read.shown else {
        return format!("D1: the file is gone, though {least} writes were acknowledged");
    };
    if let Some(old) = (0..least)
        .rev()
        .find(|state| holds(writes, *state) == Some(shown))
    {
        return format!(
            "D1: stale: state {old} of the file, though {least} was seen or acknowledged"
        );
    }
    if (most + 1..=writes.len()).any(|state| holds(writes, state) == Some(shown)) {
        return "D1: a state of the file that was not written yet".to_owned();
    }
    let allowed = |at: usize| {
        let states = (least..=most).filter_map(move |state| holds(writes, state));
        states.map(move |blocks| blocks.get(at).copied())
    };
    let owns = |block: &Block| writes.iter().any(|write| write.after.contains(block));
    for (at, block) in shown.iter().enumerate() {
        if allowed(at).any(|right| right == Some(*block)) {
            continue;
        }
        return match block {
            Block::Bad => format!("D3: block {at} is torn or foreign bytes"),
            Block::Hole => format!("D8: block {at} is a hole where bytes were acknowledged"),
            Block::Data { .. } if owns(block) => {
                format!("D1: block {at} is of another state of the file or another place")
            }
            Block::Data { file, version, .. } => {
                format!("D3: block {at} is of write {version} of file {file}, not of this one")
            }
        };
    }
    let length = shown.len();
    match (least..=most)
        .filter_map(|s| holds(writes, s))
        .any(|blocks| blocks.len() == length)
    {
        true => "D1: a mixture of several states of the file".to_owned(),
        false => format!("D1: {length} blocks, a length the file did not have"),
    }
}
