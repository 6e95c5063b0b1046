//! Judges of histories: each gives the violations of one promise.

pub mod certificate;
pub mod judge;
pub mod rehearsal;
#[cfg(test)]
mod tale;
