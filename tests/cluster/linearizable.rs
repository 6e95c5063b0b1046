//! Linearizable metadata: what one client was told is done, all see.

use dfs_core::cluster::Cluster;

use super::{TestResult, directory};

#[tokio::test(flavor = "multi_thread")]
async fn every_client_reads_what_any_client_has_written() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let (one, other) = (cluster.client().await?, cluster.client().await?);
    for n in 0..50 {
        let text = format!("version {n}");

        one.write("/f", text.clone()).await?;

        assert_eq!(other.read("/f").await?, text);
    }
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_one_name_one_wins() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = cluster.client().await?;
        attempts.spawn(async move { client.create_file("/lock", true).await.is_ok() });
    }

    let won = attempts.join_all().await;

    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
