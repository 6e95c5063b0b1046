//! The replay: by points of history, through all that unanswered operations may have done.

use std::collections::{BTreeSet, HashMap};

use super::related::{Names, related};
use super::{Step, Unanswered, Verdict, tell};
use crate::model::{Footprint, Namespace};

/// Most explanations of the past that are kept at a time.
const PASTS_MAX: usize = 4096;
/// Most states that are looked at for one operation, and for all.
const LOOKS_MAX: usize = 20_000;
const LOOKS_IN_ALL_MAX: usize = 4_000_000;

/// One explanation of all answers so far.
#[derive(Debug, Clone)]
struct Past {
    state: Namespace,
    /// The unanswered operations that were done in it, by their numbers.
    done: BTreeSet<u64>,
}

/// A way on from a past: unanswered operations, and what each touched when it was done.
struct Way {
    past: Past,
    taken: Vec<(u64, Footprint)>,
}

struct Replay<'a> {
    steps: &'a [Step<'a>],
    unanswered: Vec<&'a Unanswered<'a>>,
    names: Names,
    /// Points that changes with an answer have for themselves, sorted.
    occupied: Vec<u64>,
    looks: usize,
}

pub(super) fn replay(
    start: &Namespace,
    steps: &[Step<'_>],
    unanswered: &[Unanswered<'_>],
    verdict: &mut Verdict,
) {
    let writes = steps.iter().filter(|step| step.writes);
    let mut replay = Replay {
        steps,
        // By their beginnings, hence by the points after which they are.
        unanswered: unanswered.iter().collect(),
        names: Names::of(steps, unanswered),
        occupied: writes.map(|step| step.rev.index).collect(),
        looks: 0,
    };
    replay.run(start, verdict);
}

impl<'a> Replay<'a> {
    fn run(&mut self, start: &Namespace, verdict: &mut Verdict) {
        let mut pasts = vec![Past {
            state: start.clone(),
            done: BTreeSet::new(),
        }];
        let steps = self.steps;
        for step in steps {
            let next = match self.after(pasts, step) {
                Ok(next) => next,
                Err(Wrong::Violation(right)) => {
                    let (rev, what) = (step.rev, tell(step.operation));
                    let seen = step.seen;
                    verdict
                        .violations
                        .push(format!("{what} at {rev} gave {seen:?}, but {right}"));
                    return;
                }
                Err(Wrong::TooMany) => {
                    let (what, done) = (tell(step.operation), verdict.compared);
                    verdict.unknown = Some(format!(
                        "too many explanations of {done} operations, at {what}"
                    ));
                    return;
                }
            };
            verdict.compared += 1;
            pasts = next;
        }
    }

    /// All explanations of the past and of one more operation.
    fn after(&mut self, pasts: Vec<Past>, step: &Step<'_>) -> Result<Vec<Past>, Wrong> {
        let mut next = Vec::new();
        let mut right = None;
        for mut past in pasts {
            let open = self.open(&past, step);
            let related = match open.is_empty() {
                true => Vec::new(),
                false => related(&past.state, step.operation.op, &open, &self.names),
            };
            if !related.is_empty() {
                let way = Way {
                    past,
                    taken: Vec::new(),
                };
                self.search(way, step, &related, &mut next, &mut right)?;
                continue;
            }
            match past.state.admit(step.operation.op, step.number, step.seen) {
                Ok(()) => next.push(past),
                Err(wrong) => drop(right.get_or_insert(wrong)),
            }
        }
        if next.len() > 1 {
            next = least(next);
        }
        match next.len() {
            0 => Err(Wrong::Violation(right.unwrap_or_default())),
            1..=PASTS_MAX => Ok(next),
            _ => Err(Wrong::TooMany),
        }
    }

    /// The unanswered operations that can have been done before this step, and were not yet.
    fn open(&self, past: &Past, step: &Step<'_>) -> Vec<&'a Unanswered<'a>> {
        let begun = |u: &&&Unanswered<'_>| u.after < step.rev.index;
        let open = self.unanswered.iter().take_while(begun);
        let free = |u: &&&Unanswered<'_>| !past.done.contains(&u.number) && self.has_room(u, step);
        open.filter(free).copied().collect()
    }

    /// Whether a point is left for it between its beginning and the step.
    fn has_room(&self, unanswered: &Unanswered<'_>, step: &Step<'_>) -> bool {
        // A read has seen its point.
        let end = step.rev.index + u64::from(!step.writes);
        let below = |point: u64| self.occupied.partition_point(|at| *at < point) as u64;
        let taken = below(end) - below(unanswered.after + 1);
        end - unanswered.after - 1 > taken
    }

    /// Tries all orders of unanswered operations before a step.
    fn search(
        &mut self,
        way: Way,
        step: &Step<'_>,
        related: &[&Unanswered<'_>],
        found: &mut Vec<Past>,
        right: &mut Option<String>,
    ) -> Result<(), Wrong> {
        let (begun, mut ways) = (self.looks, vec![way]);
        let mut seen = Seen::default();
        while let Some(way) = ways.pop() {
            if !seen.is_new(&way.past) {
                continue;
            }
            self.looks += 1;
            if self.looks - begun > LOOKS_MAX || self.looks > LOOKS_IN_ALL_MAX {
                return Err(Wrong::TooMany);
            }
            let touched = way.past.state.touch(step.operation.op).0;
            if all_matter(&way.taken, &touched) {
                let mut past = way.past.clone();
                match past.state.admit(step.operation.op, step.number, step.seen) {
                    // What may be done before a step that changes nothing may be done after it.
                    Ok(()) if past.state == way.past.state => {
                        found.push(past);
                        continue;
                    }
                    Ok(()) => found.push(past),
                    Err(wrong) => drop(right.get_or_insert(wrong)),
                }
            }
            for unanswered in related {
                let is_earlier = |other: &&Unanswered<'_>| {
                    other.number < unanswered.number
                        && other.op == unanswered.op
                        && !way.past.done.contains(&other.number)
                };
                // Of two that are the same the earlier one goes first: whenever the later can
                // have been done, it can.
                if !related.iter().copied().any(|other| is_earlier(&other)) {
                    ways.extend(further(&way, unanswered));
                }
            }
        }
        Ok(())
    }
}

/// Pasts by their states, with the least that was done in each. Who has done more to be in the
/// same state can do nothing that the other cannot.
#[derive(Default)]
struct Seen(HashMap<Namespace, Vec<BTreeSet<u64>>>);

impl Seen {
    fn is_new(&mut self, past: &Past) -> bool {
        let known = self.0.entry(past.state.clone()).or_default();
        if known.iter().any(|done| done.is_subset(&past.done)) {
            return false;
        }
        known.push(past.done.clone());
        true
    }
}

/// The pasts that no other makes superfluous.
fn least(mut pasts: Vec<Past>) -> Vec<Past> {
    pasts.sort_by_key(|past| past.done.len());
    let mut seen = Seen::default();
    pasts.retain(|past| seen.is_new(past));
    pasts
}

enum Wrong {
    /// No explanation is left; this would have been right.
    Violation(String),
    TooMany,
}

/// The way with one more unanswered operation; none if that is a way that is tried anyway.
fn further(way: &Way, unanswered: &Unanswered<'_>) -> Option<Way> {
    let Unanswered { number, op, .. } = *unanswered;
    if way.past.done.contains(&number) {
        return None;
    }
    let (touched, planned) = way.past.state.touch(op);
    // Refused, it changes nothing, and can be taken for not done yet.
    planned.ok()?;
    // Of two that can be exchanged one order is enough.
    if let Some((last, touches)) = way.taken.last()
        && *last > number
        && !touches.meets(&touched)
    {
        return None;
    }
    let mut past = way.past.clone();
    past.state.apply_unheard(op, number).ok()?;
    if past.state == way.past.state {
        return None;
    }
    past.done.insert(number);
    let mut taken = way.taken.clone();
    taken.push((number, touched));
    Some(Way { past, taken })
}

/// Whether each matters to one after it or to the step: else it can be done after the step.
fn all_matter(taken: &[(u64, Footprint)], touched: &Footprint) -> bool {
    taken.iter().enumerate().all(|(at, (_, one))| {
        let later = taken.iter().skip(at + 1);
        one.meets(touched) || later.into_iter().any(|(_, other)| one.meets(other))
    })
}
