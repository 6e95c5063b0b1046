//! Acknowledged is durable.

use dfs_core::cluster::Cluster;

use super::{MIB, TestResult, directory, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_files_survive_a_crash_of_everything() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_dir_all("/a/b").await?;
    client.write("/a/b/small", "inline").await?;
    client.write("/a/b/large", pattern(3 * MIB)).await?;
    let faults = cluster.faults();
    for index in 0..cluster.data_nodes() {
        let node = dfs_core::cluster::Part::DataNode(index);
        faults.crash(node).await.forget();
    }
    for index in 0..cluster.masters() {
        let master = dfs_core::cluster::Part::Master(index);
        faults.crash(master).await.forget();
    }
    drop((client, faults, cluster));

    let cluster = Cluster::builder().start(&directory).await?;

    let client = cluster.client().await?;
    assert_eq!(client.read("/a/b/small").await?, "inline");
    assert_eq!(client.read("/a/b/large").await?, pattern(3 * MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_stopped_in_order_is_found_again_where_it_was() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let (id, addresses) = (cluster.id().await?, cluster.addresses());
    cluster.client().await?.write("/f", pattern(MIB)).await?;
    cluster.shutdown().await?;

    let cluster = Cluster::builder().start(&directory).await?;

    assert_eq!((cluster.id().await?, cluster.addresses()), (id, addresses));
    assert_eq!(cluster.client().await?.read("/f").await?, pattern(MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
