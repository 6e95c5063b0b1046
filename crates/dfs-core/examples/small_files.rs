//! Measures what small chunks take on disk, and what deleting most of them gives back.
//!
//! ```console
//! $ cargo run --release -p dfs-core --example small_files -- /tmp/bench 20000
//! ```
//!
//! Arguments: a directory to use (removed by you), and how many files of each length. A file is a
//! chunk, as with the policy `inline_max=0`; directories of metadata are not counted. Of each
//! length that many are stored, then nine of ten are deleted, by chance and 64 at a time as
//! masters have it done. It prints bytes on disk a file, and how much that is over its length.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dfs_core::datanode::store::{ChunkStore, Purpose, Reserve, StoreConfig};
use dfs_core::env::{Env, Random, SeededRandom};
use dfs_core::types::ChunkId;
use dfs_core::types::checksum::block_crcs;
use futures::future::try_join_all;

/// Files that are written at the same time.
const WRITERS: u64 = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().ok_or("name a directory")?.into();
    let count: u64 = arguments.next().map_or(Ok(20_000), |count| count.parse())?;
    println!("length   on disk   overhead   after deleting 9 of 10   overhead   a deletion");
    for length in [4 << 10, 64 << 10] {
        measure(&directory.join(length.to_string()), length, count).await?;
    }
    Ok(())
}

async fn measure(directory: &Path, length: usize, count: u64) -> Result<(), Box<dyn Error>> {
    let mut config = StoreConfig::new(directory);
    config.initialize = true;
    config.reserve = Reserve {
        bytes: 0,
        percent: 0,
    };
    let empty = {
        let (store, _) = ChunkStore::open(config.clone(), Env::real()).await?;
        store.close().await?;
        on_disk(directory)?
    };
    let (store, _) = ChunkStore::open(config.clone(), Env::real()).await?;
    let bytes = Bytes::from(vec![7; length]);
    for first in (0..count).step_by(WRITERS as usize) {
        let some = first..(first + WRITERS).min(count);
        try_join_all(some.map(|chunk| write(&store, ChunkId(chunk + 1), bytes.clone()))).await?;
    }
    store.close().await?;
    // What was reserved for the last segment is given back at the next start.
    let (store, _) = ChunkStore::open(config.clone(), Env::real()).await?;
    store.close().await?;
    let stored = on_disk(directory)?.saturating_sub(empty);
    let (store, _) = ChunkStore::open(config, Env::real()).await?;
    let random = SeededRandom::new(1);
    let mut chunks: Vec<u64> = (1..=count).collect();
    for at in (1..chunks.len()).rev() {
        chunks.swap(at, random.below(at as u64 + 1) as usize);
    }
    let kept = chunks.split_off(chunks.len() / 10 * 9).len() as u64;
    let begun = tokio::time::Instant::now();
    for some in chunks.chunks(64) {
        let some: Vec<ChunkId> = some.iter().copied().map(ChunkId).collect();
        store.delete(&some).await?;
    }
    let took = begun.elapsed() / u32::try_from(chunks.len().max(1))?;
    store.close().await?;
    let left = on_disk(directory)?.saturating_sub(empty);
    let over = |bytes: u64, files: u64| {
        let each = bytes as f64 / files as f64;
        (each, (each / length as f64 - 1.0) * 100.0)
    };
    let ((each, overhead), (each_left, overhead_left)) = (over(stored, count), over(left, kept));
    println!(
        "{length:>6} {each:>9.0} {overhead:>8.1} % {each_left:>24.0} {overhead_left:>8.1} % \
         {:>10.1} µs",
        took.as_secs_f64() * 1e6
    );
    Ok(())
}

async fn write(store: &ChunkStore, chunk: ChunkId, bytes: Bytes) -> Result<(), Box<dyn Error>> {
    let length = bytes.len() as u64;
    let mut writer = store.create(chunk, length, Purpose::Write).await?;
    let crcs = block_crcs(&bytes);
    writer.write(bytes, &crcs).await?;
    writer.finish().await?;
    Ok(())
}

/// What all files below a directory take.
#[allow(
    clippy::disallowed_methods,
    reason = "it measures the file system itself"
)]
fn on_disk(directory: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            true => on_disk(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(sum)
}
