//! Once: a request that is repeated because its answer was lost is carried out once.

use dfs_core::cluster::Cluster;

use super::{TestResult, directory};

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_carried_out_once_while_leaders_come_and_go() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_file("/log", true).await?;
    let writer = {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                client.append("/log", format!("{n}\n")).await?;
            }
            Ok::<_, dfs_core::error::Error>(())
        })
    };
    while !writer.is_finished() {
        // The answers that are on their way when a leader falls are lost.
        let down = cluster.faults().crash(cluster.leader().await?).await;
        cluster.leader().await?;
        down.restart().await?;
    }
    writer.await??;

    let text = client.read("/log").await?;

    let expected: String = (0..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(text, expected);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
