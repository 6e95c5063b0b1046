//! Replicas together: what they promise, and what may happen to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "these tests damage files of their own"
)]

mod conformance;
mod connections;
mod crash;
mod divergence;
mod elections;
mod faults;
mod journal;
mod membership;
mod replication;
mod snapshot;

type TestResult = Result<(), Box<dyn std::error::Error>>;
