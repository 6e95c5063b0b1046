//! What the store promises, under the faults that disks have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on stops"
)]

mod faults;
mod formats;
mod random;
mod recovers;
mod replicas;

use std::time::Duration;

use bytes::Bytes;

use super::{
    ChunkStore, IndexLag, Purpose, RecoveryReport, ReplicaSummary, Reserve, StoreConfig, StoreError,
};
use crate::testing::{MemoryDisk, test_env};
use crate::types::checksum::{block_crcs, crc32c, verify_blocks};
use crate::types::limits::{BLOCK_LEN, FRAME_PAYLOAD_MAX};
use crate::types::{ByteRange, ChunkId};

const SMALL: usize = 10_000;
const LARGE: usize = 3 * BLOCK_LEN + 500;

/// Chunks up to two blocks are packed, into segments of half a megabyte.
fn config() -> StoreConfig {
    StoreConfig {
        initialize: true,
        small_chunk_max: 2 * BLOCK_LEN as u64,
        segment_size: 8 * BLOCK_LEN as u64,
        reserve: Reserve {
            bytes: 1 << 20,
            percent: 0,
        },
        write_behind: 2 * BLOCK_LEN as u64,
        index_lag: IndexLag {
            rows: 64,
            bytes: 1 << 20,
            time: Duration::from_secs(1),
        },
        index_cache: 1 << 20,
        ..StoreConfig::new("/disk")
    }
}

async fn try_open(disk: &MemoryDisk) -> Result<(ChunkStore, RecoveryReport), StoreError> {
    ChunkStore::open(config(), test_env(disk.changes(), disk)).await
}

async fn open(disk: &MemoryDisk) -> (ChunkStore, RecoveryReport) {
    try_open(disk).await.expect("the store opens")
}

/// Bytes that depend on the chunk.
fn pattern(chunk: u64, length: usize) -> Bytes {
    (0..length as u64)
        .map(|i| (i.wrapping_mul(chunk * 2 + 1) >> 3) as u8)
        .collect()
}

async fn put(store: &ChunkStore, chunk: u64, length: usize) -> Result<ReplicaSummary, StoreError> {
    put_bytes(store, chunk, pattern(chunk, length)).await
}

async fn put_bytes(
    store: &ChunkStore,
    chunk: u64,
    mut bytes: Bytes,
) -> Result<ReplicaSummary, StoreError> {
    let length = bytes.len() as u64;
    let mut writer = store.create(ChunkId(chunk), length, Purpose::Write).await?;
    while !bytes.is_empty() {
        let part = bytes.split_to(bytes.len().min(BLOCK_LEN));
        writer.write(part.clone(), &block_crcs(&part)).await?;
    }
    writer.finish().await
}

async fn get(store: &ChunkStore, chunk: u64) -> Result<Vec<u8>, StoreError> {
    let reader = store.open_replica(ChunkId(chunk)).await?;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < reader.length() {
        let offset = bytes.len() as u64;
        let range = ByteRange::new(offset, reader.length() - offset);
        let run = reader.read(range).await?;
        assert_eq!(run.offset, offset);
        assert!(run.bytes.len() <= FRAME_PAYLOAD_MAX);
        assert_eq!(verify_blocks(&run.bytes, &run.crcs), Ok(()), "c{chunk}");
        bytes.extend_from_slice(&run.bytes);
    }
    assert_eq!(reader.checksum(), crc32c(&bytes));
    Ok(bytes)
}

async fn assert_has(store: &ChunkStore, chunk: u64, length: usize) {
    assert_eq!(get(store, chunk).await.unwrap(), pattern(chunk, length));
}

async fn listed(store: &ChunkStore) -> Vec<u64> {
    let rows = store.list(ChunkId(0), 1000).await.unwrap();
    rows.iter().map(|r| r.chunk.0).collect()
}

fn chunk_path(chunk: u64) -> String {
    format!("/disk/chunks/{:02x}/{chunk:016x}.chunk", (chunk >> 8) % 256)
}

fn quarantined(disk: &MemoryDisk) -> usize {
    let files = disk.files("/disk/quarantine");
    files
        .iter()
        .filter(|f| !f.to_string_lossy().ends_with(".reason"))
        .count()
}
