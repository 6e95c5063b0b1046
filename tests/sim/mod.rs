//! Deterministic simulation of a whole cluster: masters, data nodes, clients, on one thread, in
//! simulated time, from one seed, under attack.
//!
//! ```text
//! run ─▶ cluster ─▶ world ─▶ hosts: a runtime, a disk, a clock each
//!  │        ▲         └────▶ net: links with the meaning of TCP
//!  ├─▶ nemesis: carries out a schedule of faults
//!  ├─▶ workers of workloads, on hosts of their own
//!  ├─▶ audit: what is on the disks of data nodes?
//!  └─▶ verdict: is everything well again, and was every promise kept?
//! ```
//!
//! What is simulated and what is not: `docs/internals/simulation.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a simulation that cannot go on stops"
)]

mod audit;
mod cluster;
mod nemesis;
mod net;
pub mod run;
mod trace;
mod verdict;
mod world;

pub use world::log::listen;
