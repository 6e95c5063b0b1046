//! The search of Wing and Gong, with the memory of Lowe: a state that was reached before by the
//! same operations leads nowhere new.

use std::collections::HashSet;

use super::{Finding, Judge, Machine, Timed};

/// Searches for an order.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Steps of the machine after which it gives up. A number and no time, so that the verdict
    /// is the same everywhere.
    pub steps_max: u64,
}

impl Default for Search {
    /// Gives up after a minute or less.
    fn default() -> Search {
        Search {
            steps_max: 3_000_000,
        }
    }
}

/// Beginnings and ends in the order of time, as a ring of which entries are taken out and put
/// back. Entry 0 is where it begins and ends.
struct Ring {
    next: Vec<usize>,
    before: Vec<usize>,
}

/// What an entry of the ring is: the operation that begins or ends there.
#[derive(Clone, Copy)]
enum Entry {
    Begin(usize),
    End(usize),
}

/// An operation that was put in order, and what was before.
struct Placed<S> {
    operation: usize,
    entry: usize,
    state: S,
}

impl Judge for Search {
    fn judge<M: Machine>(&self, machine: &M, history: &[Timed<M::Call>]) -> Finding {
        let (entries, ends) = entries(history);
        let mut ring = Ring::new(entries.len());
        let mut state = machine.start();
        let mut done = Bits::new(history.len());
        let mut seen: HashSet<(Bits, M::State)> = HashSet::new();
        let mut placed: Vec<Placed<M::State>> = Vec::new();
        let mut left = history.iter().filter(|timed| timed.ended.is_some()).count();
        let mut steps = 0;
        let mut at = ring.first();
        while left > 0 {
            let begun = match at.checked_sub(1).and_then(|at| entries.get(at)) {
                Some(Entry::Begin(operation)) => Some(*operation),
                // Something has ended and is not in order yet.
                Some(Entry::End(_)) | None => None,
            };
            let Some(operation) = begun else {
                let Some(last) = placed.pop() else {
                    return Finding::Wrong;
                };
                left += usize::from(is_answered(history, last.operation));
                done.flip(last.operation);
                state = last.state;
                ring.put_back(last.entry, ends.get(last.operation).copied().flatten());
                at = ring.after(last.entry);
                continue;
            };
            steps += 1;
            if steps > self.steps_max {
                return Finding::Unknown;
            }
            let next = history
                .get(operation)
                .and_then(|timed| M::step(&state, &timed.call));
            // What need not have happened and changes nothing is not put in order.
            let idle = |next: &M::State| *next == state && !is_answered(history, operation);
            if let Some(next) = next.filter(|next| !idle(next)) {
                done.flip(operation);
                if seen.insert((done.clone(), next.clone())) {
                    let state = std::mem::replace(&mut state, next);
                    placed.push(Placed {
                        operation,
                        entry: at,
                        state,
                    });
                    left -= usize::from(is_answered(history, operation));
                    ring.take_out(at, ends.get(operation).copied().flatten());
                    at = ring.first();
                    continue;
                }
                done.flip(operation);
            }
            at = ring.after(at);
        }
        Finding::Right
    }
}

fn is_answered<C>(history: &[Timed<C>], operation: usize) -> bool {
    history
        .get(operation)
        .is_some_and(|timed| timed.ended.is_some())
}

/// Beginnings and ends by time, and in which entry of the ring each operation ends. What never
/// ends has no end.
fn entries<C>(history: &[Timed<C>]) -> (Vec<Entry>, Vec<Option<usize>>) {
    let mut timed: Vec<(u64, bool, Entry)> = Vec::new();
    for (operation, call) in history.iter().enumerate() {
        timed.push((call.began, false, Entry::Begin(operation)));
        let end = call.ended.map(|at| (at, true, Entry::End(operation)));
        timed.extend(end);
    }
    timed.sort_by_key(|(at, ends, _)| (*at, *ends));
    let mut ends = vec![None; history.len()];
    for (at, (_, _, entry)) in timed.iter().enumerate() {
        if let Entry::End(operation) = entry
            && let Some(end) = ends.get_mut(*operation)
        {
            *end = Some(at + 1);
        }
    }
    (timed.into_iter().map(|(_, _, entry)| entry).collect(), ends)
}

impl Ring {
    fn new(entries: usize) -> Ring {
        let places = entries + 1;
        Ring {
            next: (0..places).map(|at| (at + 1) % places).collect(),
            before: (0..places).map(|at| (at + places - 1) % places).collect(),
        }
    }

    fn first(&self) -> usize {
        self.after(0)
    }

    fn after(&self, at: usize) -> usize {
        self.next.get(at).copied().unwrap_or_default()
    }

    fn join(&mut self, one: usize, other: usize) {
        if let Some(next) = self.next.get_mut(one) {
            *next = other;
        }
        if let Some(before) = self.before.get_mut(other) {
            *before = one;
        }
    }

    fn take_out(&mut self, begin: usize, end: Option<usize>) {
        for at in [Some(begin), end].into_iter().flatten() {
            let before = self.before.get(at).copied().unwrap_or_default();
            self.join(before, self.after(at));
        }
    }

    /// The last that were taken out go back first.
    fn put_back(&mut self, begin: usize, end: Option<usize>) {
        for at in [end, Some(begin)].into_iter().flatten() {
            let before = self.before.get(at).copied().unwrap_or_default();
            let after = self.after(at);
            self.join(before, at);
            self.join(at, after);
        }
    }
}

/// A set of operations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(operations: usize) -> Bits {
        Bits(vec![0; operations.div_ceil(64)])
    }

    fn flip(&mut self, operation: usize) {
        if let Some(word) = self.0.get_mut(operation / 64) {
            *word ^= 1 << (operation % 64);
        }
    }
}
