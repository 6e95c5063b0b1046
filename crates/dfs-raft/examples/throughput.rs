//! Measures three members in one process, over TCP, with their files in a directory given as the
//! first argument (or a temporary one): proposals and reads per second.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dfs_raft::env::{Env, Network, Tcp};
use dfs_raft::state::{StateTxn, Table};
use dfs_raft::{ApplyContext, Consistency, Fatal, Replica, ReplicaConfig, StateMachine};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROWS: Table<u64, String> = Table::new(0, "rows");
const MEASURED: Duration = Duration::from_secs(3);

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

async fn cluster(directory: PathBuf) -> Result<Vec<Replica<Rows>>> {
    let (mut replicas, mut addresses) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let config = ReplicaConfig::new(directory.join(format!("{index}")));
        let network: Arc<dyn Network> = Arc::new(Tcp);
        let replica = Replica::start(config, Env::real(), Arc::new(network), Rows).await?;
        let listener = Tcp.listen("127.0.0.1:0").await?;
        let address = listener.local_address();
        tokio::spawn(replica.serve_all(listener));
        if index == 0 {
            replica.bootstrap(&address).await?;
            replica.leadership().wait_for(|now| now.is_ready).await?;
        } else {
            let member = replica.join(&addresses, &address).await?;
            let founder: &Replica<Rows> = replicas.first().ok_or("no founder")?;
            founder.promote(member).await?;
        }
        replicas.push(replica);
        addresses.push(address);
    }
    Ok(replicas)
}

/// Runs `work` again and again in so many tasks, and prints rate and latencies.
async fn measure<F, W>(what: &str, in_flight: usize, work: W) -> Result<()>
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let end = Instant::now() + MEASURED;
    let tasks = (0..in_flight).map(|_| {
        let work = work.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                work().await?;
                latencies.push(started.elapsed());
            }
            Result::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (latencies.len() as f64 * part) as usize;
        latencies
            .get(index)
            .copied()
            .unwrap_or_default()
            .as_micros()
    };
    let rate = latencies.len() as f64 / MEASURED.as_secs_f64();
    let (p50, p99) = (at(0.5), at(0.99));
    println!("{what:9} {in_flight:4} in flight  {rate:9.0}/s  p50 {p50:6} us  p99 {p99:6} us");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| temporary.path().to_owned());
    let replicas = cluster(directory).await?;
    let leader = replicas.first().ok_or("no leader")?.clone();
    let follower = replicas.last().ok_or("no follower")?.clone();
    for in_flight in [1, 64, 256] {
        let leader = leader.clone();
        let propose = move || {
            let leader = leader.clone();
            async move {
                leader.propose("x".repeat(256)).await?;
                Ok(())
            }
        };
        measure("proposals", in_flight, propose).await?;
    }
    for (who, replica) in [("reads", leader), ("follower", follower)] {
        for in_flight in [1, 64, 256] {
            let replica = replica.clone();
            let read = move || {
                let replica = replica.clone();
                async move {
                    replica.read(Consistency::Linearizable).await?;
                    Ok(())
                }
            };
            measure(who, in_flight, read).await?;
        }
    }
    for replica in &replicas {
        replica.shutdown().await;
    }
    Ok(())
}
