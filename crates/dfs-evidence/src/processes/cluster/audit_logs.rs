//! What the masters wrote down, against what clients know.

use std::io::Result;
use std::path::Path;

use crate::checkers;
use crate::faults::FaultKind;
use crate::history::{Event, operations};
use crate::processes::nemesis::Deed;

/// What each master wrote on all disks that it had is in a file with this extension.
pub(super) const EXTENSION: &str = "audit";
/// Lines so long before power was lost may be lost: syncs are a second apart, and slow sometimes.
/// A fault is noted when it has begun.
const LOST_BEFORE: u64 = 6_000_000_000;

/// A violation for each operation that lacks its line.
///
/// # Errors
/// They cannot be read.
pub(in crate::processes) fn compare(
    directory: &Path,
    history: &[Event],
    deeds: &[Deed],
) -> Result<Vec<String>> {
    let mut log = String::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|is| is == EXTENSION) {
            log.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
        }
    }
    let Ok(operations) = operations(history, |_| true) else {
        // That it is unsound is told elsewhere.
        return Ok(Vec::new());
    };
    let cuts: Vec<u64> = deeds
        .iter()
        .filter(|d| cuts_power(d))
        .map(|d| d.began)
        .collect();
    let is_excused = |index: u64| {
        let event = history.binary_search_by_key(&index, |event| event.index);
        let time = event
            .ok()
            .and_then(|at| history.get(at))
            .map_or(0, |event| event.time);
        cuts.iter()
            .any(|cut| time <= *cut && time + LOST_BEFORE >= *cut)
    };
    Ok(checkers::audit::complaints(&operations, &log, is_excused))
}

fn cuts_power(deed: &Deed) -> bool {
    let kinds = [
        FaultKind::PowerOne,
        FaultKind::PowerAll,
        FaultKind::HarmedQuorum,
    ];
    kinds.contains(&deed.fault.kind)
}
