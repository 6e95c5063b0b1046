//! Who may use the cluster, and who is part of it.

mod accounts;
mod members;
mod nodes;

pub use accounts::NewUser;
pub use members::TokenRequest;
