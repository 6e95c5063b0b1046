//! The state machine of these tests is one.

use dfs_raft::Fatal;
use dfs_raft::testing::check_machine;

use crate::journal::Journal;

#[test]
fn the_journal_gives_equal_states_singly_and_in_batches() -> Result<(), Fatal> {
    let commands = ["a", "refused", "b", "refused", "c", "d"].map(str::to_owned);
    check_machine(|| Journal, &commands)
}
