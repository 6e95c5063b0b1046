//! Once: a request that is repeated because its answer was lost is carried out once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_core::cluster::Cluster;

use super::{TestResult, directory, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_carried_out_once_while_leaders_come_and_go() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_file("/log", true).await?;
    let done = Arc::new(AtomicU64::new(0));
    let writer = {
        let (client, done) = (client.clone(), done.clone());
        tokio::spawn(async move {
            for n in 0..200 {
                client.append("/log", format!("{n}\n")).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, dfs_core::error::Error>(())
        })
    };
    while !writer.is_finished() {
        // The answers that are on their way when a leader falls are lost.
        let before = done.load(Ordering::Relaxed);
        let down = cluster.faults().crash(cluster.leader().await?).await;
        eventually("appends go on", async || {
            Ok(writer.is_finished() || done.load(Ordering::Relaxed) > before + 20)
        })
        .await?;
        down.restart().await?;
    }
    writer.await??;

    let text = client.read("/log").await?;

    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(text, expected);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
