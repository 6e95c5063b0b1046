//! What a replica keeps on disk, and how openraft reaches it.
//!
//! ```text
//! <directory>/lock        held while the replica runs
//!             identity    cluster, member id, how far it got in founding or joining
//!             log-3, log-4, log-spare   entries, vote, committed and purged positions
//!             state-7.redb, CURRENT   the state and the name of the state that counts
//!             condemned   why this replica must not run again
//!             clean       there between a clean stop and the next start
//! ```
//!
//! Rules:
//! - The log is written by one task, in order, one durable commit per drained queue. What openraft
//!   is told to be on disk is on disk.
//! - The state commits without fsync and is made durable now and then; the log is not purged past
//!   what the state made durable, so a crash costs a replay and nothing else.
//! - A snapshot is a view. One that arrives goes into a new file; `CURRENT` switches by rename.
//! - After a failed write nothing is retried: the replica stops.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod codec;
pub(crate) mod directory;
pub(crate) mod log;
pub(crate) mod snapshot;
pub(crate) mod state_machine;

#[cfg(test)]
mod tests;
