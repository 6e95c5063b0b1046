//! Replicas whose power goes, at every change of their disks.
//!
//! Goal: founding, joining and the copying of a state may be interrupted anywhere and go on after
//! a restart, with nothing lost that was acknowledged. Method: the n-th change of a disk in memory
//! is its last; what was not synced is lost, kept or torn; then the replica starts again; for
//! n = 0, 1, 2 … until nothing is left to interrupt.

mod disks;
mod founding;
mod journal;
mod snapshot;

type TestResult = Result<(), Box<dyn std::error::Error>>;
