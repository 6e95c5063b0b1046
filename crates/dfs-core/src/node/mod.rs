//! What all nodes have in common: papers, how they get them, and how they renew them.

mod papers;

pub use papers::{JoinError, Papers};
