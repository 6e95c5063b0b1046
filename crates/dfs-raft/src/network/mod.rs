//! How members talk: RaftRpc over any byte stream.
//!
//! ```text
//! stream ──▶ frames of bounded length ──▶ postcard ──▶ tarpc ──▶ service
//!
//! connection 1 to a member: entries        2: heartbeats and votes        3: snapshots
//! ```
//!
//! Every request names the cluster and the member it is for and is refused by any other. Making
//! connections, and their security, is the work of whoever supplies a [`Dial`].

pub(crate) mod connections;
mod incoming;
pub(crate) mod message;
pub(crate) mod outgoing;
pub(crate) mod peers;
pub(crate) mod service;
pub(crate) mod snapshots;
pub(crate) mod transport;

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::env::{BoxStream, Network};

pub use incoming::Incoming;

/// Makes connections to members, by address. Encryption and authentication are its business.
pub trait Dial: Send + Sync {
    /// Connects to `address`. The caller sets the deadline.
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>>;
}

/// Connections as a [`Network`] makes them.
impl Dial for Arc<dyn Network> {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.connect(address)
    }
}

pub(crate) use transport::{Client, client, server};
