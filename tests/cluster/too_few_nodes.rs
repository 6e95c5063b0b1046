//! Too few data nodes for the policy: refused with the reason, and possible later.

use dfs_core::error::ErrorKind;

use super::{MIB, TestResult, directory, impatient, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_data_nodes_and_then_says_that_there_are_too_few() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let mut config = cluster.client_config();
    config.deadlines.operation = std::time::Duration::from_secs(4);
    let client = dfs_core::client::Client::connect(config, dfs_core::env::Env::real()).await?;
    let faults = cluster.faults();
    let down = [
        faults.crash(dfs_core::cluster::Part::DataNode(0)).await,
        faults.crash(dfs_core::cluster::Part::DataNode(1)).await,
    ];

    let error = client.write("/f", pattern(MIB)).await.unwrap_err();

    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error:?}"
    );
    client
        .write("/small", "metadata needs no data node")
        .await?;
    for part in down {
        part.restart().await?;
    }
    let client = cluster.client().await?;
    client.write("/f", pattern(MIB)).await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_data_node_keeps_one_copy() -> TestResult {
    let directory = directory();
    let cluster = impatient()
        .masters(1)
        .data_nodes(1)
        .start(&directory)
        .await?;
    let client = cluster.client().await?;

    client.write("/f", pattern(MIB)).await?;

    assert_eq!(client.read("/f").await?, pattern(MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
