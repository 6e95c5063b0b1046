//! Bytes go in and come out right, whatever happens to data nodes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::master::Fault;
use super::node::Mood;
use super::{Client, World, pattern};
use crate::client::{Budgets, GetOptions, OpenOptions, Progress, PutOptions};
use crate::error::ErrorKind;
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::types::limits::CHUNK_SIZE_MIN;
use crate::types::{Change, ChunkId, NodeId, Permit, Policy, Query, ReplicationTarget};

const MIB: usize = 1 << 20;

async fn get(client: &Client, path: &str) -> crate::error::Result<Vec<u8>> {
    let mut sink = Vec::new();
    client.get(path, &mut sink, GetOptions::default()).await?;
    Ok(sink)
}

#[tokio::test(start_paused = true)]
async fn a_short_file_is_one_commit_and_one_question() {
    let world = World::start().await;
    let client = world.client().await;
    client.write("/warm", "up").await.unwrap();
    world.group().queries.clear();

    client.write("/a", "hello").await.unwrap();
    assert_eq!(client.read("/a").await.unwrap(), "hello");

    let group = world.group();
    assert_eq!((group.executed.len(), group.grants.len()), (2, 0));
    assert!(matches!(group.queries.as_slice(), [Query::Layout { .. }]));
}

#[tokio::test(start_paused = true)]
async fn files_of_all_lengths_come_back_as_they_were() {
    let world = World::start().await;
    let client = world.client().await;
    let limits = [0, 1, 4096, 4097, MIB - 1, MIB, MIB + 1, 5 * MIB + 77];
    for length in limits {
        let bytes = pattern(length);
        let options = PutOptions::new(true);
        let put = client.put("/a", &bytes[..], options).await.unwrap();
        assert_eq!((put.bytes, put.attr.size), (length as u64, length as u64));
        assert!(get(&client, "/a").await.unwrap() == bytes, "{length}");
        assert!(client.read("/a").await.unwrap() == bytes, "{length}");
        let (begin, end) = (length / 3, length / 3 * 2);
        let range = client.read_at("/a", begin as u64, (end - begin) as u64);
        assert!(range.await.unwrap() == bytes[begin..end], "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_is_many_commits_and_appears_at_once() {
    let world = World::start().await;
    let client = world.client().await;
    world.group().policy.chunk_size = CHUNK_SIZE_MIN;
    let bytes = pattern(70 * CHUNK_SIZE_MIN as usize);
    let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;
    assert_eq!(put.map(|p| p.chunks).ok(), Some(70));

    {
        let group = world.group();
        let kinds: Vec<bool> = group
            .executed
            .iter()
            .map(|(_, change)| matches!(change, Change::Commit(_)))
            .collect();
        assert_eq!(kinds, [false, true, true]);
    }
    assert!(get(&client, "/a").await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_exists_is_not_replaced_unasked() {
    let world = World::start().await;
    let client = world.client().await;
    client.write("/a", "first").await.unwrap();
    for length in [10, 3 * MIB] {
        let bytes = pattern(length);
        let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;
        assert_eq!(put.map_err(|e| e.kind()).err(), Some(ErrorKind::Exists));
    }
    assert_eq!(client.read("/a").await.unwrap(), "first");
    assert!(world.nodes().replicas.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_formed_again_around_a_node_that_fails() {
    for (node, mood) in [
        (1, Mood::Down),
        (1, Mood::Hung),
        (1, Mood::FailsAfter(MIB as u64 / 2)),
        (1, Mood::Full),
        (2, Mood::Down),
        (2, Mood::Full),
    ] {
        let world = World::start().await;
        let client = world.client().await;
        world.mood(node, mood);
        let bytes = pattern(3 * MIB + 5);
        let began = Instant::now();

        let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;

        assert_eq!(put.map(|p| p.degraded).ok(), Some(0), "{mood:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{mood:?}");
        let chunks = world.group().chunks.clone();
        for chunk in chunks.values() {
            let is_long = chunk.length >= MIB as u64;
            assert!(
                !(is_long && chunk.replicas.contains(&NodeId(node))),
                "{mood:?}"
            );
            let nodes = world.nodes();
            let has = |n: &NodeId| nodes.replicas.contains_key(&(*n, chunk.chunk));
            assert!(chunk.replicas.iter().all(has));
        }
        assert!(get(&client, "/a").await.unwrap() == bytes, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_many_data_nodes_failed_still_gets_a_grant() {
    let world = World::start().await;
    let client = world.client().await;
    for node in 5..=500 {
        let error = StreamError::new(NodeId(node), StreamErrorKind::Unreachable, "down");
        client.inner.nodes.failed(&error);
    }
    client.write("/a", pattern(MIB)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_writer_goes_on_while_its_bytes_are_sent_again() {
    let world = World::start().await;
    world.group().policy.chunk_size = 16 * MIB as u64;
    let client = world.client().await;
    world.mood(1, Mood::FailsAfter(8 * MIB as u64));
    (2..=4).for_each(|node| world.mood(node, Mood::Dawdles(20)));
    let mut options = PutOptions::new(false);
    let taken = Arc::new(Mutex::new(vec![Instant::now()]));
    options.progress = Some(Progress::new({
        let taken = taken.clone();
        move |_| taken.lock().unwrap().push(Instant::now())
    }));
    let bytes = pattern(16 * MIB);

    client.put("/a", &bytes[..], options).await.unwrap();

    assert!(get(&client, "/a").await.unwrap() == bytes);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 1 + 16);
    let longest = taken.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest < Some(Duration::from_millis(100)), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_acknowledged_at_the_minimum_and_says_so() {
    let world = World::start().await;
    let client = world.client().await;
    world.mood(3, Mood::Down);
    world.mood(4, Mood::Down);
    let bytes = pattern(MIB);
    let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;
    assert_eq!(put.map(|p| (p.chunks, p.degraded)).ok(), Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn too_few_data_nodes_are_an_error_and_leave_no_file() {
    let world = World::start().await;
    let client = world.client().await;
    (1..=3).for_each(|node| world.mood(node, Mood::Down));
    let bytes = pattern(MIB);
    let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;
    let error = put.unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.starts_with("too few data nodes: c"), "{text}");
    assert!(
        text.contains("is on 0, the policy insists on 2: n1: unreachable"),
        "{text}"
    );
    assert!(!client.exists("/a").await.unwrap());
    assert!(world.group().chunks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_became_stricter_is_learnt_from_the_refusal() {
    let world = World::start().await;
    let client = world.client().await;
    let one = Policy {
        replicas: ReplicationTarget(1),
        replicas_min: ReplicationTarget(1),
        ..Policy::DEFAULT
    };
    let strict = world.group().policy;
    let options = || PutOptions::new(true);
    for round in 0..2 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.group().policy = one;
        client.write("/a", pattern(MIB)).await.unwrap();
        world.group().policy = strict;

        // Whoever has the bytes tries again; whoever has not may, and is right at once.
        if round == 0 {
            client.write("/a", pattern(2 * MIB)).await.unwrap();
        } else {
            let bytes = pattern(2 * MIB);
            let put = client.put("/a", &bytes[..], options()).await;
            assert!(put.is_err_and(|error| error.is_retryable()));
            client.put("/a", &bytes[..], options()).await.unwrap();
        }

        let mut wanted: Vec<u8> = Vec::new();
        wanted.extend(world.group().grants.drain(..).map(|grant| grant.replicas.0));
        wanted.dedup();
        assert_eq!(wanted, [1, 3]);
        assert!(get(&client, "/a").await.unwrap() == pattern(2 * MIB));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_grant_expires_before_its_commit_is_made_with_another() {
    let world = World::start().await;
    let client = world.client().await;
    let old = pattern(MIB / 2);
    client.write("/a", old.clone()).await.unwrap();
    client.create_file("/log", true).await.unwrap();
    let bytes = pattern(MIB / 4 + 7);
    let expiring = async || {
        world.fault(Fault::Slow(Duration::from_millis(800)));
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.group().expire_grants();
    };
    let (written, ()) = tokio::join!(client.write("/b", bytes.clone()), expiring());
    written.unwrap();
    assert!(client.read("/b").await.unwrap() == bytes);

    let (written, ()) = tokio::join!(client.write_at("/a", 3, bytes.clone()), expiring());
    written.unwrap();
    let expected = [&old[..3], &bytes, &old[3 + bytes.len()..]].concat();
    assert!(client.read("/a").await.unwrap() == expected);

    let (appended, ()) = tokio::join!(client.append("/log", bytes.clone()), expiring());
    appended.unwrap();
    assert!(client.read("/log").await.unwrap() == bytes);
    assert_eq!(world.group().grants.len(), 1 + 3 * 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_with_a_permit_that_is_not_good_is_given_up_at_once() {
    let world = World::start().await;
    let client = world.client().await;
    world.group().policy.chunk_size = CHUNK_SIZE_MIN;
    let [void, good] = [1, 2].map(|byte| Permit(vec![byte].into()));
    world.group().permits.extend([void.clone(), good]);
    world.nodes().void = Some(void);
    let chunks = 60;
    let bytes = pattern(chunks * CHUNK_SIZE_MIN as usize);

    client.write("/a", bytes.clone()).await.unwrap();

    assert!(client.read("/a").await.unwrap() == bytes);
    let denied = world.nodes().announced.len() - chunks;
    assert!(denied < 12, "{denied} chunks were denied");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_corrupt_or_not_there_is_never_returned_and_is_reported() {
    for is_there in [true, false] {
        let world = World::start().await;
        let client = world.client().await;
        let bytes = pattern(2 * MIB);
        client.write("/a", bytes.clone()).await.unwrap();
        match is_there {
            true => world.mood(1, Mood::Corrupt),
            false => world.nodes().replicas.retain(|(node, _), _| node.0 != 1),
        }

        assert!(get(&client, "/a").await.unwrap() == bytes);

        tokio::time::sleep(Duration::from_secs(1)).await;
        let reported = world.group().corrupt.clone();
        let chunks: Vec<ChunkId> = world.group().chunks.keys().copied().collect();
        let expected: Vec<_> = chunks.iter().map(|c| (*c, NodeId(1))).collect();
        assert_eq!(reported, expected, "{is_there}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_replicas_are_corrupt_no_bad_byte_is_delivered() {
    let world = World::start().await;
    let client = world.client().await;
    client.write("/a", pattern(2 * MIB)).await.unwrap();
    (1..=4).for_each(|node| world.mood(node, Mood::Corrupt));

    let mut sink = Vec::new();
    let got = client.get("/a", &mut sink, GetOptions::default()).await;

    assert_eq!(got.map_err(|e| e.kind()).err(), Some(ErrorKind::Corrupt));
    assert!(sink.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_fails_over_to_another_replica() {
    let world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(3 * MIB);
    client.write("/a", bytes.clone()).await.unwrap();
    for mood in [Mood::Down, Mood::Hung] {
        world.mood(1, mood);
        let began = Instant::now();
        let fresh = world.client().await;
        assert!(get(&fresh, "/a").await.unwrap() == bytes);
        assert!(began.elapsed() < Duration::from_millis(1500), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_replica_is_hedged_and_then_passed_over() {
    let world = World::start().await;
    let client = world.client().await;
    client.write("/a", pattern(MIB / 2)).await.unwrap();
    world.mood(1, Mood::Slow(900));
    let began = Instant::now();

    client.read("/a").await.unwrap();

    assert!(began.elapsed() < Duration::from_millis(200));
    world.nodes().reads.clear();
    client.read("/a").await.unwrap();
    let nodes: Vec<NodeId> = world.nodes().reads.iter().map(|(node, _)| *node).collect();
    assert!(!nodes.contains(&NodeId(1)), "{nodes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_once_opened_is_read_while_no_master_answers() {
    let mut world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(2 * MIB);
    client.write("/a", bytes.clone()).await.unwrap();
    let mut file = client.open("/a").await.unwrap();
    file.read_at(0, 1).await.unwrap();
    world.masters.clear();

    let mut read = Vec::new();
    file.read_to_end(&mut read).await.unwrap();

    assert!(read == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_layout_in_parts_is_read_to_its_end() {
    let world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(5 * MIB + 3);
    client.write("/a", bytes.clone()).await.unwrap();
    world.group().extents_per_reply = 2;
    assert!(client.read("/a").await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn writes_and_holes_read_as_posix_has_it() {
    let world = World::start().await;
    let client = world.client().await;
    let options = OpenOptions::new().read(true).write(true).create(true);
    let mut file = client.open_with("/a", options).await.unwrap();
    let mut expected = vec![0; 300_000];
    for (offset, length) in [
        (10, 5),
        (100_000, 200_000),
        (12, 4000),
        (50, 3000),
        (7, 9000),
    ] {
        let bytes = pattern(length);
        file.write_at(offset as u64, bytes.clone()).await.unwrap();
        expected[offset..offset + length].copy_from_slice(&bytes);
    }
    let mut read = Vec::new();
    file.read_to_end(&mut read).await.unwrap();
    assert!(read == expected);

    file.seek(std::io::SeekFrom::End(-10)).await.unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).await.unwrap();
    assert_eq!(end, expected[expected.len() - 10..]);
    file.set_len(20).await.unwrap();
    assert_eq!(client.read("/a").await.unwrap(), &expected[..20]);
}

#[tokio::test(start_paused = true)]
async fn a_file_opened_to_append_is_written_nowhere_else() {
    let world = World::start().await;
    let client = world.client().await;
    let append = OpenOptions::new().append(true);
    let file = client.open_with("/a", append.create(true)).await.unwrap();
    file.append("one ").await.unwrap();
    let again = client.open_with("/a", append).await.unwrap();
    assert_eq!(again.append("two").await.unwrap(), 4);

    for denied in [
        again.write_at(0, "x").await,
        again.set_len(0).await,
        again.read_at(0, 1).await.map(drop),
    ] {
        assert_eq!(denied.map_err(|e| e.kind()), Err(ErrorKind::Denied));
    }
    let emptied = client.open_with("/a", append.truncate(true)).await;
    assert_eq!(emptied.err().map(|e| e.kind()), Some(ErrorKind::Invalid));
    assert_eq!(client.read_to_string("/a").await.unwrap(), "one two");
    client.write("/a", vec![0xff]).await.unwrap();
    let bytes = client.read_to_string("/a").await;
    assert_eq!(bytes.map_err(|e| e.kind()), Err(ErrorKind::Invalid));
}

#[tokio::test(start_paused = true)]
async fn short_appends_are_gathered_into_chunks() {
    let world = World::start().await;
    let client = world.client().await;
    client.create_file("/log", true).await.unwrap();
    let mut expected = Vec::new();
    for i in 0..300 {
        let line = format!("line {i} {}\n", "x".repeat(60));
        let offset = client.append("/log", line.clone()).await.unwrap();
        assert_eq!(offset, expected.len() as u64);
        expected.extend_from_slice(line.as_bytes());
    }
    assert!(client.read("/log").await.unwrap() == expected);
    let extents = world.group().extents("/log");
    assert!(extents < 70, "{extents}");
}

#[tokio::test(start_paused = true)]
async fn appends_at_the_same_time_are_all_there_and_whole() {
    let world = World::start().await;
    let client = world.client().await;
    client.create_file("/log", true).await.unwrap();
    let appends = (0..100).map(|i| client.append("/log", format!("{i:04}").repeat(40)));
    let offsets = futures::future::try_join_all(appends).await.unwrap();
    let read = client.read("/log").await.unwrap();
    assert_eq!(read.len(), 100 * 160);
    for (i, offset) in offsets.iter().enumerate() {
        let at = *offset as usize;
        assert_eq!(&read[at..at + 160], format!("{i:04}").repeat(40).as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_publishes_when_it_is_shut_down_and_not_when_it_is_dropped() {
    let world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(2 * MIB + 9);
    let mut writer = client.create("/a").await.unwrap();
    writer.write_all(&bytes).await.unwrap();
    writer.flush().await.unwrap();
    assert!(!client.exists("/a").await.unwrap());
    writer.shutdown().await.unwrap();
    assert!(client.read("/a").await.unwrap() == bytes);
    let late = writer.write_all(b"late").await.map_err(|e| e.kind());
    assert_eq!(late, Err(std::io::ErrorKind::BrokenPipe));
    writer.flush().await.unwrap();

    world.group().policy.chunk_size = CHUNK_SIZE_MIN;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut dropped = client.create("/b").await.unwrap();
    dropped
        .write_all(&pattern(120 * CHUNK_SIZE_MIN as usize))
        .await
        .unwrap();
    drop(dropped);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!client.exists("/b").await.unwrap());
    let abandoned = |(_, change): &(_, Change)| matches!(change, Change::AbandonUpload { .. });
    assert!(world.group().executed.iter().any(abandoned));
}

#[tokio::test(start_paused = true)]
async fn an_appender_adds_what_it_was_given_at_each_flush() {
    let world = World::start().await;
    let client = world.client().await;
    client.write("/log", "a").await.unwrap();
    let mut log = client.appender("/log").await.unwrap();
    let mut expected = b"a".to_vec();
    for length in [3, 5000, 2 * MIB, 10] {
        log.write_all(&pattern(length)).await.unwrap();
        log.flush().await.unwrap();
        expected.extend_from_slice(&pattern(length));
        assert!(client.read("/log").await.unwrap() == expected, "{length}");
    }
    log.write_all(b"end").await.unwrap();
    log.close().await.unwrap();
    expected.extend_from_slice(b"end");
    assert!(client.read("/log").await.unwrap() == expected);
    let unused = client.appender("/log").await.unwrap().close().await;
    assert_eq!(unused.map(|put| put.bytes).ok(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn many_writers_that_stand_still_do_not_stop_another() {
    let world = World::start().await;
    let mut config = world.client().await.config().clone();
    config.budgets = Budgets {
        write_bytes: 2 * MIB as u64,
        read_bytes: MIB as u64,
    };
    let client = Client::connect(config, world.network.env()).await.unwrap();
    let mut idle = Vec::new();
    for i in 0..6 {
        let mut writer = client.create(format!("/idle{i}")).await.unwrap();
        writer.write_all(&pattern(MIB + 1)).await.unwrap();
        idle.push(writer);
    }
    let bytes = pattern(4 * MIB);
    let put = client.put("/a", &bytes[..], PutOptions::new(false)).await;
    assert_eq!(put.map(|p| p.bytes).ok(), Some(bytes.len() as u64));
    assert!(get(&client, "/a").await.unwrap() == bytes);
    for mut writer in idle {
        writer.shutdown().await.unwrap();
    }
    assert!(client.read("/idle5").await.unwrap() == pattern(MIB + 1));
}

/// A client that may keep little in memory.
async fn frugal_client(world: &World) -> Client {
    let mut config = world.client().await.config().clone();
    config.budgets = Budgets {
        write_bytes: 4 * MIB as u64,
        read_bytes: 2 * MIB as u64,
    };
    Client::connect(config, world.network.env()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_from_a_source_than_the_budget_and_a_few_slices() {
    let world = World::start().await;
    let client = frugal_client(&world).await;
    (1..=4).for_each(|node| world.mood(node, Mood::Hung));
    let (mut feed, source) = tokio::io::duplex(1000);
    let feeding = tokio::spawn(async move {
        let (bytes, mut taken) = (pattern(1000), 0);
        while timeout(Duration::from_secs(5), feed.write_all(&bytes))
            .await
            .is_ok()
        {
            taken += bytes.len();
        }
        taken
    });
    let put = client.put("/a", source, PutOptions::new(false));

    let taken = tokio::select! {
        _ = put => 0,
        taken = feeding => taken.unwrap(),
    };

    assert!((3 * MIB..8 * MIB).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_ahead_than_the_budget_and_a_part() {
    let world = World::start().await;
    world.group().policy.chunk_size = 16 * MIB as u64;
    let client = frugal_client(&world).await;
    client.write("/a", pattern(20 * MIB)).await.unwrap();
    let (mut sink, _full) = tokio::io::duplex(1000);

    let get = client.get("/a", &mut sink, GetOptions::default());
    assert!(timeout(Duration::from_secs(5), get).await.is_err());

    let asked: u64 = world
        .nodes()
        .reads
        .iter()
        .map(|(_, read)| read.range.length)
        .sum();
    assert!(asked <= 7 * MIB as u64, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn data_nodes_are_told_how_long_a_short_file_is() {
    let world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(10_000);
    client
        .put("/a", &bytes[..], PutOptions::new(false))
        .await
        .unwrap();
    assert_eq!(world.nodes().announced, [10_000]);
}

#[tokio::test(start_paused = true)]
async fn a_directory_longer_than_a_page_is_listed_in_order() {
    let world = World::start().await;
    let client = world.client().await;
    for i in 0..2500 {
        client.create_file(format!("/{i:04}"), true).await.unwrap();
    }
    let entries: Vec<_> = client
        .read_dir("/")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let names: Vec<String> = entries.iter().map(|e| e.name.to_string()).collect();
    let expected: Vec<String> = (0..2500).map(|i| format!("{i:04}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test(start_paused = true)]
async fn a_copy_has_the_bytes_and_the_permissions() {
    let world = World::start().await;
    let client = world.client().await;
    let bytes = pattern(3 * MIB);
    client.write("/a", bytes.clone()).await.unwrap();
    let copied = client.copy("/a", "/b", PutOptions::new(false)).await;
    assert_eq!(copied.map(|c| c.bytes).ok(), Some(bytes.len() as u64));
    assert!(client.read("/b").await.unwrap() == bytes);
}
