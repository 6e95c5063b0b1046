//! What happened: every operation and every fault, in order, as JSON lines.
//!
//! The shape is Jepsen's: `invoke`, then `ok`, `fail` or `info`. `fail` is said only when the
//! operation provably had no effect; a timeout or a lost connection is `info`, and an operation
//! that never ended is the same. The order of events is their `index`, taken under one lock.

mod event;
mod recorder;

pub use event::{Actor, Block, Event, Kind, Node, Op, Output};
pub use recorder::{Pending, Recorder};
