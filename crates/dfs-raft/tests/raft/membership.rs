//! Founding, joining, leaving.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dfs_raft::env::Env;
use dfs_raft::testing::{Cluster, Loopback};
use dfs_raft::{ChangeError, Consistency, Replica, ReplicaConfig, Role, StartError};
use tokio::time::timeout;

use crate::TestResult;
use crate::faults::Faults;
use crate::journal::{Journal, WITHIN, cluster, count, eager, propose};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_founded_once() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    let id = cluster.replica(0).status()?.unwrap().cluster;
    let again = cluster.replica(0).bootstrap("member-0").await;
    assert!(matches!(again, Err(ChangeError::Refused(_))), "{again:?}");
    cluster.stop(0).await;
    cluster.start_member(0).await?;
    let again = cluster.replica(0).bootstrap("member-0").await;
    assert!(matches!(again, Err(ChangeError::Refused(_))), "{again:?}");
    assert_eq!(cluster.replica(0).status()?.unwrap().cluster, id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_remains_founds_and_joins_nothing() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(1, &directory).await?;
    let path = directory.path().join("remains");
    std::fs::create_dir(&path)?;
    std::fs::write(path.join("log-1"), b"")?;
    let dialer = cluster.network.dialer("remains");
    let replica = Replica::start(ReplicaConfig::new(&path), Env::real(), dialer, Journal).await?;
    let founded = replica.bootstrap("remains").await;
    assert!(
        matches!(founded, Err(ChangeError::Refused(_))),
        "{founded:?}"
    );
    let joined = replica.join(&["member-0".to_owned()], "remains").await;
    assert!(matches!(joined, Err(ChangeError::Refused(_))), "{joined:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_used_by_one_replica() -> TestResult {
    let directory = tempfile::tempdir()?;
    let cluster = cluster(1, &directory).await?;
    let config = ReplicaConfig::new(cluster.directory(0));
    let second = Replica::start(config, Env::real(), cluster.network.dialer("x"), Journal).await;
    assert!(matches!(second, Err(StartError::Directory(_))));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_voter_is_not_the_voter_it_was_and_joins_as_a_new_learner() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    propose(&cluster, "before").await;
    let leader = cluster.leader().await;
    let wiped = (leader + 1) % 3;
    let old = cluster.replica(wiped).status()?.unwrap().member;
    cluster.stop(wiped).await;
    std::fs::remove_dir_all(cluster.directory(wiped))?;
    cluster.start_member(wiped).await?;
    assert!(cluster.replica(wiped).status()?.is_none());
    propose(&cluster, "meanwhile").await;
    assert!(
        cluster.replica(wiped).status()?.is_none(),
        "nobody made it a member"
    );

    let address = Cluster::<Journal>::address(wiped);
    let seeds = [Cluster::<Journal>::address(leader)];
    let new = cluster.replica(wiped).join(&seeds, &address).await?;
    assert!(new > old);
    let leader = cluster.replica(cluster.leader().await);
    let members = leader.status()?.unwrap().members;
    let found = members.iter().find(|m| m.id == new).unwrap();
    assert_eq!(found.role, Role::Learner);
    leader.remove(old).await?;
    leader.promote(new).await?;
    propose(&cluster, "after").await;
    cluster.converged().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_never_a_member_again() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let learner = cluster.add(false).await?;
    let id = cluster.replica(learner).status()?.unwrap().member;
    let leader = cluster.replica(cluster.leader().await);
    leader.remove(id).await?;
    let again = leader.add_learner(id, "member-3").await;
    assert!(matches!(again, Err(ChangeError::Refused(_))), "{again:?}");
    for id in [0, 99] {
        let unknown = leader.add_learner(id.into(), "member-3").await;
        assert!(
            matches!(unknown, Err(ChangeError::Refused(_))),
            "{unknown:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_member_once_more_is_no_error_as_an_answer_may_have_been_lost() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let learner = cluster.add(false).await?;
    let id = cluster.replica(learner).status()?.unwrap().member;
    let leader = cluster.replica(cluster.leader().await);
    leader.remove(id).await?;
    leader.remove(id).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_is_removed_while_it_is_away_stops_when_it_comes_back() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let id = cluster.replica(away).status()?.unwrap().member;
    cluster.crash(away);
    cluster.replica(leader).remove(id).await?;
    cluster.start_member(away).await?;
    let mut failed = cluster.replica(away).failed();
    let why = timeout(WITHIN, failed.wait_for(Option::is_some)).await??;
    let why = why.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(why.contains("removed from the group"), "{why}");
    Ok(())
}

/// Otherwise one that ends now would have to be let join again.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_joined_knows_that_it_is_a_member() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    for _ in 0..5 {
        let learner = cluster.add(false).await?;
        let status = cluster.replica(learner).status()?.unwrap();
        let known = status.members.iter().any(|m| m.id == status.member);
        assert!(known, "{status:?}");
    }
    Ok(())
}

/// It has no vote, so it asks for none, and nobody refuses it any.
#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_is_removed_while_it_runs_stops() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(1, &directory).await?;
    let learner = cluster.add(false).await?;
    cluster.converged().await;
    let id = cluster.replica(learner).status()?.unwrap().member;
    cluster.replica(0).remove(id).await?;
    let mut failed = cluster.replica(learner).failed();
    let why = timeout(WITHIN, failed.wait_for(Option::is_some)).await??;
    let why = why.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(why.contains("removed from the group"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_would_leave_no_majority_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut cluster = cluster(3, &directory).await?;
    let leader = cluster.leader().await;
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let member = |index| cluster.replica(index).status().unwrap().unwrap().member;
    let (gone_id, other) = (member(gone), member(other));
    cluster.crash(gone);
    cluster
        .eventually("the loss is noticed", async |cluster: &Cluster<Journal>| {
            let members = cluster.replica(leader).status().ok()??.members;
            let gone = members.into_iter().find(|m| m.id == gone_id)?;
            (gone.answers == Some(false)).then_some(())
        })
        .await;
    let refused = cluster.replica(leader).remove(other).await;
    let Err(ChangeError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("no majority"), "{why}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_does_not_answer_gets_no_vote() -> TestResult {
    let directory = tempfile::tempdir()?;
    let settings = |config: &mut ReplicaConfig| {
        eager(config);
        config.promotion_timeout = Duration::from_millis(300);
    };
    let make = || Journal;
    let mut cluster = Cluster::start(1, Env::real(), directory.path(), make, settings).await?;
    let learner = cluster.add(false).await?;
    cluster.converged().await;
    let id = cluster.replica(learner).status()?.unwrap().member;
    cluster.crash(learner);
    cluster
        .eventually("the loss is noticed", async |cluster: &Cluster<Journal>| {
            let members = cluster.replica(0).status().ok()??.members;
            let gone = members.into_iter().find(|m| m.id == id)?;
            (gone.answers == Some(false)).then_some(())
        })
        .await;
    let refused = cluster.replica(0).promote(id).await;
    let Err(ChangeError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("does not answer"), "{why}");
    cluster.replica(0).propose("after".to_owned()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused() -> TestResult {
    let (a, b) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut ours = cluster(2, &a).await?;
    let mut theirs = cluster(2, &b).await?;
    let stranger = theirs.replica(1).clone();
    let theirs_id = stranger.status()?.unwrap().member;
    assert_eq!(ours.replica(1).status()?.unwrap().member, theirs_id);
    ours.stop(1).await;
    // It hears of no leader of its own that would keep it from listening to another.
    theirs.crash(0);
    // The other cluster's second member answers where ours was.
    let _impostor = ours.network.serve("member-1", &stranger);
    let stuck = ours.replica(0).propose("line".to_owned()).await;
    assert!(stuck.is_err(), "{stuck:?}");
    let reading = stranger.read(Consistency::Stale).await?;
    assert_eq!(count(&reading.view), 0);
    Ok(())
}

/// A replica at `member-new` in an empty directory.
async fn newcomer(
    directory: &tempfile::TempDir,
    env: Env,
    network: &Loopback,
) -> Result<Replica<Journal>, StartError> {
    let mut config = ReplicaConfig::new(directory.path());
    eager(&mut config);
    Replica::start(config, env, network.dialer("member-new"), Journal).await
}

/// Begins something and gives up at once.
async fn begin<T>(work: impl Future<Output = T>) {
    assert!(timeout(Duration::ZERO, work).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_goes_on_when_nobody_waits_for_it() -> TestResult {
    let (directory, network) = (tempfile::tempdir()?, Loopback::new());
    let replica = newcomer(&directory, Env::real(), &network).await?;
    begin(replica.bootstrap("member-new")).await;
    let mut leadership = replica.leadership();
    timeout(WITHIN, leadership.wait_for(|now| now.is_ready)).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_goes_on_when_nobody_waits_for_it() -> TestResult {
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let cluster = cluster(1, &ours).await?;
    let replica = newcomer(&theirs, Env::real(), &cluster.network).await?;
    let _served = cluster.network.serve("member-new", &replica);
    begin(replica.join(&["member-0".to_owned()], "member-new")).await;
    cluster
        .eventually("it is a member", async |cluster: &Cluster<Journal>| {
            let members = cluster.replica(0).status().ok()??.members;
            (members.len() == 2).then_some(())
        })
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_join_that_leads_nowhere() -> TestResult {
    let (directory, network) = (tempfile::tempdir()?, Loopback::new());
    let mut config = ReplicaConfig::new(directory.path());
    config.join_timeout = WITHIN * 10;
    let dialer = network.dialer("member-new");
    let replica = Replica::start(config, Env::real(), dialer, Journal).await?;
    begin(replica.join(&["nobody".to_owned()], "member-new")).await;
    timeout(WITHIN, replica.shutdown()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_write_what_it_is_stops_and_says_why() -> TestResult {
    let (directory, network) = (tempfile::tempdir()?, Loopback::new());
    let faults = Arc::new(Faults::default());
    let replica = newcomer(&directory, faults.env(), &network).await?;
    faults.fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let founded = replica.bootstrap("member-new").await;
        assert!(
            matches!(founded, Err(ChangeError::Stopped(_))),
            "{founded:?}"
        );
    }
    assert!(replica.failed().borrow().is_some());
    Ok(())
}
