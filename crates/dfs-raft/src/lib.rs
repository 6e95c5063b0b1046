//! A redb state machine, replicated.

pub mod env;
mod error;
mod machine;
pub mod state;

pub use error::Fatal;
pub use machine::{ApplyContext, Rev, StateMachine};
