//! What data nodes and clients do without masters, and what data nodes know of each other.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::cluster::{Cluster, Part};
use dfs_core::env::Env;
use dfs_core::error::ErrorKind;
use tokio::io::AsyncReadExt;

use super::{COPIES, MIB, TestResult, directory, eventually, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_open_is_read_to_its_end_though_all_masters_and_a_data_node_are_gone()
-> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().data_nodes(3).start(&directory).await?;
    let mut config = cluster.client_config();
    config.deadlines.operation = Duration::from_secs(3);
    let client = Client::connect(config, Env::real()).await?;
    client.write("/f", pattern(20 * MIB)).await?;
    let mut file = client.open("/f").await?;
    let mut begin = vec![0; 1000];
    file.read_exact(&mut begin).await?;

    let mut down = Vec::new();
    for index in 0..cluster.masters() {
        down.push(cluster.faults().crash(Part::Master(index)).await);
    }
    down.push(cluster.faults().crash(Part::DataNode(0)).await);

    let mut rest = Vec::new();
    file.read_to_end(&mut rest).await?;
    assert!([begin, rest].concat() == pattern(20 * MIB));
    let refused = client.open("/f").await.map(|_| ()).unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Unavailable { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("master"), "{refused}");
    for part in down {
        part.restart().await?;
    }
    Ok(cluster.shutdown().await?)
}

/// A cluster that would wait for minutes before it gives a data node up, if peers did not agree.
async fn agreeing(
    nodes: usize,
    directory: &super::Stage,
) -> Result<Cluster, dfs_core::error::Error> {
    Cluster::builder()
        .data_nodes(nodes)
        .tune_masters(|config| {
            config.liveness.heartbeat_interval = Duration::from_millis(100);
            config.liveness.suspect_after = Duration::from_millis(500);
            config.liveness.dead_after_agreed = Duration::from_secs(2);
        })
        .tune_data_nodes(|_, config| config.gossip_interval = Duration::from_millis(100))
        .start(directory)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_data_node_held_is_repaired_at_once_when_its_peers_agree() -> TestResult {
    let directory = directory();
    let cluster = agreeing(4, &directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(5 * MIB)).await?;
    let lost = cluster.holder_of("/f").await?;
    let id = cluster.node_id(lost).await;

    let down = cluster.faults().crash(lost).await;

    eventually("its peers hold it for down", async || {
        let nodes = client.nodes().await?;
        let dead = nodes.iter().find(|node| Some(node.node) == id);
        Ok(dead.is_some_and(|node| node.held_down_by.len() == 3))
    })
    .await?;
    eventually("the copies of the lost node are elsewhere", async || {
        let holders = cluster.holders_of("/f").await?;
        Ok(holders.len() == COPIES && !holders.contains(&lost))
    })
    .await?;
    down.restart().await?;
    eventually("nobody holds it for down any more", async || {
        let nodes = client.nodes().await?;
        Ok(nodes.iter().all(|node| node.held_down_by.is_empty()))
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
