//! The command `dfs`.
mod error;
mod home;
mod local;
mod output;
mod progress;
mod text;
fn main() {}
