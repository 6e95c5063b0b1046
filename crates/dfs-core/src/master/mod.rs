//! Leader-side logic around the metadata: translate, decide, act.

pub mod liveness;
pub mod planners;
pub mod tasks;
pub mod view;
