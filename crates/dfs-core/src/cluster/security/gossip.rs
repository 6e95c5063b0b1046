//! Who may gossip with data nodes.

use super::*;
use crate::proto::peers::{self, Gossip, PeerRecord, Sighting};

#[tokio::test]
async fn data_nodes_that_masters_have_named_gossip_and_nobody_else_does() {
    let world = World::with_data_nodes(2).await;
    let cluster = world.cluster.id().await.unwrap();
    let nodes = world.admin.nodes().await.unwrap();
    let (asked, other) = (&nodes[0], &nodes[1]);
    let (unnamed, _kept) = world.papers(9, NodeRole::DataNode).await;
    let (master, _kept) = world.papers(10, NodeRole::Master).await;
    let gossip = Gossip {
        node: other.node,
        records: vec![PeerRecord {
            node: other.node,
            version: u64::MAX,
            address: "127.0.0.1:1".to_owned(),
            streams: 0,
            masters: Sighting::default(),
        }],
    };
    for (env, is_welcome) in [
        (world.stranger(), false),
        (master.env(&Env::real()).unwrap(), false),
        // It has papers, is none of the data nodes, and speaks for another.
        (unnamed.env(&Env::real()).unwrap(), true),
    ] {
        let hello = Hello::new(Service::Peers, Some(cluster));
        let called = hello::call(&*env.network, &asked.address, hello, SECOND).await;
        assert_eq!(called.is_ok(), is_welcome);
        if let Ok((mut stream, _)) = called {
            peers::tell(&mut stream, &gossip, SECOND).await.unwrap();
            let answer = peers::hear(&mut stream, SECOND).await;
            assert!(answer.is_err(), "{answer:?}");
        }
    }
    let refusals = [0, 1].map(|index| world.outcomes(Part::DataNode(index), "peers"));
    assert_eq!(refusals.concat(), ["refused"; 2]);
    world.cluster.shutdown().await.unwrap();
}
