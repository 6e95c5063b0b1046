//! Starting again after stops of all kinds, on directories of all kinds.

use super::*;
use crate::types::{ClusterId, NodeId};

fn invalid(result: Result<(ChunkStore, RecoveryReport), StoreError>, part: &str) {
    let error = result.map(|(_, report)| report).unwrap_err();
    assert!(
        matches!(error, StoreError::Invalid(_) | StoreError::Empty(_))
            && error.to_string().contains(part),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn two_stores_cannot_have_one_directory() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    invalid(try_open(&disk).await, "locked");
    store.close().await.unwrap();
    open(&disk).await;
}

/// Each start begins a segment, and reserves all of it.
#[tokio::test(start_paused = true)]
async fn starting_again_and_again_takes_no_room() {
    let disk = MemoryDisk::new(1);
    let available = || crate::env::Disk::space(&disk, "/disk".as_ref());
    let mut left = Vec::new();
    for chunk in 1..=4 {
        let (store, _) = open(&disk).await;
        left.push(available().unwrap().available);
        put(&store, chunk, SMALL).await.unwrap();
        store.close().await.unwrap();
    }
    let taken = left[0] - left[3];
    assert!(taken < config().segment_size, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_directory_without_a_stamp_is_not_an_empty_store() {
    let disk = MemoryDisk::new(1);
    let settings = || StoreConfig {
        initialize: false,
        ..config()
    };
    invalid(
        ChunkStore::open(settings(), test_env(1, &disk)).await,
        "mounted",
    );
    let (store, report) = open(&disk).await;
    assert!(report.initialized);
    put(&store, 1, LARGE).await.unwrap();
    store.close().await.unwrap();
    disk.files("/disk")
        .iter()
        .filter(|f| f.ends_with("stamp"))
        .for_each(|stamp| {
            crate::env::Disk::remove_file(&disk, stamp).unwrap();
        });
    invalid(
        ChunkStore::open(settings(), test_env(1, &disk)).await,
        "stamp",
    );
    // Not even where making one is allowed: it holds something.
    invalid(try_open(&disk).await, "no new directory");
    assert!(disk.files("/disk/chunks").len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_someone_else_is_not_made_a_store() {
    let disk = MemoryDisk::new(1);
    crate::env::Disk::create_directory(&disk, "/disk".as_ref()).unwrap();
    disk.put("/disk/thesis.txt", b"the only copy");
    invalid(try_open(&disk).await, "thesis.txt");
    assert_eq!(disk.get("/disk/thesis.txt"), b"the only copy");
}

#[tokio::test(start_paused = true)]
async fn the_stamp_is_set_once_and_for_all() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let key = store.stamp().key;
    store.set_stamp(ClusterId(1), NodeId(3)).await.unwrap();
    store.set_stamp(ClusterId(1), NodeId(3)).await.unwrap();
    for (cluster, node) in [(2, 3), (1, 4)] {
        let refused = store
            .set_stamp(ClusterId(cluster), NodeId(node))
            .await
            .unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
    assert_eq!(*store.failed().borrow(), None);
    disk.cut_power();
    let (store, _) = open(&disk).await;
    let stamp = store.stamp();
    assert_eq!(stamp.key, key);
    assert_eq!(
        (stamp.cluster, stamp.node),
        (Some(ClusterId(1)), Some(NodeId(3)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_or_damaged_stamp_is_refused() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    store.close().await.unwrap();
    disk.flip("/disk/stamp", 8, 2);
    invalid(try_open(&disk).await, "newer program");
    disk.flip("/disk/stamp", 8, 2);
    disk.flip("/disk/stamp", 20, 1);
    invalid(try_open(&disk).await, "checksum");
    disk.flip("/disk/stamp", 20, 1);
    open(&disk).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_loses_nothing_it_finished() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    let mut half = store
        .create(ChunkId(3), LARGE as u64, Purpose::Write)
        .await
        .unwrap();
    let bytes = pattern(3, 3 * BLOCK_LEN);
    half.write(bytes.clone(), &block_crcs(&bytes))
        .await
        .unwrap();
    disk.kill_process();
    let (store, report) = open(&disk).await;
    assert!(!report.clean && !report.index_rebuilt);
    assert_eq!((report.adopted, report.lost, report.quarantined), (2, 0, 0));
    assert_has(&store, 1, SMALL).await;
    assert_has(&store, 2, LARGE).await;
    assert!(disk.files("/disk/incoming").is_empty());
    drop(half);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_replica_that_is_complete_goes_to_quarantine() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    disk.kill_process();
    let complete = disk.get(chunk_path(1));
    disk.put("/disk/incoming/0000000000000002-7.part", &complete);
    disk.put("/disk/incoming/0000000000000003-8.part", &[0; 5000]);
    let (_, report) = open(&disk).await;
    assert_eq!(report.quarantined, 1);
    assert!(disk.files("/disk/incoming").is_empty());
}

/// What is reported after the process was killed must be there when the power goes next.
async fn assert_reported_is_kept(disk: &MemoryDisk, length: usize) {
    let (store, _) = open(disk).await;
    let reported = listed(&store).await;
    disk.cut_power();
    let (store, _) = open(disk).await;
    assert_eq!(listed(&store).await, reported);
    for chunk in reported {
        assert_has(&store, chunk, length).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_had_not_synced_is_kept_once_it_is_reported() {
    for length in [SMALL, LARGE] {
        for (seed, stops_after) in (0..4).flat_map(|s| (0..12).map(move |n| (s, n + 1))) {
            let disk = MemoryDisk::new(seed);
            let (store, _) = open(&disk).await;
            disk.lose_power_after(stops_after);
            // It may be done before it is stopped.
            let _ = put(&store, 1, length).await;
            disk.kill_process();
            assert_reported_is_kept(&disk, length).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_sync_lost_is_written_again_before_it_is_reported() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    disk.fail_syncs(1);
    let failed = put(&store, 2, SMALL).await.unwrap_err();
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    disk.kill_process();
    assert_reported_is_kept(&disk, SMALL).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_index_a_store_builds_a_new_one() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in 0..30 {
        put(&store, chunk, [SMALL, LARGE, BLOCK_LEN][chunk as usize % 3])
            .await
            .unwrap();
    }
    store.delete(&[0, 1, 2, 9].map(ChunkId)).await.unwrap();
    let (before, used) = (listed(&store).await, store.space().await.used);
    store.close().await.unwrap();
    for damaged in [false, true] {
        match damaged {
            true => disk.damage("/disk/index.redb", |bytes| bytes.fill(0x5a)),
            false => crate::env::Disk::remove_file(&disk, "/disk/index.redb".as_ref()).unwrap(),
        }
        let (store, report) = open(&disk).await;
        assert!(report.index_rebuilt);
        assert_eq!(report.quarantined, u64::from(damaged));
        assert_eq!(listed(&store).await, before);
        assert_eq!(store.space().await.used, used);
        for chunk in before.iter().copied() {
            assert_has(&store, chunk, [SMALL, LARGE, BLOCK_LEN][chunk as usize % 3]).await;
        }
        store.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_in_the_index_is_noticed_or_does_no_harm() {
    for at in (0..40).map(|i| i * 1237 + 3) {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        for chunk in 0..10 {
            put(&store, chunk, SMALL).await.unwrap();
        }
        store.close().await.unwrap();
        disk.flip("/disk/index.redb", at, 0xff);
        let (store, _) = open(&disk).await;
        for chunk in 0..10 {
            assert_has(&store, chunk, SMALL).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn foreign_and_damaged_files_go_to_quarantine_and_nothing_is_deleted() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    disk.kill_process();
    disk.damage(chunk_path(2), |bytes| bytes.truncate(5000));
    disk.put("/disk/chunks/00/notes.txt", b"hello");
    disk.put(
        "/disk/chunks/07/0000000000000009.chunk",
        &disk.get(chunk_path(1)),
    );
    disk.put(
        "/disk/chunks/00/0000000000000005.chunk",
        &disk.get(chunk_path(1)),
    );
    disk.put("/disk/segments/x.seg", b"hello");
    disk.put("/disk/segments/00000000000000aa.seg", b"hello");
    disk.put("/disk/incoming/old.part", b"hello");
    drop(store);
    let (store, report) = open(&disk).await;
    assert_eq!((report.adopted, report.quarantined), (1, 7));
    assert_eq!(quarantined(&disk), 7);
    assert_eq!(listed(&store).await, [1]);
    assert_has(&store, 1, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_gone_is_not_listed() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    disk.kill_process();
    crate::env::Disk::remove_file(&disk, chunk_path(1).as_ref()).unwrap();
    let (store, report) = open(&disk).await;
    assert_eq!(report.lost, 1);
    assert_eq!(listed(&store).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn damage_to_one_record_hides_no_other() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in 0..5 {
        put(&store, chunk, SMALL).await.unwrap();
    }
    let segment = disk.files("/disk/segments")[0].clone();
    store.close().await.unwrap();
    // Both the segment's header and that of its third record.
    disk.flip(&segment, 20, 1);
    disk.flip(&segment, 4096 + 2 * 12288 + 16, 1);
    crate::env::Disk::remove_file(&disk, "/disk/index.redb".as_ref()).unwrap();
    let (store, report) = open(&disk).await;
    assert!(report.index_rebuilt);
    assert_eq!(report.noticed, 1);
    assert_eq!(listed(&store).await, [0, 1, 3, 4]);
    for chunk in [0, 1, 3, 4] {
        assert_has(&store, chunk, SMALL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_user_that_look_like_a_record_are_none() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    // A chunk whose second page is a right header, of another chunk, with another salt.
    let fake = super::super::layout::ReplicaHeader::new(ChunkId(666), 0, &[], 7, 64);
    let mut bytes = pattern(2, SMALL).to_vec();
    bytes[4096 - 68..4096 - 68 + 64].copy_from_slice(&fake.encode());
    put_bytes(&store, 2, bytes.into()).await.unwrap();
    let segment = disk.files("/disk/segments")[0].clone();
    store.close().await.unwrap();
    disk.flip(&segment, 4096 + 12288, 1);
    crate::env::Disk::remove_file(&disk, "/disk/index.redb".as_ref()).unwrap();
    let (store, report) = open(&disk).await;
    assert_eq!(listed(&store).await, [1]);
    assert_eq!(report.noticed, 1);
}

#[tokio::test(start_paused = true)]
async fn even_a_clean_start_reports_what_is_foreign_and_what_is_in_quarantine() {
    let disk = MemoryDisk::new(1);
    let (store, report) = open(&disk).await;
    assert_eq!((report.noticed, report.quarantine_bytes), (0, 0));
    put(&store, 1, LARGE).await.unwrap();
    store.quarantine(ChunkId(1), "a test").await.unwrap();
    store.close().await.unwrap();
    disk.put("/disk/thesis.txt", b"the only copy");
    disk.put("/disk/chunks/notes.txt", b"hello");
    // What is the node's own is nothing to report.
    disk.put("/disk/papers", b"of this node");
    let (_, report) = open(&disk).await;
    assert!(report.clean);
    assert_eq!(report.noticed, 2);
    let found: Vec<_> = report.findings.iter().map(|f| f.what.as_str()).collect();
    assert_eq!(found, ["thesis.txt", "chunks/notes.txt"]);
    assert_eq!(report.quarantined, 0);
    assert!(report.quarantine_bytes > LARGE as u64);
    assert_eq!(disk.get("/disk/thesis.txt"), b"the only copy");
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_gone_after_a_clean_stop_is_noticed() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    store.close().await.unwrap();
    let segment = disk.files("/disk/segments")[0].clone();
    crate::env::Disk::remove_file(&disk, &segment).unwrap();
    let (store, report) = open(&disk).await;
    assert!(!report.clean);
    assert_eq!(report.lost, 1);
    assert_eq!(listed(&store).await, [2]);
    assert_has(&store, 2, LARGE).await;
}
