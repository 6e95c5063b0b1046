//! What masters have nodes do.

use std::sync::Arc;

use super::fixture::{Cluster, bytes, eventually, read, rot, rot_at, write};
use crate::datanode::tasks::Tasks;
use crate::proto::cluster::{Task, TaskResult};
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::crc32c;
use crate::types::{ByteRange, ChunkId, NodeId, NodeKey};

const CHUNK: ChunkId = ChunkId(7);
const LENGTH: usize = 3_000_000;
const ALL: ByteRange = ByteRange::new(0, LENGTH as u64);

fn copy_from(sources: &[&NodeAddress]) -> Task {
    Task::Copy {
        chunk: CHUNK,
        length: LENGTH as u64,
        checksum: crc32c(&bytes(CHUNK, LENGTH)),
        sources: sources.iter().map(|s| (*s).clone()).collect(),
    }
}

async fn done(cluster: &Cluster, node: &NodeAddress, task: Task) -> Result<(), String> {
    cluster.master.give(node.node, task.clone());
    eventually("the task ends", || cluster.master.result_of(&task)).await
}

/// Two nodes, the first of which has the chunk.
async fn cluster() -> (Cluster, NodeAddress, NodeAddress) {
    let cluster = Cluster::start(2).await;
    let (first, second) = (cluster.address(0), cluster.address(1));
    let bytes = bytes(CHUNK, LENGTH);
    write(&cluster.pool, std::slice::from_ref(&first), CHUNK, &bytes)
        .await
        .unwrap();
    (cluster, first, second)
}

#[tokio::test]
async fn a_copy_is_made_from_the_first_source_that_has_the_chunk() {
    let (cluster, first, second) = cluster().await;
    let dead = NodeAddress {
        node: NodeId(9),
        key: NodeKey(0),
        address: "127.0.0.1:1".to_owned(),
    };

    assert_eq!(
        done(&cluster, &second, copy_from(&[&dead, &second, &first])).await,
        Ok(())
    );

    assert!(read(&cluster.pool, &second, CHUNK, ALL).await.unwrap() == bytes(CHUNK, LENGTH));
}

#[tokio::test]
async fn a_copy_of_a_corrupt_source_is_not_made() {
    let (cluster, first, second) = cluster().await;
    rot(&cluster.directory(0), LENGTH as u64);
    let why = done(&cluster, &second, copy_from(&[&first]))
        .await
        .unwrap_err();
    assert!(why.contains("corrupt"), "{why}");
    assert_eq!(cluster.nodes[1].shared.store.replicas(), 0);
}

#[tokio::test]
async fn a_copy_replaces_a_corrupt_replica_and_it_is_served_again() {
    let (cluster, first, second) = cluster().await;
    assert_eq!(done(&cluster, &second, copy_from(&[&first])).await, Ok(()));
    rot(&cluster.directory(0), LENGTH as u64);
    read(&cluster.pool, &first, CHUNK, ALL).await.unwrap_err();

    assert_eq!(done(&cluster, &first, copy_from(&[&second])).await, Ok(()));

    assert!(read(&cluster.pool, &first, CHUNK, ALL).await.unwrap() == bytes(CHUNK, LENGTH));
}

/// The end of the first block and the beginning of the last one.
const EARLY: fn(u64) -> u64 = |length| length - LENGTH as u64 + 65_535;
const LATE: fn(u64) -> u64 = |length| length - 1;

#[tokio::test]
async fn a_copy_takes_every_block_from_a_source_in_which_it_is_good() {
    let (mut cluster, first, second) = cluster().await;
    let third = cluster.add(|_| {}).await;
    assert_eq!(done(&cluster, &second, copy_from(&[&first])).await, Ok(()));
    cluster.master.state().finished.clear();
    for (node, place) in [(0, EARLY), (0, LATE), (1, |length| length / 2)] {
        rot_at(&cluster.directory(node), LENGTH as u64, place);
    }

    let copied = done(&cluster, &third, copy_from(&[&first, &second])).await;

    assert_eq!(copied, Ok(()));
    assert!(read(&cluster.pool, &third, CHUNK, ALL).await.unwrap() == bytes(CHUNK, LENGTH));
}

#[tokio::test]
async fn a_damaged_replica_gives_its_good_blocks_to_the_one_that_replaces_it() {
    let (cluster, first, second) = cluster().await;
    assert_eq!(done(&cluster, &second, copy_from(&[&first])).await, Ok(()));
    rot_at(&cluster.directory(0), LENGTH as u64, EARLY);
    rot_at(&cluster.directory(1), LENGTH as u64, LATE);

    assert_eq!(done(&cluster, &first, copy_from(&[&second])).await, Ok(()));

    assert!(read(&cluster.pool, &first, CHUNK, ALL).await.unwrap() == bytes(CHUNK, LENGTH));
}

#[tokio::test]
async fn a_damaged_replica_stays_when_no_better_one_can_be_had() {
    let (cluster, first, second) = cluster().await;
    rot_at(&cluster.directory(0), LENGTH as u64, EARLY);

    let failed = done(&cluster, &first, copy_from(&[&second])).await;

    assert!(failed.unwrap_err().contains("corrupt"));
    let end = ByteRange::new(65_536, LENGTH as u64 - 65_536);
    let good = read(&cluster.pool, &first, CHUNK, end).await.unwrap();
    assert!(good == bytes(CHUNK, LENGTH)[65_536..]);
}

#[tokio::test]
async fn a_deletion_deletes_and_is_reported_even_if_the_first_report_is_lost() {
    let (cluster, first, _) = cluster().await;
    cluster.master.state().deaf = 1;
    let delete = Task::Delete {
        chunks: vec![CHUNK, ChunkId(1000)],
    };

    assert_eq!(done(&cluster, &first, delete.clone()).await, Ok(()));

    assert_eq!(cluster.nodes[0].shared.store.replicas(), 0);
    eventually("the master hears of the deletion", || {
        cluster
            .master
            .state()
            .reports
            .iter()
            .any(|r| r.absent == [CHUNK])
            .then_some(())
    })
    .await;
    let state = cluster.master.state();
    assert_eq!(
        state.finished.iter().filter(|r| r.task == delete).count(),
        1
    );
}

#[tokio::test]
async fn an_order_to_delete_is_void_once_the_chunk_is_to_be_copied_here() {
    let (cluster, _, second) = cluster().await;
    let tasks = Tasks::new(Arc::clone(&cluster.nodes[0].shared));
    let delete = Task::Delete {
        chunks: vec![CHUNK],
    };

    tasks.offer(
        vec![delete.clone(), copy_from(&[&second])],
        Vec::new(),
        Vec::new(),
    );

    let ended = eventually("both end", || {
        let ended = tasks.finished();
        (ended.len() == 2).then_some(ended)
    });
    for TaskResult { task, result, .. } in ended.await {
        assert_eq!(result.is_ok(), task != delete, "{task:?}: {result:?}");
    }
    assert_eq!(cluster.nodes[0].shared.store.replicas(), 1);
}

#[tokio::test]
async fn a_replica_that_fails_its_verification_is_reported_and_stays() {
    let (cluster, first, _) = cluster().await;
    let verify = Task::Verify { chunk: CHUNK };
    assert_eq!(done(&cluster, &first, verify.clone()).await, Ok(()));
    cluster.master.state().finished.clear();
    rot(&cluster.directory(0), LENGTH as u64);

    assert!(
        done(&cluster, &first, verify)
            .await
            .unwrap_err()
            .contains("corrupt")
    );

    assert_eq!(cluster.nodes[0].shared.store.replicas(), 1);
    eventually("the master hears of it", || {
        cluster
            .master
            .state()
            .reports
            .iter()
            .any(|r| r.corrupt == [CHUNK])
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_finds_no_room_fails_and_leaves_what_is_there() {
    let (mut cluster, first, _) = cluster().await;
    let full = cluster.add(|c| c.store.reserve.bytes = u64::MAX).await;

    let failed = done(&cluster, &full, copy_from(&[&first])).await;

    let why = failed.unwrap_err();
    assert!(why.contains("out of space"), "{why}");
    let incoming = cluster.directory(2).join("incoming");
    assert_eq!(crate::env::Env::real().disk.list(&incoming).unwrap(), []);
    assert_eq!(cluster.nodes[2].shared.store.replicas(), 0);
    assert_eq!(cluster.nodes[2].shared.store.failed(), None);
}
