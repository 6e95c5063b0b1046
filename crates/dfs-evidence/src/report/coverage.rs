//! Coverage: what a run has tried. Who carries it out decides whether that is enough.

use std::collections::BTreeMap;

use crate::faults::FaultKind;
use crate::history::{Actor, Event, Kind, Op};

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Operations that were done.
    pub done: u64,
    /// Operations that were refused or could not be done.
    pub failed: u64,
    /// Operations of which nobody knows whether they were done.
    pub unknown: u64,
    /// How often each fault really began.
    pub faults: BTreeMap<FaultKind, u64>,
}

impl Coverage {
    /// Counts what a history shows.
    pub fn of(history: &[Event]) -> Coverage {
        let mut coverage = Coverage::default();
        let mut begun = 0;
        for event in history {
            match (event.actor, event.kind, &event.op) {
                (Actor::Nemesis, Kind::Info, Op::Fault(fault)) => {
                    *coverage.faults.entry(fault.kind).or_default() += 1;
                }
                (Actor::Nemesis, ..) => {}
                (_, Kind::Invoke, _) => begun += 1,
                (_, Kind::Ok, _) => coverage.done += 1,
                (_, Kind::Fail, _) => coverage.failed += 1,
                (_, Kind::Info, _) => {}
            }
        }
        coverage.unknown = u64::saturating_sub(begun, coverage.done + coverage.failed);
        coverage
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::tale::{Tale, create, file, stat};

    fn begun(kind: FaultKind, stage: Kind) -> Event {
        let fault = crate::faults::Fault {
            id: 0,
            kind,
            at: Duration::ZERO,
            lasts: Duration::ZERO,
            pick: 0,
        };
        Event {
            index: 0,
            time: 0,
            actor: Actor::Nemesis,
            kind: stage,
            op: Op::Fault(fault),
            output: None,
            rev: None,
            error: None,
        }
    }

    #[test]
    fn what_began_and_how_it_ended_is_counted() {
        let mut tale = Tale::default();
        tale.does(1, create("/a"), file(7), 10);
        tale.refused(1, stat("/b"), "NotFound: /b", 10);
        tale.loses(2, create("/c")).begins(3, create("/d"));
        let mut history = tale.history();
        let coverage = Coverage::of(&history);
        let counted = (coverage.done, coverage.failed, coverage.unknown);
        assert_eq!(counted, (1, 1, 2));
        history.push(begun(FaultKind::KillAll, Kind::Info));
        // It was meant to begin, and did not.
        history.push(begun(FaultKind::Halves, Kind::Invoke));
        let faults = Coverage::of(&history).faults;
        assert_eq!(faults, BTreeMap::from([(FaultKind::KillAll, 1)]));
    }
}
