//! check
use dfs_raft::Fatal;
use dfs_raft::state::ReadState;
/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub message: String,
}
/// Checks.
///
/// # Errors
/// The state cannot be read.
pub fn check(_state: &impl ReadState) -> Result<Vec<Violation>, Fatal> {
    Ok(Vec::new())
}
