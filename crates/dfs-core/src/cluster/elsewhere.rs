//! Data nodes that are not those that are meant.
#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use super::Part;
use super::security::World;
use crate::env::Env;
use crate::proto::chunk_stream::StreamErrorKind;
use crate::proto::metadata::GrantRequest;
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
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();

    let refused = pool.read(&other.target(), (chunk, &permit), all).await;

    // Not that it has no such chunk: it says nothing of its chunks.
    let kind = refused.err().map(|error| error.kind);
    assert_eq!(kind, Some(StreamErrorKind::Denied));
    let lines = [0, 1].map(|index| world.outcomes(Part::DataNode(index), "read"));
    assert_eq!(lines.concat(), ["refused"]);
    assert!(pool.read(&named, (chunk, &permit), all).await.is_ok());
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_data_node_with_the_address_of_another_is_told_nothing() {
    let world = World::with_data_nodes(2).await;
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, mut taken, permit) = world.chunk_of("/a").await;
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();
    let nodes = world.admin.nodes().await.unwrap();
    let other = nodes.iter().find(|info| info.node != taken.node).unwrap();
    // A connection to the other is kept, and is not for whom is meant now.
    let mut reader = pool
        .read(&other.target(), (chunk, &permit), all)
        .await
        .unwrap();
    while reader.next().await.unwrap().is_some() {}
    taken.address.clone_from(&other.address);

    let refused = pool.read(&taken, (chunk, &permit), all).await;

    let error = refused.err().unwrap();
    assert_eq!(
        (error.node, error.kind),
        (taken.node, StreamErrorKind::Unreachable)
    );
    assert!(error.to_string().contains("another node than"), "{error}");
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_write_is_passed_on_to_none_but_those_it_was_granted_for() {
    let world = World::with_data_nodes(2).await;
    let request = GrantRequest {
        chunks: 1,
        chunk_size: 1 << 20,
        replicas: ReplicationTarget(2),
        replicas_min: ReplicationTarget(2),
        avoid: Vec::new(),
        stripe: None,
    };
    let grant = world.admin.grant(request).await.unwrap();
    let (chunk, pipeline) = (grant.chunks[0].chunk, &grant.chunks[0].pipeline);
    let pool = world.admin.pool();
    let write = async |targets: &[_]| {
        let writer = pool.write(targets, (chunk, &grant.permit), 10).await;
        let mut writer = writer.unwrap();
        writer.send("bytes".into()).await?;
        writer.finish().await
    };
    // Whoever listens there would be called, and whether anybody does would be told.
    let mut door = pipeline.clone();
    let mut listener = Env::real().network.listen("127.0.0.1:0").await.unwrap();
    door[1].address = listener.local_address();

    let refused = write(&door).await;

    assert_eq!(refused.unwrap_err().kind, StreamErrorKind::Denied);
    let lines = [0, 1].map(|index| world.outcomes(Part::DataNode(index), "write"));
    assert_eq!(lines.concat(), ["refused"]);
    let called = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept());
    assert!(called.await.is_err());
    assert_eq!(write(pipeline).await.unwrap().nodes.len(), 2);
    world.cluster.shutdown().await.unwrap();
}
