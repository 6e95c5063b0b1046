//! What all nodes have in common: papers, how they get them, and how they renew them; and a log of
//! who asked for what, and places for those who are nobody yet.
//!
//! ```text
//! Security ─▶ prepare ─┬─ papers in the directory ────┬─▶ Papers ─▶ a network that shows them
//!                      ├─ founding: a new authority's ┤      ▲
//!                      └─ joining: for a join token ──┘      └─ renewal, at half of their time
//! ```

pub mod audit;
mod founding;
pub(crate) mod joining;
pub(crate) mod lobby;
mod papers;
mod renewal;
mod security;

pub use founding::NewCluster;
pub use joining::JoinError;
pub use papers::Papers;
pub(crate) use renewal::{RENEWAL_PAUSE, keep_good};
pub use security::Security;
pub(crate) use security::prepare;
