//! Tests that cross crates: the tree is tidy, the cluster keeps its promises.

mod cluster;
mod tidy;
