//! RPC ↔ command: validate and translate, decide nothing.

mod backup;
pub(crate) mod cluster;
pub(crate) mod enrol;
mod living;
pub(crate) mod login;
pub(crate) mod metadata;
mod rosters;
