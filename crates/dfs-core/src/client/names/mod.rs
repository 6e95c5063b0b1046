//! Names: paths and places, directories, and what can be done with them.

pub(super) mod listing;
pub(super) mod location;
mod namespace;
pub(super) mod restoring;
