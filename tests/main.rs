//! Tests that cross crates: the tree is tidy, the cluster keeps its promises, the power may
//! go, and all of it in simulated time.

// Less than the 128 that programs have which embed a cluster: their futures may nest ours.
#![recursion_limit = "110"]

mod cluster;
mod power;
mod simulated;
mod tidy;
