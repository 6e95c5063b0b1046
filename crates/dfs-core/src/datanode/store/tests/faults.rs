//! Disks that fail, fill up and rot.

use std::path::Path;

use super::*;
use crate::datanode::store::scrubbed::Scrubbed;
use crate::env::{Disk, Timestamp};

#[tokio::test(start_paused = true)]
async fn a_failed_sync_fails_the_directory_and_reads_go_on() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, SMALL).await.unwrap();
        put(&store, 2, LARGE).await.unwrap();
        disk.fail_syncs(1);
        let failed = put(&store, 3, length).await.unwrap_err();
        assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
        assert!(store.failed().borrow().is_some());
        // The disk would sync again now; nobody believes it.
        let refused = put(&store, 4, SMALL).await.unwrap_err();
        assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
        let refused = store.delete(&[ChunkId(1)]).await.unwrap_err();
        assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
        assert_has(&store, 1, SMALL).await;
        assert_has(&store, 2, LARGE).await;
        assert_eq!(listed(&store).await, [1, 2]);
        store.close().await.unwrap_err();

        disk.cut_power();
        let (store, _) = open(&disk).await;
        assert_has(&store, 1, SMALL).await;
        assert_has(&store, 2, LARGE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_noted_under_the_mount_point_of_a_disk_that_is_gone() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    disk.remove_file(&store.shared.paths.stamp()).unwrap();
    let before = disk.files("/");
    let failed = store
        .note_scrubbed(Scrubbed::new(Timestamp(0), false))
        .await
        .unwrap_err();
    assert!(
        failed.to_string().contains("is the disk mounted?"),
        "{failed}"
    );
    assert!(store.failed().borrow().is_some());
    assert_eq!(disk.files("/"), before);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_cleanly_and_deletion_makes_room() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    put(&store, 2, SMALL).await.unwrap();
    let used = disk.used();
    // Someone else took the rest, the reserve too.
    disk.set_capacity(used);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for length in [SMALL, LARGE] {
        let refused = put(&store, 3, length).await.unwrap_err();
        assert!(matches!(refused, StoreError::OutOfSpace(_)), "{refused}");
    }
    store.delete(&[ChunkId(1), ChunkId(2)]).await.unwrap();
    assert!(disk.used() < used);
    assert_eq!(*store.failed().borrow(), None);
    disk.set_capacity(used + (4 << 20));
    put(&store, 3, LARGE).await.unwrap();
    assert_has(&store, 3, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn room_for_a_part_of_a_segment_is_used() {
    let disk = MemoryDisk::new(1);
    let config = StoreConfig {
        segment_size: 64 * BLOCK_LEN as u64,
        ..config()
    };
    disk.set_capacity(2 << 20);
    let (store, _) = ChunkStore::open(config, test_env(1, &disk)).await.unwrap();
    put(&store, 1, SMALL).await.unwrap();
    assert_has(&store, 1, SMALL).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_under_a_write_refuses_that_write_alone() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, SMALL).await.unwrap();
        let mut writer = store
            .create(ChunkId(2), length as u64, Purpose::Write)
            .await
            .unwrap();
        let room = disk.used();
        // The segment's reserved room is used up first.
        let mut other = 100;
        disk.set_capacity(room);
        while put_past_the_reserve(&store, &disk, other).await.is_ok() {
            other += 1;
        }
        disk.set_capacity(disk.used());
        let mut bytes = pattern(2, length);
        let mut result = Ok(());
        while !bytes.is_empty() && result.is_ok() {
            let part = bytes.split_to(bytes.len().min(BLOCK_LEN));
            result = writer.write(part.clone(), &block_crcs(&part)).await;
        }
        let refused = match result {
            Ok(()) => writer.finish().await.unwrap_err(),
            Err(e) => e,
        };
        assert!(matches!(refused, StoreError::OutOfSpace(_)), "{refused}");
        assert_eq!(*store.failed().borrow(), None);
        disk.set_capacity(room + (8 << 20));
        put(&store, 2, length).await.unwrap();
        assert!(disk.files("/disk/incoming").is_empty());
        disk.cut_power();
        let (store, _) = open(&disk).await;
        assert_has(&store, 1, SMALL).await;
        assert_has(&store, 2, length).await;
        for chunk in 100..other {
            assert_has(&store, chunk, BLOCK_LEN).await;
        }
    }
}

/// Writes a chunk for which the store sees room while there is none but in its segment.
async fn put_past_the_reserve(
    store: &ChunkStore,
    disk: &MemoryDisk,
    chunk: u64,
) -> Result<ReplicaSummary, StoreError> {
    let capacity = disk.used();
    disk.set_capacity(capacity + (4 << 20));
    store.space().await;
    let bytes = pattern(chunk, BLOCK_LEN);
    let mut writer = store
        .create(ChunkId(chunk), BLOCK_LEN as u64, Purpose::Write)
        .await?;
    disk.set_capacity(capacity);
    writer.write(bytes.clone(), &block_crcs(&bytes)).await?;
    writer.finish().await
}

#[tokio::test(start_paused = true)]
async fn the_reserve_is_kept_from_writes_and_half_of_it_from_repairs() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    disk.set_capacity(disk.used() + (1 << 20) + 50_000);
    let length = LARGE as u64;
    let refused = store
        .create(ChunkId(1), length, Purpose::Write)
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::OutOfSpace(_)), "{refused}");
    let first = store
        .create(ChunkId(1), length, Purpose::Repair)
        .await
        .unwrap();
    let _second = store
        .create(ChunkId(2), length, Purpose::Repair)
        .await
        .unwrap();
    let refused = store
        .create(ChunkId(3), length, Purpose::Repair)
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::OutOfSpace(_)), "{refused}");
    drop(first);
    store
        .create(ChunkId(3), length, Purpose::Repair)
        .await
        .unwrap();
    assert!(store.space().await.available <= 50_000);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_wherever_it_is_and_is_kept_as_evidence() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, length).await.unwrap();
        put(&store, 2, length).await.unwrap();
        let (path, data) = match length {
            SMALL => (disk.files("/disk/segments")[0].clone(), 4096 + 68),
            _ => (chunk_path(1).into(), 4096),
        };
        disk.flip(&path, data + length as u64 - 1, 0x10);
        let last = (length as u64 - 1) / BLOCK_LEN as u64;
        let bad = store.verify(ChunkId(1)).await.unwrap_err();
        assert!(
            matches!(bad, StoreError::Corrupt { block: Some(b), .. } if b == last),
            "{bad}"
        );
        disk.flip(&path, data + length as u64 - 1, 0x10);
        store.verify(ChunkId(1)).await.unwrap();
        for offset in [0, 9, 11, 17, 25, 41, 50, 61, 65] {
            let header = if length == SMALL { 4096 } else { 0 };
            disk.flip(&path, header + offset, 0x10);
            let bad = store.open_replica(ChunkId(1)).await.unwrap_err();
            assert!(matches!(bad, StoreError::Corrupt { .. }), "{offset}: {bad}");
            disk.flip(&path, header + offset, 0x10);
        }
        store.quarantine(ChunkId(1), "a bit flipped").await.unwrap();
        assert_eq!(quarantined(&disk), 1);
        assert_eq!(listed(&store).await, [2]);
        assert_eq!(store.take_changes(10).corrupt, [ChunkId(1)]);
        put(&store, 1, length).await.unwrap();
        assert_has(&store, 1, length).await;
        assert_has(&store, 2, length).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shortage_of_file_handles_is_neither_damage_nor_a_failed_disk() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in [1, 2] {
        put(&store, chunk, SMALL).await.unwrap();
        put(&store, 10 + chunk, LARGE).await.unwrap();
    }
    disk.be_short_of_handles(true);
    for chunk in [1, 11] {
        let busy = store.open_replica(ChunkId(chunk)).await.unwrap_err();
        assert!(matches!(busy, StoreError::Busy(_)), "{busy}");
        let busy = store.verify(ChunkId(chunk)).await.unwrap_err();
        assert!(matches!(busy, StoreError::Busy(_)), "{busy}");
    }
    let busy = put(&store, 3, LARGE).await.unwrap_err();
    assert!(matches!(busy, StoreError::Busy(_)), "{busy}");
    let busy = store
        .quarantine(ChunkId(1), "so they say")
        .await
        .unwrap_err();
    assert!(matches!(busy, StoreError::Busy(_)), "{busy}");

    let scrubbed = Scrubbed::new(Timestamp(0), false);
    let busy = store.note_scrubbed(scrubbed).await.unwrap_err();
    assert!(matches!(busy, StoreError::Busy(_)), "{busy}");

    let both = [ChunkId(2), ChunkId(12)];
    let busy = store.delete(&both).await.unwrap_err();
    assert!(matches!(busy, StoreError::Busy(_)), "{busy}");

    disk.be_short_of_handles(false);
    assert_eq!(*store.failed().borrow(), None);
    assert_eq!(quarantined(&disk), 0);
    assert_eq!(listed(&store).await, [1, 2, 11, 12]);
    store.delete(&both).await.unwrap();
    put(&store, 2, SMALL).await.unwrap();
    put(&store, 12, LARGE).await.unwrap();
    put(&store, 3, LARGE).await.unwrap();
    assert_eq!(listed(&store).await, [1, 2, 3, 11, 12]);
    assert_has(&store, 1, SMALL).await;
    assert_has(&store, 11, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_stamp_a_disk_is_gone_and_its_replicas_are_not_corrupt() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    // One file that is missing is that replica's loss.
    disk.remove_file(Path::new(&chunk_path(1))).unwrap();
    let gone = store.open_replica(ChunkId(1)).await.unwrap_err();
    assert!(matches!(gone, StoreError::Corrupt { .. }), "{gone}");
    assert_eq!(*store.failed().borrow(), None);

    disk.remove_file(Path::new("/disk/stamp")).unwrap();
    disk.remove_file(Path::new(&chunk_path(2))).unwrap();
    let gone = store.open_replica(ChunkId(2)).await.unwrap_err();
    assert!(matches!(gone, StoreError::Failed(_)), "{gone}");
    assert!(
        store
            .failed()
            .borrow()
            .as_ref()
            .unwrap()
            .contains("mounted")
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_became_short_is_corrupt_not_short_data() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, LARGE).await.unwrap();
    let reader = store.open_replica(ChunkId(1)).await.unwrap();
    disk.damage(chunk_path(1), |bytes| bytes.truncate(100_000));
    let bad = store.open_replica(ChunkId(1)).await.unwrap_err();
    assert!(matches!(bad, StoreError::Corrupt { .. }), "{bad}");
    let bad = reader
        .read(ByteRange::new(0, LARGE as u64))
        .await
        .unwrap_err();
    assert!(matches!(bad, StoreError::Corrupt { .. }), "{bad}");
}

#[tokio::test(start_paused = true)]
async fn the_index_waits_for_room_and_loses_nothing() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let mut chunk = 0;
    while chunk < 30 {
        put(&store, chunk, 2000).await.unwrap();
        chunk += 1;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    disk.set_capacity(disk.used());
    store
        .delete(&(0..10).map(ChunkId).collect::<Vec<_>>())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*store.failed().borrow(), None);
    assert_eq!(listed(&store).await, (10..30).collect::<Vec<_>>());
    disk.set_capacity(1 << 30);
    tokio::time::sleep(Duration::from_secs(5)).await;
    disk.cut_power();
    let (store, _) = open(&disk).await;
    assert_eq!(listed(&store).await, (10..30).collect::<Vec<_>>());
}

/// A store with chunks 1 (small) and 2 (large) after a power cut, which has nothing but those
/// and perhaps chunk 3.
async fn assert_only_3_is_open(disk: &MemoryDisk, length: usize) {
    disk.cut_power();
    let (store, _) = open(disk).await;
    assert_has(&store, 1, SMALL).await;
    assert_has(&store, 2, LARGE).await;
    match &listed(&store).await[..] {
        [1, 2] => {}
        [1, 2, 3] => assert_has(&store, 3, length).await,
        other => panic!("{other:?}"),
    }
    put(&store, 3, length).await.unwrap();
    assert_has(&store, 3, length).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_fails_the_directory_and_leaves_no_half_replica() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, SMALL).await.unwrap();
        put(&store, 2, LARGE).await.unwrap();
        disk.fail_writes(1);
        let failed = put(&store, 3, length).await.unwrap_err();
        assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
        assert!(store.failed().borrow().is_some());
        let refused = put(&store, 4, SMALL).await.unwrap_err();
        assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
        assert_has(&store, 1, SMALL).await;
        assert_eq!(listed(&store).await, [1, 2]);
        assert_only_3_is_open(&disk, length).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_directory_sync_fails_the_directory_and_nothing_is_acknowledged() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    disk.fail_directory_syncs(1);
    let failed = put(&store, 3, LARGE).await.unwrap_err();
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    assert!(store.failed().borrow().is_some());
    // Its name may be there; nobody was told so.
    assert_eq!(listed(&store).await, [1, 2]);
    assert_only_3_is_open(&disk, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn a_segment_whose_name_is_not_durable_holds_nothing() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    disk.fail_directory_syncs(1);
    let failed = put(&store, 1, SMALL).await.unwrap_err();
    assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
    assert!(store.failed().borrow().is_some());
    disk.cut_power();
    let (store, _) = open(&disk).await;
    assert!(listed(&store).await.is_empty());
    put(&store, 1, SMALL).await.unwrap();
    assert_has(&store, 1, SMALL).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_be_read_is_corrupt_and_the_directory_goes_on() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, length).await.unwrap();
        let reader = store.open_replica(ChunkId(1)).await.unwrap();
        let path = match length {
            SMALL => disk.files("/disk/segments")[0].clone(),
            _ => chunk_path(1).into(),
        };
        disk.fail_reads_of(&path, true);
        let bad = reader.read(ByteRange::new(0, 10)).await.unwrap_err();
        assert!(
            matches!(bad, StoreError::Corrupt { block: Some(0), .. }),
            "{bad}"
        );
        let bad = store.open_replica(ChunkId(1)).await.unwrap_err();
        assert!(matches!(bad, StoreError::Corrupt { .. }), "{bad}");
        let bad = store.verify(ChunkId(1)).await.unwrap_err();
        assert!(matches!(bad, StoreError::Corrupt { .. }), "{bad}");
        assert_eq!(*store.failed().borrow(), None);
        put(&store, 2, LARGE).await.unwrap();
        store.quarantine(ChunkId(1), "unreadable").await.unwrap();
        put(&store, 1, LARGE).await.unwrap();
        assert_has(&store, 1, LARGE).await;
        assert_eq!(quarantined(&disk), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_cannot_be_read_is_kept_aside_and_built_anew() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    store.close().await.unwrap();
    disk.fail_reads_of("/disk/index.redb", true);
    let (store, report) = open(&disk).await;
    assert!(report.index_rebuilt && !report.clean);
    assert_eq!((report.adopted, report.quarantined), (2, 1));
    assert_has(&store, 1, SMALL).await;
    assert_has(&store, 2, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn a_committer_that_panics_fails_the_directory_and_reads_go_on() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 1, SMALL).await.unwrap();
    put(&store, 2, LARGE).await.unwrap();
    let mut failed = store.failed();
    disk.panic_on_write();
    let refused = put(&store, 3, SMALL).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
    let reason = failed.wait_for(Option::is_some).await.unwrap().clone();
    assert!(reason.unwrap().contains("panicked"));
    let refused = store.delete(&[ChunkId(1)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)), "{refused}");
    assert_has(&store, 1, SMALL).await;
    assert_has(&store, 2, LARGE).await;
    disk.kill_process();
    assert_only_3_is_open(&disk, SMALL).await;
}
