//! Counts elections that nobody asked for: groups of three in one process under a load of
//! proposals, with their files in a temporary directory.
//!
//! ```console
//! $ cargo run --release -p dfs-raft --example elections -- GROUPS SECONDS IN_FLIGHT
//! ```
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::state::{StateTxn, Table};
use dfs_raft::testing::Cluster;
use dfs_raft::{ApplyContext, Fatal, StateMachine};
use futures::future::try_join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROWS: Table<u64, String> = Table::new(0, "rows");
const POLL: Duration = Duration::from_millis(5);

struct Rows;

impl StateMachine for Rows {
    const TABLES: &'static [&'static str] = &["rows"];
    type Command = String;
    type Reply = ();

    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        context: ApplyContext,
        value: String,
    ) -> std::result::Result<(), Fatal> {
        state.put(ROWS, &(context.rev.index % 100_000), &value)
    }
}

/// The highest term a member knows, and whether one leads and may act.
fn look(cluster: &Cluster<Rows>) -> (u64, Option<usize>) {
    let seen = |index: usize| cluster.replica(index).leadership().borrow().clone();
    let term = (0..3).map(|index| seen(index).term).max().unwrap_or(0);
    let ready = |index: &usize| seen(*index).is_ready;
    (term, (0..3).filter(ready).max_by_key(|i| seen(*i).term))
}

async fn propose(cluster: Arc<Cluster<Rows>>, end: Instant) -> u64 {
    let mut done = 0;
    while Instant::now() < end {
        match look(&cluster).1 {
            Some(leader) => {
                let proposed = cluster.replica(leader).propose("x".repeat(256)).await;
                done += u64::from(proposed.is_ok());
            }
            None => sleep(POLL).await,
        }
    }
    done
}

async fn run(name: u64, seconds: u64, in_flight: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(3, Env::real(), directory.path(), || Rows, |_| {}).await?;
    let cluster = Arc::new(cluster);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut load = JoinSet::new();
    for _ in 0..in_flight {
        load.spawn(propose(cluster.clone(), end));
    }
    let (first, _) = look(&cluster);
    let (mut led, mut longest) = (Instant::now(), Duration::ZERO);
    while Instant::now() < end {
        if look(&cluster).1.is_some() {
            led = Instant::now();
        }
        longest = longest.max(led.elapsed());
        sleep(POLL).await;
    }
    let (last, _) = look(&cluster);
    let done: u64 = load.join_all().await.into_iter().sum();
    let terms = last - first;
    println!(
        "group {name}: {done} proposals, {terms} terms more, at most {longest:?} without a leader"
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt::init();
    let numbers: Vec<u64> = std::env::args().skip(1).flat_map(|a| a.parse()).collect();
    let [groups, seconds, in_flight] = numbers[..] else {
        return Err("usage: elections GROUPS SECONDS IN_FLIGHT".into());
    };
    try_join_all((0..groups).map(|name| run(name, seconds, in_flight))).await?;
    Ok(())
}
