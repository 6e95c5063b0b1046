//! Who leads when disks are slow.

use std::sync::Arc;
use std::time::Duration;

use dfs_raft::testing::Cluster;
use dfs_raft::{Consistency, ReadError, Replica, ReplicaConfig};

use crate::TestResult;
use crate::faults::Faults;
use crate::journal::{Journal, eager, propose};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_hardly_moves_hands_over() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.slow_append_max = Duration::from_millis(200);
    };
    let make = || Journal;
    let cluster = Cluster::start(3, faults.env(), directory.path(), make, settings).await?;
    propose(&cluster, "before").await;
    let slow = cluster.leader().await;
    faults.slow(&Cluster::<Journal>::address(slow), Duration::from_secs(2));
    let stuck = cluster.replica(slow).clone();
    let stuck = tokio::spawn(async move { stuck.propose("slow".to_owned()).await });

    let others: Vec<_> = (0..3).filter(|index| *index != slow).collect();
    let next = cluster.leader_among(&others).await;
    cluster.replica(next).propose("after".to_owned()).await?;
    faults.slow("", Duration::ZERO);
    // It was on the disks of the others, so whatever its proposer hears it is there.
    drop(stuck.await?);
    cluster.converged().await;
    Ok(())
}

/// A vote is on disk before it is answered, at the candidate and then at the voter. Votes
/// that come after the smaller timeout do not count, so it must be longer than a sync.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_on_slow_disks_elects_a_leader() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.election_timeout_min = Duration::from_millis(900);
        config.election_timeout_max = Duration::from_millis(1000);
    };
    let make = || Journal;
    let mut cluster = Cluster::start(3, faults.env(), directory.path(), make, settings).await?;
    propose(&cluster, "before").await;
    let leader = cluster.leader().await;
    faults.slow("", Duration::from_millis(500));
    cluster.crash(leader);
    let next = cluster.leader().await;
    cluster.replica(next).propose("after".to_owned()).await?;
    Ok(())
}

/// A heartbeat is answered when the entries before it are on the follower's disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_confirms_reads_while_disks_are_slower_than_its_lease() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let cluster = Cluster::start(3, faults.env(), directory.path(), || Journal, eager).await?;
    // A machine that is busy enough deposes any leader, but not one after the other.
    let mut attempts = 0;
    loop {
        propose(&cluster, "before").await;
        let leader = cluster.replica(cluster.leader().await);
        faults.slow("", Duration::from_millis(400));
        let confirmed = reads_while_writing(leader).await;
        faults.slow("", Duration::ZERO);
        attempts += 1;
        if confirmed.is_ok() || attempts == 3 {
            return Ok(confirmed?);
        }
    }
}

async fn reads_while_writing(leader: &Replica<Journal>) -> Result<(), ReadError> {
    for _ in 0..5 {
        let line = leader.propose("slow".to_owned());
        let (_, read) = tokio::join!(line, leader.read(Consistency::Linearizable));
        read?;
    }
    Ok(())
}
