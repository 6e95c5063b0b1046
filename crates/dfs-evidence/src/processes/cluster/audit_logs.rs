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
    let ends = ends(deeds);
    let is_excused = |index: u64| {
        let event = history.binary_search_by_key(&index, |event| event.index);
        let event = event.ok().and_then(|at| history.get(at));
        let time = event.map_or(0, |event| event.time);
        let mut ends = ends.iter();
        ends.any(|end| time <= *end && time + LOST_BEFORE >= *end)
    };
    Ok(checkers::audit::complaints(&operations, &log, is_excused))
}

/// When nodes lost power, and when those of them had ended that did not run then.
fn ends(deeds: &[Deed]) -> Vec<u64> {
    let cuts = deeds.iter().filter(|deed| cuts_power(deed));
    let of_cut = |cut: &Deed| {
        let (on, time) = (cut.on.clone(), cut.began);
        let before = deeds.iter().filter(move |deed| {
            let is_of_node = deed.on.iter().any(|node| on.contains(node));
            is_of_node && deed.began <= time && deed.healed + BACK_AFTER >= time
        });
        before.map(|deed| deed.began).collect::<Vec<_>>()
    };
    cuts.flat_map(of_cut).collect()
}

fn cuts_power(deed: &Deed) -> bool {
    let kinds = [
        FaultKind::PowerOne,
        FaultKind::PowerAll,
        FaultKind::HarmedQuorum,
    ];
    kinds.contains(&deed.fault.kind)
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
        assert_eq!(ends(&deeds), [50_000_000_000, 55_000_000_000]);
    }
}
