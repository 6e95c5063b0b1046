//! Who may use the cluster, and how much of it, and who is part of it.

mod accounts;
mod backup;
mod members;
mod nodes;
mod quotas;
mod snapshots;

pub use accounts::NewUser;
pub use backup::MetadataBackup;
pub use members::TokenRequest;
