//! Peers that are idle or too many keep nobody out.

use std::time::Duration;

use dfs_raft::ReplicaConfig;
use dfs_raft::env::Env;
use dfs_raft::testing::Cluster;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::TestResult;
use crate::journal::{Journal, eager, propose};

const WITHIN: Duration = Duration::from_secs(20);

async fn cluster(
    directory: &tempfile::TempDir,
    settings: impl Fn(&mut ReplicaConfig) + Send + Sync + 'static,
) -> Result<Cluster<Journal>, dfs_raft::ChangeError> {
    let settings = move |config: &mut ReplicaConfig| {
        eager(config);
        settings(config);
    };
    Cluster::start(3, Env::real(), directory.path(), || Journal, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_members_elect_all_the_same() -> TestResult {
    let directory = tempfile::tempdir()?;
    let idle = |config: &mut ReplicaConfig| config.idle_timeout = Duration::from_millis(100);
    let mut cluster = cluster(&directory, idle).await?;
    propose(&cluster, "before").await;
    let leader = cluster.leader().await;
    let follower = Cluster::<Journal>::address((leader + 1) % 3);
    let mut idle = cluster.network.dialer("stranger").dial(&follower).await?;
    let closed = timeout(WITHIN, idle.read_to_end(&mut Vec::new())).await?;
    assert_eq!(closed?, 0);

    // What followers had to each other has been closed too by now.
    cluster.crash(leader);
    propose(&cluster, "after").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_connections_the_idle_ones_give_way_and_members_stay() -> TestResult {
    let directory = tempfile::tempdir()?;
    let few = |config: &mut ReplicaConfig| config.connections_max = 16;
    let cluster = cluster(&directory, few).await?;
    propose(&cluster, "before").await;
    let term = |cluster: &Cluster<Journal>| cluster.replica(0).leadership().borrow().term;
    let before = term(&cluster);
    let dialer = cluster.network.dialer("stranger");
    let mut idle = Vec::new();
    for round in 0..100 {
        for index in 0..3 {
            idle.push(dialer.dial(&Cluster::<Journal>::address(index)).await?);
        }
        propose(&cluster, &format!("{round}")).await;
    }
    for stream in &mut idle[..3] {
        let closed = timeout(WITHIN, stream.read_to_end(&mut Vec::new())).await?;
        assert_eq!(closed?, 0);
    }
    assert_eq!(term(&cluster), before, "nobody lost touch");
    Ok(())
}
