//! Whether points of history agree with each other and with real time.

use std::collections::BTreeMap;

use dfs_core::types::Rev;

use super::tell;
use crate::history::Operation;

/// Finds contradictions. Gives for each operation the latest point that had been seen when it
/// began.
pub(super) fn check(operations: &[Operation<'_>], found: &mut Vec<String>) -> Vec<u64> {
    terms(operations, found);
    real_time(operations, found)
}

/// One point has one term and one change; terms do not go back.
fn terms(operations: &[Operation<'_>], found: &mut Vec<String>) {
    let mut points: Vec<(Rev, &Operation<'_>)> = operations
        .iter()
        .filter_map(|operation| Some((operation.rev()?, operation)))
        .collect();
    points.sort_by_key(|(rev, _)| (rev.index, rev.term));
    for pair in points.windows(2) {
        let [(one, first), (other, second)] = pair else {
            continue;
        };
        if one.term > other.term || one.index == other.index && one.term != other.term {
            found.push(format!(
                "the points {one} and {other} are of two histories: {}; {}",
                tell(first),
                tell(second)
            ));
        }
    }
    let mut writers: BTreeMap<u64, &Operation<'_>> = BTreeMap::new();
    for (rev, operation) in points {
        if operation.is_ok()
            && operation.op.changes()
            && let Some(other) = writers.insert(rev.index, operation)
        {
            found.push(format!(
                "two changes have the point {rev}: {}; {}",
                tell(other),
                tell(operation)
            ));
        }
    }
}

/// What began after something had ended has a later point; a read may have the same.
fn real_time(operations: &[Operation<'_>], found: &mut Vec<String>) -> Vec<u64> {
    let mut ends: Vec<(u64, u64, &Operation<'_>)> = operations
        .iter()
        .filter_map(|operation| Some((operation.ended()?, operation.rev()?.index, operation)))
        .collect();
    ends.sort_by_key(|(at, _, _)| *at);
    let mut ended = ends.into_iter().peekable();
    let mut latest: Option<(u64, &Operation<'_>)> = None;
    let mut floors = Vec::with_capacity(operations.len());
    for operation in operations {
        while let Some((_, index, before)) = ended.next_if(|(at, _, _)| *at < operation.began) {
            if latest.is_none_or(|(most, _)| index > most) {
                latest = Some((index, before));
            }
        }
        let floor = latest.map_or(0, |(index, _)| index);
        floors.push(floor);
        let (Some(rev), Some((_, before))) = (operation.rev(), latest) else {
            continue;
        };
        let is_change = operation.is_ok() && operation.op.changes();
        if rev.index < floor || is_change && rev.index == floor {
            found.push(format!(
                "the point {rev} is in the past of what ended before it began, {}: {}",
                tell(before),
                tell(operation)
            ));
        }
    }
    floors
}
