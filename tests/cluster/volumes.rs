//! A disk of several is lost alone.

#![allow(
    clippy::disallowed_methods,
    reason = "the test is who takes the disk away"
)]

use std::fs;
use std::time::Duration;

use dfs_core::client::Liveness;

use super::{MIB, TestResult, directory, eventually, impatient, pattern};

const FILES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_disk_held_is_repaired_while_its_node_goes_on_with_the_other() -> TestResult {
    let directory = directory();
    let root = directory.as_ref().to_owned();
    let second = root.clone();
    let cluster = impatient()
        .data_nodes(3)
        .tune_data_nodes(move |index, config| {
            config.more = vec![second.join(format!("second-{index}"))];
            config.scrub.period = Duration::from_secs(3);
        })
        .start(&directory)
        .await?;
    let client = cluster.client().await?;
    for file in 0..FILES {
        client.write(&*format!("/{file}"), pattern(2 * MIB)).await?;
    }

    // Whoever looks for its files finds nothing, as below a mount that is gone.
    fs::rename(root.join("second-0"), root.join("gone"))?;

    eventually(
        "the disk is out of use and all chunks are well",
        async || {
            let status = client.status().await?;
            let volumes = status.nodes.iter().flat_map(|node| &node.volumes);
            let failed = volumes.filter(|volume| volume.failed.is_some()).count();
            let live = status.nodes.iter().all(|n| n.liveness == Liveness::Live);
            let chunks = status.chunks;
            let well = chunks.surveyed && chunks.under_replicated == 0 && chunks.missing == 0;
            Ok(failed == 1 && live && well && chunks.repairing == 0)
        },
    )
    .await?;

    for file in 0..FILES {
        assert_eq!(client.read(&*format!("/{file}")).await?, pattern(2 * MIB));
    }
    client.write("/more", pattern(MIB)).await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
