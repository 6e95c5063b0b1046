//! What the tests of this package share.
#![recursion_limit = "256"]
pub mod sim;
