//! What is deleted frees its space, in the end.

use std::time::Duration;

use dfs_core::types::change::Removal;

use super::{
    COPIES, MIB, TestResult, bytes_on_disk, directory, eventually, impatient, pattern, shifted,
};

/// Longer than replicas wait before they are deleted.
const GRACE_IS_OVER: Duration = Duration::from_secs(120);
/// Less than that.
const PART_OF_THE_GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_for_good_frees_its_space_after_the_grace() -> TestResult {
    let (directory, (env, clock)) = (directory(), shifted());
    let cluster = impatient().env(env).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(4 * MIB)).await?;
    client.remove("/f", Removal::File, true).await?;
    eventually("the map is empty", async || {
        Ok(client.status().await?.chunks.total == 0)
    })
    .await?;
    assert!(bytes_on_disk(&cluster)? >= (COPIES * 4 * MIB) as u64);

    clock.put_forward(GRACE_IS_OVER);

    eventually("the disks are empty", async || {
        Ok(bytes_on_disk(&cluster)? == 0)
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_returning_node_has_too_much_is_deleted_after_the_others_were_read_through()
-> TestResult {
    let (directory, (env, clock)) = (directory(), shifted());
    let cluster = impatient().env(env).data_nodes(4).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(4 * MIB)).await?;
    let lost = cluster.holder_of("/f").await?;
    let down = cluster.faults().crash(lost).await;
    eventually("the chunk is repaired elsewhere", async || {
        let holders = cluster.holders_of("/f").await?;
        Ok(holders.len() == COPIES && !holders.contains(&lost))
    })
    .await?;

    down.restart().await?;
    assert!(bytes_on_disk(&cluster)? >= ((COPIES + 1) * 4 * MIB) as u64);

    // The grace begins when the others were read through.
    eventually("the copy too many is gone", async || {
        clock.put_forward(PART_OF_THE_GRACE);
        Ok(bytes_on_disk(&cluster)? < ((COPIES + 1) * 4 * MIB) as u64)
    })
    .await?;
    assert!(bytes_on_disk(&cluster)? >= (COPIES * 4 * MIB) as u64);
    assert_eq!(client.read("/f").await?, pattern(4 * MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
