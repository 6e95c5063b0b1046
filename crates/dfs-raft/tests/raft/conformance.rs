//! The state machine of these tests is one.

use dfs_raft::state::{StateTxn, Table};
use dfs_raft::testing::check_machine;
use dfs_raft::{ApplyContext, Fatal, StateMachine};

use crate::journal::Journal;

#[test]
fn the_journal_gives_equal_states_singly_and_in_batches() -> Result<(), Fatal> {
    let commands = ["a", "refused", "b", "refused", "c", "d"].map(str::to_owned);
    check_machine(|| Journal, &commands)
}

/// A machine that says what its clock and dice say, so no two are equal.
struct Dice(std::sync::atomic::AtomicU64);

impl StateMachine for Dice {
    const TABLES: &'static [&'static str] = &["thrown"];
    type Command = String;
    type Reply = ();

    fn apply(&self, state: &mut StateTxn<'_>, _: ApplyContext, _: String) -> Result<(), Fatal> {
        let thrown = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        state.put(Table::new(0, "thrown"), &0_u64, &thrown)
    }
}

#[test]
fn a_machine_that_depends_on_more_than_its_commands_is_found_out() {
    static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let make = || {
        Dice(
            SEED.fetch_add(100, std::sync::atomic::Ordering::SeqCst)
                .into(),
        )
    };
    let commands = ["throw", "throw"].map(str::to_owned);
    assert!(check_machine(make, &commands).is_err());
}
