//! The data node: keeps replicas of chunks and hands them on.

pub mod store;
