//! The contract between a state machine and the replica that runs it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::env::Timestamp;
use crate::error::Fatal;
use crate::state::{StateTxn, Value};

/// A point in the history of the cluster: which entry of the log.
///
/// Every change has one and every read names the last one it saw, so that users can order what
/// they saw, and checkers can prove it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Rev {
    /// The leader's term.
    pub term: u64,
    /// The index in the log. Later changes have larger ones, whatever their term.
    pub index: u64,
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// What a command is told besides the state: all there is to know of when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyContext {
    /// The entry being applied.
    pub rev: Rev,
    /// When the leader proposed it, by the leader's clock, and never before the time of an
    /// earlier entry. Nothing bounds it from above: nobody can tell a clock that is a year ahead
    /// from a cluster that was off for a year. Members warn of a leader that is ahead of them.
    pub time: Timestamp,
}

/// A deterministic state machine over redb tables.
///
/// Applying is a pure function of state, context and command: no clock, no randomness, no
/// iteration over hash maps, no I/O but the tables. Replicas that apply the same commands then
/// hold the same rows, which they verify by comparing digests.
pub trait StateMachine: Send + Sync + 'static {
    /// The names of all its tables, in the order of [`Table::index`](crate::state::Table::index).
    const TABLES: &'static [&'static str];

    /// A change. It is stored in the log, hence versioned.
    type Command: Value + Send + 'static;

    /// What the proposer of a change gets back. It never leaves the process that proposed.
    type Reply: Send + Sync + 'static;

    /// Applies one command.
    ///
    /// A command that cannot be carried out is answered with a reply that says so, the same on
    /// every replica, after [`StateTxn::undo`] if anything was written.
    ///
    /// # Errors
    /// The state cannot be read or written, or is impossible. The replica stops.
    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        context: ApplyContext,
        command: Self::Command,
    ) -> Result<Self::Reply, Fatal>;
}
