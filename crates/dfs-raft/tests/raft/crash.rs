//! Crashes, failing disks, rot and garbage.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_raft::env::{Clock, Env, Timestamp};
use dfs_raft::state::StateTxn;
use dfs_raft::testing::Cluster;
use dfs_raft::{ApplyContext, Consistency, Fatal, ProposeError, StartError, StateMachine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::TestResult;
use crate::faults::Faults;
use crate::journal::{Journal, WITHIN, cluster, count, eager, propose};

#[tokio::test(flavor = "multi_thread")]
async fn all_members_restart_at_once_after_a_crash_and_nothing_is_lost() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    for round in 1..=3 {
        for n in 0..70 {
            propose(&cluster, &format!("{round} {n}")).await;
        }
        (0..3).for_each(|index| cluster.crash(index));
        for index in 0..3 {
            cluster.start_member(index).await?;
        }
        let leader = cluster.leader().await;
        let reading = cluster
            .replica(leader)
            .read(Consistency::Linearizable)
            .await?;
        assert!(count(&reading.view) >= round * 70);
        cluster.converged().await;
    }
    Ok(())
}

/// Copies a directory whose files are open, as a crash of the machine would leave it but for
/// what the file system had not written yet.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclean_stop_costs_a_replay_and_nothing_else() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    for n in 0..300 {
        propose(&cluster, &format!("{n}")).await;
    }
    let saved = directory.path().join("saved");
    copy(&cluster.directory(0), &saved)?;
    let before = cluster.replica(0).status()?.unwrap();
    cluster.stop(0).await;
    std::fs::remove_dir_all(cluster.directory(0))?;
    std::fs::rename(&saved, cluster.directory(0))?;

    cluster.start_member(0).await?;
    cluster.leader().await;
    let reading = cluster.replica(0).read(Consistency::Linearizable).await?;
    assert_eq!(count(&reading.view), 300);
    assert!(reading.applied > before.applied);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_verified_at_the_start_only_after_an_unclean_stop() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    let mark = cluster.directory(0).join("clean");
    propose(&cluster, &"a line to be damaged ".repeat(20)).await;
    assert!(!mark.exists(), "it runs");
    cluster.stop(0).await;
    assert!(mark.exists(), "it ended well");
    damage_state(&cluster.directory(0), b"line to be damaged")?;

    cluster.start_member(0).await?;
    cluster.leader().await;
    assert!(!mark.exists(), "it runs");
    cluster.crash(0);
    let started = cluster.start_member(0).await;
    assert!(matches!(started, Err(StartError::Fatal(_))), "{started:?}");
    assert!(!mark.exists(), "it did not end well");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_its_log_does_not_start() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    cluster.stop(0).await;
    for file in std::fs::read_dir(cluster.directory(0))? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("log-") {
            std::fs::remove_file(file.path())?;
        }
    }
    let started = cluster.start_member(0).await;
    assert!(matches!(started, Err(StartError::Fatal(_))), "{started:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_know_its_state_does_not_start_and_removes_nothing() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    cluster.stop(0).await;
    std::fs::remove_file(cluster.directory(0).join("CURRENT"))?;
    let started = cluster.start_member(0).await;
    assert!(matches!(started, Err(StartError::Fatal(_))), "{started:?}");
    assert!(cluster.directory(0).join("state-0.redb").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_the_former_format_is_refused_by_name() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    cluster.stop(0).await;
    std::fs::write(cluster.directory(0).join("log.redb"), b"")?;
    let refused = cluster.start_member(0).await.unwrap_err().to_string();
    assert!(refused.contains("log.redb"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_stops_the_replica_and_acknowledges_nothing() -> TestResult {
    let directory = tempfile::tempdir()?;
    let faults = Arc::new(Faults::default());
    let cluster = Cluster::start(1, faults.env(), directory.path(), || Journal, eager).await?;
    propose(&cluster, "before").await;
    faults.fails.store(true, Ordering::SeqCst);
    let replica = cluster.replica(0);
    let lost = replica.propose("lost".to_owned()).await;
    assert!(lost.is_err(), "{lost:?}");
    replica.failed().wait_for(Option::is_some).await?;
    let after = replica.propose("after".to_owned()).await;
    assert!(matches!(after, Err(ProposeError::Stopped(_))), "{after:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_harms_nobody() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(1, &directory).await?;
    let dialer = cluster.network.dialer("stranger");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 4, 9, 9, 9, 9],
        &[0, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0],
    ] {
        let mut stream = dialer.dial("member-0").await?;
        stream.write_all(garbage).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
    }
    propose(&cluster, "still here").await;
    Ok(())
}

/// Flips a bit wherever these bytes are in the state of a replica that does not run.
pub(crate) fn damage_state(directory: &Path, needle: &[u8]) -> std::io::Result<()> {
    let path = directory.join("state-0.redb");
    let mut bytes = std::fs::read(&path)?;
    let places: Vec<_> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 1;
    }
    std::fs::write(&path, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_stops_the_replica_when_it_is_verified() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    let line = "a line to be damaged ".repeat(20);
    propose(&cluster, &line).await;
    cluster.replica(0).verify().await?;
    cluster.stop(0).await;

    damage_state(&cluster.directory(0), b"line to be damaged")?;
    cluster.start_member(0).await?;
    let replica = cluster.replica(0);
    assert!(replica.verify().await.is_err());
    replica.failed().wait_for(Option::is_some).await?;

    cluster.stop(0).await;
    let refused = cluster.start_member(0).await.unwrap_err().to_string();
    assert!(refused.contains("fails its checksum"), "{refused}");
    assert!(refused.contains("clear the directory"), "{refused}");
    Ok(())
}

/// A machine with a defect.
struct Panics;

impl StateMachine for Panics {
    const TABLES: &'static [&'static str] = Journal::TABLES;
    type Command = String;
    type Reply = ();

    fn apply(&self, _: &mut StateTxn<'_>, _: ApplyContext, line: String) -> Result<(), Fatal> {
        panic!("a defect, found by `{line}`")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_machine_that_panics_stops_its_replica_which_says_why() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = Cluster::start(1, Env::real(), directory.path(), || Panics, eager).await?;
    let replica = cluster.replica(0);
    let lost = replica.propose("line".to_owned()).await;
    assert!(matches!(lost, Err(ProposeError::Unknown(_))), "{lost:?}");
    let mut failed = replica.failed();
    let reason = timeout(WITHIN, failed.wait_for(Option::is_some)).await??;
    let reason = reason.as_ref().unwrap().to_string();
    assert!(reason.contains("found by `line`"), "{reason}");
    Ok(())
}

/// A clock that goes backwards.
struct Backwards(AtomicU64);

impl Clock for Backwards {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_sub(1000, Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_commands_never_goes_back() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut env = Env::real();
    env.clock = Arc::new(Backwards(AtomicU64::new(1_000_000_000)));
    let mut cluster = Cluster::start(1, env, directory.path(), || Journal, eager).await?;
    let first = cluster.replica(0).propose("a".to_owned()).await?.time;
    let second = cluster.replica(0).propose("b".to_owned()).await?.time;
    assert!(second >= first);
    cluster.stop(0).await;
    cluster.start_member(0).await?;
    cluster.leader().await;
    let third = cluster.replica(0).propose("c".to_owned()).await?.time;
    assert!(third >= second);
    Ok(())
}
