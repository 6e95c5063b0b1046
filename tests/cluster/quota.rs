//! What is counted as used is what is used, and no more may be than was said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::client::PutOptions;
use dfs_core::cluster::Cluster;
use dfs_core::error::{Error, ErrorKind};
use dfs_core::types::PolicyChange;
use dfs_core::types::change::Removal;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use dfs_core::types::quota::Limits;
use dfs_evidence::checkers::of_all;
use dfs_evidence::history::Recorder;
use dfs_evidence::workloads::{Quota, Worker, Workload};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{MIB, TestResult, directory, eventually, impatient, pattern};

fn bytes(bytes: usize) -> Limits {
    Limits {
        bytes: Some(bytes as u64),
        inodes: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_upload_is_refused_while_it_is_written_and_leaves_nothing() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_dir("/q").await?;
    let change = PolicyChange {
        chunk_size: Some(CHUNK_SIZE_MIN),
        ..PolicyChange::default()
    };
    client.set_policy("/q", change).await?;
    client.set_quota("/q", bytes(5 * MIB), false).await?;
    client.write("/q/f", pattern(MIB)).await?;

    // Longer than one commit takes: parts of it are counted before it has a name.
    let source = pattern(12 * MIB);
    let put = client
        .put("/q/g", &source[..], PutOptions::new(false))
        .await;

    assert_eq!(put.unwrap_err().kind(), ErrorKind::OutOfSpace);
    let used = client.quotas("/q").await?.first().map(|quota| quota.bytes);
    assert_eq!(used, Some(MIB as u64));
    client.write("/q/g", pattern(4 * MIB)).await?;
    let more = client.append("/q/g", "x".repeat(5000)).await;
    assert_eq!(more.unwrap_err().kind(), ErrorKind::OutOfSpace);
    client.remove("/q/f", Removal::File, false).await?;
    client.append("/q/g", "x".repeat(5000)).await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_is_there_is_counted_while_it_changes() -> TestResult {
    const FILES: usize = 400;
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_dir_all("/q/d/e").await?;
    for n in 0..FILES {
        client.create_file(&format!("/q/d/f{n}"), true).await?;
    }
    let changer = {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..FILES / 4 {
                let (from, to) = (format!("/q/d/f{n}"), format!("/q/d/e/g{n}"));
                client.rename(&from, &to).await?;
                client.write(&to, vec![1; 10]).await?;
            }
            Ok::<_, Error>(())
        })
    };

    client.set_quota("/q", bytes(MIB), false).await?;

    changer.await??;
    eventually("all is counted", async || {
        let quotas = client.quotas("/q").await?;
        Ok(quotas.first().is_some_and(|quota| !quota.counting))
    })
    .await?;
    let quotas = client.quotas("/q").await?;
    let quota = quotas.first().ok_or("no quota")?;
    assert_eq!(quota.inodes, FILES as u64 + 2);
    assert_eq!(quota.bytes, FILES as u64 / 4 * 10);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

const SEED: u64 = 11;
const WORKERS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn no_more_files_are_there_than_may_be_while_leaders_come_and_go() -> TestResult {
    let directory = directory();
    let cluster = impatient().start(&directory).await?;
    let workload = Quota::default();
    workload.prepare(&cluster.client().await?).await?;
    let began = Instant::now();
    let recorder = Recorder::new(move || began.elapsed().as_nanos() as u64);
    let (actors, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let worker = async |number| {
        let client = cluster.client().await?;
        let random = StdRng::seed_from_u64(SEED ^ number);
        let (recorder, stop) = (recorder.clone(), Arc::clone(&stop));
        let actors = Arc::clone(&actors);
        Ok::<_, Error>(Worker::new(number, client, random, recorder, actors, stop))
    };
    let mut working = JoinSet::new();
    for number in 0..WORKERS {
        working.spawn(workload.work(worker(number).await?));
    }
    for _ in 0..2 {
        sleep(Duration::from_millis(1500)).await;
        let down = cluster.faults().crash(cluster.leader().await?).await;
        sleep(Duration::from_millis(500)).await;
        down.restart().await?;
    }
    sleep(Duration::from_millis(1000)).await;
    stop.store(true, Ordering::Relaxed);
    working.join_all().await;
    workload.conclude(worker(WORKERS).await?).await;

    let history = recorder.events();
    let found = [workload.check(&history), of_all(&history)].concat();
    assert_eq!(found, Vec::<String>::new(), "seed {SEED}");
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
