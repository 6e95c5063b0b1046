//! The metadata of a file system, as a deterministic state machine.
//!
//! What the masters replicate: the namespace, the map from files to chunks and from chunks to
//! data nodes, and what is needed to change them exactly once. A [`Command`] goes in, a
//! [`Reply`] comes out, and every master that applies the same log holds the same rows.
//!
//! The rules:
//!
//! - **Pure.** Nothing here asks what time it is, draws a random number or waits. Time comes with
//!   the log entry, and everything that expires does so by that time.
//! - **A refusal is an answer**, the same on every master, and changes nothing. A fault ([`Fatal`])
//!   stops the master that has it.
//! - **Bounded.** No command is proportional to a file, a tree or a list; what would be is begun,
//!   and finished by [`Command::Housekeeping`].
//! - **Once.** A client's request is carried out once, and its answer remembered ([`sessions`]).
//! - **Allowed.** Who asks comes with the command; what they may do is looked up when it is carried
//!   out ([`accounts`]), so what was revoked before has no effect after.
//! - **Nothing deletes the last good copy.** Replicas leave the map only by commands that check,
//!   when they are applied, that they are not needed ([`chunks`]).
//! - **Checkable.** [`check`] verifies every invariant of the whole state.
//!
//! ```text
//! command ──▶ machine ──▶ sessions ──▶ namespace ─┬─▶ tables ──▶ redb
//!                     └─▶ nodes, housekeeping      └─▶ chunks
//! ```
//!
//! Not done here: byte-range locks, extended attributes; what the leader knows besides,
//! such as which replicas exist.
//!
//! [`Fatal`]: dfs_raft::Fatal

pub mod accounts;
mod check;
pub mod chunks;
pub mod command;
mod counters;
mod machine;
pub(crate) mod members;
pub mod namespace;
pub mod query;
mod snapshots;
pub(crate) mod tables;

pub use accounts::sessions;
pub use check::{Violation, check};
pub use chunks::references::Chunk;
pub use command::{Command, Reply, validate};
pub use machine::MetaMachine;
pub use members::nodes;
pub use members::nodes::{Node, NodeLoad};
pub use namespace::inode::Inode;

#[cfg(test)]
pub(crate) mod tests;
