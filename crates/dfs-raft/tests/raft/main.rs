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
mod crash;
mod faults;
mod journal;
mod membership;
mod replication;
mod snapshot;

type TestResult = Result<(), Box<dyn std::error::Error>>;
