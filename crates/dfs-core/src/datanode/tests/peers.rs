//! What data nodes tell each other.

use std::time::Duration;

use super::fixture::{CLUSTER, Cluster, config, eventually};
use super::master::FakeMaster;
use crate::datanode::{DataNode, DataNodeConfig};
use crate::env::{Env, OpenMode};
use crate::proto::hello::{self, Hello, Service};
use crate::proto::peers::{self, Gossip, PeerRecord, Sighting};
use crate::types::NodeId;

const SECOND: Duration = Duration::from_secs(1);

fn talkative(config: &mut DataNodeConfig) {
    config.gossip_interval = Duration::from_millis(20);
}

/// Data nodes that know each other.
async fn talkative_cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::start(0).await;
    for _ in 0..nodes {
        cluster.add(talkative).await;
    }
    for node in &cluster.nodes {
        eventually("all know each other", || {
            (node.peers().len() == nodes - 1).then_some(())
        })
        .await;
    }
    cluster
}

/// A master of the same cluster, of which no data node knows.
async fn elsewhere() -> FakeMaster {
    let master = FakeMaster::start(CLUSTER).await;
    let addresses = vec![master.address.clone()];
    master.state().masters = addresses;
    master
}

#[tokio::test]
async fn when_all_masters_have_moved_and_one_data_node_is_told_where_the_others_find_them() {
    let mut cluster = talkative_cluster(3).await;
    let moved = elsewhere().await;
    {
        let (old, mut new) = (cluster.master.state(), moved.state());
        (new.nodes, new.term) = (old.nodes.clone(), 2);
        new.registrations.clone_from(&old.registrations);
    }
    cluster.master = FakeMaster::start(CLUSTER).await;

    let told = cluster.nodes.remove(0);
    told.shutdown().await.unwrap();
    let mut again = config(&cluster.directory(0), &[&moved]);
    talkative(&mut again);
    let told = DataNode::start(again, Env::real()).await.unwrap();

    eventually("all talk to the masters again", || {
        let state = moved.state();
        let ids: std::collections::BTreeSet<_> = state.heartbeats.iter().map(|h| h.node).collect();
        (ids.len() == 3).then_some(())
    })
    .await;
    drop(told);
}

#[tokio::test]
async fn a_data_node_that_starts_again_asks_those_it_knew_where_the_masters_are() {
    let mut cluster = talkative_cluster(2).await;
    let kept = cluster.directory(1).join("peers");
    eventually("it keeps whom it knows", || {
        let file = Env::real().disk.open(&kept, OpenMode::Read).ok()?;
        (file.len().unwrap() > 40).then_some(())
    })
    .await;
    let gone = cluster.nodes.remove(1);
    gone.shutdown().await.unwrap();
    // The masters move meanwhile, one after the other: those who are there hear of it.
    let moved = elsewhere().await;
    {
        let (mut old, mut new) = (cluster.master.state(), moved.state());
        (new.nodes, new.epochs) = (old.nodes.clone(), old.epochs.clone());
        new.registrations.clone_from(&old.registrations);
        (old.masters, new.term) = (vec![moved.address.clone()], 2);
    }
    eventually("the other hears of it", || {
        let masters = cluster.nodes[0].masters();
        masters.contains(&moved.address).then_some(())
    })
    .await;
    let old = std::mem::replace(&mut cluster.master, FakeMaster::start(CLUSTER).await);
    let mut again = config(&cluster.directory(1), &[&old]);
    talkative(&mut again);
    drop(old);

    let again = DataNode::start(again, Env::real()).await.unwrap();

    eventually("it finds them", || {
        let state = moved.state();
        let is_it = |h: &crate::proto::cluster::Heartbeat| h.node == NodeId(2);
        state.heartbeats.iter().any(is_it).then_some(())
    })
    .await;
    drop(again);
}

#[tokio::test]
async fn what_is_known_of_peers_is_not_kept_under_the_mount_point_of_a_disk_that_is_gone() {
    let mut cluster = talkative_cluster(3).await;
    let (home, disk) = (cluster.directory(0), Env::real().disk);
    eventually("it keeps whom it knows", || {
        disk.exists(&home.join("peers")).unwrap().then_some(())
    })
    .await;
    disk.rename(&home, &home.with_extension("elsewhere"))
        .unwrap();
    disk.create_directory(&home).unwrap();

    // What it knows is another thing now.
    cluster.add(talkative).await;
    eventually("it hears of that", || {
        (cluster.nodes[0].peers().len() == 3).then_some(())
    })
    .await;
    tokio::time::sleep(SECOND / 2).await;

    assert!(!disk.exists(&home.join("peers")).unwrap());
}

#[tokio::test]
async fn masters_hear_which_data_node_its_peers_hold_for_down() {
    let mut cluster = talkative_cluster(3).await;
    let gone = cluster.nodes.remove(2);
    let id = gone.node_id().unwrap();
    gone.shutdown().await.unwrap();
    for witness in [NodeId(1), NodeId(2)] {
        eventually("they say so", || {
            let state = cluster.master.state();
            let of_witness = state.heartbeats.iter().rev().find(|h| h.node == witness);
            of_witness.filter(|h| h.down == [id]).map(|_| ())
        })
        .await;
    }
}

#[tokio::test]
async fn who_is_no_data_node_that_masters_have_named_gets_no_answer() {
    let cluster = talkative_cluster(2).await;
    let gossip = |node| Gossip {
        node: NodeId(node),
        records: vec![PeerRecord {
            node: NodeId(node),
            version: 1,
            address: "127.0.0.1:1".to_owned(),
            streams: 0,
            masters: Sighting::default(),
        }],
    };
    let network = Env::real().network;
    let ask = async |gossip: Gossip| {
        let hello = Hello::new(Service::Peers, Some(CLUSTER));
        let address = cluster.nodes[0].address();
        let (mut stream, _) = hello::call(&*network, address, hello, SECOND).await?;
        peers::tell(&mut stream, &gossip, SECOND).await?;
        peers::hear(&mut stream, SECOND).await
    };
    let answer = ask(gossip(2)).await.unwrap();
    assert_eq!(answer.node, NodeId(1));
    let refused = ask(gossip(9)).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_peer_that_moved_is_reached_where_it_told_that_it_is() {
    let mut cluster = talkative_cluster(3).await;
    let before = cluster.address(1);
    // Nobody tells the others but itself: the masters are gone.
    cluster.master = FakeMaster::start(CLUSTER).await;
    let moved = cluster.nodes.remove(1);
    moved.shutdown().await.unwrap();
    let master = FakeMaster::start(CLUSTER).await;
    let mut again = config(&cluster.directory(1), &[&master]);
    drop(master);
    talkative(&mut again);
    let again = DataNode::start(again, Env::real()).await.unwrap();
    assert_ne!(again.address(), before.address);
    let pool = cluster.nodes[0].chunks();

    eventually("others know where it is", || {
        let places = cluster.nodes[0].places(before.node);
        places
            .iter()
            .any(|p| p.address == again.address())
            .then_some(())
    })
    .await;

    let chunk = crate::types::ChunkId(5);
    let bytes = super::fixture::bytes(chunk, 10);
    let mut listed = before.clone();
    listed.key = cluster.nodes[0].places(before.node)[0].key;
    let stored = super::fixture::write(&pool, &[listed], chunk, &bytes).await;
    assert_eq!(stored.unwrap().nodes, [before.node]);
}
