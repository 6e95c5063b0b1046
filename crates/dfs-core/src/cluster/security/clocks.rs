//! Clocks that differ, and papers and permits whose time is over.

use super::renewal::{Ahead, DAY};
use super::*;
use crate::datanode::store::Reserve;
use crate::datanode::{DataNode, DataNodeConfig};
use crate::env::{Clock, SystemClock, Timestamp};
use crate::node::Security;
use crate::types::{PolicyChange, ReplicationTarget};

const TEN_MINUTES: Duration = Duration::from_secs(600);
const MASTER: Part = Part::Master(0);
const DATA_NODE: Part = Part::DataNode(0);

/// The machine's clock, ten minutes slow.
struct Behind;

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 - 600_000_000)
    }
}

fn with_clock(clock: Arc<dyn Clock>) -> Env {
    Env {
        clock,
        ..Env::real()
    }
}

/// Another data node of a cluster, in a world of its own.
async fn data_node(world: &World, env: &Env) -> (DataNode, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("n");
    let mut config = DataNodeConfig::new(path, world.cluster.addresses());
    config.store.initialize = true;
    config.store.reserve = Reserve {
        bytes: 64 << 20,
        percent: 0,
    };
    config.security = Security::join(world.token(NodeRole::DataNode).await);
    let node = DataNode::start(config, env.clone()).await.unwrap();
    node.joined().await.unwrap();
    (node, directory)
}

#[tokio::test]
async fn whoever_has_a_clock_that_is_ten_minutes_off_serves_and_is_served() {
    let ahead = Arc::new(Ahead::default());
    ahead.jump(TEN_MINUTES);
    for clock in [ahead as Arc<dyn Clock>, Arc::new(Behind)] {
        let (world, env) = (World::new().await, with_clock(clock));
        let (node, _kept) = data_node(&world, &env).await;
        let two_copies = PolicyChange {
            replicas: Some(ReplicationTarget(2)),
            ..PolicyChange::default()
        };
        world.admin.set_policy("/", two_copies).await.unwrap();
        let config = ClientConfig {
            access: Some(world.access()),
            ..ClientConfig::new(world.cluster.addresses())
        };
        let client = Client::connect(config, env).await.unwrap();
        let bytes = vec![7; 100_000];
        client.write("/a", bytes.clone()).await.unwrap();
        assert_eq!(client.read("/a").await.unwrap(), bytes);
        let (chunk, length, _, permit) = world.chunk_of("/a").await;
        let nodes = world.admin.nodes().await.unwrap();
        let off = nodes.iter().find(|info| Some(info.node) == node.node_id());
        let off = off.unwrap().target();
        let all = ByteRange::new(0, length);
        let pool = world.admin.pool();
        let mut reader = pool.read(&off, (chunk, &permit), all).await.unwrap();
        assert!(reader.next().await.unwrap().is_some());
        node.shutdown().await.unwrap();
        world.cluster.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn papers_and_permits_whose_time_is_over_are_refused_and_in_the_audit_log() {
    let clock = Arc::new(Ahead::default());
    let env = with_clock(clock.clone());
    let builder = Cluster::builder().masters(1).data_nodes(1);
    let world = World::of(builder.env(env.clone())).await;
    let (papers, _kept) = world.papers(9, NodeRole::DataNode).await;
    let papers = papers.env(&env).unwrap();
    assert!(world.call(&papers, Service::Cluster).await.is_ok());
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();
    let read = || pool.read(&target, (chunk, &permit), all);
    assert!(read().await.is_ok());

    clock.jump(2 * TEN_MINUTES);
    // Data nodes hear the time from masters.
    eventually(|| async {
        let refused = read().await.err().map(|error| error.kind);
        refused == Some(StreamErrorKind::Denied)
    })
    .await;
    let reads = world.outcomes(DATA_NODE, "read");
    assert!(
        reads.iter().all(|outcome| outcome == "refused"),
        "{reads:?}"
    );
    assert!(!reads.is_empty());

    clock.jump(8 * DAY);
    // Once the master has renewed its own.
    eventually(async || {
        world.call(&papers, Service::Cluster).await.err().unwrap();
        let lines = world.lines(MASTER).into_iter();
        let mut connects = lines.filter(|line| line["operation"] == "connect");
        connects.any(|line| {
            let why = line["why"].as_str().unwrap();
            why.contains("invalid peer certificate: certificate expired")
        })
    })
    .await;
    world.cluster.shutdown().await.unwrap();
}
