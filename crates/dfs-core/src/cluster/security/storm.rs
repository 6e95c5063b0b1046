//! Many who guess passwords at once.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::proto::login::{LoginRpcClient, Proof};

/// Guesses alice's password until it is dropped; every other time it does not wait for the answer.
async fn guess(env: Env, address: String, refused: Arc<AtomicU32>) {
    for number in 0_u32.. {
        let hello = Hello::new(Service::Login, None);
        let Ok((stream, _)) = hello::call(&*env.network, &address, hello, SECOND).await else {
            continue;
        };
        let client = LoginRpcClient::new(Default::default(), messages(stream)).spawn();
        let alice: AccountName = "alice".parse().unwrap();
        let proof = Proof::Password(format!("guess {number}"));
        let login = client.login(tarpc::context::current(), alice, proof);
        let patience = match number % 2 {
            0 => Duration::from_millis(5),
            _ => SECOND,
        };
        if let Ok(Ok(answer)) = tokio::time::timeout(patience, login).await {
            answer.unwrap_err();
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_stranger_says_no_more_than_it_takes_to_log_in() {
    let world = World::new().await;
    let (stranger, address) = (world.stranger(), &world.cluster.addresses()[0]);
    for (length, is_heard) in [(3 << 10, true), (5 << 10, false)] {
        let hello = Hello::new(Service::Login, None);
        let called = hello::call(&*stranger.network, address, hello, PATIENCE).await;
        let (stream, _) = called.unwrap();
        let client = LoginRpcClient::new(Default::default(), messages(stream)).spawn();
        let alice: AccountName = "alice".parse().unwrap();
        let proof = Proof::Password("x".repeat(length));
        let answer = client.login(tarpc::context::current(), alice, proof).await;
        assert_eq!(answer.is_ok(), is_heard, "{length}: {answer:?}");
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stranger_asks_two_things_at_a_time() {
    let world = World::new().await;
    let stream = world.call(&world.stranger(), Service::Login).await.unwrap();
    let client = LoginRpcClient::new(Default::default(), messages(stream)).spawn();
    let nobody: AccountName = "nobody".parse().unwrap();
    let login = |number: u32| {
        let proof = Proof::Password(format!("guess {number}"));
        client.login(tarpc::context::current(), nobody.clone(), proof)
    };
    let answers = futures::future::join_all((0..3).map(login)).await;
    let heard = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(heard, 2, "{answers:?}");
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_storm_of_logins_lets_nobody_in_and_keeps_no_program_out() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    let id = alice.whoami().await.unwrap().id;
    let password = Password::new("the right one".to_owned());
    world.admin.set_password(id, Some(password)).await.unwrap();
    let refused = Arc::new(AtomicU32::new(0));
    let mut storm = JoinSet::new();
    // Fewer than one source may have at a time: more than that push each other out, and whoever
    // else comes from there.
    for _ in 0..8 {
        let address = world.cluster.addresses()[0].clone();
        storm.spawn(guess(world.stranger(), address, Arc::clone(&refused)));
    }
    // Programs have keys: they log in, and work, as if nothing was.
    for name in ["bob", "carol"] {
        let user = tokio::time::timeout(PATIENCE, world.user(name))
            .await
            .unwrap();
        user.whoami().await.unwrap();
    }
    let enough = async {
        while refused.load(Ordering::Relaxed) < 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
    storm.shutdown().await;
    let lines = world.lines(MASTER).into_iter();
    let mut throttled = lines.filter(|line| {
        let why = line["why"].as_str().unwrap_or_default();
        line["operation"] == "login" && why.contains("too many failed logins")
    });
    assert_eq!(throttled.next().unwrap()["outcome"], "refused");
    alice.whoami().await.unwrap();
    world.cluster.shutdown().await.unwrap();
}
