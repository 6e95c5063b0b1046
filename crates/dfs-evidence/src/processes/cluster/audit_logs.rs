//! What the masters wrote down, against what clients know.

use std::io::Result;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::checkers;
use crate::faults::FaultKind;
use crate::history::{Event, operations};
use crate::processes::nemesis::Deed;

/// What each master wrote on all disks that it had is in a file with this extension.
pub(super) const EXTENSION: &str = "audit";
/// Lines so long before power was lost may be lost: syncs are a second apart, and slow sometimes.
const LOST_BEFORE: u64 = 6_000_000_000;
/// A fault is noted just before it is made, and nodes answer until it is.
const MADE_WITHIN: u64 = 1_000_000_000;
/// So long after a fault is healed a process runs again that had ended because of it, and has
/// synced what the former one had not.
const BACK_AFTER: u64 = 5_000_000_000;

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
    let lost = lost(deeds);
    let is_excused = |index: u64| {
        let event = history.binary_search_by_key(&index, |event| event.index);
        let event = event.ok().and_then(|at| history.get(at));
        let time = event.map_or(0, |event| event.time);
        lost.iter().any(|lost| lost.contains(&time))
    };
    Ok(checkers::audit::complaints(&operations, &log, is_excused))
}

/// Times of which a node may have lost lines: those before it lost power, and those before it
/// had ended if it did not run then. One whose disk fails a sync loses its power at some time
/// until that is healed.
fn lost(deeds: &[Deed]) -> Vec<RangeInclusive<u64>> {
    let mut lost = Vec::new();
    for cut in deeds {
        let time = match cut.fault.kind {
            FaultKind::PowerOne | FaultKind::PowerAll | FaultKind::HarmedQuorum => {
                cut.began + MADE_WITHIN
            }
            FaultKind::FailedSync => cut.healed,
            _ => continue,
        };
        lost.push(cut.began.saturating_sub(LOST_BEFORE)..=time);
        let before = deeds.iter().filter(|deed| {
            let is_of_node = deed.on.iter().any(|node| cut.on.contains(node));
            is_of_node && deed.began < cut.began && deed.healed + BACK_AFTER >= cut.began
        });
        lost.extend(before.map(|deed| {
            let from = deed.began.saturating_sub(LOST_BEFORE);
            from..=deed.began + MADE_WITHIN
        }));
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::faults::Fault;

    fn deed(kind: FaultKind, on: &str, began: u64, healed: u64) -> Deed {
        Deed {
            fault: Fault {
                id: 0,
                kind,
                at: Duration::ZERO,
                lasts: Duration::ZERO,
                pick: 0,
            },
            on: vec![on.to_owned()],
            began: began * 1_000_000_000,
            healed: healed * 1_000_000_000,
            hit_leader: false,
            was_well: false,
            cut_quorum: false,
            note: None,
            done: true,
        }
    }

    #[test]
    fn lines_are_lost_where_power_was_lost_and_nobody_had_synced_them() {
        let deeds = [
            deed(FaultKind::KillLeader, "m1", 10, 12),
            deed(FaultKind::KillLeader, "m1", 50, 52),
            deed(FaultKind::KillLeader, "m2", 52, 53),
            deed(FaultKind::PowerOne, "m1", 55, 60),
        ];
        let seconds = |from: u64, to: u64| from * 1_000_000_000..=to * 1_000_000_000;
        assert_eq!(lost(&deeds), [seconds(49, 56), seconds(44, 51)]);
        let deeds = [deed(FaultKind::FailedSync, "m1", 10, 12)];
        assert_eq!(lost(&deeds), [seconds(4, 12)]);
    }
}
