//! Changes reach the state once, whatever happens to masters, requests and answers.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::master::Fault;
use super::{Client, World};
use crate::client::access::{Access, HeldTicket};
use crate::client::config::ClientConfig;
use crate::client::metadata::Metadata;
use crate::error::ErrorKind;
use crate::proto::error::RpcError;
use crate::security::Fingerprint;
use crate::types::limits::REQUESTS_PER_CLIENT_MAX;
use crate::types::{Query, Refusal, RefusalKind, Timestamp};

/// A client with a session.
async fn client_of(world: &World) -> Client {
    let client = world.client().await;
    client.create_file("/first", true).await.unwrap();
    client
}

#[tokio::test(start_paused = true)]
async fn a_change_follows_the_leader_under_one_request_id() {
    let mut world = World::start().await;
    let client = client_of(&world).await;
    world.masters[0] = None;
    world.group().leader = None;
    let began = Instant::now();
    let creating = tokio::spawn(async move { client.create_file("/a", true).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.elect(1);

    creating.await.unwrap().unwrap();

    let took = began.elapsed();
    assert!(took < Duration::from_millis(650), "{took:?}");
    let executed: Vec<u64> = world
        .group()
        .executed
        .iter()
        .map(|e| e.0.sequence)
        .collect();
    assert_eq!(executed, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_is_lost_is_made_once() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::LoseReply);
    world.fault(Fault::LoseReply);

    // Made a second time it would be refused as existing.
    client.create_file("/a", true).await.unwrap();

    let group = world.group();
    assert_eq!(group.executed.len(), 2);
    let asked: Vec<u64> = group.asked.iter().map(|id| id.sequence).collect();
    assert_eq!(asked, [1, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hangs_is_left_as_soon_as_another_leads() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.masters[0].as_ref().unwrap().hang();
    world.elect(2);
    let began = Instant::now();

    client.create_file("/a", true).await.unwrap();

    let took = began.elapsed();
    assert!(took < Duration::from_millis(600), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_leader_is_found_soon_after_its_election() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.masters[0].as_ref().unwrap().hang();
    let creating = tokio::spawn(async move { client.create_file("/a", true).await });
    tokio::time::sleep(Duration::from_millis(510)).await;
    world.elect(2);
    let elected = Instant::now();

    creating.await.unwrap().unwrap();

    let took = elected.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_leader_without_a_rival_is_waited_for() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::Slow(Duration::from_millis(900)));

    client.create_file("/a", true).await.unwrap();

    assert_eq!(world.group().asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_operation_ends_at_its_deadline() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.group().leader = None;
    let began = Instant::now();

    let error = client.create_file("/a", true).await.unwrap_err();

    assert!(
        error.is_retryable() && !error.is_outcome_unknown(),
        "{error}"
    );
    let (took, deadline) = (began.elapsed(), client.config().deadlines.operation);
    assert!(took <= deadline, "{took:?}");
    assert!(took > deadline - Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_nobody_tells_is_reported_as_unknown() {
    let world = World::start().await;
    let client = client_of(&world).await;
    (0..100).for_each(|_| world.fault(Fault::LoseRequest));

    let error = client.create_file("/a", true).await.unwrap_err();

    assert!(
        error.is_outcome_unknown() && !error.is_retryable(),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_is_made_in_a_new_session_if_the_old_one_expired_before_it() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.group().sessions.clear();

    client.create_file("/a", true).await.unwrap();

    assert_eq!(world.group().executed.len(), 2);
    assert_eq!(world.group().sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_may_have_been_made_is_not_made_again_in_a_new_session() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::LoseReply);
    let creating = tokio::spawn({
        let client = client.clone();
        async move { client.create_file("/a", false).await }
    });
    while world.group().executed.len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.group().sessions.clear();

    let error = creating.await.unwrap().unwrap_err();

    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(world.group().executed.len(), 2);
    client.create_file("/b", true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_that_promise_nothing_was_done_leave_nothing_unknown() {
    let world = World::start().await;
    let client = client_of(&world).await;
    let busy = Refusal::new(RefusalKind::Busy, "/a");
    for answer in [
        RpcError::Unavailable("starting".to_owned()),
        RpcError::from(busy),
        RpcError::NotLeader { leader: None },
    ] {
        world.fault(Fault::Answer(answer));
    }
    world.group().sessions.clear();

    client.create_file("/a", true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final() {
    let world = World::start().await;
    let client = client_of(&world).await;

    let error = client.create_file("/first", true).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(error.refusal().map(|r| r.kind), Some(RefusalKind::Exists));
    assert_eq!(world.group().asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_the_leader_alone_does_not_take_ends_a_request_with_a_clear_refusal() {
    let world = World::start().await;
    let ticket = HeldTicket {
        key: [1; 32],
        ticket: b"ticket".to_vec(),
        expires: Timestamp(u64::MAX),
    };
    let user = "alice".parse().unwrap();
    let access = Access::with_ticket(Fingerprint([1; 32]), user, ticket);
    let config = ClientConfig {
        access: Some(access),
        ..ClientConfig::new(["m1:1", "m2:1", "m3:1"])
    };
    let metadata = Metadata::new(&config, world.network.env());
    world.group().shuts_out = Some("m1:1".to_owned());
    for _ in 0..2 {
        let began = Instant::now();
        let error = metadata.query(Query::StatFs).await.unwrap_err();
        let refused = error.refusal().map(|refusal| refusal.kind);
        assert_eq!(refused, Some(RefusalKind::LoginRequired), "{error}");
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    world.elect(1);
    metadata.query(Query::StatFs).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn masters_are_told_of_no_answer_that_is_still_awaited() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::Slow(Duration::from_millis(800)));
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.create_file("/slow", true).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    for i in 0..20 {
        client.create_file(format!("/{i}"), true).await.unwrap();
    }
    let awaited: Vec<u64> = world
        .group()
        .asked
        .iter()
        .map(|id| id.answered_below)
        .collect();
    slow.await.unwrap().unwrap();
    client.create_file("/last", true).await.unwrap();

    assert!(awaited.iter().all(|below| *below <= 2), "{awaited:?}");
    let last = world.group().asked.last().copied().unwrap();
    assert_eq!(last.answered_below, last.sequence);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_open_than_masters_remember() {
    let world = World::start().await;
    let client = client_of(&world).await;
    (0..1500).for_each(|_| world.fault(Fault::Slow(Duration::from_millis(50))));
    let creating = (0..1500).map(|i| {
        let client = client.clone();
        async move { client.create_file(format!("/{i}"), true).await }
    });

    let created = futures::future::join_all(creating).await;

    assert!(created.iter().all(Result::is_ok));
    let open = |id: &crate::types::RequestId| id.sequence - id.answered_below;
    let most = world.group().asked.iter().map(open).max();
    assert!(
        most.is_some_and(|most| most < REQUESTS_PER_CLIENT_MAX),
        "{most:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_refused() {
    let world = World::start().await;
    let client = Client::builder()
        .masters(["m1:1"])
        .cluster(crate::types::ClusterId(5))
        .env(world.network.env())
        .connect();
    let error = timeout(Duration::from_secs(60), client).await.unwrap();
    assert!(error.is_err_and(|e| e.to_string().contains("belongs to cluster")));
}

#[tokio::test(start_paused = true)]
async fn a_master_without_room_ends_a_change_of_which_no_attempt_was_lost() {
    let world = World::start().await;
    let client = client_of(&world).await;
    let full = RpcError::OutOfSpace("the disk of m0".to_owned());
    world.fault(Fault::Answer(full));

    let error = client.create_file("/a", true).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    assert!(!error.is_outcome_unknown(), "{error}");
    assert_eq!(world.group().executed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_lost_and_then_without_room_is_asked_for_until_its_answer_is_there() {
    let world = World::start().await;
    let client = client_of(&world).await;
    let full = || Fault::Answer(RpcError::OutOfSpace("the disk of m0".to_owned()));
    world.fault(Fault::LoseReply);
    world.fault(full());
    world.fault(full());

    client.create_file("/a", true).await.unwrap();

    assert_eq!(world.group().executed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_lost_and_without_room_until_the_deadline_has_an_unknown_outcome() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::LoseRequest);
    for _ in 0..1000 {
        world.fault(Fault::Answer(RpcError::OutOfSpace("m0".to_owned())));
    }

    let error = client.create_file("/a", true).await.unwrap_err();

    assert!(error.is_outcome_unknown(), "{error}");
    assert!(error.to_string().contains("out of space"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_signing_key_whose_exchange_was_not_answered_is_not_exchanged_once_more() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.elect(1);
    client.exchange_signing_key(true).await.unwrap();
    world.fault(Fault::LoseReply);
    let error = client.exchange_signing_key(true).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(world.group().exchanges, 2);
}

#[tokio::test(start_paused = true)]
async fn a_master_is_removed_though_an_answer_is_lost() {
    let world = World::start().await;
    let client = client_of(&world).await;
    world.fault(Fault::LoseReply);

    client.remove_master(2).await.unwrap();

    assert!(world.group().removed.contains(&2));
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_a_master_that_nobody_tells_of_has_an_unknown_outcome() {
    let world = World::start().await;
    let client = client_of(&world).await;
    (0..100).for_each(|_| world.fault(Fault::LoseReply));

    let error = client.remove_master(2).await.unwrap_err();

    assert!(world.group().removed.contains(&2));
    assert!(error.is_outcome_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_a_master_that_was_lost_and_then_refused_may_still_be_made() {
    let world = World::start().await;
    let client = client_of(&world).await;
    let refusal = || Refusal::new(RefusalKind::NotPermitted, "no majority").into();
    world.fault(Fault::LoseRequest);
    world.fault(Fault::Answer(refusal()));

    let error = client.remove_master(2).await.unwrap_err();

    assert!(error.is_outcome_unknown(), "{error}");
    world.fault(Fault::Answer(refusal()));
    let error = client.remove_master(2).await.unwrap_err();
    assert!(!error.is_outcome_unknown(), "{error}");
    assert_eq!(error.kind(), ErrorKind::Denied);
}
