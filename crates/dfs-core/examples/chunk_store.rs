//! Measures the chunk store against plain files in the same directory.
//!
//! `cargo run --release -p dfs-core --example chunk_store -- <directory>`
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "it prints figures and writes plain files to compare with"
)]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use dfs_core::datanode::store::{ChunkStore, Purpose, StoreConfig, StoreError};
use dfs_core::env::Env;
use dfs_core::types::checksum::{block_crcs, verify_blocks};
use dfs_core::types::limits::FRAME_PAYLOAD_MAX;
use dfs_core::types::{ByteRange, ChunkId};
use rustix::fs::OFlags;

const LARGE: usize = 64 << 20;
const PAGE: usize = 4096;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("which directory?")?;
    let root = PathBuf::from(root);
    let directory = root.join("store");
    let mut config = StoreConfig::new(&directory);
    config.initialize = true;
    let (store, _) = ChunkStore::open(config.clone(), Env::real()).await?;
    let data = Bytes::from_iter((0..LARGE).map(|i| (i * 31 % 251) as u8));

    for round in 0..3u64 {
        plain(&root, &data, 4)?;
        large(&store, &data, 1000 + round * 100, 1, 4).await?;
        large(&store, &data, 1050 + round * 100, 4, 4).await?;
        read(&store, 1000 + round * 100, 4).await?;
        plain_read(&root, &data, 4)?;
        scrub(&store, 1000 + round * 100, 4).await?;
    }
    let mut next = 1_000_000;
    for length in [4 << 10, 64 << 10] {
        for writers in [1, 64] {
            next = small(&store, data.slice(..length), next, writers).await?;
        }
    }
    let started = Instant::now();
    let chunks: Vec<ChunkId> = (1_000_000..next).map(ChunkId).collect();
    for part in chunks.chunks(1000) {
        store.delete(part).await?;
    }
    let rate = chunks.len() as f64 / started.elapsed().as_secs_f64();
    println!("delete small, 1000 at a time: {rate:.0}/s");
    store.close().await?;
    let started = Instant::now();
    let (store, report) = ChunkStore::open(config, Env::real()).await?;
    println!(
        "open after a clean stop: {:?}, {}",
        started.elapsed(),
        report.clean
    );
    store.close().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn plain(root: &Path, data: &[u8], files: usize) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    for number in 0..files {
        let path = root.join(format!("plain{number}"));
        let mut file = File::create(&path)?;
        for part in data.chunks(FRAME_PAYLOAD_MAX) {
            file.write_all(part)?;
        }
        file.sync_data()?;
    }
    report("plain write and sync", files * data.len(), started);
    for number in 0..files {
        std::fs::remove_file(root.join(format!("plain{number}")))?;
    }
    Ok(())
}

async fn put(store: &ChunkStore, chunk: u64, data: Bytes) -> Result<(), StoreError> {
    let length = data.len() as u64;
    let mut writer = store.create(ChunkId(chunk), length, Purpose::Write).await?;
    let mut rest = data;
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(FRAME_PAYLOAD_MAX));
        let crcs = block_crcs(&part);
        writer.write(part, &crcs).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn large(
    store: &ChunkStore,
    data: &Bytes,
    first: u64,
    writers: u64,
    chunks: u64,
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, data) = (store.clone(), data.clone());
        tasks.spawn(async move {
            for chunk in (first + writer..first + chunks).step_by(writers as usize) {
                put(&store, chunk, data.clone()).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let what = format!("write 64 MiB chunks, {writers} at a time");
    report(&what, chunks as usize * data.len(), started);
    Ok(())
}

async fn read(store: &ChunkStore, first: u64, chunks: u64) -> Result<(), Box<dyn Error>> {
    for verify in [false, true] {
        let started = Instant::now();
        let mut bytes = 0;
        for chunk in first..first + chunks {
            let reader = store.open_replica(ChunkId(chunk)).await?;
            let mut offset = 0;
            while offset < reader.length() {
                let range = ByteRange::new(offset, reader.length() - offset);
                let run = reader.read(range).await?;
                if verify && verify_blocks(&run.bytes, &run.crcs).is_err() {
                    return Err("a block fails its checksum".into());
                }
                offset += run.bytes.len() as u64;
                bytes += run.bytes.len();
            }
        }
        let what = if verify { "read and verify" } else { "read" };
        report(what, bytes, started);
    }
    Ok(())
}

/// Reads files past the cache, and compares nothing: the floor of a scrub.
fn plain_read(root: &Path, data: &[u8], files: usize) -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = (0..files).map(|n| root.join(format!("plain{n}"))).collect();
    for path in &paths {
        let mut file = File::create(path)?;
        file.write_all(data)?;
        file.sync_data()?;
    }
    // The system wants whole pages, at the beginning of pages.
    let mut room = vec![0; FRAME_PAYLOAD_MAX + PAGE];
    let skip = room.as_ptr().align_offset(PAGE);
    let part = &mut room[skip..skip + FRAME_PAYLOAD_MAX];
    let started = Instant::now();
    for path in &paths {
        let direct = OFlags::DIRECT.bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(direct).open(path)?;
        while file.read(part)? > 0 {}
    }
    report("plain read past the cache", files * data.len(), started);
    paths.iter().try_for_each(std::fs::remove_file)?;
    Ok(())
}

/// Reads replicas through as a scrub does, without its pauses.
async fn scrub(store: &ChunkStore, first: u64, chunks: u64) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    for chunk in first..first + chunks {
        store.verify(ChunkId(chunk)).await?;
    }
    report("scrub, without pauses", chunks as usize * LARGE, started);
    Ok(())
}

async fn small(
    store: &ChunkStore,
    data: Bytes,
    first: u64,
    writers: u64,
) -> Result<u64, Box<dyn Error>> {
    let started = Instant::now();
    let each = 8192 / writers.max(8);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, data) = (store.clone(), data.clone());
        tasks.spawn(async move {
            for chunk in first + writer * each..first + (writer + 1) * each {
                put(&store, chunk, data.clone()).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let count = each * writers;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!(
        "write {} byte chunks, {writers} at a time: {rate:.0}/s",
        data.len()
    );
    Ok(first + count)
}

fn report(what: &str, bytes: usize, started: Instant) {
    let rate = bytes as f64 / started.elapsed().as_secs_f64() / 1e6;
    println!("{what}: {rate:.0} MB/s");
}
