//! A cluster of real processes, each in its own network namespace and on its own disk.
//!
//! ```text
//! world     this program again, as the first process in namespaces of its own; when it ends,
//!           the kernel takes away every process, mount, interface and rule of the run
//! network   a bridge, one host a node and a client; pairs that do not hear each other
//! switch    frames that come late, twice, in another order or not at all
//! disk      one file system a node, which loses power, fills up, rots
//! process   one daemon, killed, paused, starved, its system calls tampered with
//! cluster   masters and data nodes, and what state they end in
//! clients   workers of the workloads, in processes that may be killed
//! nemesis   carries out a schedule of faults
//! run       all of it, from a seed to an outcome
//! ```
//!
//! Needs root and the tools of [`world::TOOLS`].
#![allow(
    clippy::disallowed_methods,
    reason = "attacks real disks, clocks and processes, which `Env` keeps out of sight"
)]

pub mod clients;
mod cluster;
mod disk;
mod nemesis;
mod network;
mod outcome;
mod process;
mod run;
mod switch;
mod tool;
pub mod world;

pub use nemesis::Deed;
pub use outcome::Outcome;
pub use run::{Config, run, schedule};
