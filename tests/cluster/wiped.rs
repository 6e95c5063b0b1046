//! A wiped disk is not taken for an empty file system.

use std::io::ErrorKind;
use std::path::Path;

use dfs_core::cluster::Cluster;

use super::{MIB, TestResult, directory, impatient, pattern};

/// Empties a disk, while what was being written when its owner crashed may still come.
async fn wipe(directory: &Path) -> TestResult {
    super::eventually(
        "the disk is empty",
        async || match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            done => Ok(done.map(|()| true)?),
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_disk_was_wiped_comes_back_as_a_new_member() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(MIB)).await?;
    let wiped = cluster.leader().await?;
    let down = cluster.faults().crash(wiped).await;
    wipe(&cluster.directory_of(wiped)).await?;

    down.restart().await?;

    super::eventually("three masters vote again", async || {
        let masters = client.status().await?.masters;
        Ok(masters.len() == 3 && masters.iter().all(|master| master.voter))
    })
    .await?;
    let other = cluster.leader().await?;
    let down = cluster.faults().crash(other).await;
    assert_eq!(client.read("/f").await?, pattern(MIB));
    down.restart().await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chunks_of_a_data_node_whose_disk_was_wiped_are_made_again() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(4 * MIB)).await?;
    let wiped = cluster.holder_of("/f").await?;
    let down = cluster.faults().crash(wiped).await;
    wipe(&cluster.directory_of(wiped)).await?;

    down.restart().await?;

    super::eventually("the copies are where they were", async || {
        let holders = cluster.holders_of("/f").await?;
        Ok(holders.len() == super::COPIES)
    })
    .await?;
    cluster.check().await?;
    assert_eq!(client.read("/f").await?, pattern(4 * MIB));
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lost_all_masters_is_not_founded_again_over_its_data() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    cluster.client().await?.write("/f", pattern(MIB)).await?;
    cluster.shutdown().await?;
    for master in ["m1", "m2", "m3"] {
        std::fs::remove_dir_all(directory.as_ref().join(master))?;
    }

    let started = Cluster::builder().start(&directory).await;

    let error = started.err().ok_or("it started")?;
    assert!(
        error.to_string().contains("no master of cluster"),
        "{error}"
    );
    Ok(())
}
