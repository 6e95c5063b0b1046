//! A distributed file storage system as a library.
//!
//! [`client::Client`] is what programs use: files, in the shape of `tokio::fs`, kept by a cluster.
//! [`cluster::Cluster`] embeds such a cluster in a program. [`master::Master`] and
//! [`datanode::DataNode`] are the nodes it is made of, the same that the daemon runs.
//!
//! ```no_run
//! # async fn example() -> dfs_core::error::Result<()> {
//! let cluster = dfs_core::cluster::Cluster::builder().start("/var/lib/dfs").await?;
//! let client = cluster.client().await?;
//! client.write("/greeting", "hello").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Time, randomness, network, disk and blocking come in through [`env::Env`], so the same code
//! runs in a simulator. Security is a [`env::Network`] that wraps another.
//!
//! Not done here: the command line, configuration files, logging set-up.

pub mod client;
#[cfg(feature = "embedded")]
pub mod cluster;
pub mod datanode;
pub mod error;
pub mod master;
pub mod meta;
pub mod node;
pub mod proto;
pub mod security;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;

pub use dfs_raft::{env, planted};

/// The example in the README compiles.
#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
