//! Members whose states differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::state::StateTxn;
use dfs_raft::testing::Cluster;
use dfs_raft::{ApplyContext, Fatal, ReplicaConfig, StateMachine};
use tokio::time::timeout;

use crate::TestResult;
use crate::crash::damage_state;
use crate::journal::{Journal, WITHIN, eager};

/// Between two lines.
const PAUSE: Duration = Duration::from_millis(20);

/// The member that deviates.
const DEVIANT: usize = 2;

/// A journal that writes something else while it deviates.
struct Deviant(Arc<AtomicBool>);

impl StateMachine for Deviant {
    const TABLES: &'static [&'static str] = Journal::TABLES;
    type Command = String;
    type Reply = Option<u64>;

    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        context: ApplyContext,
        line: String,
    ) -> Result<Option<u64>, Fatal> {
        let deviates = self.0.load(Ordering::SeqCst);
        let line = if deviates { "deviant".to_owned() } else { line };
        Journal.apply(state, context, line)
    }
}

/// Three members, of which those made in these turns can be told to deviate.
async fn cluster(
    directory: &tempfile::TempDir,
    turns: &'static [usize],
) -> Result<(Cluster<Deviant>, Arc<AtomicBool>), Box<dyn std::error::Error>> {
    let (made, deviates) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let switch = deviates.clone();
    let make = move || match turns.contains(&made.fetch_add(1, Ordering::SeqCst)) {
        true => Deviant(switch.clone()),
        false => Deviant(Arc::default()),
    };
    // A member that was away gets what it missed from the log: a copy of the deviant's state
    // would make those who are wrong the majority.
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.log_cut_entries = 10_000;
        config.log_entries_kept = 10_000;
    };
    let cluster = Cluster::start(3, Env::real(), directory.path(), make, settings).await?;
    Ok((cluster, deviates))
}

/// Proposes lines; the leader may be one that stops.
async fn propose(cluster: &Cluster<Deviant>, lines: usize) {
    for n in 0..lines {
        let leader = cluster.leader().await;
        drop(cluster.replica(leader).propose(format!("{n}")).await);
    }
}

/// Why a member stops, while lines are proposed: those who differ are compared at equal entries
/// that all still know, so there must be new ones.
async fn reason(cluster: &Cluster<Deviant>, index: usize) -> String {
    let mut failed = cluster.replica(index).failed();
    let more = async {
        loop {
            propose(cluster, 1).await;
            tokio::time::sleep(PAUSE).await;
        }
    };
    let stopped = async {
        tokio::select! {
            () = more => None,
            failed = failed.wait_for(Option::is_some) => failed.ok()?.clone(),
        }
    };
    let stopped = timeout(WITHIN, stopped).await;
    stopped.expect("it stops in time").unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_from_the_majority_stops_and_says_so() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (cluster, deviates) = cluster(&directory, &[DEVIANT]).await?;
    deviates.store(true, Ordering::SeqCst);
    propose(&cluster, 40).await;
    let reason = reason(&cluster, DEVIANT).await;
    assert!(reason.contains("differs from the majority"), "{reason}");
    for index in [0, 1] {
        assert!(cluster.replica(index).failed().borrow().is_none());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_from_the_majority_does_not_start_again() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (mut cluster, deviates) = cluster(&directory, &[DEVIANT]).await?;
    deviates.store(true, Ordering::SeqCst);
    propose(&cluster, 40).await;
    reason(&cluster, DEVIANT).await;
    cluster.stop(DEVIANT).await;

    let refused = cluster.start_member(DEVIANT).await.unwrap_err().to_string();

    assert!(refused.contains("differs from the majority"), "{refused}");
    assert!(refused.contains("clear the directory"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_differs_stops_though_that_cannot_be_noted() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (cluster, deviates) = cluster(&directory, &[DEVIANT]).await?;
    let in_the_way = cluster.directory(DEVIANT).join("condemned.tmp");
    std::fs::create_dir(&in_the_way)?;
    deviates.store(true, Ordering::SeqCst);
    propose(&cluster, 40).await;
    let reason = reason(&cluster, DEVIANT).await;
    assert!(reason.contains("differs from the majority"), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_differ_go_on_and_say_so_until_a_third_tells_who_is_wrong() -> TestResult {
    let directory = tempfile::tempdir()?;
    let (mut cluster, deviates) = cluster(&directory, &[DEVIANT]).await?;
    cluster.crash(1);
    deviates.store(true, Ordering::SeqCst);
    propose(&cluster, 40).await;
    for index in [0, DEVIANT] {
        cluster
            .eventually("doubt", async |cluster: &Cluster<Deviant>| {
                cluster.replica(index).status().ok()??.doubt
            })
            .await;
    }
    propose(&cluster, 1).await;
    for index in [0, DEVIANT] {
        cluster.replica(index).verify().await?;
        assert!(cluster.replica(index).failed().borrow().is_none());
    }

    cluster.start_member(1).await?;
    cluster.leader().await;
    propose(&cluster, 40).await;
    let reason = reason(&cluster, DEVIANT).await;
    assert!(reason.contains("differs from the majority"), "{reason}");
    for index in [0, 1] {
        assert!(cluster.replica(index).failed().borrow().is_none());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_differ_the_damaged_one_stops() -> TestResult {
    let directory = tempfile::tempdir()?;
    // The fourth made is the third that starts again.
    let (mut cluster, deviates) = cluster(&directory, &[DEVIANT, 3]).await?;
    let line = "a line to be damaged ".repeat(20);
    let leader = cluster.leader().await;
    cluster.replica(leader).propose(line).await?;
    cluster.converged().await;
    cluster.stop(DEVIANT).await;
    damage_state(&cluster.directory(DEVIANT), b"line to be damaged")?;
    cluster.start_member(DEVIANT).await?;
    cluster.converged().await;

    cluster.crash(1);
    deviates.store(true, Ordering::SeqCst);
    propose_some(&cluster).await;
    let reason = reason(&cluster, DEVIANT).await;
    assert!(!reason.contains("majority"), "{reason}");
    cluster.replica(0).verify().await?;
    assert!(cluster.replica(0).failed().borrow().is_none());
    Ok(())
}

/// Proposes lines until the deviant stops, and with it the majority.
async fn propose_some(cluster: &Cluster<Deviant>) {
    let stopped = || cluster.replica(DEVIANT).failed().borrow().is_some();
    for n in 0..40 {
        let ready = |i: &usize| cluster.replica(*i).leadership().borrow().is_ready;
        match [0, DEVIANT].into_iter().find(ready) {
            Some(leader) => drop(cluster.replica(leader).propose(format!("{n}")).await),
            None if stopped() => return,
            None => tokio::task::yield_now().await,
        }
    }
}
