//! Masters whose log is gone at the leader get a copy of the state, while clients write.

use std::time::Duration;

use dfs_core::client::Client;
use tempfile::tempdir;
use tokio::time::{sleep, timeout};

use crate::TestResult;
use crate::cluster::{Cluster, MASTERS, name};
use crate::workload::{Workload, progress, verify};

/// A log so short that a few hundred writes cut it.
const SHORT_LOG: &[&str] = &["--log-entries", "100"];

/// More writes than the log keeps.
const BEYOND_THE_LOG: usize = 300;

/// For so long the leader keeps the log for a member that does not answer any more, and more.
const MISSED: Duration = Duration::from_secs(1);

const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);

/// The file in which a master has the state that counts, `state-0.redb` until it gets another.
fn state_files(cluster: &Cluster, place: usize) -> Vec<String> {
    let entries = std::fs::read_dir(cluster.directory(place));
    let names = entries.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("state-")).collect()
}

/// Whether a snapshot is arriving there: beside the state that counts there is another.
fn is_installing(cluster: &Cluster, place: usize) -> bool {
    state_files(cluster, place).len() > 1
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let reached = timeout(WITHIN, async {
        while !condition().await {
            sleep(POLL).await;
        }
    });
    assert!(reached.await.is_ok(), "{what} did not come about");
}

/// Goes on writing until the log is cut behind a member that is gone.
async fn leave_behind(workload: &Workload) {
    sleep(MISSED).await;
    progress(workload, BEYOND_THE_LOG).await;
}

/// How many masters vote and have nearly all of the log.
async fn voters_caught_up(client: &Client) -> usize {
    let Ok(status) = client.status().await else {
        return 0;
    };
    let last = status.masters.iter().filter_map(|m| m.log_index).max();
    let near = |index: u64| last.is_some_and(|last| index + 100 > last);
    let masters = status.masters.iter();
    let masters = masters.filter(|m| m.voter && m.log_index.is_some_and(near));
    masters.count()
}

async fn whole_group(client: &Client) {
    until("a group of three voters", async || {
        voters_caught_up(client).await == MASTERS
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_were_away_or_are_new_get_the_state_while_clients_write() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found_with(directory.path(), 3, SHORT_LOG).await?;
    let client = cluster.client().await?;
    whole_group(&client).await;
    let workload = Workload::start_small(&client, 8).await?;

    // One that was away: what it misses is cut from the log.
    let (away, new) = (1, 2);
    cluster.kill(away).await?;
    let before = state_files(&cluster, away);
    leave_behind(&workload).await;
    cluster.start(away, false).await?;
    until("another state", async || {
        let now = state_files(&cluster, away);
        now.len() == 1 && now != before
    })
    .await;
    whole_group(&client).await;

    // One that is new, in the place of one whose disk is lost: a learner first, then a voter.
    cluster.kill(new).await?;
    std::fs::remove_dir_all(cluster.directory(new))?;
    leave_behind(&workload).await;
    cluster.start(new, true).await?;
    whole_group(&client).await;
    assert_ne!(state_files(&cluster, new), ["state-0.redb"]);
    progress(&workload, 50).await;

    // Each of them counts: with the third gone they are the majority.
    cluster.kill(0).await?;
    let went_on = timeout(WITHIN, progress(&workload, 50)).await;
    assert!(went_on.is_ok(), "no writes after the kill of {}", name(0));
    cluster.start(0, false).await?;

    let (acknowledged, failures) = workload.stop().await;
    assert_eq!(failures, 0, "a quorum was there all the time");
    verify(&client, &acknowledged).await?;
    cluster.stop_and_compare_states().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_killed_while_the_state_is_copied_come_to_the_same_state() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found_with(directory.path(), 3, SHORT_LOG).await?;
    let client = cluster.client().await?;
    whole_group(&client).await;
    let workload = Workload::start_small(&client, 8).await?;
    let away = 1;
    let mut interrupted = 0;
    for round in 0..6 {
        cluster.kill(away).await?;
        leave_behind(&workload).await;
        cluster.begin_start(away)?;
        // The receiver goes in mid-copy, as far as it can be caught at it.
        let caught = timeout(Duration::from_secs(3), async {
            while !is_installing(&cluster, away) {
                sleep(POLL).await;
            }
        });
        interrupted += usize::from(caught.await.is_ok());
        if round % 2 == 0 {
            cluster.kill(away).await?;
        } else {
            // The sender goes.
            let leader = leader(&cluster, &client).await?;
            cluster.kill(leader).await?;
            cluster.start(leader, false).await?;
            cluster.ready(away).await?;
        }
        cluster.start_if_down(away).await?;
        whole_group(&client).await;
    }
    assert!(interrupted > 0, "no copy was ever interrupted");
    let (acknowledged, failures) = workload.stop().await;
    assert_eq!(failures, 0, "a quorum was there all the time");
    verify(&client, &acknowledged).await?;
    cluster.stop_and_compare_states().await
}

/// The place of the master that leads.
async fn leader(cluster: &Cluster, client: &Client) -> dfs_core::error::Result<usize> {
    let status = client.status().await?;
    let leader = status.masters.into_iter().find(|master| master.leader);
    let address = leader.map(|master| master.address).unwrap_or_default();
    let place = cluster.masters().iter().position(|a| *a == address);
    place.ok_or_else(|| dfs_core::error::Error::unavailable(format!("nobody is at {address}")))
}
