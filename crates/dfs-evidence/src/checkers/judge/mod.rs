//! Judges of black boxes: they see what was asked, what came back and when, and search for an
//! order of all operations that explains it.
//!
//! | judge | how | how far |
//! |---|---|---|
//! | [`Exhaustive`] | tries every order | 8 operations |
//! | [`Search`] | Wing and Gong's search with Lowe's memory | some 10,000, if few overlap |
//! | `Porcupine` | the same by others, with the feature `porcupine` | the same |
//!
//! They check each other on random histories. A judge that gives up has found nothing good:
//! *unknown* is a failure.

mod exhaustive;
mod machines;
#[cfg(feature = "porcupine")]
mod porcupine;
mod search;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::hash::Hash;

pub use exhaustive::Exhaustive;
pub use machines::{Names, Register, names, registers};
#[cfg(feature = "porcupine")]
pub use porcupine::Porcupine;
pub use search::Search;

/// What a black box should be: one operation after the other.
pub trait Machine: Clone + Debug + Send + Sync + 'static {
    /// What it remembers.
    type State: Clone + Eq + Hash + Debug + Send + Sync;
    /// An operation with what it gave.
    type Call: Clone + Debug + Send + Sync;

    /// What it remembers at the beginning.
    fn start(&self) -> Self::State;

    /// What it remembers after an operation; none if the operation cannot have given what it
    /// gave.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// An operation in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed<C> {
    /// When it began.
    pub began: u64,
    /// When it ended; none if it may take effect at any later time, or never. Its step can then
    /// be taken from every state.
    pub ended: Option<u64>,
    /// What it was.
    pub call: C,
}

/// What a judge found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// There is an order that explains everything.
    Right,
    /// There is none.
    Wrong,
    /// The judge gave up.
    Unknown,
}

/// A judge of black boxes.
pub trait Judge {
    /// Whether some order of the operations, each between its beginning and its end, is one of
    /// the machine.
    fn judge<M: Machine>(&self, machine: &M, history: &[Timed<M::Call>]) -> Finding;

    /// The same as a complaint about `what`, if it is one.
    fn complaint<M: Machine>(
        &self,
        what: &str,
        machine: &M,
        history: &[Timed<M::Call>],
    ) -> Option<String> {
        let number = history.len();
        match self.judge(machine, history) {
            Finding::Right => None,
            Finding::Wrong => Some(format!(
                "{what}: no order of its {number} operations explains what they gave"
            )),
            Finding::Unknown => Some(format!(
                "{what}: unknown: no verdict was reached on its {number} operations"
            )),
        }
    }
}
