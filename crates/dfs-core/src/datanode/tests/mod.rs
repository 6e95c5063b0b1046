//! Data nodes with a master that is played by the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised fails"
)]

mod fixture;
mod hostile;
mod life;
mod master;
mod peers;
mod rebuild;
mod rewrite;
mod scrub;
mod streams;
mod tasks;
