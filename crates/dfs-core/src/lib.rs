//! A distributed file storage system as a library.

pub mod error;
pub mod types;
pub mod proto;
pub mod meta;
pub mod master;
pub mod datanode;
pub mod client;

pub use dfs_raft::env;
