//! Who may use the cluster, and who is part of it.

mod accounts;
mod members;

pub use accounts::NewUser;
pub use members::TokenRequest;
