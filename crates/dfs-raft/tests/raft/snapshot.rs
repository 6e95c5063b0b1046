//! Members that are far behind get a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::testing::Cluster;
use dfs_raft::{Consistency, ReplicaConfig, Rev};
use tokio::time::timeout;

use crate::TestResult;
use crate::crash::damage_state;
use crate::faults::Faults;
use crate::journal::{Journal, WITHIN, cluster, count, eager, propose};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_and_a_new_one_get_a_snapshot_under_load() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.crash(away);
    for n in 0..200 {
        propose(&cluster, &format!("while away {n} {}", "x".repeat(2000))).await;
    }
    let purged = cluster
        .eventually("the log is cut", async |c| {
            c.replica(leader).status().ok()??.purged
        })
        .await;
    assert!(purged.index > 50, "{purged}");

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (replica, stop) = (cluster.replica(leader).clone(), stop.clone());
        tokio::spawn(async move {
            let mut done = 0;
            while !stop.load(Ordering::SeqCst) {
                done += u64::from(replica.propose("load".to_owned()).await.is_ok());
            }
            done
        })
    };
    cluster.start_member(away).await?;
    let new = cluster.add(false).await?;
    let target = cluster.replica(leader).status()?.unwrap().applied;
    for index in [away, new] {
        cluster
            .eventually("it has caught up", async |c| {
                let applied = c.replica(index).status().ok()??.applied;
                (applied >= target).then_some(())
            })
            .await;
    }
    stop.store(true, Ordering::SeqCst);
    assert!(load.await? > 0, "writes went on");
    cluster.converged().await;
    let reading = cluster.replica(new).read(Consistency::Linearizable).await?;
    assert!(count(&reading.view) > 200);
    assert!(reading.applied > Rev::default());
    Ok(())
}

/// What is written while a snapshot is sent is more than the log keeps otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_catches_up_while_the_log_grows_faster_than_it_is_kept() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.crash(away);
    for n in 0..400 {
        let line = format!("while away {n} {}", "x".repeat(16_000));
        propose(&cluster, &line).await;
    }
    let load: Vec<_> = (0..16)
        .map(|_| {
            let replica = cluster.replica(leader).clone();
            tokio::spawn(async move { while replica.propose("load".to_owned()).await.is_ok() {} })
        })
        .collect();
    cluster.start_member(away).await?;
    cluster
        .eventually("it has nearly all of the log", async |c| {
            let last = c.replica(leader).status().ok()??.last_log?;
            let applied = c.replica(away).status().ok()??.applied;
            (applied.index + 100 > last).then_some(())
        })
        .await;
    for task in load {
        task.abort();
    }
    cluster.converged().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_many_bytes_is_cut_before_it_has_many_entries() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.log_cut_entries = 1_000_000;
        config.log_bytes_kept = 100_000;
    };
    let make = || Journal;
    let cluster = Cluster::start(1, Env::real(), directory.path(), make, settings).await?;
    let line = "x".repeat(10_000);
    for _ in 0..60 {
        propose(&cluster, &line).await;
    }
    cluster
        .eventually("a log of few bytes", async |c: &Cluster<Journal>| {
            propose(c, "more").await;
            let status = c.replica(0).status().ok()??;
            status.purged?;
            (status.log_bytes <= 300_000).then_some(())
        })
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_came_as_a_snapshot_survives_a_restart() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    for n in 0..200 {
        propose(&cluster, &format!("{n}")).await;
    }
    cluster
        .eventually("the log is cut", async |c| {
            c.replica(0).status().ok()??.purged
        })
        .await;
    let new = cluster.add(true).await?;
    cluster.converged().await;
    cluster.crash(new);
    cluster.start_member(new).await?;
    propose(&cluster, "after").await;
    cluster.converged().await;
    let names: Vec<_> = std::fs::read_dir(cluster.directory(new))?
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with("state-"))
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_ne!(names[0], "state-0.redb");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_stops_the_leader_that_would_send_it_and_not_the_receiver() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    propose(&cluster, &"a line to be damaged ".repeat(20)).await;
    for n in 0..200 {
        propose(&cluster, &format!("{n}")).await;
    }
    cluster
        .eventually("the log is cut", async |c| {
            c.replica(0).status().ok()??.purged
        })
        .await;
    cluster.stop(0).await;
    damage_state(&cluster.directory(0), b"line to be damaged")?;
    cluster.start_member(0).await?;
    cluster.leader().await;

    let mut failed = cluster.replica(0).failed();
    let reason = tokio::select! {
        added = cluster.add(false) => return Err(format!("it joined: {added:?}").into()),
        reason = timeout(WITHIN, failed.wait_for(Option::is_some)) => reason??.clone(),
    };
    let reason = reason.unwrap().to_string();
    assert!(reason.contains("fails its checksum"), "{reason}");
    let receiver = 1;
    assert!(cluster.replica(receiver).failed().borrow().is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_gets_through_to_a_disk_slower_than_the_deadline_of_requests() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.rpc_timeout = Duration::from_millis(200);
    };
    let make = || Journal;
    let mut cluster = Cluster::start(1, faults.env(), directory.path(), make, settings).await?;
    let learner = cluster.add(false).await?;
    cluster.crash(learner);
    for n in 0..200 {
        propose(&cluster, &format!("{n}")).await;
    }
    cluster
        .eventually("the log is cut", async |c| {
            let purged = c.replica(0).status().ok()??.purged?;
            (purged.index > 100).then_some(())
        })
        .await;
    faults.slow("member-1", Duration::from_millis(300));
    cluster.start_member(learner).await?;
    let target = cluster.replica(0).status()?.unwrap().applied;
    cluster
        .eventually("it has the snapshot", async |c| {
            let applied = c.replica(learner).status().ok()??.applied;
            (applied.index + 100 > target.index).then_some(())
        })
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_cut_though_a_member_follows_too_slowly() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.log_bytes_kept = 100_000;
        // No request fails by itself.
        config.rpc_timeout = WITHIN * 10;
    };
    let make = || Journal;
    let cluster = Cluster::start(3, faults.env(), directory.path(), make, settings).await?;
    let leader = cluster.leader().await;
    let slow = (leader + 1) % 3;
    let id = cluster.replica(slow).status()?.unwrap().member;
    faults.slow(&format!("member-{slow}"), Duration::from_secs(1));
    let load: Vec<_> = (0..16)
        .map(|_| {
            let (replica, line) = (cluster.replica(leader).clone(), "x".repeat(20_000));
            tokio::spawn(async move { while replica.propose(line.clone()).await.is_ok() {} })
        })
        .collect();
    cluster
        .eventually("the log is cut past what it has", async |c| {
            let status = c.replica(leader).status().ok()??;
            let member = status.members.iter().find(|m| m.id == id)?;
            (status.purged?.index > member.matched?).then_some(())
        })
        .await;
    for task in load {
        task.abort();
    }
    faults.slow("", Duration::ZERO);
    cluster.converged().await;
    Ok(())
}
