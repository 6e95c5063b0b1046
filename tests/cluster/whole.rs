//! All or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::cluster::{Cluster, Part};
use dfs_core::types::PolicyChange;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{MIB, TestResult, directory, impatient, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_seen_whole_or_not_at_all_while_it_is_replaced() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let versions = [vec![1; 2 * MIB], vec![2; 3 * MIB]];
    client.write("/f", versions[0].clone()).await?;
    let writer = {
        let (client, versions) = (client.clone(), versions.clone());
        tokio::spawn(async move {
            for n in 1..20 {
                client.write("/f", versions[n % 2].clone()).await?;
            }
            Ok::<_, dfs_core::error::Error>(())
        })
    };
    while !writer.is_finished() {
        let read = client.read("/f").await?;

        assert!(versions.iter().any(|version| read == *version));
    }
    writer.await??;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_leaves_nothing() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    let mut writer = client.create("/f").await?;
    writer.write_all(&pattern(3 * MIB)).await?;

    drop(writer);

    assert!(!client.exists("/f").await?);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

/// A file that is replaced by one version after the other.
#[derive(Default)]
struct Versions {
    path: &'static str,
    tried: AtomicU8,
    acknowledged: AtomicU8,
}

/// More chunks than one commit takes, all of one byte, of a length that no other version has.
fn version(n: u8) -> Vec<u8> {
    vec![n; 66 * CHUNK_SIZE_MIN as usize + usize::from(n)]
}

impl Versions {
    /// Replaces the file until that fails, by writing over it or by moving another over it.
    async fn replace(&self, client: Client, renames: bool) {
        for n in 1..=u8::MAX {
            self.tried.store(n, Ordering::SeqCst);
            let done = match renames {
                false => client.write(self.path, version(n)).await.map(drop),
                true => match client.write("/next", version(n)).await {
                    Ok(_) => client.rename("/next", self.path).await,
                    Err(error) => Err(error),
                },
            };
            if done.is_err() {
                return;
            }
            self.acknowledged.store(n, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_leader_and_then_of_everything_leaves_files_old_or_new_and_whole()
-> TestResult {
    let directory = directory();
    let cluster = impatient().start(&directory).await?;
    let client = cluster.client().await?;
    let short_chunks = PolicyChange {
        chunk_size: Some(CHUNK_SIZE_MIN),
        ..PolicyChange::default()
    };
    client.set_policy("/", short_chunks).await?;
    let mut writers = JoinSet::new();
    let mut files = Vec::new();
    for path in ["/a", "/b", "/renamed"] {
        client.write(path, version(0)).await?;
        let file = Arc::new(Versions {
            path,
            ..Versions::default()
        });
        let (file, client) = (file.clone(), client.clone());
        files.push(file.clone());
        writers.spawn(async move { file.replace(client, path == "/renamed").await });
    }
    let faults = cluster.faults();
    sleep(Duration::from_millis(1500)).await;
    faults.crash(cluster.leader().await?).await.forget();
    sleep(Duration::from_millis(1500)).await;
    let masters = (0..cluster.masters()).map(Part::Master);
    for part in masters.chain((0..cluster.data_nodes()).map(Part::DataNode)) {
        faults.crash(part).await.forget();
    }
    writers.shutdown().await;
    drop((client, faults, cluster));

    let cluster = impatient().start(&directory).await?;

    let client = cluster.client().await?;
    for file in &files {
        let bytes = client.read(file.path).await?;
        let n = bytes.first().copied().unwrap_or_default();
        assert!(bytes == version(n), "{} is not whole", file.path);
        let known = [&file.acknowledged, &file.tried].map(|n| n.load(Ordering::SeqCst));
        assert!(
            known[0] <= n && n <= known[1],
            "{}: {n} of {known:?}",
            file.path
        );
        assert!(known[0] > 0, "{} was not replaced at all", file.path);
    }
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
