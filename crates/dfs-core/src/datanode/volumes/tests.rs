//! Several volumes look like one, and fail one by one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised fails"
)]

use bytes::Bytes;

use super::*;
use crate::testing::{MemoryDisk, test_env};
use crate::types::checksum::block_crcs;

const A: &str = "/a";
const B: &str = "/b";
const CHUNKS: u64 = 40;

fn config(directories: &[&str]) -> DataNodeConfig {
    let mut config = DataNodeConfig::new(directories[0], vec!["m:1".to_owned()]);
    config.more = directories[1..].iter().map(PathBuf::from).collect();
    config.store.reserve.bytes = 0;
    config.store.small_chunk_max = 10_000;
    config.store.segment_size = 1 << 20;
    config
}

async fn open(disk: &MemoryDisk, config: &DataNodeConfig) -> Result<Volumes, StoreError> {
    let opened = Volumes::open(config, &test_env(1, disk)).await;
    opened.map(|(volumes, _)| volumes)
}

/// A new node with two volumes.
async fn two(disk: &MemoryDisk) -> Volumes {
    let mut config = config(&[A, B]);
    config.store.initialize = true;
    open(disk, &config).await.unwrap()
}

fn content(chunk: u64) -> Bytes {
    // Some are packed, some have a file.
    let length = if chunk.is_multiple_of(2) {
        5_000
    } else {
        50_000
    };
    Bytes::from(vec![chunk as u8; length])
}

async fn write(volumes: &Volumes, chunk: u64) -> Result<(), StoreError> {
    let bytes = content(chunk);
    let writer = volumes.create(ChunkId(chunk), bytes.len() as u64, Purpose::Write);
    let mut writer = writer.await?;
    let crcs = block_crcs(&bytes);
    writer.write(bytes, &crcs).await?;
    writer.finish().await.map(|_| ())
}

async fn fill(volumes: &Volumes) {
    for chunk in 1..=CHUNKS {
        write(volumes, chunk).await.unwrap();
    }
}

async fn listed(volumes: &Volumes) -> Vec<u64> {
    let (mut all, mut from) = (Vec::new(), ChunkId(0));
    loop {
        let page = volumes.list(from, 7).await.unwrap();
        let Some(last) = page.last() else {
            return all;
        };
        from = ChunkId(last.chunk.0 + 1);
        all.extend(page.iter().map(|replica| replica.chunk.0));
    }
}

async fn on(volume: &Volume) -> Vec<u64> {
    let all = volume.store.list(ChunkId(0), 1000).await.unwrap();
    all.iter().map(|replica| replica.chunk.0).collect()
}

fn all() -> Vec<u64> {
    (1..=CHUNKS).collect()
}

#[tokio::test]
async fn replicas_are_spread_and_each_is_on_one_volume() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;

    let (a, b) = (on(&volumes.all[0]).await, on(&volumes.all[1]).await);
    assert!(a.len() >= 10 && b.len() >= 10, "{a:?} {b:?}");
    let mut both = [a, b].concat();
    both.sort_unstable();
    assert_eq!(both, all());
    assert_eq!(listed(&volumes).await, all());
    let changes = volumes.take_changes(1000).await;
    assert_eq!(changes.present.len(), both.len());
    for chunk in all() {
        volumes.verify(ChunkId(chunk)).await.unwrap();
    }

    let gone: Vec<ChunkId> = (1..=10).map(ChunkId).collect();
    volumes.delete(&gone).await.unwrap();
    assert_eq!(listed(&volumes).await, (11..=CHUNKS).collect::<Vec<_>>());
    let mut absent = volumes.take_changes(1000).await.absent;
    absent.sort_unstable();
    assert_eq!(absent, gone);
}

#[tokio::test]
async fn a_chunk_that_two_write_at_a_time_is_on_one_volume() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    for chunk in 1..=CHUNKS {
        let bytes = content(chunk);
        let length = bytes.len() as u64;
        let mut first = volumes
            .create(ChunkId(chunk), length, Purpose::Write)
            .await
            .unwrap();
        let mut second = volumes
            .create(ChunkId(chunk), length, Purpose::Repair)
            .await
            .unwrap();
        for writer in [&mut first, &mut second] {
            let crcs = block_crcs(&bytes);
            writer.write(bytes.clone(), &crcs).await.unwrap();
        }
        first.finish().await.unwrap();
        second.finish().await.unwrap();
        write(&volumes, chunk).await.unwrap();
    }
    assert_eq!(volumes.replicas(), CHUNKS);
    assert!(volumes.writing.is_empty());
}

#[tokio::test]
async fn a_volume_whose_disk_fails_is_taken_out_alone_and_for_good() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let on_a = on(&volumes.all[0]).await;
    let on_b = on(&volumes.all[1]).await;
    volumes.take_changes(1000).await;

    disk.break_below(B, true);
    let mut failures = 0;
    for chunk in CHUNKS + 1..=2 * CHUNKS {
        failures += u64::from(write(&volumes, chunk).await.is_err());
    }
    // It works again, or says so: what it lost is not known.
    disk.break_below(B, false);

    assert_eq!(failures, 1, "the write that met the failure, and no other");
    assert_eq!(volumes.failed(), None);
    let told = volumes.tell(Timestamp(0)).await;
    assert_eq!(told[0].failed, None);
    assert!(told[1].failed.is_some());
    volumes.wait_for_changes().await;
    assert!(
        volumes.take_changes(1000).await.overflowed,
        "a full report is due"
    );
    assert!(
        !volumes.take_changes(1000).await.overflowed,
        "one is enough"
    );
    let now = listed(&volumes).await;
    assert!(on_a.iter().all(|chunk| now.contains(chunk)));
    assert!(!on_b.iter().any(|chunk| now.contains(chunk)));
    // What it held comes back by a repair, and goes to the other one.
    for chunk in &on_b {
        let missing = volumes.verify(ChunkId(*chunk)).await;
        assert_eq!(missing, Err(StoreError::NotFound(ChunkId(*chunk))));
        // Until then it may be the last one.
        volumes.open_in_spite(ChunkId(*chunk)).await.unwrap();
        write(&volumes, *chunk).await.unwrap();
    }
    assert!(
        all()
            .iter()
            .all(|chunk| !on_b.contains(chunk) || chunk > &0)
    );
    assert_eq!(volumes.all[0].store.replicas(), volumes.replicas());
}

#[tokio::test]
async fn a_failed_sync_is_believed_and_the_volume_takes_no_more_writes() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let b = volumes.all[1].store.replicas();
    let mut chunk = CHUNKS;
    while volumes
        .all
        .iter()
        .all(|volume| volume.store.failed().borrow().is_none())
    {
        chunk += 1;
        // The next sync of all: whichever volume it is.
        disk.fail_syncs(1);
        write(&volumes, chunk).await.unwrap_err();
    }
    let failed = volumes
        .all
        .iter()
        .position(|v| v.store.failed().borrow().is_some());
    let failed = failed.unwrap();
    let before = volumes.all[failed].store.replicas();
    for more in chunk + 1..chunk + 20 {
        write(&volumes, more).await.unwrap();
    }
    assert_eq!(volumes.all[failed].store.replicas(), before, "{b}");
    let counted: u64 = volumes
        .in_use()
        .iter()
        .map(|(_, v)| v.store.replicas())
        .sum();
    assert_eq!(listed(&volumes).await.len() as u64, counted);
    assert_eq!(volumes.in_use().len(), 1);
}

#[tokio::test]
async fn the_node_has_failed_when_all_of_its_volumes_have_and_serves_what_it_can_read() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    for volume in [A, B] {
        disk.break_below(volume, true);
    }
    for chunk in CHUNKS + 1..CHUNKS + 20 {
        write(&volumes, chunk).await.unwrap_err();
    }
    let why = volumes.failed().unwrap();
    assert!(why.contains("/a: ") && why.contains("/b: "), "{why}");
    for volume in [A, B] {
        disk.break_below(volume, false);
    }
    assert_eq!(listed(&volumes).await, all());
    volumes.verify(ChunkId(1)).await.unwrap();
}

#[tokio::test]
async fn a_volume_that_is_full_leaves_writes_to_the_other_and_all_full_refuse() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    disk.set_capacity(disk.used());
    let refused = write(&volumes, CHUNKS + 1).await.unwrap_err();
    assert!(matches!(refused, StoreError::OutOfSpace(_)), "{refused}");
    assert_eq!(volumes.failed(), None, "a full disk is no failure");
    disk.set_capacity(1 << 30);
    write(&volumes, CHUNKS + 1).await.unwrap();
}

#[tokio::test]
async fn a_volume_many_of_whose_replicas_cannot_be_read_is_taken_out() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    for chunk in 1..=4 * CHUNKS {
        write(&volumes, chunk).await.unwrap();
    }
    let on_b = on(&volumes.all[1]).await;
    for file in disk.files("/b/chunks") {
        disk.fail_reads_of(file, true);
    }
    for chunk in on_b.iter().filter(|chunk| !chunk.is_multiple_of(2)) {
        // One bad sector is one bad replica; a disk full of them is a bad disk.
        let read = volumes.verify(ChunkId(*chunk)).await;
        read.unwrap_err();
    }
    let told = volumes.tell(Timestamp(0)).await;
    assert_eq!(told[0].failed, None);
    let why = told[1].failed.clone().unwrap();
    assert!(why.contains("cannot be read"), "{why}");
}

/// Moves all that a volume has, as far as it can be moved; what stayed.
async fn empty(volumes: &Volumes, at: usize) -> Vec<u64> {
    let volume = &volumes.all[at];
    for replica in volume.store.list(ChunkId(0), 1000).await.unwrap() {
        let moved = volumes.move_off(volume, replica).await;
        let is_still_here = volume.store.holds(replica.chunk).await.unwrap();
        assert_eq!(moved.is_err(), is_still_here, "{moved:?}");
    }
    on(volume).await
}

/// The same two volumes; B is to be taken out.
async fn leaving_b(disk: &MemoryDisk) -> Volumes {
    let mut config = config(&[A, B]);
    config.leave = vec![PathBuf::from(B)];
    open(disk, &config).await.unwrap()
}

#[tokio::test]
async fn a_volume_that_is_left_is_emptied_into_the_others_and_takes_nothing_new() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let on_b = on(&volumes.all[1]).await;
    assert!(on_b.len() >= 10, "{on_b:?}");
    volumes.close().await.unwrap();

    let volumes = leaving_b(&disk).await;
    volumes.take_changes(1000).await;
    for chunk in CHUNKS + 1..CHUNKS + 20 {
        write(&volumes, chunk).await.unwrap();
    }
    assert_eq!(on(&volumes.all[1]).await, on_b);
    assert_eq!(empty(&volumes, 1).await, Vec::<u64>::new());
    let told = volumes.tell(Timestamp(0)).await;
    assert!(told[1].leaving && told[1].replicas == 0 && !told[0].leaving);
    // To the masters nothing has gone.
    assert_eq!(volumes.take_changes(1000).await.absent, []);
    volumes.close().await.unwrap();

    let mut without = config(&[A]);
    without.forget = vec![VolumeId(1)];
    let volumes = open(&disk, &without).await.unwrap();
    assert_eq!(listed(&volumes).await, (1..CHUNKS + 20).collect::<Vec<_>>());
    for chunk in 1..CHUNKS + 20 {
        volumes.verify(ChunkId(chunk)).await.unwrap();
    }
}

/// Flips a bit of a replica that has a file of its own.
fn rot(disk: &MemoryDisk, directory: &str, chunk: u64) {
    let name = format!("{chunk:016x}");
    let files = disk.files(directory);
    let file = files
        .iter()
        .find(|file| file.to_string_lossy().contains(&name));
    let file = file.unwrap_or_else(|| panic!("{name} of {files:?}"));
    disk.flip(file, 30_000, 1);
}

#[tokio::test]
async fn what_is_corrupt_or_finds_no_room_stays_on_a_volume_that_is_left() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    volumes.close().await.unwrap();
    let volumes = leaving_b(&disk).await;
    let on_b = on(&volumes.all[1]).await;

    disk.set_capacity(disk.used());
    assert_eq!(empty(&volumes, 1).await, on_b);
    assert_eq!(listed(&volumes).await, all());
    disk.set_capacity(1 << 30);

    // A long one has a file of its own.
    let bad = *on_b.iter().find(|chunk| !chunk.is_multiple_of(2)).unwrap();
    rot(&disk, "/b/chunks", bad);
    assert_eq!(empty(&volumes, 1).await, [bad]);
    assert!(!on(&volumes.all[0]).await.contains(&bad));
}

#[tokio::test]
async fn what_another_volume_has_with_other_bytes_is_no_copy_and_nothing_is_deleted() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    volumes.close().await.unwrap();
    let volumes = leaving_b(&disk).await;
    let chunk = ChunkId(on(&volumes.all[1]).await[0]);
    let other = Bytes::from_static(b"other");
    let create = volumes.all[0].store.create(chunk, 5, Purpose::Write);
    let mut writer = create.await.unwrap();
    writer
        .write(other.clone(), &block_crcs(&other))
        .await
        .unwrap();
    writer.finish().await.unwrap();
    assert_eq!(empty(&volumes, 1).await, [chunk.0]);
    volumes.all[1].store.verify(chunk).await.unwrap();
}

#[tokio::test]
async fn a_move_that_the_loss_of_power_cuts_short_loses_nothing_and_goes_on() {
    let few = 1..=8;
    for changes in 0.. {
        let disk = MemoryDisk::new(changes);
        let volumes = two(&disk).await;
        for chunk in few.clone() {
            write(&volumes, chunk).await.unwrap();
        }
        volumes.close().await.unwrap();
        let volumes = leaving_b(&disk).await;
        disk.lose_power_after(changes);
        for chunk in few.clone().map(ChunkId) {
            let volume = &volumes.all[1];
            if let Ok(reader) = volume.store.open_replica(chunk).await {
                let replica = ReplicaSummary {
                    chunk,
                    length: reader.length(),
                    checksum: reader.checksum(),
                };
                let _ = volumes.move_off(volume, replica).await;
            }
        }
        let is_done = !disk.is_off();
        // Its threads end; on a disk without power that changes nothing.
        let _ = volumes.close().await;
        disk.cut_power();

        let volumes = leaving_b(&disk).await;
        assert_eq!(listed(&volumes).await, few.clone().collect::<Vec<_>>());
        for chunk in few.clone() {
            volumes.verify(ChunkId(chunk)).await.unwrap();
        }
        assert_eq!(empty(&volumes, 1).await, Vec::<u64>::new(), "{changes}");
        assert_eq!(on(&volumes.all[0]).await, few.clone().collect::<Vec<_>>());
        if is_done {
            return;
        }
    }
}

#[tokio::test]
async fn a_volume_that_is_not_mounted_is_missed_and_is_whole_when_it_is_back() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let on_b = on(&volumes.all[1]).await;
    volumes.close().await.unwrap();
    disk.rename_directory(B, "/elsewhere");

    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    let now = listed(&volumes).await;
    assert!(!on_b.iter().any(|chunk| now.contains(chunk)));
    let told = volumes.tell(Timestamp(0)).await;
    assert!(
        told[1]
            .failed
            .as_ref()
            .unwrap()
            .contains("is the disk mounted")
    );
    volumes.close().await.unwrap();
    assert_eq!(
        disk.files(B),
        Vec::<PathBuf>::new(),
        "no new store is made there"
    );

    disk.rename_directory("/elsewhere", B);
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    assert_eq!(listed(&volumes).await, all());
}

#[tokio::test]
async fn what_was_made_again_while_a_volume_was_away_is_there_once_in_the_end_and_right() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let on_b = on(&volumes.all[1]).await;
    volumes.close().await.unwrap();
    disk.rename_directory(B, "/elsewhere");
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    for &chunk in &on_b {
        write(&volumes, chunk).await.unwrap();
    }
    volumes.close().await.unwrap();
    disk.rename_directory("/elsewhere", B);
    // A long one has a file of its own. One that was made again rotted, and one that came back.
    let long: Vec<u64> = on_b.iter().copied().filter(|c| c % 2 == 1).collect();
    rot(&disk, "/a/chunks", long[0]);
    rot(&disk, "/b/chunks", long[1]);
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    volumes.take_changes(1000).await;

    for replica in volumes.all[1].store.list(ChunkId(0), 1000).await.unwrap() {
        let left = volumes.leave_one((1, &volumes.all[1]), replica).await;
        assert!(left.unwrap(), "{replica:?}");
    }

    assert_eq!(on(&volumes.all[1]).await, [long[0]]);
    assert_eq!(listed(&volumes).await, all());
    assert_eq!(volumes.replicas(), CHUNKS);
    assert_eq!(volumes.take_changes(1000).await.absent, []);
    for chunk in all() {
        volumes.verify(ChunkId(chunk)).await.unwrap();
    }
    assert!(volumes.writing.is_empty());
}

#[tokio::test]
async fn a_volume_that_is_left_out_is_asked_for_until_it_is_given_up() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    volumes.close().await.unwrap();

    let refused = open(&disk, &config(&[A])).await.unwrap_err();
    let missed = StoreError::Missing {
        volume: VolumeId(1),
        directory: B.to_owned(),
    };
    assert_eq!(refused, missed);
    // Neither directory was taken by that.
    let mut giving_up = config(&[A]);
    giving_up.forget = vec![VolumeId(1)];
    open(&disk, &giving_up)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    open(&disk, &config(&[A]))
        .await
        .unwrap()
        .close()
        .await
        .unwrap();

    let back = open(&disk, &config(&[A, B])).await.unwrap_err();
    assert!(back.to_string().contains("was given up"), "{back}");
    let third = open(&disk, &config(&[A, "/c"])).await.unwrap();
    assert_eq!(third.all[1].id, VolumeId(2), "no id is given twice");
}

#[tokio::test]
async fn a_node_with_one_directory_gets_another_and_keeps_what_it_has() {
    let disk = MemoryDisk::new(1);
    let mut alone = config(&[A]);
    alone.store.initialize = true;
    let volumes = open(&disk, &alone).await.unwrap();
    fill(&volumes).await;
    volumes.close().await.unwrap();
    assert!(!disk.files(A).contains(&Path::new("/a/volumes").to_owned()));

    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    assert_eq!(listed(&volumes).await, all());
    assert_eq!(volumes.all[1].store.stamp().key, volumes.stamp().key);
    write(&volumes, CHUNKS + 1).await.unwrap();
    volumes.close().await.unwrap();
    // In any order, and where it is mounted now; the papers are where they were.
    disk.put("/a/papers", b"ours");
    disk.rename_directory(B, "/b2");
    let volumes = open(&disk, &config(&["/b2", A])).await.unwrap();
    assert_eq!(listed(&volumes).await.len() as u64, CHUNKS + 1);
    assert_eq!(volumes.all[0].id, VolumeId(1));
    assert_eq!(volumes.home(), Path::new(A));
}

#[tokio::test]
async fn directories_of_two_nodes_and_copies_of_one_are_refused() {
    let disk = MemoryDisk::new(1);
    two(&disk).await.close().await.unwrap();
    let mut other = config(&["/x", "/y"]);
    other.store.initialize = true;
    let others = Volumes::open(&other, &test_env(2, &disk)).await.unwrap().0;
    others.close().await.unwrap();

    let swapped = open(&disk, &config(&[A, "/y"])).await.unwrap_err();
    assert!(
        swapped.to_string().contains("were disks swapped"),
        "{swapped}"
    );
    disk.copy_directory(B, "/copy");
    let twice = open(&disk, &config(&[A, B, "/copy"])).await.unwrap_err();
    assert!(twice.to_string().contains("one is a copy"), "{twice}");
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    let taken = open(&disk, &config(&[A, B])).await.unwrap_err();
    assert!(taken.to_string().contains("locked"), "{taken}");
    drop(volumes);
}

#[tokio::test]
async fn a_volume_restored_from_an_old_copy_says_what_is_there_and_nothing_else() {
    let disk = MemoryDisk::new(1);
    let volumes = two(&disk).await;
    fill(&volumes).await;
    let before = on(&volumes.all[1]).await;
    volumes.close().await.unwrap();
    disk.copy_directory(B, "/old");
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();
    let gone: Vec<ChunkId> = before.iter().take(3).copied().map(ChunkId).collect();
    volumes.delete(&gone).await.unwrap();
    for chunk in CHUNKS + 1..=2 * CHUNKS {
        write(&volumes, chunk).await.unwrap();
    }
    let on_a = on(&volumes.all[0]).await;
    volumes.close().await.unwrap();

    disk.rename_directory(B, "/newer");
    disk.rename_directory("/old", B);
    let volumes = open(&disk, &config(&[A, B])).await.unwrap();

    let mut expected = [on_a, before].concat();
    expected.sort_unstable();
    assert_eq!(
        listed(&volumes).await,
        expected,
        "the map decides what becomes of them"
    );
    for chunk in expected {
        volumes.verify(ChunkId(chunk)).await.unwrap();
    }
}
