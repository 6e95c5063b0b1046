//! A distributed file storage system as a library.

pub mod client;
#[cfg(feature = "embedded")]
pub mod cluster;
pub mod datanode;
pub mod error;
pub mod master;
pub mod meta;
pub mod proto;
pub mod types;

pub use dfs_raft::env;
