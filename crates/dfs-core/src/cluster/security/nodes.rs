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

#[tokio::test]
async fn a_node_that_was_killed_before_it_kept_its_papers_joins_with_another_token() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let who = (Some(NodeKey(9)), NodeRole::DataNode);
    let join = async |token: JoinToken| {
        let (env, path) = (Env::real(), directory.path());
        Papers::join(&env, path, who, &token, (&[], None))
            .await
            .unwrap()
    };
    let first = join(world.token(NodeRole::DataNode).await).await;
    // As if it had been killed before: what it joined with is there, and the papers are not.
    let disk = Env::real().disk;
    disk.remove_file(&directory.path().join("papers")).unwrap();
    first.forget(&Env::real(), directory.path()).await.unwrap();
    let second = join(world.token(NodeRole::DataNode).await).await;
    assert_eq!(second.key(), first.key());
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn papers_that_were_replaced_let_nobody_in() {
    let world = World::new().await;
    let (former, _kept) = world.papers(9, NodeRole::DataNode).await;
    let former = former.env(&Env::real()).unwrap();
    assert!(world.call(&former, Service::Cluster).await.is_ok());
    let request = TokenRequest {
        node: Some(NodeKey(9)),
        ..world.request(NodeRole::DataNode)
    };
    let (_, token) = world.admin.create_token(request).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let who = (Some(NodeKey(9)), NodeRole::DataNode);
    let joined = Papers::join(&Env::real(), directory.path(), who, &token, (&[], None)).await;
    let present = joined.unwrap().env(&Env::real()).unwrap();
    assert!(world.call(&former, Service::Cluster).await.is_err());
    assert!(world.call(&present, Service::Cluster).await.is_ok());
    world.cluster.shutdown().await.unwrap();
}
