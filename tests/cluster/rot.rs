//! Bytes are checked end to end.

#![allow(clippy::disallowed_methods, reason = "the test is the disk that rots")]

use std::fs;
use std::path::{Path, PathBuf};

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

    let mut bytes = fs::read(&file)?;
    for byte in bytes.iter_mut().skip(MIB).step_by(64 * 1024) {
        *byte ^= 0x55;
    }
    let rotten = bytes.clone();
    fs::write(&file, bytes)?;

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
