//! What clients do while the cluster is attacked.
//!
//! A workload knows what its workers do and how its history is judged; it knows nothing of
//! faults, nor whether the cluster is simulated.

mod act;
mod bank;
mod contents;
mod judged;
mod names;
mod registers;
mod rights;
mod set;
mod trash;
mod worker;

use std::time::Duration;

use futures::future::BoxFuture;

pub use bank::Bank;
pub use contents::Contents;
pub use names::Names;
pub use registers::Registers;
pub use rights::Rights;
pub use set::Set;
pub use set::quota::Quota;
pub use set::snapshots::Snapshots;
pub use trash::Trash;
pub use worker::Worker;

use crate::history::{Event, Kind, Op};
use dfs_core::client::Client;
use dfs_core::error::Result;

/// Operations of one kind, and their judge.
pub trait Workload: Send + Sync {
    /// Its name, as on command lines and in tables.
    fn name(&self) -> &'static str;

    /// The ids of the promises that its history is judged for: those that its complaints begin
    /// with.
    fn promises(&self) -> &'static [&'static str];

    /// Whether it needs a cluster that has users.
    fn needs_users(&self) -> bool {
        false
    }

    /// Makes what its workers need, once, before any fault.
    ///
    /// # Errors
    /// The cluster cannot do it.
    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>>;

    /// One worker, until it is told to stop.
    fn work(&self, worker: Worker) -> BoxFuture<'static, ()>;

    /// One worker's last look, when everything is healed and all others have ended.
    fn conclude(&self, worker: Worker) -> BoxFuture<'static, ()>;

    /// What is wrong with the history, one sentence each; the promise's id first: `M1: …`.
    fn check(&self, history: &[Event]) -> Vec<String>;
}

/// All workloads, with their usual settings.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(Registers::default()),
        Box::new(Names::default()),
        Box::new(Set::default()),
        Box::new(Bank::default()),
        Box::new(Contents::default()),
        Box::new(Contents::coded()),
        Box::new(Trash::default()),
        Box::new(Rights::default()),
        Box::new(Quota::default()),
        Box::new(Snapshots::default()),
    ]
}

/// The workload of a name.
pub fn named(name: &str) -> Option<Box<dyn Workload>> {
    all().into_iter().find(|workload| workload.name() == name)
}

/// Whether an operation is of the workload of this name, which works in a directory called so.
pub fn is_of(workload: &str, op: &Op) -> bool {
    judged::is_in(&format!("/{workload}"), op)
}

/// How many operations of the workload were done before its last look, which looks whatever was
/// done before.
pub fn done_of(workload: &str, history: &[Event]) -> u64 {
    let of_it = history.iter().filter(|event| is_of(workload, &event.op));
    let before = of_it.take_while(|event| !matches!(event.op, Op::LastLook { .. }));
    let done = before.filter(|event| event.kind == Kind::Ok && !event.op.is_note());
    done.count() as u64
}

/// Longer than any clock is moved: within a run nothing expires.
const TRASH_FOR_LONG: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
