//! A distributed file storage system as a library.

pub mod client;
pub mod error;
pub mod proto;
pub mod types;

pub use dfs_raft::env;
