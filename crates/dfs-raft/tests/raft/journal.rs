//! The state machine of these tests: numbered lines, and a count.

use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::state::{ReadState, StateTxn, Table, View};
use dfs_raft::testing::Cluster;
use dfs_raft::{ApplyContext, ChangeError, Fatal, ReplicaConfig, StateMachine};
use tokio::time::Instant;

const LINES: Table<u64, String> = Table::new(0, "lines");
const COUNT: Table<(), u64> = Table::new(1, "count");

/// How long a proposal may be tried again.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// Appends the lines it is told. A line `refused` is refused half-way.
pub(crate) struct Journal;

impl StateMachine for Journal {
    const TABLES: &'static [&'static str] = &["lines", "count"];
    type Command = String;
    type Reply = Option<u64>;

    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        _: ApplyContext,
        line: String,
    ) -> Result<Option<u64>, Fatal> {
        let count = state.get(COUNT, &())?.unwrap_or(0) + 1;
        state.put(COUNT, &(), &count)?;
        state.put(LINES, &count, &line)?;
        if line == "refused" {
            state.undo();
            return Ok(None);
        }
        Ok(Some(count))
    }
}

pub(crate) fn lines(view: &View) -> Vec<String> {
    let rows = view.scan(LINES, ..).unwrap();
    rows.map(|row| row.unwrap().1).collect()
}

pub(crate) fn count(view: &View) -> u64 {
    view.get(COUNT, &()).unwrap().unwrap_or(0)
}

/// Settings that make rare things frequent.
pub(crate) fn eager(config: &mut ReplicaConfig) {
    config.log_cut_entries = 50;
    config.log_entries_kept = 10;
    config.durable_interval = Duration::from_millis(20);
    config.digest_interval = 16;
    config.digest_compare_interval = Duration::from_millis(50);
    config.state_cache_bytes = 4 << 20;
    config.log_cache_bytes = 16 << 10;
}

pub(crate) async fn cluster(
    size: usize,
    directory: &tempfile::TempDir,
) -> Result<Cluster<Journal>, ChangeError> {
    Cluster::start(size, Env::real(), directory.path(), || Journal, eager).await
}

/// Proposes at whoever leads until it is acknowledged. Only for tests that can bear repetition.
pub(crate) async fn propose(cluster: &Cluster<Journal>, line: &str) -> u64 {
    let end = Instant::now() + WITHIN;
    loop {
        let leader = cluster.leader().await;
        match cluster.replica(leader).propose(line.to_owned()).await {
            Ok(applied) => return applied.reply.unwrap(),
            Err(e) => assert!(Instant::now() < end, "no proposal succeeds: {e}"),
        }
    }
}
