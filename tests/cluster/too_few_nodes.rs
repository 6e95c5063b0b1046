//! Too few data nodes for the policy: refused with the reason, and possible later.

use dfs_core::client::Liveness;
use dfs_core::cluster::Part;
use dfs_core::error::ErrorKind;
use dfs_core::types::{AdminState, PolicyChange, RefusalKind};

use super::{MIB, TestResult, directory, eventually, impatient, pattern};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_data_node_counts_for_no_drain_and_no_stripes() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(4).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(MIB)).await?;
    let other = cluster.node_id(Part::DataNode(1)).await.ok_or("no node")?;
    let stripes = PolicyChange {
        ec: Some("2+2".parse()?),
        ..PolicyChange::default()
    };

    let down = cluster.faults().crash(Part::DataNode(0)).await;
    eventually("it is dead", async || {
        let nodes = client.nodes().await?;
        Ok(nodes.iter().any(|node| node.liveness == Liveness::Dead))
    })
    .await?;

    assert_eq!(client.node_duties(other).await?.others, 2);
    let drain = client.decide_node(other, AdminState::Draining, None);
    let refused = drain.await.unwrap_err();
    let kind = refused.refusal().map(|refusal| refusal.kind);
    assert_eq!(kind, Some(RefusalKind::StillNeeded), "{refused}");
    assert!(refused.to_string().contains("not dead: 2"), "{refused}");
    let refused = client.set_policy("/", stripes).await.unwrap_err();
    assert!(refused.to_string().contains("there are 3"), "{refused}");

    down.restart().await?;
    eventually("it is back", async || {
        Ok(client.node_duties(other).await?.others == 3)
    })
    .await?;
    client.set_policy("/", stripes).await?;
    client
        .decide_node(other, AdminState::Draining, None)
        .await?;
    Ok(cluster.shutdown().await?)
}
