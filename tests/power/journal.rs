//! The state machine of these stories: numbered lines.

use std::time::Duration;

use dfs_raft::state::{ReadState, StateTxn, Table, View};
use dfs_raft::testing::Cluster;
use dfs_raft::{ApplyContext, Fatal, ReplicaConfig, StateMachine};

const LINES: Table<u64, String> = Table::new(0, "lines");
const COUNT: Table<(), u64> = Table::new(1, "count");

/// Lines that are kept, the newest: a state of more than two frames.
pub(crate) const ROWS: u64 = 150;

/// Keeps the newest lines it was told, and counts all.
pub(crate) struct Journal;

impl StateMachine for Journal {
    const TABLES: &'static [&'static str] = &["lines", "count"];
    type Command = String;
    type Reply = ();

    fn apply(&self, state: &mut StateTxn<'_>, _: ApplyContext, line: String) -> Result<(), Fatal> {
        let count = state.get(COUNT, &())?.unwrap_or(0) + 1;
        state.put(COUNT, &(), &count)?;
        state.put(LINES, &(count % ROWS), &line)
    }
}

pub(crate) fn count(view: &View) -> Result<u64, Fatal> {
    Ok(view.get(COUNT, &())?.unwrap_or(0))
}

/// Settings that make rare things frequent.
pub(crate) fn eager(config: &mut ReplicaConfig) {
    config.log_cut_entries = 10;
    config.log_entries_kept = 5;
    config.durable_interval = Duration::from_millis(10);
    config.state_cache_bytes = 4 << 20;
    config.log_segment_bytes = 64 << 10;
}

/// Proposes lines at member 0, all of which must be acknowledged.
pub(crate) async fn propose(cluster: &Cluster<Journal>, lines: u64) -> super::TestResult {
    for number in 0..lines {
        let line = format!("{number} {}", "x".repeat(8000));
        cluster.replica(0).propose(line).await?;
    }
    Ok(())
}
