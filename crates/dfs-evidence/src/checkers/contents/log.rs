//! Files to which several append.

use std::collections::BTreeMap;

use super::{Read, is_read, reads};
use crate::history::{Block, End, Op, Operation, Output};

/// An append by its version.
struct Append {
    began: u64,
    ended: Option<u64>,
    refused: bool,
    blocks: u64,
    /// Where it was said to be.
    at: Option<u64>,
}

pub(super) fn complaints(path: &str, operations: &[&Operation<'_>]) -> Vec<String> {
    let appends = appends(operations);
    let reads = reads(operations);
    let empty: &[Block] = &[];
    let longest = reads
        .iter()
        .filter_map(|read| read.shown)
        .max_by_key(|shown| shown.len());
    let longest = longest.unwrap_or(empty);
    let (places, mut found) = places(longest, &appends);
    let mut furthest: Vec<(u64, usize)> = Vec::new();
    for read in &reads {
        found.extend(judge(read, longest, &appends, &places, &furthest));
        let length = read.shown.map_or(0, <[Block]>::len);
        let before = furthest.last().map_or(0, |(_, length)| *length);
        furthest.push((read.ended, length.max(before)));
    }
    for (version, append) in &appends {
        let told = append.at.filter(|_| append.ended.is_some());
        match (places.get(version), told) {
            (Some(first), Some(at)) if *first != at => found.push(format!(
                "D1: the append {version} is at block {first}, and was said to be at {at}"
            )),
            _ => {}
        }
    }
    found.extend(turned(&appends, &places));
    found.iter().map(|what| format!("{what}: {path}")).collect()
}

fn appends(operations: &[&Operation<'_>]) -> BTreeMap<u64, Append> {
    let writes = operations.iter().filter(|operation| !is_read(operation));
    let append = |operation: &&Operation<'_>| match *operation.op {
        Op::Append {
            version, blocks, ..
        } => {
            let append = Append {
                began: operation.began,
                ended: operation.ended(),
                refused: matches!(operation.end, End::Fail { .. }),
                blocks,
                at: match operation.output() {
                    Some(Output::Offset(at)) => Some(*at),
                    _ => None,
                },
            };
            Some((version, append))
        }
        _ => None,
    };
    writes.filter_map(append).collect()
}

/// Where each append is in the longest read, and what is in there that should not.
fn places(shown: &[Block], appends: &BTreeMap<u64, Append>) -> (BTreeMap<u64, u64>, Vec<String>) {
    let (mut places, mut found) = (BTreeMap::new(), Vec::new());
    let mut blocks = (0..).zip(shown).peekable();
    while let Some((at, block)) = blocks.next() {
        let version = match *block {
            Block::Data {
                version, place: 0, ..
            } => version,
            Block::Data { version, place, .. } => {
                found.push(format!(
                    "D1: block {at} is block {place} of the append {version}, out of its place"
                ));
                continue;
            }
            Block::Hole => {
                found.push(format!("D8: block {at} is a hole"));
                continue;
            }
            Block::Bad => {
                found.push(format!("D3: block {at} is torn or foreign bytes"));
                continue;
            }
        };
        let mut length = 1;
        while let Some((
            _,
            Block::Data {
                version: next,
                place,
                ..
            },
        )) = blocks.peek()
            && *next == version
            && *place == length
        {
            length += 1;
            blocks.next();
        }
        if *places.entry(version).or_insert(at) != at {
            found.push(format!("M5: the append {version} is there twice"));
        }
        match appends.get(&version) {
            None => found.push(format!(
                "D3: nobody made the append {version} at block {at}"
            )),
            Some(append) if append.refused => {
                found.push(format!("M5: the append {version} was refused and is there"));
            }
            Some(append) if append.blocks != length => found.push(format!(
                "D1: {length} of {} blocks of the append {version} are there",
                append.blocks
            )),
            Some(_) => {}
        }
    }
    (places, found)
}

/// Appends that lie before what was acknowledged before they began.
fn turned(appends: &BTreeMap<u64, Append>, places: &BTreeMap<u64, u64>) -> Vec<String> {
    let at = |version: &u64, append: &Append| places.get(version).copied().or(append.at);
    let all = appends.iter();
    let placed = all.filter_map(|(version, append)| Some((at(version, append)?, *version, append)));
    let mut by_begin: Vec<_> = placed.collect();
    by_begin.sort_by_key(|(_, _, append)| append.began);
    let mut by_end = by_begin.clone();
    by_end.retain(|(_, _, append)| append.ended.is_some());
    by_end.sort_by_key(|(_, _, append)| append.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut last: Option<(u64, u64)> = None;
    let mut found = Vec::new();
    for (at, version, append) in by_begin {
        while let Some((at, earlier, _)) = ended.next_if(|(_, _, e)| e.ended < Some(append.began)) {
            last = last.max(Some((at, earlier)));
        }
        if let Some((before, earlier)) = last.filter(|(before, _)| *before >= at) {
            found.push(format!(
                "D1: the append {version} is at block {at}, and began after {earlier} was \
                 acknowledged, which is at {before}"
            ));
        }
    }
    found
}

fn judge(
    read: &Read<'_>,
    longest: &[Block],
    appends: &BTreeMap<u64, Append>,
    places: &BTreeMap<u64, u64>,
    furthest: &[(u64, usize)],
) -> Vec<String> {
    let mut found = Vec::new();
    let began = read.began;
    let Some(shown) = read.shown else {
        return vec![format!("D1: gone, by the read {began}")];
    };
    if !longest.starts_with(shown) {
        found.push(format!(
            "D1: the read {began} is no beginning of a later one"
        ));
    }
    let before = furthest.partition_point(|(ended, _)| *ended < began);
    let reached = before.checked_sub(1).and_then(|last| furthest.get(last));
    if let Some((_, length)) = reached.filter(|(_, length)| *length > shown.len()) {
        let now = shown.len();
        found.push(format!(
            "D1: stale: the read {began} shows {now} blocks, where {length} had been seen"
        ));
    }
    for (version, append) in appends {
        let must = !append.refused && append.ended.is_some_and(|ended| ended < began);
        let end = places.get(version).map(|at| at + append.blocks);
        let shows = end.is_some_and(|end| end <= shown.len() as u64);
        if must && !shows {
            found.push(format!(
                "D1: the read {began} lacks the acknowledged append {version}"
            ));
        }
        if shows && append.began > read.ended {
            found.push(format!(
                "D1: the read {began} shows the later append {version}"
            ));
        }
    }
    found
}
