//! A disk that was restored from an old copy is believed in nothing but its checksums.

#![allow(
    clippy::disallowed_methods,
    reason = "the test is who restores the disk"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use dfs_core::types::change::Removal;

use super::{
    COPIES, MIB, TestResult, bytes_on_disk, directory, eventually, impatient, pattern, shifted,
};

/// What `cp -a` does.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ())?,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_a_disk_brings_nothing_back_and_what_it_lacks_is_repaired() -> TestResult {
    let (directory, (env, clock)) = (directory(), shifted());
    // Without papers and tickets: they would expire in the time that passes here.
    let cluster = impatient().env(env).data_nodes(3).insecure();
    let cluster = cluster.start(&directory).await?;
    let client = cluster.client().await?;
    client.write("/old", pattern(4 * MIB)).await?;
    client.write("/kept", pattern(2 * MIB)).await?;
    let victim = cluster.holder_of("/old").await?;
    let (disk, aside) = (
        cluster.directory_of(victim),
        directory.as_ref().join("copy"),
    );
    let down = cluster.faults().crash(victim).await;
    copy(&disk, &aside)?;
    down.restart().await?;
    client.remove("/old", Removal::File, true).await?;
    client.write("/new", pattern(3 * MIB)).await?;
    let wanted = (COPIES * 5 * MIB) as u64;
    // Until the map has given up what it does not know, and the grace is over.
    let graces_pass = async || {
        clock.put_forward(Duration::from_secs(600));
        let bytes = bytes_on_disk(&cluster)?;
        Ok(bytes >= wanted && bytes < wanted + MIB as u64)
    };
    eventually("what was removed is deleted", graces_pass).await?;

    let down = cluster.faults().crash(victim).await;
    fs::remove_dir_all(&disk)?;
    fs::rename(&aside, &disk)?;
    down.restart().await?;

    eventually("what it lacks is made again", async || {
        let chunks = client.status().await?.chunks;
        let whole = chunks.surveyed && chunks.under_replicated == 0 && chunks.missing == 0;
        Ok(whole && cluster.holders_of("/new").await?.len() == COPIES)
    })
    .await?;
    assert!(client.read("/old").await.is_err());
    eventually("what came back is deleted once more", graces_pass).await?;
    for (path, length) in [("/kept", 2 * MIB), ("/new", 3 * MIB)] {
        assert_eq!(client.read(path).await?, pattern(length));
    }
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
