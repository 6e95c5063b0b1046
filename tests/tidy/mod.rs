//! The habits of the code base, as tests: sizes, layers, words, rules of services.
//!
//! A rule with a good exception gets it in the rule's table, with the reason.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests read the source tree"
)]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod kept;
mod layers;
mod planted;
mod services;
mod sizes;
mod source;
mod words;
