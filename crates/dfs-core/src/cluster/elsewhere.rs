//! A permit at a data node that it does not name.
#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use super::Part;
use super::security::World;
use crate::proto::chunk_stream::StreamErrorKind;
use crate::proto::metadata::NodeAddress;
use crate::types::{ByteRange, PolicyChange, ReplicationTarget};

#[tokio::test]
async fn a_permit_is_good_at_the_data_nodes_that_it_names_alone() {
    let world = World::with_data_nodes(2).await;
    let one_copy = PolicyChange {
        replicas: Some(ReplicationTarget(1)),
        ..PolicyChange::default()
    };
    world.admin.set_policy("/", one_copy).await.unwrap();
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, named, permit) = world.chunk_of("/a").await;
    let nodes = world.admin.nodes().await.unwrap();
    let other = nodes.iter().find(|info| info.node != named.node).unwrap();
    let other = NodeAddress {
        node: other.node,
        address: other.address.clone(),
    };
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();

    let refused = pool.read(&other, (chunk, &permit), all).await;

    // Not that it has no such chunk: it says nothing of its chunks.
    let kind = refused.err().map(|error| error.kind);
    assert_eq!(kind, Some(StreamErrorKind::Denied));
    let lines = [0, 1].map(|index| world.outcomes(Part::DataNode(index), "read"));
    assert_eq!(lines.concat(), ["refused"]);
    assert!(pool.read(&named, (chunk, &permit), all).await.is_ok());
    world.cluster.shutdown().await.unwrap();
}
