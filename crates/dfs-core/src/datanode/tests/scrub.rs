//! Rot is found though nobody reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::fixture::{Cluster, bytes, eventually, rot, write};
use crate::datanode::store::Purpose;
use crate::datanode::{DataNode, DataNodeConfig};
use crate::env::{Clock, Env, Timestamp};
use crate::node::Security;
use crate::proto::cluster::Task;
use crate::testing::{MemoryDisk, test_env};
use crate::types::checksum::{block_crcs, crc32c};
use crate::types::{ChunkId, Scrub};

const PERIOD: Duration = Duration::from_secs(3200);
const CHUNKS: u64 = 64;
const LENGTH: usize = 200_000;

/// The time of a test that has its own.
struct Tokio(Instant);

impl Clock for Tokio {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000).saturating_add(self.0.elapsed())
    }
}

/// A data node without masters, on a disk and in a time of its own.
async fn alone(disk: &MemoryDisk, began: Instant) -> DataNode {
    let env = Env {
        clock: Arc::new(Tokio(began)),
        ..test_env(1, disk)
    };
    let mut config = DataNodeConfig::new("/disk", vec!["127.0.0.1:1".to_owned()]);
    config.security = Security::Insecure;
    config.store.initialize = true;
    config.store.reserve.bytes = 0;
    config.store.small_chunk_max = 0;
    config.scrub.period = PERIOD;
    DataNode::start(config, env).await.unwrap()
}

async fn store(node: &DataNode, chunk: ChunkId, bytes: Bytes) {
    let store = &node.shared.store;
    let writer = store.create(chunk, bytes.len() as u64, Purpose::Write);
    let mut writer = writer.await.unwrap();
    let crcs = block_crcs(&bytes);
    writer.write(bytes, &crcs).await.unwrap();
    writer.finish().await.unwrap();
}

async fn fill(node: &DataNode) {
    for chunk in (1..=CHUNKS).map(ChunkId) {
        store(node, chunk, bytes(chunk, LENGTH)).await;
    }
}

fn scrub(node: &DataNode) -> Scrub {
    node.shared.store.all()[0]
        .scrubbing
        .report(node.shared.env.clock.now())
}

fn rot_chunk(disk: &MemoryDisk, chunk: ChunkId) {
    let path = format!("/disk/chunks/00/{:016x}.chunk", chunk.0);
    disk.flip(path, 100_000, 1);
}

fn corrupt(node: &DataNode) -> Vec<ChunkId> {
    node.shared.corrupt.in_range(ChunkId(0), None)
}

#[tokio::test(start_paused = true)]
async fn rot_that_nobody_reads_is_found_within_a_period_and_what_is_right_is_not_blamed() {
    let (disk, began) = (MemoryDisk::new(1), Instant::now());
    let node = alone(&disk, began).await;
    fill(&node).await;
    // A pass begins when a period is over since the store was made.
    sleep(PERIOD).await;
    rot_chunk(&disk, ChunkId(50));

    sleep(PERIOD).await;

    assert_eq!(corrupt(&node), [ChunkId(50)]);
    assert_eq!(scrub(&node).corrupt, 1);
    let unchecked = scrub(&node).unchecked.unwrap();
    assert!(unchecked <= PERIOD * 5 / 4, "{unchecked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pass_reads_evenly_over_its_period() {
    let (disk, began) = (MemoryDisk::new(1), Instant::now());
    let node = alone(&disk, began).await;
    fill(&node).await;
    for quarter in 1..=3 {
        sleep((PERIOD + PERIOD * quarter / 4).saturating_sub(began.elapsed())).await;
        let read = scrub(&node).replicas;
        let due = CHUNKS * u64::from(quarter) / 4;
        assert!(read.abs_diff(due) <= 8, "{read} in {quarter} quarters");
        assert!(scrub(&node).reading);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_where_the_pass_was_and_forgets_nothing_that_was_found() {
    let (disk, began) = (MemoryDisk::new(1), Instant::now());
    let node = alone(&disk, began).await;
    fill(&node).await;
    rot_chunk(&disk, ChunkId(3));
    sleep(PERIOD + PERIOD / 2).await;
    let before = scrub(&node);
    assert!(before.replicas >= 24, "{before:?}");
    assert_eq!(corrupt(&node), [ChunkId(3)]);

    node.shutdown().await.unwrap();
    let node = alone(&disk, began).await;
    sleep(Duration::from_secs(1)).await;

    assert_eq!(scrub(&node).replicas, before.replicas);
    assert_eq!(corrupt(&node), [ChunkId(3)]);

    // Of a process that is killed the last minute is lost.
    sleep(PERIOD / 4).await;
    let before = scrub(&node);
    drop(node);
    disk.kill_process();
    let node = alone(&disk, began).await;
    let after = scrub(&node).replicas;
    assert!(after + 4 >= before.replicas, "{after} {before:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_of_which_nothing_is_known_is_read_at_once() {
    let (disk, began) = (MemoryDisk::new(1), Instant::now());
    let node = alone(&disk, began).await;
    fill(&node).await;
    node.shutdown().await.unwrap();
    for damaged in [Some(9), None] {
        match damaged {
            Some(at) => disk.flip("/disk/scrub", at, 1),
            None => crate::env::Disk::remove_file(&disk, Path::new("/disk/scrub")).unwrap(),
        }
        let node = alone(&disk, began).await;
        assert_eq!(scrub(&node).unchecked, None);
        sleep(PERIOD).await;
        assert!(scrub(&node).unchecked.is_some_and(|age| age <= PERIOD));
        node.shutdown().await.unwrap();
    }
}

const CHUNK: ChunkId = ChunkId(7);
const LARGE: usize = 3_000_000;

#[tokio::test]
async fn a_pass_that_is_asked_for_reads_at_once_and_rot_is_reported_to_the_masters() {
    let cluster = Cluster::start(1).await;
    let node = cluster.address(0);
    let bytes = bytes(CHUNK, LARGE);
    let targets = [node.clone()];
    write(&cluster.pool, &targets, CHUNK, &bytes).await.unwrap();
    rot(&cluster.directory(0), LARGE as u64);

    cluster.master.give(node.node, Task::Scrub);

    eventually("the master hears of the rot", || {
        let state = cluster.master.state();
        let told = state.reports.iter().any(|r| r.corrupt == [CHUNK]);
        told.then_some(())
    })
    .await;
    let scrub = eventually("the master hears that a pass is over", || {
        let state = cluster.master.state();
        let volumes = &state.heartbeats.last()?.volumes;
        let scrub = volumes.first()?.scrub;
        (scrub.replicas == 1 && !scrub.reading).then_some(scrub)
    })
    .await;
    assert_eq!((scrub.bytes, scrub.corrupt), (LARGE as u64, 1));
    assert_eq!(cluster.master.result_of(&Task::Scrub), Some(Ok(())));
}

/// Names in the quarantine, without the reasons.
fn evidence(directory: &Path) -> Vec<String> {
    let listed = Env::real().disk.list(&directory.join("quarantine"));
    let names = listed.unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| !name.ends_with(".reason")).collect()
}

#[tokio::test]
async fn what_rots_again_is_kept_beside_what_rotted_before() {
    let cluster = Cluster::start(2).await;
    let (first, second) = (cluster.address(0), cluster.address(1));
    let bytes = bytes(CHUNK, LARGE);
    let both = [first.clone(), second.clone()];
    write(&cluster.pool, &both, CHUNK, &bytes).await.unwrap();
    let copy = Task::Copy {
        chunk: CHUNK,
        length: LARGE as u64,
        checksum: crc32c(&bytes),
        sources: vec![second],
    };
    for times in 1..=2 {
        rot(&cluster.directory(0).join("chunks"), LARGE as u64);
        cluster.master.give(first.node, Task::Scrub);
        eventually("scrub finds it", || {
            let found = cluster.nodes[0].shared.store.all()[0]
                .scrubbing
                .report(Timestamp(0));
            (found.corrupt == times).then_some(())
        })
        .await;
        cluster.master.state().finished.clear();
        cluster.master.give(first.node, copy.clone());
        let copied = eventually("it is mended", || cluster.master.result_of(&copy)).await;
        assert_eq!(copied, Ok(()));
        cluster.master.state().finished.clear();
        assert_eq!(evidence(&cluster.directory(0)).len() as u64, times);
    }
    cluster.nodes[0].shared.store.verify(CHUNK).await.unwrap();
}
