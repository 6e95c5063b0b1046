//! Files share chunks, and become parts of others, without a copy of their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dfs_core::cluster::Cluster;
use dfs_core::error::Error;
use dfs_core::types::PolicyChange;
use dfs_core::types::change::Removal;
use dfs_core::types::limits::{CHUNK_SIZE_MIN, EXTENTS_CLONED_MAX};

use super::{MIB, TestResult, bytes_on_disk, directory, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_takes_no_room_and_outlives_the_file_it_was_made_of() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/f", pattern(8 * MIB)).await?;
    let before = bytes_on_disk(&cluster)?;

    client.clone_file("/f", "/clone", false).await?;
    client.write_at("/f", 1000, vec![0; 100_000]).await?;
    client.remove("/f", Removal::File, true).await?;

    assert_eq!(client.read("/clone").await?, pattern(8 * MIB));
    assert!(bytes_on_disk(&cluster)? < before + MIB as u64);
    client.append("/clone", pattern(MIB)).await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

/// Bytes in more chunks than one command clones.
fn many_chunks() -> Vec<u8> {
    pattern((EXTENTS_CLONED_MAX + 40) * CHUNK_SIZE_MIN as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_many_chunks_is_cloned_as_it_is_at_one_moment_and_concatenated_at_once()
-> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let change = PolicyChange {
        chunk_size: Some(CHUNK_SIZE_MIN),
        ..PolicyChange::default()
    };
    client.set_policy("/", change).await?;
    let bytes = many_chunks();
    client.write("/f", bytes.clone()).await?;
    client.clone_file("/f", "/clone", false).await?;
    assert_eq!(client.read("/clone").await?, bytes);

    // Whoever looks meanwhile sees the one file or the other, whole.
    let stop = Arc::new(AtomicBool::new(false));
    let looks = {
        let (client, stop, length) = (client.clone(), stop.clone(), bytes.len() as u64);
        tokio::spawn(async move {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let size = client.metadata("/f").await?.size;
                assert!([length, 2 * length + 5].contains(&size), "{size} bytes");
                looks += 1;
            }
            Ok::<_, Error>(looks)
        })
    };
    client.write("/tail", "tail\n").await?;
    client.concat("/f", ["/clone", "/tail"]).await?;
    // What was appended is read from where it still is, and written after when it was moved.
    let whole = client.read("/f").await?;
    stop.store(true, Ordering::Relaxed);

    assert!(whole == [&bytes[..], &bytes[..], b"tail\n"].concat());
    assert!(!client.exists("/clone").await? && !client.exists("/tail").await?);
    assert!(looks.await?? > 0);
    client.append("/f", "more").await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_made_while_its_file_is_replaced_is_one_of_its_versions() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let versions = [vec![1; 2 * MIB], vec![2; 3 * MIB]];
    client.write("/f", versions[0].clone()).await?;
    let writer = {
        let (client, versions) = (client.clone(), versions.clone());
        tokio::spawn(async move {
            for n in 1..12 {
                client.write("/f", versions[n % 2].clone()).await?;
            }
            Ok::<_, Error>(())
        })
    };
    while !writer.is_finished() {
        client.clone_file("/f", "/clone", true).await?;
        let read = client.read("/clone").await?;
        assert!(versions.iter().any(|version| read == *version));
    }
    writer.await??;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
