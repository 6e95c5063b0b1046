//! Joining, reporting, losing the masters, starting again.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::fixture::{CLUSTER, Cluster, bytes, config, eventually, pool, read, write};
use super::master::FakeMaster;
use crate::datanode::heartbeat::masters::{CALL_TIMEOUT, HEARTBEAT_TIMEOUT};
use crate::datanode::store::Purpose;
use crate::datanode::{DataNode, DataNodeError};
use crate::env::Env;
use crate::proto::cluster::{ChunkReport, ReportKind, Task};
use crate::types::checksum::block_crcs;
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::{ByteRange, ChunkId, ClusterId, NodeId};

fn is_full(report: &ChunkReport) -> bool {
    matches!(report.kind, ReportKind::Full { .. })
}

#[tokio::test]
async fn a_node_reports_all_it_has_once_and_then_what_changes() {
    let cluster = Cluster::start(1).await;
    let node = cluster.address(0);
    eventually("it reports in full", || {
        cluster
            .master
            .state()
            .reports
            .iter()
            .any(is_full)
            .then_some(())
    })
    .await;

    write(&cluster.pool, &[node], ChunkId(5), &bytes(ChunkId(5), 10))
        .await
        .unwrap();

    let delta = eventually("it reports the new replica", || {
        cluster
            .master
            .state()
            .reports
            .iter()
            .find(|r| !r.present.is_empty())
            .cloned()
    })
    .await;
    assert_eq!(delta.kind, ReportKind::Delta);
    assert_eq!(
        (delta.present[0].chunk, delta.present[0].length),
        (ChunkId(5), 10)
    );
    assert_eq!(
        cluster
            .master
            .state()
            .reports
            .iter()
            .filter(|r| is_full(r))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_new_leader_gets_a_full_report() {
    let cluster = Cluster::start(1).await;
    let node = cluster.address(0);
    write(&cluster.pool, &[node], ChunkId(5), &bytes(ChunkId(5), 10))
        .await
        .unwrap();
    cluster.master.state().term = 2;
    eventually("it reports in full what it has", || {
        let state = cluster.master.state();
        state
            .reports
            .iter()
            .any(|r| is_full(r) && r.present.len() == 1)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_knows_a_newer_leader_obeys_no_deposed_one() {
    let cluster = Cluster::start(1).await;
    write(
        &cluster.pool,
        &[cluster.address(0)],
        ChunkId(5),
        &bytes(ChunkId(5), 10),
    )
    .await
    .unwrap();
    let heartbeats = |count: usize| {
        let state = cluster.master.state();
        (state.heartbeats.len() >= count).then_some(state.heartbeats.len())
    };
    cluster.master.state().term = 9;
    let heard = cluster.master.state().heartbeats.len();
    let heard = eventually("it knows the new leader", || heartbeats(heard + 2)).await;

    let delete = Task::Delete {
        chunks: vec![ChunkId(5)],
    };
    cluster.master.state().term = 8;
    cluster.master.give(NodeId(1), delete.clone());
    let heard = eventually("it is given the task", || heartbeats(heard + 3)).await;
    eventually("it is given the task again", || heartbeats(heard + 3)).await;
    assert_eq!(cluster.master.result_of(&delete), None);
    assert_eq!(cluster.nodes[0].shared.store.replicas(), 1);

    cluster.master.state().term = 9;
    let result = eventually("it obeys", || cluster.master.result_of(&delete)).await;
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn a_full_report_comes_in_parts_that_leave_nothing_out() {
    let cluster = Cluster::start(1).await;
    eventually("it has reported that it has nothing", || {
        cluster
            .master
            .state()
            .reports
            .iter()
            .any(is_full)
            .then_some(())
    })
    .await;
    let store = &cluster.nodes[0].shared.store;
    let count = ENTRIES_PER_REPLY_MAX as u64 + 10;
    let written = (0..count).map(async |number| {
        let mut replica = store
            .create(ChunkId(2 * number), 1, Purpose::Write)
            .await
            .unwrap();
        replica
            .write(Bytes::from_static(b"1"), &block_crcs(b"1"))
            .await
            .unwrap();
        replica.finish().await.unwrap();
    });
    futures::future::join_all(written).await;

    cluster.master.state().reports.clear();
    cluster.master.state().term = 2;
    let parts: Vec<ChunkReport> = eventually("it has reported in full", || {
        let mut parts = cluster.master.state().reports.clone();
        parts.retain(is_full);
        let ended = |p: &ChunkReport| matches!(p.kind, ReportKind::Full { until: None, .. });
        parts.iter().any(ended).then_some(parts)
    })
    .await;

    assert_eq!(
        parts.iter().map(|p| p.present.len() as u64).sum::<u64>(),
        count
    );
    let middle = ChunkId(2 * (ENTRIES_PER_REPLY_MAX as u64 - 1) + 1);
    let first = ReportKind::Full {
        from: ChunkId(0),
        until: Some(middle),
    };
    let last = ReportKind::Full {
        from: middle,
        until: None,
    };
    assert_eq!(
        parts.iter().map(|p| p.kind).collect::<Vec<_>>(),
        [first, last]
    );
}

#[tokio::test]
async fn a_node_that_is_forgotten_registers_again_under_its_id() {
    let cluster = Cluster::start(1).await;
    let before = cluster.nodes[0].node_id();
    cluster.master.state().epochs.clear();
    eventually("it registers again", || {
        (cluster.master.state().registrations.len() == 2).then_some(())
    })
    .await;
    assert_eq!(cluster.master.state().registrations[1].node, before);
}

#[tokio::test]
async fn a_node_follows_the_hint_to_the_leader_and_learns_of_new_masters() {
    let (follower, leader) = (
        FakeMaster::start(CLUSTER).await,
        FakeMaster::start(CLUSTER).await,
    );
    follower.state().follows = Some(leader.address.clone());
    let heir = FakeMaster::start(CLUSTER).await;
    leader.state().masters = vec![leader.address.clone(), heir.address.clone()];
    let directory = tempfile::tempdir().unwrap();
    let settings = config(directory.path(), &[&follower]);
    let node = DataNode::start(settings, Env::real()).await.unwrap();

    node.joined().await.unwrap();
    eventually("it heartbeats", || {
        (!leader.state().heartbeats.is_empty()).then_some(())
    })
    .await;
    drop((leader, follower));

    // The heir does not know it yet, as if its state were behind.
    eventually("it turns to the heir", || {
        (!heir.state().registrations.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_before_a_long_call_would_be_given_up() {
    let (leader, heir) = (
        FakeMaster::start(CLUSTER).await,
        FakeMaster::start(CLUSTER).await,
    );
    heir.state().follows = Some(leader.address.clone());
    let directory = tempfile::tempdir().unwrap();
    let settings = config(directory.path(), &[&leader, &heir]);
    let node = DataNode::start(settings, Env::real()).await.unwrap();
    node.joined().await.unwrap();

    let hung = Instant::now();
    leader.state().hangs = true;
    // The heir notices a little later than the node.
    sleep(HEARTBEAT_TIMEOUT + Duration::from_millis(100)).await;
    heir.state().follows = None;

    eventually("it turns to the heir", || {
        (!heir.state().registrations.is_empty()).then_some(())
    })
    .await;
    assert!(hung.elapsed() < CALL_TIMEOUT, "{:?}", hung.elapsed());
}

#[tokio::test]
async fn heartbeats_go_on_while_a_report_is_taken_in() {
    let cluster = Cluster::start(1).await;
    let master = &cluster.master;
    let reported = || (!master.state().reports.is_empty()).then_some(());
    eventually("it reports", reported).await;
    master.state().report_takes = Duration::from_millis(1000);
    master.state().reports.clear();
    master.state().term = 2;
    master.state().heartbeats.clear();

    eventually("it reports", reported).await;

    assert!(master.state().heartbeats.len() > 4);
    assert_eq!(master.state().registrations.len(), 1);
}

#[tokio::test]
async fn a_node_serves_what_it_has_without_masters_and_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(3));
    let bytes = bytes(chunk, 3_000_000);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &bytes)
        .await
        .unwrap();
    let all = ByteRange::new(0, 3_000_000);

    cluster.nodes.remove(0).shutdown().await.unwrap();
    let settings = config(&cluster.directory(0), &[&cluster.master]);
    let Cluster {
        master,
        directories: _kept,
        ..
    } = cluster;
    drop(master);
    let restarted = DataNode::start(settings, Env::real()).await.unwrap();

    assert_eq!(restarted.node_id(), Some(node.node));
    let mut moved = node;
    moved.address = restarted.address().to_owned();
    assert!(read(&pool(), &moved, chunk, all).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_kept_connection_to_a_node_that_restarted_is_replaced() {
    let mut cluster = Cluster::start(1).await;
    let (node, chunk) = (cluster.address(0), ChunkId(3));
    let bytes = bytes(chunk, 1000);
    write(&cluster.pool, std::slice::from_ref(&node), chunk, &bytes)
        .await
        .unwrap();
    cluster.nodes.remove(0).shutdown().await.unwrap();
    let mut settings = config(&cluster.directory(0), &[&cluster.master]);
    settings.listen = node.address.clone();
    let _restarted = DataNode::start(settings, Env::real()).await.unwrap();

    let all = ByteRange::new(0, 1000);
    assert!(read(&cluster.pool, &node, chunk, all).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_directory_of_one_cluster_is_not_taken_to_another() {
    let mut cluster = Cluster::start(1).await;
    cluster.nodes.remove(0).shutdown().await.unwrap();
    let other = FakeMaster::start(ClusterId(0xbad)).await;
    let settings = config(&cluster.directory(0), &[&other]);
    let node = DataNode::start(settings, Env::real()).await.unwrap();

    let mut failed = node.failed();
    let why = failed.wait_for(Option::is_some).await.unwrap().clone();

    let Some(DataNodeError::Refused(why)) = why else {
        panic!("{why:?}")
    };
    assert!(why.contains(&ClusterId(0xbad).to_string()), "{why}");
    assert!(other.state().registrations.is_empty());
}

#[tokio::test]
async fn a_node_whose_id_the_masters_do_not_confirm_gives_up() {
    let mut cluster = Cluster::start(1).await;
    cluster.nodes.remove(0).shutdown().await.unwrap();
    for id in cluster.master.state().nodes.values_mut() {
        *id = NodeId(44);
    }
    let settings = config(&cluster.directory(0), &[&cluster.master]);
    let node = DataNode::start(settings, Env::real()).await.unwrap();
    let mut failed = node.failed();
    let why = failed.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(why, Some(DataNodeError::Refused(why)) if why.contains("n44")));
}

#[tokio::test]
async fn a_node_that_the_masters_refuse_says_so() {
    let master = FakeMaster::start(CLUSTER).await;
    master.state().refuses = true;
    let directory = tempfile::tempdir().unwrap();
    let settings = config(directory.path(), &[&master]);
    let node = DataNode::start(settings, Env::real()).await.unwrap();
    let refused = node.joined().await.unwrap_err();
    assert!(refused.to_string().contains("not you"), "{refused}");
}
