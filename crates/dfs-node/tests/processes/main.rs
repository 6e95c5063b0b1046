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

mod cluster;
mod process;
mod refusals;
mod survival;
mod workload;

type TestResult = Result<(), Box<dyn std::error::Error>>;
