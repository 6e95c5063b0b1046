//! What came of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::nemesis::Deed;
use crate::faults::FaultKind;
use crate::history::{Actor, Event, Kind, Op};
use crate::report::{Coverage, Matrix};
use crate::workloads::{done_of, named};

/// Everything a report needs.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of the run.
    pub seed: u64,
    /// What clients did, by the names of workloads.
    pub workloads: Vec<String>,
    /// The faults, as they were carried out.
    pub deeds: Vec<Deed>,
    /// When there began to be a quorum of masters that run and hear each other, and when there
    /// began to be none, in nanoseconds since the run began.
    pub quorum: Vec<(u64, bool)>,
    /// Of all clients and of who made the faults.
    pub history: Vec<Event>,
    /// What is wrong, a sentence each; the promise's id first.
    pub violations: Vec<String>,
    /// How long it took until all was well again, once all was healed.
    pub settled_after: Duration,
    /// Members of stripes that data nodes made from others.
    pub rebuilt: u64,
    /// Times that data nodes wrote bytes anew, in fewer chunks or in stripes.
    pub rewritten: u64,
}

/// A run with fewer successful operations a second proves nothing.
const OPERATIONS_PER_SECOND_MIN: u64 = 10;
/// Nor does one in which a workload has fewer.
const OPERATIONS_OF_WORKLOAD_PER_MINUTE_MIN: u64 = 30;
/// What is judged in every run, whatever clients do, if what it is about happens.
const ALWAYS: [&str; 11] = [
    "A2", "D2", "D4", "D5", "D6", "M1", "M4", "M5", "M6", "P1", "S1",
];

impl Outcome {
    /// Why the run proves nothing, if it does not: a sentence each.
    pub fn rejected(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.was_to(FaultKind::KillLeader) && self.leaders_killed() == 0 {
            why.push("no leader was killed".to_owned());
        }
        if self.was_to(FaultKind::IsolateLeader) && self.quorums_cut() == 0 {
            why.push("no partition cut the leader off from a majority".to_owned());
        }
        let seconds = self.length().as_secs();
        let ok = Coverage::of(&self.history).done;
        if ok < OPERATIONS_PER_SECOND_MIN * seconds {
            why.push(format!("only {ok} operations succeeded in {seconds} s"));
        }
        for workload in &self.workloads {
            let ok = done_of(workload, &self.history);
            if 60 * ok < OPERATIONS_OF_WORKLOAD_PER_MINUTE_MIN * seconds {
                why.push(format!(
                    "only {ok} operations of {workload} succeeded in {seconds} s"
                ));
            }
        }
        why
    }

    /// Whether a fault of this kind was to be carried out.
    fn was_to(&self, kind: FaultKind) -> bool {
        self.deeds.iter().any(|deed| deed.fault.kind == kind)
    }

    /// The faults that were carried out.
    pub fn done(&self) -> impl Iterator<Item = &Deed> {
        self.deeds.iter().filter(|deed| deed.done)
    }

    /// How often the leader's process was killed, by a fault of any kind.
    pub fn leaders_killed(&self) -> u64 {
        let kills = [
            FaultKind::KillLeader,
            FaultKind::KillSome,
            FaultKind::KillAll,
        ];
        let killed = self.done().filter(|deed| deed.hit_leader);
        let killed = killed.filter(|deed| kills.contains(&deed.fault.kind));
        killed.count() as u64
    }

    /// How often the leader was cut off from a majority of masters.
    pub fn quorums_cut(&self) -> u64 {
        self.done().filter(|deed| deed.cut_quorum).count() as u64
    }

    /// How many terms began of which clients heard, after the first.
    pub fn elections(&self) -> u64 {
        let revs = self.history.iter().filter_map(|event| event.rev);
        let terms: BTreeSet<u64> = revs.map(|rev| rev.term).collect();
        (terms.len() as u64).saturating_sub(1)
    }

    /// Which promises were judged while which faults were carried out.
    pub fn matrix(&self) -> Matrix {
        let workloads = self.workloads.iter().filter_map(|name| named(name));
        let mut promises = ALWAYS.to_vec();
        promises.extend(workloads.flat_map(|workload| workload.promises().to_vec()));
        // Only where a member was made from others.
        promises.extend((self.decoded() + self.rebuilt > 0).then_some("D7"));
        let faults: Vec<_> = self.done().map(|deed| deed.fault.kind).collect();
        let mut matrix = Matrix::default();
        matrix.add(&faults, &promises);
        matrix
    }

    /// Workers that read bytes which their clients made from other members of a stripe.
    pub fn decoded(&self) -> u64 {
        let is_note = |event: &&Event| matches!(event.op, Op::Decoded { .. });
        let ended = self.history.iter().filter(|e| e.kind == Kind::Ok);
        ended.filter(is_note).count() as u64
    }

    /// From the first to the last event.
    pub fn length(&self) -> Duration {
        let first = self.history.first().map_or(0, |event| event.time);
        let last = self.history.last().map_or(0, |event| event.time);
        Duration::from_nanos(last - first)
    }

    /// How long operations that were done took, sorted.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut begun = BTreeMap::new();
        let mut latencies = Vec::new();
        for event in &self.history {
            match (event.actor, event.kind) {
                _ if !is_of_client(event) => {}
                (actor, Kind::Invoke) => {
                    begun.insert(actor, event.time);
                }
                (actor, kind) => {
                    let begin = begun.remove(&actor).filter(|_| kind == Kind::Ok);
                    latencies.extend(begin.map(|begin| Duration::from_nanos(event.time - begin)));
                }
            }
        }
        latencies.sort_unstable();
        latencies
    }

    /// The longest time during which there was a quorum and yet no operation of any client
    /// succeeded, and when it began.
    pub fn longest_stall(&self) -> (Duration, u64) {
        let mut longest = (0, 0);
        for (begin, end) in self.times_with_quorum() {
            let mut last = begin;
            let successes = self.successes().filter(|time| (begin..=end).contains(time));
            for time in successes.chain([end]) {
                longest = longest.max((time - last, last));
                last = time;
            }
        }
        (Duration::from_nanos(longest.0), longest.1)
    }

    /// For each time that a fault of this kind fell on the leader while all else was well:
    /// how long no operation of any client succeeded, of those around its beginning.
    pub fn stalls(&self, kind: FaultKind) -> Vec<Duration> {
        let stall = |deed: &Deed| {
            let (begin, end) = around(deed);
            let before = self.successes().filter(|time| *time <= begin).last();
            let after = self.successes().find(|time| *time >= end);
            let last = self.history.last().map_or(end, |event| event.time);
            let within = self.successes().filter(|time| (begin..end).contains(time));
            let mut times = vec![before.unwrap_or(begin)];
            times.extend(within.chain([after.unwrap_or(last)]));
            let gaps = times.windows(2).map(|pair| match pair {
                [one, next] => next - one,
                _ => 0,
            });
            Duration::from_nanos(gaps.max().unwrap_or(0))
        };
        self.alone(kind).map(stall).collect()
    }

    /// For each such time: how long the operation took that took longest of all that were under
    /// way around its beginning, since then; but for those that log in first, and those that never
    /// ended: their client was killed, or a worker hangs, which is judged elsewhere.
    pub fn waits(&self, kind: FaultKind) -> Vec<Duration> {
        let wait = |deed: &Deed| {
            let (begin, end) = around(deed);
            let (mut open, mut longest) = (BTreeMap::new(), 0);
            let logs_in = |event: &&Event| matches!(event.op, Op::UseRight { .. });
            let of_clients = self.history.iter().filter(|event| is_of_client(event));
            for event in of_clients.filter(|event| !logs_in(event)) {
                if event.kind == Kind::Invoke {
                    open.insert(event.actor, event.time);
                } else if let Some(invoked) = open.remove(&event.actor)
                    && invoked < end
                {
                    longest = longest.max(event.time.saturating_sub(invoked.max(begin)));
                }
            }
            Duration::from_nanos(longest)
        };
        self.alone(kind).map(wait).collect()
    }

    /// The times that a fault of this kind fell on the leader while all else was well.
    fn alone(&self, kind: FaultKind) -> impl Iterator<Item = &Deed> {
        let hits = self.deeds.iter();
        let hits =
            hits.filter(move |d| d.done && d.hit_leader && d.was_well && d.fault.kind == kind);
        hits.filter(|deed| self.is_alone(deed))
    }

    /// Whether nothing else was wrong when this fell on whom it fell on.
    fn is_alone(&self, deed: &Deed) -> bool {
        let (begin, end) = around(deed);
        let others = self.deeds.iter();
        let mut others = others.filter(|other| other.done && other.fault.id != deed.fault.id);
        !others.any(|other| other.began < end && other.healed > begin)
    }

    /// Whether a client changed anything after this time.
    pub(super) fn changed_after(&self, time: u64) -> bool {
        let mut after = self.history.iter().filter(|event| event.time > time);
        after.any(|event| event.kind == Kind::Ok && event.op.changes())
    }

    fn ends(&self) -> impl Iterator<Item = (u64, Kind)> {
        let of_clients = self.history.iter().filter(|e| is_of_client(e));
        let ends = of_clients.filter(|event| event.kind != Kind::Invoke);
        ends.map(|event| (event.time, event.kind))
    }

    fn successes(&self) -> impl Iterator<Item = u64> {
        self.ends()
            .filter(|(_, kind)| *kind == Kind::Ok)
            .map(|(time, _)| time)
    }

    /// While clients worked.
    fn times_with_quorum(&self) -> Vec<(u64, u64)> {
        let first = self.successes().next().unwrap_or(0);
        let last = self.successes().last().unwrap_or(0);
        let ends = self
            .quorum
            .iter()
            .skip(1)
            .map(|(time, _)| *time)
            .chain([last]);
        let spans = self.quorum.iter().zip(ends);
        let spans = spans.filter(|((_, has), _)| *has);
        let spans = spans.map(|((begin, _), end)| ((*begin).max(first), end.min(last)));
        spans.filter(|(begin, end)| begin < end).collect()
    }
}

/// Whether it is of something that was sent to the cluster.
fn is_of_client(event: &Event) -> bool {
    event.actor != Actor::Nemesis && !matches!(event.op, Op::LastLook { .. } | Op::Decoded { .. })
}

/// When its beginning was felt: until well after another leads.
fn around(deed: &Deed) -> (u64, u64) {
    let second = 1_000_000_000;
    (
        deed.began.saturating_sub(second / 5),
        deed.began + 4 * second,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn success(second: u64) -> Event {
        Event {
            index: second,
            time: second * SECOND,
            actor: Actor::Process(1),
            kind: Kind::Ok,
            op: Op::Heal,
            output: None,
            rev: None,
            error: None,
        }
    }

    fn outcome(successes: &[u64], quorum: &[(u64, bool)]) -> Outcome {
        Outcome {
            seed: 1,
            workloads: Vec::new(),
            deeds: Vec::new(),
            quorum: quorum.iter().map(|(s, had)| (s * SECOND, *had)).collect(),
            history: successes.iter().map(|s| success(*s)).collect(),
            violations: Vec::new(),
            settled_after: Duration::ZERO,
            rebuilt: 0,
            rewritten: 0,
        }
    }

    #[test]
    fn a_run_tells_of_decoding_only_where_a_member_was_made_from_others() {
        let mut outcome = outcome(&[1, 2], &[(0, true)]);
        outcome.workloads = vec!["coded".to_owned()];
        outcome.deeds = vec![kill(1)];
        let counted = |o: &Outcome| o.matrix().count(FaultKind::KillLeader, "D7");
        assert_eq!(counted(&outcome), 0);
        outcome.rebuilt = 1;
        assert_eq!(counted(&outcome), 1);
        outcome.rebuilt = 0;
        let of = "/coded".to_owned();
        outcome.history[1].op = Op::Decoded { of };
        assert_eq!(counted(&outcome), 1);
    }

    #[test]
    fn a_stall_is_counted_only_while_there_is_a_quorum() {
        let all = [(0, true)];
        let stall = outcome(&[1, 2, 7, 8], &all).longest_stall();
        assert_eq!(stall, (Duration::from_secs(5), 2 * SECOND));
        let part = [(0, true), (3, false), (6, true)];
        let stall = outcome(&[1, 2, 7, 8], &part).longest_stall();
        assert_eq!(stall.0, Duration::from_secs(1));
    }

    fn kill(second: u64) -> Deed {
        let fault = crate::faults::Fault {
            id: u32::try_from(second).unwrap(),
            kind: FaultKind::KillLeader,
            at: Duration::ZERO,
            lasts: Duration::ZERO,
            pick: 0,
        };
        Deed {
            fault,
            on: Vec::new(),
            began: second * SECOND,
            healed: (second + 1) * SECOND,
            hit_leader: true,
            was_well: true,
            cut_quorum: false,
            note: None,
            done: true,
        }
    }

    #[test]
    fn a_stall_by_a_killed_leader_is_measured_where_nothing_else_was_wrong() {
        let mut outcome = outcome(&[1, 2, 3, 10, 11, 12, 16, 17, 20, 30], &[(0, true)]);
        outcome.deeds = vec![kill(3), kill(12)];
        let stalls = outcome.stalls(FaultKind::KillLeader);
        assert_eq!(stalls, [Duration::from_secs(7), Duration::from_secs(4)]);
        outcome.deeds[0].was_well = false;
        assert_eq!(outcome.stalls(FaultKind::KillLeader).len(), 1);
        outcome.deeds.push(Deed {
            was_well: false,
            ..kill(14)
        });
        assert!(outcome.stalls(FaultKind::KillLeader).is_empty());
    }

    #[test]
    fn one_operation_that_waits_for_long_is_seen_among_others_that_do_not() {
        let mut outcome = outcome(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[(0, true)]);
        outcome.deeds = vec![kill(3)];
        let slow = |kind, time| Event {
            kind,
            actor: Actor::Process(2),
            ..success(time)
        };
        outcome.history.insert(0, slow(Kind::Invoke, 0));
        outcome.history.push(slow(Kind::Ok, 9));
        let began = Duration::from_nanos(3 * SECOND - SECOND / 5);
        let waits = outcome.waits(FaultKind::KillLeader);
        assert_eq!(waits, [Duration::from_secs(9) - began]);
        assert_eq!(
            outcome.stalls(FaultKind::KillLeader),
            [Duration::from_secs(1)]
        );
    }

    #[test]
    fn that_something_was_looked_at_is_no_change() {
        let mut outcome = outcome(&[1, 2, 7], &[(0, true)]);
        let path = || "/a".to_owned();
        outcome.history[1].op = Op::Mkdir { path: path() };
        outcome.history[2].op = Op::Stat { path: path() };
        assert!(outcome.changed_after(SECOND));
        assert!(!outcome.changed_after(2 * SECOND));
    }

    #[test]
    fn a_run_in_which_little_happened_is_rejected() {
        let mut outcome = outcome(&[1, 2, 7, 8], &[(0, true)]);
        assert_eq!(outcome.rejected(), ["only 4 operations succeeded in 7 s"]);
        outcome.workloads = vec!["names".to_owned()];
        assert_eq!(outcome.rejected().len(), 2);
        outcome.deeds = vec![Deed {
            done: false,
            ..kill(3)
        }];
        assert_eq!(outcome.rejected()[0], "no leader was killed");
    }
}
