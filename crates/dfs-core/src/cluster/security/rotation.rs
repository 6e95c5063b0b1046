//! Signing keys are exchanged while clients work.

use super::*;

/// A client that has a ticket, and nothing to get another with.
async fn with_ticket(world: &World, name: &str) -> Client {
    let name: AccountName = name.parse().unwrap();
    let user = world.admin.add_user(NewUser::named(name.clone())).await;
    let password = || "correct horse battery".to_owned();
    let set = crate::security::Password::new(password());
    let set = world.admin.set_password(user.unwrap(), Some(set)).await;
    set.unwrap();
    let authority = world.access().authority();
    let mut config = ClientConfig::new(world.cluster.addresses());
    let who = (&name, password());
    let ticket = Access::log_in(&config, authority, who, &Env::real()).await;
    config.access = Some(Access::with_ticket(authority, name, ticket.unwrap()));
    config.deadlines.operation = SECOND;
    Client::connect(config, Env::real()).await.unwrap()
}

#[tokio::test]
async fn work_and_logins_go_on_when_the_signing_key_is_exchanged() {
    let world = World::new().await;
    let alice = with_ticket(&world, "alice").await;
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    for _ in 0..3 {
        world.admin.exchange_signing_key(false).await.unwrap();
        world.admin.write("/b", vec![8; 100_000]).await.unwrap();
        assert_eq!(world.admin.read("/b").await.unwrap(), vec![8; 100_000]);
    }
    assert_eq!(alice.whoami().await.unwrap().name.as_str(), "alice");
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();
    let read = pool.read(&target, (chunk, &permit), all).await;
    assert!(read.is_ok(), "what was permitted before still is");
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_signed_with_keys_that_are_void_is_void_and_whoever_has_a_key_goes_on() {
    let world = World::new().await;
    let alice = with_ticket(&world, "alice").await;
    let bob = world.user("bob").await;
    assert!(bob.exchange_signing_key(true).await.is_err());
    assert!(alice.whoami().await.is_ok());
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    let all = ByteRange::new(0, length);
    let pool = world.admin.pool();
    let read = || pool.read(&target, (chunk, &permit), all);
    assert!(read().await.is_ok());

    world.admin.exchange_signing_key(true).await.unwrap();
    assert!(alice.whoami().await.is_err(), "its ticket is void");
    let again = Client::connect(alice.config().clone(), Env::real()).await;
    assert!(again.is_err(), "nor does it let anybody in");
    for operation in ["whoami", "metadata"] {
        let outcomes = world.outcomes(MASTER, operation);
        assert!(
            outcomes.contains(&"refused".to_owned()),
            "{operation}: {outcomes:?}"
        );
    }
    assert_eq!(bob.whoami().await.unwrap().name.as_str(), "bob");
    // On the connection on which it was good, too.
    eventually(|| async {
        let refused = read().await.err().map(|error| error.kind);
        refused == Some(StreamErrorKind::Denied)
    })
    .await;
    assert_eq!(world.admin.read("/a").await.unwrap(), vec![7; 100_000]);
    world.admin.write("/b", vec![8; 100_000]).await.unwrap();
    world.cluster.shutdown().await.unwrap();
}
