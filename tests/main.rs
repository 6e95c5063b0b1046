//! Tests that cross crates: the tree is tidy, the cluster keeps its promises, the power may go.

mod cluster;
mod power;
mod tidy;
