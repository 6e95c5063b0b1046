//! Repair is automatic, and nothing deletes the last good copy.

use super::{COPIES, MIB, TestResult, directory, eventually, impatient, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn the_chunks_of_a_dead_data_node_are_copied_to_others() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(4).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(5 * MIB)).await?;
    let lost = cluster.holder_of("/f").await?;
    let id = cluster.node_id(lost).await;

    let down = cluster.faults().crash(lost).await;

    eventually("the copies of the lost node are elsewhere", async || {
        let holders = cluster.holders_of("/f").await?;
        Ok(holders.len() == COPIES && !holders.contains(&lost))
    })
    .await?;
    cluster.check().await?;
    assert_eq!(client.read("/f").await?, pattern(5 * MIB));
    down.restart().await?;
    assert_eq!(cluster.node_id(lost).await, id);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_written_with_fewer_copies_gets_the_others_later() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    let faults = cluster.faults();
    let down = faults.crash(dfs_core::cluster::Part::DataNode(0)).await;

    client.write("/f", pattern(2 * MIB)).await?;

    assert_eq!(cluster.holders_of("/f").await?.len(), COPIES - 1);
    down.restart().await?;
    cluster.check().await?;
    assert_eq!(cluster.holders_of("/f").await?.len(), COPIES);
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_copies_are_kept_when_all_others_are_gone() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(2 * MIB)).await?;
    let faults = cluster.faults();
    let down = [
        faults.crash(dfs_core::cluster::Part::DataNode(0)).await,
        faults.crash(dfs_core::cluster::Part::DataNode(1)).await,
    ];

    eventually("two nodes are dead", async || {
        let chunks = client.status().await?.chunks;
        Ok(chunks.under_replicated == 1)
    })
    .await?;

    assert_eq!(client.read("/f").await?, pattern(2 * MIB));
    for part in down {
        part.restart().await?;
    }
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
