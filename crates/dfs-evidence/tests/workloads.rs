//! Every workload on a cluster that nobody attacks: nothing may be found.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::cluster::Cluster;
use dfs_evidence::checkers::of_all;
use dfs_evidence::history::{Event, Header, Kind, Recorder, read, write};
use dfs_evidence::workloads::{Worker, Workload, all};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

const WORKERS: u64 = 4;
/// How long they work, and how long on a machine that is busy.
const LENGTH: Duration = Duration::from_secs(2);
const LENGTH_MAX: Duration = Duration::from_secs(30);
/// More operations than these must be done.
const DONE_MIN: usize = 20;

fn done(events: &[Event]) -> usize {
    events.iter().filter(|e| e.kind == Kind::Ok).count()
}

async fn history(cluster: &Cluster, workload: &dyn Workload) -> Vec<Event> {
    let began = Instant::now();
    let nanos = move || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let recorder = Recorder::new(nanos);
    let (actors, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    workload
        .prepare(&cluster.client().await.unwrap())
        .await
        .unwrap();
    let mut workers = Vec::new();
    for number in 0..=WORKERS {
        let client = cluster.client().await.unwrap();
        let random = StdRng::seed_from_u64(number);
        let (recorder, actors, stop) = (recorder.clone(), actors.clone(), stop.clone());
        workers.push(Worker::new(number, client, random, recorder, actors, stop));
    }
    let last = workers.pop().unwrap();
    let work: Vec<_> = workers
        .into_iter()
        .map(|w| workload.work(w))
        .map(tokio::spawn)
        .collect();
    sleep(LENGTH).await;
    while done(&recorder.events()) <= DONE_MIN && began.elapsed() < LENGTH_MAX {
        sleep(LENGTH / 20).await;
    }
    stop.store(true, Ordering::Relaxed);
    for worker in work {
        worker.await.unwrap();
    }
    workload.conclude(last).await;
    recorder.events()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_that_nobody_attacks_every_workload_works_and_its_checkers_find_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let builder = Cluster::builder().masters(1).data_nodes(3);
    let cluster = builder.start(directory.path()).await.unwrap();
    for workload in all() {
        let name = workload.name();
        let events = history(&cluster, &*workload).await;
        let done = done(&events);
        let failed = events.iter().filter(|e| e.kind == Kind::Fail).count();
        println!("{name}: {done} done, {failed} failed");
        assert!(done > DONE_MIN, "{name}: {done} operations were done");
        assert!(events.iter().all(|e| e.kind != Kind::Info), "{name}");
        // As it is read from a file.
        let events = read(&write(&Header::default(), &events)).unwrap().events;
        let found = [workload.check(&events), of_all(&events)].concat();
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    cluster.shutdown().await.unwrap();
}
