//! Real processes on loopback, killed with SIGKILL.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests read and write files of their own"
)]

mod backup;
#[allow(dead_code, reason = "shared with `benches/faults`")]
#[path = "../cluster/mod.rs"]
mod cluster;
mod directories;
mod discover;
mod group;
mod hostile;
mod recovery;
mod reference;
mod refusals;
mod snapshots;
mod survival;
mod workload;

type TestResult = Result<(), Box<dyn std::error::Error>>;
