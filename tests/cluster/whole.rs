//! All or nothing.

use dfs_core::cluster::Cluster;
use tokio::io::AsyncWriteExt;

use super::{MIB, TestResult, directory, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_seen_whole_or_not_at_all_while_it_is_replaced() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let versions = [vec![1; 2 * MIB], vec![2; 3 * MIB]];
    client.write("/f", versions[0].clone()).await?;
    let writer = {
        let (client, versions) = (client.clone(), versions.clone());
        tokio::spawn(async move {
            for n in 1..20 {
                client.write("/f", versions[n % 2].clone()).await?;
            }
            Ok::<_, dfs_core::error::Error>(())
        })
    };
    while !writer.is_finished() {
        let read = client.read("/f").await?;

        assert!(versions.iter().any(|version| read == *version));
    }
    writer.await??;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_leaves_nothing() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let mut writer = client.create("/f").await?;
    writer.write_all(&pattern(3 * MIB)).await?;

    drop(writer);

    assert!(!client.exists("/f").await?);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
