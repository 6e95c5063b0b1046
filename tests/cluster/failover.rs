//! Failover without a person.

use std::time::Duration;

use dfs_core::cluster::Cluster;
use tokio::time::Instant;

use super::{MIB, TestResult, directory, pattern};

/// Generous, because tests share machines; the promise for a quiet one is a second.
const FAILOVER_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_file_survives_the_loss_of_the_leader_and_of_a_data_node() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder()
        .masters(3)
        .data_nodes(4)
        .start(&directory)
        .await?;
    let client = cluster.client().await?;
    client.write("/log", pattern(10 * MIB)).await?;

    let leader_down = cluster.faults().crash(cluster.leader().await?).await;
    let node_down = cluster
        .faults()
        .crash(cluster.holder_of("/log").await?)
        .await;

    assert_eq!(client.read("/log").await?, pattern(10 * MIB));
    client.write("/more", pattern(MIB)).await?;
    leader_down.restart().await?;
    node_down.restart().await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_leader_stalls_writers_only_briefly() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/before", "x").await?;

    let down = cluster.faults().crash(cluster.leader().await?).await;
    let begun = Instant::now();
    client.write("/after", "y").await?;
    let stall = begun.elapsed();

    assert!(stall < FAILOVER_MAX, "stalled for {stall:?}");
    down.restart().await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_the_middle_of_a_file_does_not_notice_the_loss_of_the_leader() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    let writer = {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..40 {
                client.write(format!("/f{n}"), pattern(100_000)).await?;
            }
            Ok::<_, dfs_core::error::Error>(())
        })
    };

    let down = cluster.faults().crash(cluster.leader().await?).await;

    writer.await??;
    for n in 0..40 {
        assert_eq!(client.read(format!("/f{n}")).await?, pattern(100_000));
    }
    down.restart().await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
