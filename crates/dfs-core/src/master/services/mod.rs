//! RPC ↔ command: validate and translate, decide nothing.

pub(crate) mod cluster;
pub(crate) mod enrol;
pub(crate) mod login;
pub(crate) mod metadata;
