//! A state on its way to a member that is far behind, interrupted.

use dfs_raft::Consistency;
use dfs_raft::testing::Cluster;
use tokio::task::yield_now;

use super::TestResult;
use super::disks::Disks;
use super::journal::{Journal, ROWS, count, eager, propose};

/// More than the log keeps.
const MISSED: u64 = 30;

/// Copies in which the sender goes, each a little later than the one before.
const COPIES: u64 = 16;

/// A founder and a learner.
async fn pair(disks: &Disks) -> Result<Cluster<Journal>, Box<dyn std::error::Error>> {
    let make = || Journal;
    let mut cluster = Cluster::start(1, disks.env(3), "/".as_ref(), make, eager).await?;
    propose(&cluster, ROWS).await?;
    cluster.add(false).await?;
    cluster.converged().await;
    Ok(cluster)
}

/// Stops the learner and lets it miss more than the log keeps.
async fn lag(cluster: &mut Cluster<Journal>) -> TestResult {
    let has = cluster.replica(1).status()?.ok_or("not a member")?.last_log;
    cluster.crash(1);
    propose(cluster, MISSED).await?;
    cluster
        .eventually("the log is cut", async |cluster: &Cluster<Journal>| {
            let purged = cluster.replica(0).status().ok()??.purged?;
            (Some(purged.index) > has).then_some(())
        })
        .await;
    Ok(())
}

async fn verify(cluster: &Cluster<Journal>, lines: u64) -> TestResult {
    cluster.converged().await;
    let reading = cluster.replica(1).read(Consistency::Stale).await?;
    assert_eq!(count(&reading.view)?, lines);
    for index in [0, 1] {
        cluster.replica(index).verify().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_loses_power_at_any_change_comes_to_the_right_state() -> TestResult {
    let disks = Disks::new(1);
    let mut cluster = pair(&disks).await?;
    let mut lines = ROWS;
    let (mut interrupted, mut changes) = (0, 0);
    loop {
        lines += MISSED;
        lag(&mut cluster).await?;
        disks.of(1).lose_power_after(changes);
        let started = cluster.start_member(1).await;
        assert!(started.is_ok() || disks.of(1).is_off(), "{started:?}");
        if started.is_ok() {
            let target = cluster.replica(0).status()?.ok_or("not a member")?.applied;
            cluster
                .eventually("power loss or the state", async |c: &Cluster<Journal>| {
                    let applied = c.replica(1).status().ok()??.applied;
                    (disks.of(1).is_off() || applied >= target).then_some(())
                })
                .await;
        }
        let done = !disks.of(1).is_off();
        cluster.crash(1);
        disks.of(1).cut_power();
        cluster.start_member(1).await?;
        verify(&cluster, lines).await?;
        if done {
            break;
        }
        interrupted += 1;
        // Every one of the first changes, in which files are made, then one in so many.
        changes += 1 + changes / 4;
    }
    assert!(interrupted > 15, "{interrupted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_loses_power_anywhere_in_a_copy_sends_it_again() -> TestResult {
    let disks = Disks::new(5);
    let mut cluster = pair(&disks).await?;
    let mut lines = ROWS;
    let mut interrupted = 0;
    for step in 0..COPIES {
        lag(&mut cluster).await?;
        lines += MISSED;
        // How far the copy is shows at the receiver's disk.
        let until = disks.of(1).changes() + 6 * step;
        cluster.start_member(1).await?;
        let target = cluster.replica(0).status()?.ok_or("not a member")?.applied;
        let done = loop {
            let status = cluster.replica(1).status()?.ok_or("not a member")?;
            if status.applied >= target {
                break true;
            }
            if disks.of(1).changes() >= until {
                break false;
            }
            yield_now().await;
        };
        cluster.crash(0);
        disks.of(0).cut_power();
        cluster.start_member(0).await?;
        cluster.leader().await;
        verify(&cluster, lines).await?;
        interrupted += u64::from(!done);
    }
    assert!(interrupted > 0, "no copy was interrupted");
    Ok(())
}
