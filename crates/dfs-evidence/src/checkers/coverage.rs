//! Coverage: whether a run has tried anything. One that has not is no evidence.

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

/// What must have happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    /// So many operations were done.
    pub done: u64,
    /// At least one of each of these groups of faults began. A group has a name.
    pub faults: Vec<(&'static str, Vec<FaultKind>)>,
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

    /// What is missing; with any of it the run is to be rejected.
    pub fn lacks(&self, need: &Need) -> Vec<String> {
        let mut missing = Vec::new();
        if self.done < need.done {
            let (done, wanted) = (self.done, need.done);
            missing.push(format!(
                "coverage: {done} operations were done, not {wanted}"
            ));
        }
        for (name, kinds) in &need.faults {
            if !kinds.iter().any(|kind| self.faults.contains_key(kind)) {
                missing.push(format!("coverage: {name}: no such fault began"));
            }
        }
        missing
    }
}

impl Need {
    /// What a run with all faults must have had: a leader that was killed, and a quorum that was
    /// cut.
    pub fn full(done: u64) -> Need {
        let killed = vec![
            FaultKind::KillLeader,
            FaultKind::KillAll,
            FaultKind::PowerAll,
        ];
        let cut = vec![FaultKind::IsolateLeader, FaultKind::Halves, FaultKind::Ring];
        Need {
            done,
            faults: vec![("the leader is killed", killed), ("a quorum is cut", cut)],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checkers::tale::{Tale, create, file, stat};

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
    fn a_run_in_which_too_little_happened_is_rejected() {
        let mut tale = Tale::default();
        tale.does(1, create("/a"), file(7), 10);
        tale.refused(1, stat("/b"), "NotFound: /b", 10);
        tale.loses(2, create("/c")).begins(3, create("/d"));
        let mut history = tale.history();
        let coverage = Coverage::of(&history);
        let counted = (coverage.done, coverage.failed, coverage.unknown);
        assert_eq!(counted, (1, 1, 2));
        assert_eq!(coverage.lacks(&Need::full(2)).len(), 3);
        history.push(begun(FaultKind::KillAll, Kind::Info));
        // It was meant to begin, and did not.
        history.push(begun(FaultKind::Halves, Kind::Invoke));
        assert_eq!(Coverage::of(&history).lacks(&Need::full(1)).len(), 1);
        history.push(begun(FaultKind::Halves, Kind::Info));
        assert_eq!(
            Coverage::of(&history).lacks(&Need::full(1)),
            Vec::<String>::new()
        );
    }
}
