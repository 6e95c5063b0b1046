//! Writing, reading, listing, deleting.

use futures::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_finished_is_read_back_bit_by_bit() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let lengths = [
        0,
        1,
        SMALL,
        BLOCK_LEN,
        2 * BLOCK_LEN,
        2 * BLOCK_LEN + 1,
        LARGE,
    ];
    for (chunk, length) in lengths.into_iter().enumerate() {
        put(&store, chunk as u64, length).await.unwrap();
    }
    for (chunk, length) in lengths.into_iter().enumerate() {
        assert_has(&store, chunk as u64, length).await;
        store.verify(ChunkId(chunk as u64)).await.unwrap();
    }
    assert_eq!(store.replicas(), lengths.len() as u64);
    assert_eq!(disk.files("/disk/chunks").len(), 2);
    assert!(disk.files("/disk/incoming").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_returns_the_blocks_that_cover_the_range() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 7, LARGE).await.unwrap();
    let reader = store.open_replica(ChunkId(7)).await.unwrap();
    let range = ByteRange::new(BLOCK_LEN as u64 + 5, BLOCK_LEN as u64);
    let run = reader.read(range).await.unwrap();
    assert_eq!(run.offset, BLOCK_LEN as u64);
    assert_eq!(run.bytes.len(), 2 * BLOCK_LEN);
    assert_eq!(run.bytes, pattern(7, LARGE)[BLOCK_LEN..3 * BLOCK_LEN]);
    for wrong in [(0, 0), (LARGE as u64, 1), (u64::MAX, 2)] {
        let wrong = ByteRange::new(wrong.0, wrong.1);
        let refused = reader.read(wrong).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn finishing_the_same_chunk_twice_keeps_one_and_other_bytes_are_refused() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for length in [SMALL, LARGE] {
        let chunk = length as u64;
        let first = put(&store, chunk, length).await.unwrap();
        assert_eq!(put(&store, chunk, length).await.unwrap(), first);
        let other = put_bytes(&store, chunk, pattern(3, length)).await;
        assert_eq!(other, Err(StoreError::Exists(ChunkId(chunk))));
        assert_has(&store, chunk, length).await;
    }
    assert_eq!(store.replicas(), 2);
    // The next operation comes after what was left is removed.
    store.delete(&[]).await.unwrap();
    assert!(disk.files("/disk/incoming").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_replica_does_not_stand_in_for_one_that_arrives() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    put(&store, 5, LARGE).await.unwrap();
    disk.flip(chunk_path(5), 4096 + 70_000, 1);
    put(&store, 5, LARGE).await.unwrap();
    assert_has(&store, 5, LARGE).await;
    assert_eq!(quarantined(&disk), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_fail_their_checksum_are_refused_on_arrival() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let mut writer = store.create(ChunkId(1), 100, Purpose::Write).await.unwrap();
    let refused = writer
        .write(Bytes::from_static(b"abc"), &[7])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Corrupt { block: Some(0), .. }),
        "{refused}"
    );
    assert!(matches!(writer.finish().await, Err(StoreError::Invalid(_))));
    assert_eq!(store.replicas(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_short_block_or_exceeds_what_was_announced() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for (first, second) in [(10, 10), (BLOCK_LEN, BLOCK_LEN)] {
        let mut writer = store
            .create(ChunkId(1), 100_000, Purpose::Write)
            .await
            .unwrap();
        let (first, second) = (pattern(1, first), pattern(1, second));
        writer
            .write(first.clone(), &block_crcs(&first))
            .await
            .unwrap();
        let refused = writer.write(second.clone(), &block_crcs(&second)).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_writer_leaves_nothing() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let mut writer = store
        .create(ChunkId(1), LARGE as u64, Purpose::Write)
        .await
        .unwrap();
    let bytes = pattern(1, 3 * BLOCK_LEN);
    writer
        .write(bytes.clone(), &block_crcs(&bytes))
        .await
        .unwrap();
    assert_eq!(disk.files("/disk/incoming").len(), 1);
    drop(writer);
    // The next operation comes after the removal.
    store.delete(&[]).await.unwrap();
    assert!(disk.files("/disk/incoming").is_empty());
    assert_eq!(
        store.open_replica(ChunkId(1)).await.unwrap_err(),
        StoreError::NotFound(ChunkId(1))
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_frees_the_room_and_touches_no_other_chunk() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in 0..6 {
        let length = if chunk % 2 == 0 { SMALL * 4 } else { LARGE };
        put(&store, chunk, length).await.unwrap();
    }
    // The index grows in the meantime.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = disk.used();
    let gone: Vec<ChunkId> = [0, 1, 2, 3, 99].map(ChunkId).to_vec();
    store.delete(&gone).await.unwrap();
    store.delete(&gone).await.unwrap();
    assert!(before - disk.used() >= 2 * (20_000 + LARGE as u64));
    assert_eq!(listed(&store).await, [4, 5]);
    assert_has(&store, 4, SMALL * 4).await;
    assert_has(&store, 5, LARGE).await;
}

#[tokio::test(start_paused = true)]
async fn a_segment_without_replicas_is_removed_once_it_is_sealed() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in 0..20 {
        put(&store, chunk, BLOCK_LEN).await.unwrap();
    }
    assert_eq!(disk.files("/disk/segments").len(), 3);
    let first: Vec<ChunkId> = (0..8).map(ChunkId).collect();
    store.delete(&first).await.unwrap();
    assert_eq!(disk.files("/disk/segments").len(), 2);
    for chunk in 8..20 {
        assert_has(&store, chunk, BLOCK_LEN).await;
    }
}

#[tokio::test(start_paused = true)]
async fn small_chunks_that_are_finished_together_share_a_sync() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    // The segment they go to is there already.
    put(&store, 0, SMALL).await.unwrap();
    let before = disk.changes();
    let written = join_all((1..=60).map(|chunk| put(&store, chunk, 100))).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(disk.changes() - before, 2, "one write and one sync");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_deleted_replica_gets_neither_zeroes_nor_what_was_there() {
    for length in [SMALL, LARGE] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        put(&store, 1, length).await.unwrap();
        put(&store, 2, length).await.unwrap();
        let reader = store.open_replica(ChunkId(1)).await.unwrap();
        store.delete(&[ChunkId(1)]).await.unwrap();
        let gone = StoreError::NotFound(ChunkId(1));
        let read = reader.read(ByteRange::new(0, 10)).await;
        assert_eq!(read, Err(gone.clone()));
        assert_eq!(reader.verify().await, Err(gone));
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_in_order_and_in_parts_wherever_the_rows_are() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    for chunk in (0..20).rev() {
        put(&store, chunk * 1000, 100).await.unwrap();
        if chunk == 10 {
            // Half of the rows reach redb.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    store.delete(&[ChunkId(3000)]).await.unwrap();
    put(&store, 15_500, 100).await.unwrap();
    let mut all = Vec::new();
    let mut from = ChunkId(0);
    loop {
        let part = store.list(from, 3).await.unwrap();
        let Some(last) = part.last() else { break };
        from = ChunkId(last.chunk.0 + 1);
        all.extend(part.iter().map(|r| r.chunk.0));
    }
    let mut expected: Vec<u64> = (0..20).filter(|c| *c != 3).map(|c| c * 1000).collect();
    expected.insert(15, 15_500);
    assert_eq!(all, expected);
}

#[tokio::test(start_paused = true)]
async fn changes_say_the_last_thing_that_happened_and_can_be_put_back() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    let one = put(&store, 1, 10).await.unwrap();
    put(&store, 2, 10).await.unwrap();
    put(&store, 3, LARGE).await.unwrap();
    store.delete(&[ChunkId(2)]).await.unwrap();
    store.quarantine(ChunkId(3), "a test").await.unwrap();
    store.wait_for_changes().await;
    let changes = store.take_changes(10);
    assert_eq!(changes.present, [one]);
    assert_eq!(
        (changes.absent.clone(), changes.corrupt.clone()),
        (vec![ChunkId(2)], vec![ChunkId(3)])
    );
    assert!(store.take_changes(10).is_empty());
    store.delete(&[ChunkId(1)]).await.unwrap();
    store.put_back_changes(changes);
    let again = store.take_changes(10);
    assert_eq!(again.present, []);
    assert_eq!(again.absent, [ChunkId(1), ChunkId(2)]);
}

#[tokio::test]
async fn a_real_disk_keeps_what_was_written_by_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || StoreConfig {
        directory: directory.path().join("store"),
        reserve: Reserve {
            bytes: 0,
            percent: 0,
        },
        ..config()
    };
    let env = crate::env::Env::real();
    let (store, _) = ChunkStore::open(settings(), env.clone()).await.unwrap();
    let writes = (0..40).map(|c| put(&store, c, if c % 4 == 0 { LARGE } else { SMALL }));
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    store.delete(&[ChunkId(1), ChunkId(4)]).await.unwrap();
    let second = ChunkStore::open(settings(), env.clone()).await.unwrap_err();
    assert!(
        matches!(&second, StoreError::Invalid(e) if e.contains("locked")),
        "{second}"
    );
    store.close().await.unwrap();
    let (store, report) = ChunkStore::open(settings(), env).await.unwrap();
    assert!(report.clean && report.findings.is_empty());
    for chunk in (0..40).filter(|c| ![1, 4].contains(c)) {
        assert_has(&store, chunk, if chunk % 4 == 0 { LARGE } else { SMALL }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn neighbours_deleted_together_become_one_hole_that_hides_no_other() {
    for rebuild in [false, true] {
        let disk = MemoryDisk::new(1);
        let (store, _) = open(&disk).await;
        for chunk in 0..32 {
            put(&store, chunk, SMALL).await.unwrap();
        }
        // Until the index has them.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (used, changes) = (disk.used(), disk.changes());
        let neighbours: Vec<ChunkId> = (1..31).filter(|c| *c != 9).map(ChunkId).collect();
        store.delete(&neighbours).await.unwrap();
        // Most of it is the index; a mark and a hole for each record would be 58 alone.
        let changes = disk.changes() - changes;
        assert!(changes < 45, "{changes}");
        // Two runs of records, three pages each, keep one page each; the index may have grown.
        let freed = used - disk.used();
        assert!(freed >= (29 * 3 - 2 - 8) * 4096, "{freed}");
        store.delete(&[ChunkId(0)]).await.unwrap();
        put(&store, 40, SMALL).await.unwrap();
        let left = [9, 31, 40];
        match rebuild {
            true => {
                store.close().await.unwrap();
                crate::env::Disk::remove_file(&disk, "/disk/index.redb".as_ref()).unwrap();
            }
            false => disk.cut_power(),
        }
        let (store, report) = open(&disk).await;
        assert_eq!((report.noticed, report.quarantined, report.lost), (0, 0, 0));
        assert_eq!(listed(&store).await, left);
        for chunk in left {
            assert_has(&store, chunk, SMALL).await;
        }
        store.delete(&left.map(ChunkId)).await.unwrap();
        put(&store, 50, SMALL).await.unwrap();
        assert_eq!(quarantined(&disk), 0);
        assert_has(&store, 50, SMALL).await;
    }
}

/// Numbers below `count`, by seeming chance, each once; `count` is no multiple of 7.
fn scrambled(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |at| at * 7 % count)
}

#[tokio::test(start_paused = true)]
async fn records_deleted_one_by_one_give_their_room_back_but_a_page_for_each_run() {
    let disk = MemoryDisk::new(1);
    let (store, _) = open(&disk).await;
    // Three pages each, so 44 in each of two segments, and some in a third.
    for chunk in 0..100 {
        put(&store, chunk, SMALL).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let is_kept = |chunk: &u64| chunk.is_multiple_of(20);
    let before = disk.used();
    for chunk in scrambled(100).filter(|chunk| !is_kept(chunk)) {
        store.delete(&[ChunkId(chunk)]).await.unwrap();
    }

    // Of those in the third a page stays, of the others one of each of six runs; the records that
    // went since the last time they were joined keep theirs, and the index may have grown.
    let freed = (before - disk.used()) / 4096;
    assert!(freed >= 95 * 3 - 12 - 6 - 10 - 8, "{freed}");
    for rebuild in [false, true] {
        if rebuild {
            crate::env::Disk::remove_file(&disk, "/disk/index.redb".as_ref()).unwrap();
        }
        disk.cut_power();
        let (store, report) = open(&disk).await;
        assert_eq!((report.noticed, report.quarantined, report.lost), (0, 0, 0));
        let kept: Vec<u64> = (0..100).filter(is_kept).collect();
        assert_eq!(listed(&store).await, kept);
        for chunk in kept {
            assert_has(&store, chunk, SMALL).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn power_may_go_while_deleted_records_are_joined() {
    const LENGTH: usize = 5_000;
    for changes in (0..400).step_by(3) {
        let disk = MemoryDisk::new(changes);
        let (store, _) = open(&disk).await;
        // A segment and a part of the next.
        for chunk in 0..70 {
            put(&store, chunk, LENGTH).await.unwrap();
        }
        disk.lose_power_after(changes);
        let (mut asked, mut gone) = (Vec::new(), Vec::new());
        for chunk in scrambled(60).filter(|chunk| !chunk.is_multiple_of(9)) {
            asked.push(chunk);
            if store.delete(&[ChunkId(chunk)]).await.is_ok() {
                gone.push(chunk);
            }
        }
        drop(store);
        for rebuild in [false, true] {
            disk.cut_power();
            let index = "/disk/index.redb".as_ref();
            if rebuild && crate::env::Disk::exists(&disk, index).unwrap() {
                crate::env::Disk::remove_file(&disk, index).unwrap();
            }
            let (store, report) = open(&disk).await;
            assert_eq!((report.noticed, report.quarantined), (0, 0), "{changes}");
            let left = listed(&store).await;
            assert!(gone.iter().all(|chunk| !left.contains(chunk)), "{changes}");
            for chunk in (0..70).filter(|chunk| !asked.contains(chunk)) {
                assert_has(&store, chunk, LENGTH).await;
            }
        }
    }
}
