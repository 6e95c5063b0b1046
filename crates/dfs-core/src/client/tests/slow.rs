//! Writes that take hours lose nothing.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::node::Mood;
use super::{World, pattern};
use crate::types::limits::{CHUNK_SIZE_MIN, SESSION_TTL};

#[tokio::test(start_paused = true)]
async fn an_upload_outlives_a_source_that_is_silent_longer_than_a_session() {
    let world = World::start().await;
    world.group().policy.chunk_size = CHUNK_SIZE_MIN;
    let client = world.client().await;
    let bytes = pattern(80 * CHUNK_SIZE_MIN as usize);
    let (early, late) = bytes.split_at(72 * CHUNK_SIZE_MIN as usize);
    let mut writer = client.create("/a").await.unwrap();
    writer.write_all(early).await.unwrap();

    sleep(3 * SESSION_TTL).await;
    writer.write_all(late).await.unwrap();
    writer.close().await.unwrap();

    assert!(client.read("/a").await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_file_whose_bytes_come_in_drops_is_whole_though_chunks_take_hours() {
    let world = World::start().await;
    world.group().policy.chunk_size = 16 << 20;
    let client = world.client().await;
    let bytes = pattern(20 << 20);
    let mut writer = client.create("/a").await.unwrap();

    for drop in bytes.chunks(256 << 10) {
        writer.write_all(drop).await.unwrap();
        sleep(Duration::from_secs(10 * 60)).await;
    }
    writer.close().await.unwrap();

    assert!(client.read("/a").await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_chunk_that_were_overcome_do_not_add_up() {
    let world = World::start().await;
    world.group().policy.chunk_size = 16 << 20;
    let client = world.client().await;
    let bytes = pattern(10 << 20);
    let mut writer = client.create("/a").await.unwrap();

    for (round, part) in bytes.chunks(2 << 20).enumerate() {
        let (good, bad) = [(1, 2), (2, 1)][round % 2];
        world.mood(good, Mood::Good);
        world.mood(bad, Mood::FailsAfter(0));
        writer.write_all(part).await.unwrap();
        sleep(Duration::from_secs(20)).await;
    }
    let put = writer.close().await.unwrap();

    assert_eq!(put.chunks, 1);
    assert!(client.read("/a").await.unwrap() == bytes);
}
