//! Who may use the cluster, and who is part of it.

mod accounts;
mod backup;
mod members;
mod nodes;

pub use accounts::NewUser;
pub use backup::MetadataBackup;
pub use members::TokenRequest;
