//! A distributed file storage system as a library.

pub mod datanode;
pub mod proto;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;

pub use dfs_raft::env;
