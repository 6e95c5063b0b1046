//! Bytes are checked end to end.

#![allow(clippy::disallowed_methods, reason = "the test is the disk that rots")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{COPIES, MIB, TestResult, directory, eventually, impatient, pattern};

/// The largest file below a directory: that of a large chunk, if there is one.
fn largest_file(directory: &Path) -> std::io::Result<Option<(u64, PathBuf)>> {
    let mut largest = None;
    for entry in fs::read_dir(directory)? {
        let (path, meta) = (
            entry.as_ref().map(|e| e.path()),
            entry.as_ref().map(|e| e.metadata()),
        );
        let (Ok(path), Ok(meta)) = (path, meta) else {
            continue;
        };
        let meta = meta?;
        let found = match meta.is_dir() {
            true => largest_file(&path)?,
            false => Some((meta.len(), path)),
        };
        largest = largest.max(found);
    }
    Ok(largest)
}

/// Flips bits in a large file; says what it is then.
fn rot(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = fs::read(file)?;
    for byte in bytes.iter_mut().skip(MIB).step_by(64 * 1024) {
        *byte ^= 0x55;
    }
    fs::write(file, &bytes)?;
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_copy_is_never_returned_and_is_replaced() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(8 * MIB)).await?;
    let victim = cluster.holder_of("/f").await?;
    let chunks = cluster.directory_of(victim).join("chunks");
    let (length, file) = largest_file(&chunks)?.ok_or("no chunk on disk")?;
    assert!(
        length >= 8 * MIB as u64,
        "{length} bytes in {}",
        file.display()
    );

    let rotten = rot(&file)?;

    for _ in 0..COPIES {
        assert_eq!(client.read("/f").await?, pattern(8 * MIB));
    }
    eventually("the rotten copy is replaced", async || {
        client.read("/f").await?;
        Ok(largest_file(&chunks)?.is_some_and(|(length, file)| {
            length >= 8 * MIB as u64 && fs::read(file).is_ok_and(|bytes| bytes != rotten)
        }))
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_copy_that_nobody_reads_is_found_and_replaced() -> TestResult {
    let directory = directory();
    let impatient = impatient().data_nodes(3);
    let cluster = impatient
        .tune_data_nodes(|_, config| config.scrub.period = Duration::from_secs(3))
        .start(&directory)
        .await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(8 * MIB)).await?;
    let victim = cluster.holder_of("/f").await?;
    let chunks = cluster.directory_of(victim).join("chunks");
    let (_, file) = largest_file(&chunks)?.ok_or("no chunk on disk")?;

    let rotten = rot(&file)?;

    eventually("the rotten copy is replaced", async || {
        let bytes = largest_file(&chunks)?.and_then(|(_, file)| fs::read(file).ok());
        Ok(bytes.is_some_and(|bytes| bytes.len() == rotten.len() && bytes != rotten))
    })
    .await?;
    eventually("the data node says what it found", async || {
        let nodes = client.nodes().await?;
        let scrubs: Vec<_> = nodes.iter().map(|node| node.scrub()).collect();
        let found: u64 = scrubs.iter().map(|scrub| scrub.corrupt).sum();
        Ok(found == 1 && scrubs.iter().all(|scrub| scrub.unchecked.is_some()))
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
