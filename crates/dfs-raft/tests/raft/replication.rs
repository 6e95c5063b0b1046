//! Commands reach all members once, and reads see them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::testing::Cluster;
use dfs_raft::{ChangeError, Consistency, ProposeError, ReplicaConfig};

use crate::TestResult;
use crate::faults::Faults;
use crate::journal::{Journal, cluster, count, eager, lines, propose};

/// Far more than stopping takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_those_of_the_own_command() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(3, &directory).await?;
    let leader = cluster.replica(cluster.leader().await);
    let proposals = (0..200).map(|n| {
        let leader = leader.clone();
        tokio::spawn(async move { (n, leader.propose(format!("line {n}")).await) })
    });
    let applied = futures::future::try_join_all(proposals).await?;

    let reading = leader.read(Consistency::Linearizable).await?;
    let lines = lines(&reading.view);
    for (n, result) in applied {
        let result = result?;
        let place = result.reply.unwrap() as usize;
        assert_eq!(lines[place - 1], format!("line {n}"));
        assert!(result.rev <= reading.applied);
    }
    assert_eq!(lines.len(), 200);
    cluster.converged().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_changes_nothing_and_says_so() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(1, &directory).await?;
    let leader = cluster.replica(0);
    assert_eq!(leader.propose("refused".to_owned()).await?.reply, None);
    let reading = leader.read(Consistency::Linearizable).await?;
    assert_eq!(count(&reading.view), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_commands_survive_the_loss_of_the_leader() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    for n in 0..20 {
        propose(&cluster, &format!("{n}")).await;
    }
    let leader = cluster.leader().await;
    cluster.crash(leader);

    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let reading = cluster
        .replica(next)
        .read(Consistency::Linearizable)
        .await?;
    assert!(count(&reading.view) >= 20);
    cluster.start_member(leader).await?;
    propose(&cluster, "after").await;
    cluster.converged().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_leader_confirms_no_read_and_no_command() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(3, &directory).await?;
    propose(&cluster, "before").await;
    let old = cluster.leader().await;
    let cut = cluster.isolate(old);
    let others: Vec<_> = cluster
        .running()
        .into_iter()
        .filter(|i| *i != old)
        .collect();
    let new = cluster.leader_among(&others).await;
    cluster.replica(new).propose("new".to_owned()).await?;

    let old_replica = cluster.replica(old);
    assert!(old_replica.read(Consistency::Linearizable).await.is_err());
    let stale = old_replica.read(Consistency::Stale).await?;
    assert_eq!(lines(&stale.view), ["before"]);
    let lost = old_replica.propose("lost".to_owned()).await;
    assert!(matches!(
        lost,
        Err(ProposeError::NotLeader(_) | ProposeError::Unknown(_))
    ));

    drop(cut);
    cluster.converged().await;
    let reading = cluster.replica(old).read(Consistency::Linearizable).await?;
    assert_eq!(lines(&reading.view), ["before", "new"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_serves_linearizable_reads_and_refuses_commands() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let follower = cluster.replica((leader + 1) % 3);
    for n in 1..=30 {
        propose(&cluster, "line").await;
        let reading = follower.read(Consistency::Linearizable).await?;
        assert_eq!(count(&reading.view), n);
    }
    let refused = follower.propose("line".to_owned()).await;
    let Err(ProposeError::NotLeader(Some(hint))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(hint.address, Cluster::<Journal>::address(leader));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_when_asked() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let target = (leader + 1) % 3;
    let to = cluster.replica(target).status()?.unwrap().member;
    cluster.replica(leader).transfer(to).await?;
    cluster
        .eventually("the target leads", async |cluster: &Cluster<Journal>| {
            let ready = cluster.replica(target).leadership().borrow().is_ready;
            ready.then_some(())
        })
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_to_nobody_who_is_behind_or_does_not_answer() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.promotion_lag_max = 20;
    };
    let make = || Journal;
    let mut cluster = Cluster::start(3, Env::real(), directory.path(), make, settings).await?;
    propose(&cluster, "before").await;
    let leader = cluster.leader().await;
    let gone = (leader + 1) % 3;
    let to = cluster.replica(gone).status()?.unwrap().member;
    cluster.crash(gone);
    for (lines, reason) in [(1, "does not answer"), (30, "too far behind")] {
        for _ in 0..lines {
            cluster.replica(leader).propose("line".to_owned()).await?;
        }
        let refused = cluster.replica(leader).transfer(to).await;
        let Err(ChangeError::Refused(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains(reason), "{why}");
    }
    cluster.replica(leader).propose("after".to_owned()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_proposed_together_share_their_syncs() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let cluster = Cluster::start(1, faults.env(), directory.path(), || Journal, eager).await?;
    let replica = cluster.replica(0);
    faults.slow("log-", Duration::from_millis(20));
    let before = faults.slow_syncs.load(Ordering::SeqCst);
    let proposals = (0..64).map(|n| replica.propose(format!("{n}")));
    futures::future::try_join_all(proposals).await?;
    let syncs = faults.slow_syncs.load(Ordering::SeqCst) - before;
    assert!((1..=8).contains(&syncs), "{syncs}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_last_waits_for_nobody_to_take_over() -> TestResult {
    let directory = tempfile::tempdir()?;
    let patient = |config: &mut ReplicaConfig| config.rpc_timeout = PATIENCE * 10;
    let start = Cluster::start(3, Env::real(), directory.path(), || Journal, patient);
    let mut cluster = start.await?;
    let leader = cluster.leader().await;
    for other in cluster.running() {
        if other != leader {
            cluster.stop(other).await;
        }
    }
    tokio::time::timeout(PATIENCE, cluster.stop(leader)).await?;
    Ok(())
}
