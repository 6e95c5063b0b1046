//! What clients do while the cluster is attacked.
//!
//! A workload knows what its workers do and how its history is judged; it knows nothing of
//! faults, nor whether the cluster is simulated.

mod worker;

use futures::future::BoxFuture;

pub use worker::Worker;

use crate::history::Event;
use dfs_core::client::Client;
use dfs_core::error::Result;

/// Operations of one kind, and their judge.
pub trait Workload: Send + Sync {
    /// Its name, as on command lines and in tables.
    fn name(&self) -> &'static str;

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
