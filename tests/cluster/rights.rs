//! Rights that were taken away are gone, whoever leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::cluster::Cluster;
use dfs_core::error::Error;
use dfs_evidence::checkers::of_all;
use dfs_evidence::checkers::rights::account;
use dfs_evidence::history::{Recorder, operations};
use dfs_evidence::workloads::{Rights, Worker, Workload};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{TestResult, directory, eventually};

/// What administrators and users do is drawn from it.
const SEED: u64 = 7;
/// Each is an administrator and a user.
const WORKERS: u64 = 2;
const FAILOVERS: usize = 3;
/// Between failovers.
const CALM: Duration = Duration::from_millis(2500);
const DOWN: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_were_taken_away_are_gone_while_leaders_come_and_go() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().data_nodes(1).start(&directory).await?;
    let workload = Rights::default();
    workload.prepare(&cluster.client().await?).await?;
    let began = Instant::now();
    let recorder = Recorder::new(move || began.elapsed().as_nanos() as u64);
    let (actors, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let worker = async |number| {
        let (client, random) = (
            cluster.client().await?,
            StdRng::seed_from_u64(SEED ^ number),
        );
        let (recorder, stop) = (recorder.clone(), Arc::clone(&stop));
        let actors = Arc::clone(&actors);
        Ok::<_, Error>(Worker::new(number, client, random, recorder, actors, stop))
    };
    let mut working = JoinSet::new();
    for number in 0..WORKERS {
        working.spawn(workload.work(worker(number).await?));
    }
    for _ in 0..FAILOVERS {
        sleep(CALM).await;
        let down = cluster.faults().crash(cluster.leader().await?).await;
        sleep(DOWN).await;
        down.restart().await?;
    }
    let tried = || Ok::<_, String>(account(&operations(&recorder.events(), |_| true)?));
    let enough = eventually("enough is tried", async || {
        let tried = tried()?;
        Ok(tried.permitted > 50 && tried.refused > 10 && tried.taken > 10)
    });
    let enough = enough.await;
    stop.store(true, Ordering::Relaxed);
    working.join_all().await;
    workload.conclude(worker(WORKERS).await?).await;

    let history = recorder.events();
    let found = [workload.check(&history), of_all(&history)].concat();
    assert_eq!(found, Vec::<String>::new(), "seed {SEED}");
    enough?;
    println!("seed {SEED}: {:?} in {:?}", tried()?, began.elapsed());
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
