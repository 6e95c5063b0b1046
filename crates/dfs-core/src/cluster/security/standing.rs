//! How users stand is said by a master that leads, and by no other.

use super::*;

#[tokio::test]
async fn a_leader_that_cannot_prove_that_it_leads_says_nothing_to_users() {
    let world = World::of(Cluster::builder().masters(3).data_nodes(1)).await;
    let mut config = world.cluster.client_config();
    config.deadlines.operation = 2 * SECOND;
    let client = Client::connect(config, Env::real()).await.unwrap();
    let leader = world.cluster.leader().await.unwrap();
    assert!(client.nodes().await.is_ok());
    let mut down = Vec::new();
    for part in (0..3).map(Part::Master).filter(|part| *part != leader) {
        down.push(world.cluster.faults().crash(part).await);
    }
    // It believes that it leads, but another may by now.
    let refused = client.nodes().await.unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Unavailable { .. }),
        "{refused}"
    );
    for part in down {
        part.restart().await.unwrap();
    }
    world.cluster.shutdown().await.unwrap();
}
