//! What is done where no cluster runs: masters, and administrators, that were lost.

pub(crate) mod recover;
pub(crate) mod restore;
