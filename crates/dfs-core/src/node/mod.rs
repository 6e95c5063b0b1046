//! What all nodes have in common: papers, how they get them, and how they renew them.

mod founding;
mod papers;

pub use founding::NewCluster;
pub use papers::{JoinError, Papers};
