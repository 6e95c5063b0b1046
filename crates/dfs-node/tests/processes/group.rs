//! The group of masters is changed while it works.

use std::time::Duration;

use dfs_core::client::{Client, MasterInfo};
use dfs_core::error::ErrorKind;
use tempfile::tempdir;
use tokio::time::{Instant, sleep, timeout};

use crate::TestResult;
use crate::cluster::{Cluster, Founded, Process};

const WITHIN: Duration = Duration::from_secs(30);

/// Waits until the masters are as wanted.
async fn masters(
    client: &Client,
    wanted: impl Fn(&[MasterInfo]) -> bool,
) -> dfs_core::error::Result<Vec<MasterInfo>> {
    let end = Instant::now() + WITHIN;
    loop {
        let masters = client.status().await?.masters;
        if wanted(&masters) {
            return Ok(masters);
        }
        assert!(Instant::now() < end, "the group stays as {masters:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_leader_that_is_removed_gives_its_vote_to_a_master_that_waits() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), 0).await?;
    let client = cluster.client().await?;
    client.write("/before", "kept").await?;
    let place = directory.path().join("m4").display().to_string();
    let fourth = [
        "master",
        "--directory",
        &place,
        "--listen",
        "127.0.0.1:0",
        "--join",
        &cluster.token_for_masters(1).await?,
    ];
    let fourth = Process::start(&fourth, &directory.path().join("m4.log")).await?;
    let waiting = |m: &MasterInfo| m.address == fourth.address() && !m.voter;
    let group = masters(&client, |group| {
        let voters = group.iter().filter(|m| m.voter).count();
        (group.len(), voters) == (4, 3) && group.iter().any(waiting)
    })
    .await?;
    let leader = group.iter().find(|m| m.leader).ok_or("nobody leads")?;

    client.remove_master(leader.member).await?;

    let is_gone = |m: &MasterInfo| m.member != leader.member;
    masters(&client, |group| {
        group.len() == 3 && group.iter().all(|m| m.voter && is_gone(m))
    })
    .await?;
    // Removing it once more is no error: an answer may have been lost.
    client.remove_master(leader.member).await?;
    client.write("/after", "written").await?;
    assert_eq!(client.read("/before").await?, "kept");

    // It stops by itself, and again whenever it is started.
    let place = cluster.place_of(&leader.address).ok_or("no such place")?;
    let ended = cluster.process_mut(place)?.ended();
    assert_eq!(timeout(WITHIN, ended).await??, Some(1));
    // If its own log says so already, it is never ready.
    match cluster.start(place, false).await {
        Ok(()) => {
            let ended = cluster.process_mut(place)?.ended();
            assert_eq!(timeout(WITHIN, ended).await??, Some(1));
        }
        Err(error) => assert!(error.to_string().contains("said None"), "{error}"),
    }
    Ok(())
}

#[tokio::test]
async fn a_master_without_which_no_majority_answers_is_not_removed() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), 0).await?;
    let client = cluster.client().await?;
    let group = masters(&client, |group| {
        group.len() == 3 && group.iter().all(|m| m.voter)
    })
    .await?;
    let mut followers = group.iter().filter(|m| !m.leader);
    let (Some(down), Some(up)) = (followers.next(), followers.next()) else {
        return Err("too few followers".into());
    };
    let place = cluster.place_of(&down.address).ok_or("no such place")?;
    cluster.kill(place).await?;
    // The leader counts on whoever answered within two elections.
    sleep(Duration::from_secs(2)).await;

    let refused = client.remove_master(up.member).await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("no majority"), "{refused}");
    client.write("/still", "works").await?;
    Ok(())
}

#[tokio::test]
async fn a_master_that_is_told_to_join_waits_for_the_others() -> TestResult {
    let directory = tempdir()?;
    let place = |name: &str| directory.path().join(name).display().to_string();
    let (first, second) = (place("m1"), place("m2"));
    let founded = Founded::init(&directory.path().join("m1"), &[]).await?;
    let (address, token) = (&founded.address, &founded.master_token);
    let token = token.as_deref().ok_or("no token")?;
    let join = ["--listen", "127.0.0.1:0", "--join", token];
    let join = [&["master", "--directory", &second][..], &join].concat();
    let log = directory.path().join("m2.log");
    let mut joining = Process::launch(&join, &log)?;
    let told = async {
        while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ask again")) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, told).await?;
    let run = ["master", "--directory", &first, "--listen", address];
    let founder = Process::start(&run, &directory.path().join("m1.log")).await?;
    joining.ready().await?;
    assert_eq!(joining.stop().await?, Some(0));
    assert_eq!(founder.stop().await?, Some(0));
    Ok(())
}
