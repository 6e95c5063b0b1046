//! How users stand is said by a master that leads, and by no other.

use super::*;
use crate::proto::login::{LoginRpcClient, Proof};
use crate::proto::metadata::MetadataRpcClient;

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

#[tokio::test]
async fn a_user_that_is_shut_out_keeps_no_connection_by_asking_on() {
    let world = World::new().await;
    let new = NewUser::named("alice".parse().unwrap());
    let (name, user) = (new.name.clone(), world.admin.add_user(new).await.unwrap());
    let (_, key) = world.admin.add_key(user, "of a test").await.unwrap();
    let stranger = world.stranger();
    let login = world.call(&stranger, Service::Login).await.unwrap();
    let login = LoginRpcClient::new(Default::default(), messages(login)).spawn();
    let proof = Proof::Key(key.secret());
    let logged_in = login.login(tarpc::context::current(), name, proof).await;
    let hello = Hello {
        ticket: Some(logged_in.unwrap().unwrap().ticket),
        ..Hello::new(Service::Metadata, None)
    };
    let address = &world.cluster.addresses()[0];
    let called = hello::call(&*stranger.network, address, hello, SECOND).await;
    let (stream, _) = called.unwrap();
    let rpc = MetadataRpcClient::new(Default::default(), messages(stream)).spawn();
    assert!(rpc.nodes(tarpc::context::current()).await.unwrap().is_ok());
    let disabled = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    world.admin.set_user(user, disabled).await.unwrap();
    let asked = async {
        // What is no secret is answered, also to one who is out.
        while rpc.leader(tarpc::context::current()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(world.outcomes(MASTER, "stay"), ["refused"]);
    world.cluster.shutdown().await.unwrap();
}
