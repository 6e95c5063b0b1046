//! All orders, one after the other: too simple to be wrong.

use super::{Finding, Judge, Machine, Timed};

/// Tries every order of up to 8 operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exhaustive;

const OPERATIONS_MAX: usize = 8;

impl Judge for Exhaustive {
    fn judge<M: Machine>(&self, machine: &M, history: &[Timed<M::Call>]) -> Finding {
        if history.len() > OPERATIONS_MAX {
            return Finding::Unknown;
        }
        let rest: Vec<&Timed<M::Call>> = history.iter().collect();
        match explains::<M>(&machine.start(), &rest) {
            true => Finding::Right,
            false => Finding::Wrong,
        }
    }
}

/// Whether some order of the rest goes on from a state.
fn explains<M: Machine>(state: &M::State, rest: &[&Timed<M::Call>]) -> bool {
    // What never ended need not have happened.
    let Some(first_end) = rest.iter().filter_map(|timed| timed.ended).min() else {
        return true;
    };
    rest.iter().enumerate().any(|(at, timed)| {
        // Nothing else had ended before it began.
        timed.began < first_end
            && M::step(state, &timed.call).is_some_and(|next| {
                let others = rest.iter().enumerate().filter(|(other, _)| *other != at);
                let others: Vec<_> = others.map(|(_, timed)| *timed).collect();
                explains::<M>(&next, &others)
            })
    })
}
