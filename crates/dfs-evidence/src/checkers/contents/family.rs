//! Files with one writer, and all of their names.

use super::{LastLook, Read, is_read, reads};
use crate::history::{Block, End, Operation};
use crate::model::{Family, Seen};

/// A change, and what there is after it.
struct State {
    began: u64,
    /// None if nobody knows whether it was made: then it is the last.
    ended: Option<u64>,
    after: Family,
}

/// What is wrong with the files of one writer, all of whose operations these are, and those of
/// all readers.
pub(super) fn complaints(
    name: &str,
    operations: &[&Operation<'_>],
    last_look: Option<&LastLook>,
) -> Vec<String> {
    let (states, mut found) = states(name, operations);
    // How far reads have come: by when they ended, the latest state seen.
    let mut seen: Vec<(u64, usize)> = Vec::new();
    for read in reads(operations) {
        let acknowledged = states
            .iter()
            .filter(|s| s.ended.is_some_and(|at| at < read.began));
        let before = seen.partition_point(|(ended, _)| *ended < read.began);
        let reached = before.checked_sub(1).and_then(|last| seen.get(last));
        let least = acknowledged
            .count()
            .max(reached.map_or(0, |(_, state)| *state));
        let most = states.iter().filter(|s| s.began < read.ended).count();
        let mut possible = least..=most;
        let furthest = seen.last().map_or(0, |(_, furthest)| *furthest);
        match possible.find(|state| read.shown == holds(&states, *state, read.path)) {
            Some(state) => seen.push((read.ended, state.max(furthest))),
            None => {
                let (path, began) = (read.path, read.began);
                let what = explain(&read, &states, least, most);
                found.push(format!("{what}: {path}, read by event {began}"));
            }
        }
    }
    let furthest = seen.last().map_or(0, |(_, furthest)| *furthest);
    if let Some(last_look) = last_look {
        found.extend(at_the_end(operations, &states, furthest, last_look));
    }
    found
}

/// What a path shows after so many changes; before the first there is nothing.
fn holds<'a>(states: &'a [State], state: usize, path: &str) -> Option<&'a [Block]> {
    let last = state.checked_sub(1)?;
    states.get(last)?.after.read(path)
}

/// All states there were, and what is wrong with the answers to changes.
fn states(name: &str, operations: &[&Operation<'_>]) -> (Vec<State>, Vec<String>) {
    let (mut states, mut found): (Vec<State>, Vec<String>) = (Vec::new(), Vec::new());
    for operation in operations.iter().filter(|operation| !is_read(operation)) {
        let (op, began) = (operation.op, operation.began);
        let mut after = states.last().map(|s| s.after.clone()).unwrap_or_default();
        if let End::Fail { error, .. } = operation.end {
            // What is no matter of names may be refused at any time.
            let refused = Seen::refusal(error).is_some();
            if refused && after.refuses(op).is_none() {
                found.push(format!(
                    "D1: {error}, though to do it was right: {name}, event {began}: {op:?}"
                ));
            }
            continue;
        }
        let is_free = states
            .last()
            .is_none_or(|last| last.ended.is_some_and(|at| at < began));
        if !is_free {
            found.push(format!(
                "D1: unknown: {name} has two writers at a time, at event {began}"
            ));
            continue;
        }
        let carried_out = after.carry_out(op, operation.output());
        if let Err(wrong) = carried_out
            && operation.is_ok()
        {
            found.push(format!("{wrong}: {name}, event {began}: {op:?}"));
        }
        let ended = operation.ended();
        states.push(State {
            began,
            ended,
            after,
        });
    }
    (states, found)
}

/// Whether all that should be there at the end is there and was read, and nothing else is there.
fn at_the_end(
    operations: &[&Operation<'_>],
    states: &[State],
    furthest: usize,
    last_look: &LastLook,
) -> Vec<String> {
    let acknowledged = states.iter().filter(|s| s.ended.is_some()).count();
    let least = acknowledged.max(furthest);
    let possible = || (least..=states.len()).map(|state| state.checked_sub(1));
    let is_there = |path: &str, state: Option<usize>| {
        let state = state.and_then(|state| states.get(state));
        state.is_some_and(|state| state.after.read(path).is_some())
    };
    let mut paths: Vec<&str> = states.iter().flat_map(|s| s.after.paths()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut found = Vec::new();
    for path in paths {
        let must = possible().all(|state| is_there(path, state));
        let may = possible().any(|state| is_there(path, state));
        let listed = last_look.shows(path);
        if listed && !may {
            found.push(format!(
                "D1: {path}: it is there at the end, and was removed"
            ));
        }
        if must && !listed {
            found.push(format!("D1: {path}: it is not listed at the end"));
        }
        if must || listed {
            found.extend(last_look.unread(path, operations));
        }
    }
    found
}

/// What kind of wrong a read is.
fn explain(read: &Read<'_>, states: &[State], least: usize, most: usize) -> String {
    let path = read.path;
    let Some(shown) = read.shown else {
        return format!("D1: the file is gone, though {least} changes were acknowledged");
    };
    if let Some(old) = (0..least)
        .rev()
        .find(|state| holds(states, *state, path) == Some(shown))
    {
        return format!(
            "D1: stale: state {old} of the file, though {least} was seen or acknowledged"
        );
    }
    if (most + 1..=states.len()).any(|state| holds(states, state, path) == Some(shown)) {
        return "D1: a state of the file that was not written yet".to_owned();
    }
    let allowed = |at: usize| {
        let states = (least..=most).filter_map(move |state| holds(states, state, path));
        states.map(move |blocks| blocks.get(at).copied())
    };
    let owns = |block: &Block| states.iter().any(|state| state.after.has(block));
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
        .filter_map(|s| holds(states, s, path))
        .any(|blocks| blocks.len() == length)
    {
        true => "D1: a mixture of several states of the file".to_owned(),
        false => format!("D1: {length} blocks, a length the file did not have"),
    }
}
