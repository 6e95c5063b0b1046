//! Nodes that do not belong, and those that belong no more.

use super::*;

#[tokio::test]
async fn who_got_papers_and_never_came_is_seen_by_administrators_alone() {
    let world = World::new().await;
    let (_papers, _kept) = world.papers(9, NodeRole::DataNode).await;
    let seen = async || {
        let nodes = world.admin.enrolled_nodes().await.unwrap();
        assert_eq!(nodes.len(), 3, "{nodes:?}");
        nodes.into_iter().find(|node| node.key == NodeKey(9))
    };
    let silent = seen().await.unwrap();
    assert_eq!(silent.role, NodeRole::DataNode);
    assert_eq!((silent.registered, silent.revoked), (None, false));
    world.admin.revoke_node(NodeKey(9)).await.unwrap();
    assert!(seen().await.unwrap().revoked);
    let running = world.admin.nodes().await.unwrap()[0].clone();
    let nodes = world.admin.enrolled_nodes().await.unwrap();
    let known = nodes.iter().find(|node| node.key == running.key).unwrap();
    assert_eq!(known.registered, Some(running.node));
    let alice = world.user("alice").await;
    let refused = alice.enrolled_nodes().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_master_of_the_group_is_not_revoked() {
    let world = World::new().await;
    let nodes = world.admin.enrolled_nodes().await.unwrap();
    let master = nodes.iter().find(|node| node.role == NodeRole::Master);
    let master = master.unwrap().key;
    let refused = world.admin.revoke_node(master).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("of the group"), "{refused}");
    let alice = world.user("alice").await;
    let refused = alice.revoke_node(master).await.unwrap_err();
    assert!(!refused.to_string().contains("of the group"), "{refused}");
    world.cluster.shutdown().await.unwrap();
}
