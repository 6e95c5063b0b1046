//! A redb state machine, replicated.
//!
//! You supply a [`StateMachine`]: tables and a function that applies a command to them. A
//! [`Replica`] keeps it equal on all members of a cluster: a command that was acknowledged is on
//! the disks of a majority and survives the loss of the rest; reads see every acknowledged
//! command.
//!
//! ```text
//! propose ──▶ leader ──▶ log of a majority, fsynced ──▶ apply, on every member ──▶ reply
//! ```
//!
//! Underneath are openraft for consensus, [redb] for the state, segment files for the log and tarpc
//! for messages. None of their types is needed to use this, and what is stored and sent is in forms
//! of our own.
//!
//! The life of a group:
//!
//! - One replica founds the cluster ([`Replica::bootstrap`]); others [`join`](Replica::join) as
//!   learners, which receive the log, and get a vote by [`promote`](Replica::promote).
//! - Commands and rows are types with a version. What serde knows becomes one in a line,
//!   `dfs_raft::postcard_values!(1: Command, Row);`; anything else implements [`state::Value`].
//! - A proposal whose outcome is [`Unknown`](ProposeError::Unknown) may have happened. To repeat it
//!   put a number into the command, by which the state machine knows what it has done already.
//! - Watch [`failed`](Replica::failed): a replica that meets a fault of its disk or an impossible
//!   state stops, says why there, and does nothing any more.
//!
#![doc = "```\n"]
#![doc = include_str!("../examples/counter.rs")]
#![doc = "```\n"]
//!
//! Not done here: finding members, encryption (see [`Dial`]), recognising repeated requests
//! (that is the state machine's, which alone knows what a request is).
//!
//! [redb]: https://docs.rs/redb

mod config;
pub mod env;
mod error;
mod machine;
mod network;
pub mod planted;
mod replica;
pub mod state;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod types;

pub use config::{InvalidConfig, ReplicaConfig};
pub use error::{
    ChangeError, Fatal, LeaderHint, ProposeError, ReadError, RestoreError, StartError,
};
pub use machine::{ApplyContext, Rev, StateMachine};
pub use network::{Dial, Incoming};
pub use replica::leadership::Leadership;
pub use replica::status::{Member, ReplicaStatus, Role};
pub use replica::{Applied, Consistency, Reading, Replica, cluster_in};
pub use storage::backup::{Backup, BackupInfo, restore, verify_backup};
pub use types::{ClusterId, MemberId};
