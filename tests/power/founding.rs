//! Becoming a member, interrupted.

use std::sync::Arc;

use dfs_core::testing::{MemoryDisk, test_env};
use dfs_raft::testing::{Cluster, Loopback};
use dfs_raft::{ChangeError, ClusterId, Replica, ReplicaConfig, StartError};

use super::TestResult;
use super::disks::Disks;
use super::journal::{Journal, eager};

async fn start(disk: &MemoryDisk, network: &Loopback) -> Result<Replica<Journal>, StartError> {
    let mut config = ReplicaConfig::new("/member-0");
    eager(&mut config);
    let dialer = network.dialer("member-0");
    Replica::start(config, test_env(1, disk), dialer, Journal).await
}

async fn found(disk: &MemoryDisk, network: &Loopback) -> Option<ClusterId> {
    let replica = start(disk, network).await.ok()?;
    replica.bootstrap("member-0").await.ok()
}

#[tokio::test]
async fn a_founding_interrupted_anywhere_goes_on_or_can_be_repeated() -> TestResult {
    let (mut resumed, mut repeated) = (0, 0);
    for changes in 0.. {
        let (disk, network) = (MemoryDisk::new(changes), Loopback::new());
        disk.lose_power_after(changes);
        let founded = found(&disk, &network).await;
        let interrupted = disk.is_off();
        disk.cut_power();

        let replica = start(&disk, &network).await?;
        match replica.status()? {
            Some(status) => {
                assert!(founded.is_none_or(|id| id == status.cluster));
                resumed += 1;
            }
            None => {
                assert_eq!(founded, None, "an acknowledged founding is gone");
                replica.bootstrap("member-0").await?;
                repeated += 1;
            }
        }
        let mut leadership = replica.leadership();
        leadership.wait_for(|now| now.is_ready).await?;
        replica.propose("line".to_owned()).await?;
        let again = replica.bootstrap("member-0").await;
        assert!(matches!(again, Err(ChangeError::Refused(_))), "{again:?}");
        if !interrupted {
            break;
        }
    }
    assert!(resumed > 10 && repeated > 2, "{resumed}, {repeated}");
    Ok(())
}

#[tokio::test]
async fn a_join_interrupted_anywhere_goes_on() -> TestResult {
    let disks = Disks::new(1);
    let make = || Journal;
    let mut cluster = Cluster::start(1, disks.env(2), "/".as_ref(), make, eager).await?;
    let seeds = [Cluster::<Journal>::address(0)];
    let (mut interrupted, mut outside) = (0, 0);
    for changes in 0.. {
        let address = format!("member-1-{changes}");
        let mut config = ReplicaConfig::new(format!("/{address}"));
        eager(&mut config);
        let start = async || {
            let (env, dialer) = (disks.env(changes), cluster.network.dialer(&address));
            Replica::start(config.clone(), env, dialer, Journal).await
        };
        disks.of(1).lose_power_after(changes);
        if let Ok(replica) = start().await {
            let _served = cluster.network.serve(&address, &replica);
            let joined = replica.join(&seeds, &address).await;
            assert!(joined.is_ok() || disks.of(1).is_off(), "{joined:?}");
        }
        let done = !disks.of(1).is_off();
        disks.of(1).cut_power();
        interrupted += usize::from(!done);

        let replica = Arc::new(start().await?);
        let _served = cluster.network.serve(&address, &replica);
        let is_in = replica.is_admitted().await;
        // It has its member id, and no group has it: nothing but itself can mend that.
        outside += usize::from(!is_in && replica.status()?.is_some());
        match replica.join(&seeds, &address).await {
            Ok(_) => {}
            Err(ChangeError::Refused(why)) => assert!(is_in, "{why}"),
            Err(e) => return Err(e.into()),
        }
        assert!(cluster.replica(0).status()?.is_some_and(|status| {
            let members = status.members.iter();
            let mut same = members.filter(|member| member.address == address);
            same.next().is_some()
        }));
        let member = replica.status()?.ok_or("not a member")?.member;
        cluster.replica(0).promote(member).await?;
        cluster
            .replica(0)
            .propose("with two voters".to_owned())
            .await?;
        cluster.replica(0).remove(member).await?;
        if done {
            break;
        }
    }
    assert!(interrupted > 10 && outside > 0, "{interrupted}, {outside}");
    cluster.stop(0).await;
    Ok(())
}
