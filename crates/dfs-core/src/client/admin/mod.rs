//! Who may use the cluster, and how much of it, and who is part of it.

mod accounts;
mod members;
mod quotas;

pub use accounts::NewUser;
pub use members::TokenRequest;
