//! What happened: every operation and every fault, in order, as JSON lines.
//!
//! The shape is Jepsen's: `invoke`, then `ok`, `fail` or `info`. `fail` is said only when the
//! operation provably had no effect; a timeout or a lost connection is `info`, and an operation
//! that never ended is the same. The order of events is their `index`, taken under one lock.
//!
//! An event does not say which master answered: its `rev` has the term, and a term has one leader.
//!
//! Several processes of clients write a history each; [`merge`] makes one of them. Their clocks
//! must be one, and the numbers of their processes apart.

mod event;
mod lines;
mod operation;
mod recorder;
#[cfg(test)]
pub(crate) mod tale;
#[cfg(test)]
mod tests;

pub use event::{Actor, BLOCK_LEN, Block, Event, Kind, Node, Op, Output, Right, Use};
pub use lines::{Header, History, header_line, line, merge, read, write};
pub use operation::{End, Operation, operations};
pub use recorder::{Pending, Recorder};
