//! The command `dfs` as people run it: what it prints, on which stream, and how it exits.
//!
//! Snapshots are rewritten with `INSTA_UPDATE=always cargo test -p dfs-cli --test cli`, the
//! reference with `UPDATE_REFERENCE=1 cargo test -p dfs-cli --test cli reference`; both are then
//! read in review.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise, and work with real files and processes"
)]

mod machine;

mod accounts;
mod damage;
mod files;
mod full;
mod json;
mod local;
mod nodes;
mod reference;
mod usage;
