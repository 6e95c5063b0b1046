//! Erasure-coded files are readable from any sufficient members, and become whole again.

#![allow(clippy::disallowed_methods, reason = "the test is the disk that rots")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::cluster::{Cluster, ClusterBuilder, Part};
use dfs_core::error::ErrorKind;
use dfs_core::types::change::Removal;
use dfs_core::types::{ByteRange, NodeId, PolicyChange, StripeLayout};

use super::{MIB, TestResult, directory, eventually, impatient, pattern};

/// One of each kind: in the metadata, in copies, one short stripe, a full one and a bit, many.
const FILES: [(&str, usize); 5] = [
    ("/d/tiny", 100),
    ("/d/short", 60_000),
    ("/d/stripe", 300_001),
    ("/d/tail", MIB + 70_000),
    ("/d/long", 5 * MIB + 13),
];

/// Makes a directory whose files are in stripes of at most about so many MiB.
async fn coded(
    cluster: &Cluster,
    shape: &str,
    chunk_mib: usize,
) -> Result<Client, Box<dyn std::error::Error>> {
    let client = cluster.client().await?;
    client.create_dir("/d").await?;
    let change = PolicyChange {
        ec: Some(shape.parse()?),
        chunk_size: Some((chunk_mib * MIB) as u64),
        ..PolicyChange::default()
    };
    client.set_policy("/d", change).await?;
    Ok(client)
}

async fn write_all(client: &Client) -> TestResult {
    for (path, length) in FILES {
        client.write(path, pattern(length)).await?;
    }
    Ok(())
}

/// Every file, bit by bit, and a part that begins and ends within blocks.
async fn read_all(client: &Client) -> TestResult {
    for (path, length) in FILES {
        let expected = pattern(length);
        assert!(
            client.read(path).await? == expected,
            "{path} has other bytes"
        );
        let (from, to) = (length / 3, length - length / 7);
        let part = client
            .read_at(path, from as u64, (to - from) as u64)
            .await?;
        assert!(
            expected
                .get(from..to)
                .is_some_and(|expected| part == expected),
            "{path} has other bytes within"
        );
    }
    Ok(())
}

async fn stripes(client: &Client, path: &str) -> Result<Vec<StripeLayout>, dfs_core::error::Error> {
    let whole = ByteRange::new(0, 1 << 40);
    Ok(client.layout(path, whole).await?.stripes)
}

fn nodes_of(stripe: &StripeLayout) -> BTreeSet<NodeId> {
    let members = stripe.members.iter();
    members.flat_map(|member| member.replicas.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_readable_whichever_data_nodes_are_gone_up_to_the_parity() -> TestResult {
    let directory = directory();
    let nodes = 5;
    let cluster = Cluster::builder()
        .data_nodes(nodes)
        .start(&directory)
        .await?;
    let client = coded(&cluster, "3+2", 1).await?;
    write_all(&client).await?;
    for stripe in stripes(&client, "/d/long").await? {
        assert_eq!(nodes_of(&stripe).len(), nodes, "{stripe:?}");
    }
    read_all(&client).await?;

    for first in 0..nodes {
        for second in first + 1..nodes {
            let faults = cluster.faults();
            let down = [
                faults.crash(Part::DataNode(first)).await,
                faults.crash(Part::DataNode(second)).await,
            ];
            // One that has not learned which nodes failed, and one that has.
            read_all(&cluster.client().await?).await?;
            read_all(&client).await?;
            for part in down {
                part.restart().await?;
            }
        }
    }
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_data_node_that_is_gone_for_good_are_made_from_the_others() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(6).start(&directory).await?;
    let client = coded(&cluster, "3+2", 1).await?;
    write_all(&client).await?;
    let whole = stripes(&client, "/d/long").await?;

    let lost = cluster.node_id(Part::DataNode(0)).await.ok_or("no id")?;
    cluster.faults().crash(Part::DataNode(0)).await.forget();

    eventually("all members are elsewhere", async || {
        let now = stripes(&client, "/d/long").await?;
        let apart = |stripe| {
            let nodes = nodes_of(stripe);
            nodes.len() == 5 && !nodes.contains(&lost)
        };
        Ok(now.iter().all(apart))
    })
    .await?;
    assert!(whole.iter().any(|stripe| nodes_of(stripe).contains(&lost)));
    cluster.check().await?;
    // What was made is as good as what was lost: two more may go.
    let down = [1, 2].map(Part::DataNode);
    for part in down {
        cluster.faults().crash(part).await.forget();
    }
    read_all(&client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_where_one_data_node_lacks_and_becomes_whole_later() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(6).start(&directory).await?;
    let client = coded(&cluster, "4+2", 1).await?;
    let down = cluster.faults().crash(Part::DataNode(3)).await;

    write_all(&client).await?;

    read_all(&client).await?;
    let lacking = stripes(&client, "/d/long").await?;
    assert!(lacking.iter().all(|stripe| nodes_of(stripe).len() == 5));
    down.restart().await?;
    cluster.check().await?;
    let whole = stripes(&client, "/d/long").await?;
    assert!(whole.iter().all(|stripe| nodes_of(stripe).len() == 6));
    read_all(&client).await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_data_nodes_than_one_may_be_lost_nothing_is_written() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(4).start(&directory).await?;
    let client = coded(&cluster, "3+1", 1).await?;
    let five = PolicyChange {
        ec: Some("4+2".parse()?),
        ..PolicyChange::default()
    };
    let refused = client.set_policy("/d", five).await.unwrap_err().to_string();
    assert!(refused.contains("6 data nodes, there are 4"), "{refused}");

    let mut config = cluster.client_config();
    config.deadlines.operation = Duration::from_secs(4);
    let client = Client::connect(config, dfs_core::env::Env::real()).await?;
    let down = cluster.faults().crash(Part::DataNode(1)).await;
    let error = client.write("/d/f", pattern(MIB)).await.unwrap_err();

    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error:?}"
    );
    down.restart().await?;
    client.write("/d/f", pattern(MIB)).await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

/// The files of chunks below a directory.
fn chunk_files(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.metadata()?.is_dir() {
            true => chunk_files(&entry.path(), found)?,
            false => found.push(entry.path()),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rotten_members_are_never_returned_and_are_made_again() -> TestResult {
    let directory = directory();
    let cluster = impatient().data_nodes(3).start(&directory).await?;
    let client = coded(&cluster, "2+1", 8).await?;
    client.write("/d/f", pattern(8 * MIB)).await?;
    let victim = cluster.directory_of(Part::DataNode(0)).join("chunks");
    let (mut files, mut rotten) = (Vec::new(), Vec::new());
    chunk_files(&victim, &mut files)?;
    assert!(!files.is_empty(), "no chunk is on disk");

    for file in files {
        let mut bytes = fs::read(&file)?;
        for byte in bytes.iter_mut().skip(8192).step_by(32 * 1024) {
            *byte ^= 0x55;
        }
        fs::write(&file, &bytes)?;
        rotten.push((file, bytes));
    }

    assert!(client.read("/d/f").await? == pattern(8 * MIB));
    eventually(
        "the rotten members that were read are made again",
        async || {
            client.read("/d/f").await?;
            let is_better = |(file, before): &(PathBuf, Vec<u8>)| {
                fs::read(file).is_ok_and(|bytes| bytes != *before)
            };
            // Parity is not read while the data is there.
            Ok(rotten.iter().filter(|rot| is_better(rot)).count() * 2 >= rotten.len())
        },
    )
    .await?;
    assert!(client.read("/d/f").await? == pattern(8 * MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chunks_of_a_removed_stripe_are_deleted_parity_too() -> TestResult {
    let directory = directory();
    let (env, clock) = super::shifted();
    let cluster = impatient().env(env).data_nodes(3).start(&directory).await?;
    let client = coded(&cluster, "2+1", 8).await?;
    client.write("/d/f", pattern(4 * MIB)).await?;
    let before = super::bytes_on_disk(&cluster)?;
    assert!(before >= 6 * MIB as u64, "{before} bytes");

    client.write_at("/d/f", 0, pattern(MIB)).await?;
    client.remove("/d/f", Removal::File, true).await?;
    eventually("the map is empty", async || {
        Ok(client.status().await?.chunks.total == 0)
    })
    .await?;

    clock.put_forward(Duration::from_secs(120));

    eventually("the disks are empty", async || {
        Ok(super::bytes_on_disk(&cluster)? == 0)
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

/// Rewrites what nobody changed for a moment, and looks often.
fn restless() -> ClusterBuilder {
    Cluster::builder().tune_masters(|config| {
        config.rewrite.compact_after = Duration::from_millis(200);
        // What was changed while it was rewritten is to have its turn soon.
        config.rewrite.rests_for = Duration::from_millis(200);
        config.pass_interval = Duration::from_millis(200);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_copies_come_into_stripes_when_nobody_has_changed_them() -> TestResult {
    let directory = directory();
    let cluster = restless().data_nodes(4).start(&directory).await?;
    let client = coded(&cluster, "2+1", 1).await?;
    let later = PolicyChange {
        ec_after: Some(Duration::from_secs(2)),
        ..PolicyChange::default()
    };
    client.set_policy("/d", later).await?;
    write_all(&client).await?;
    assert!(stripes(&client, "/d/long").await?.is_empty(), "too soon");
    let before = client.metadata("/d/long").await?;

    eventually("all that is long enough is in stripes", async || {
        let (mut data, mut bytes) = (0, 0);
        for (path, length) in FILES.into_iter().filter(|(_, length)| *length >= 65_536) {
            let stripes = stripes(&client, path).await?;
            let members = stripes
                .iter()
                .flat_map(|s| s.members.iter().take(s.shape.data()));
            data += members.map(|member| member.length).sum::<u64>();
            bytes += length as u64;
        }
        Ok(data + 65_536 > bytes)
    })
    .await?;

    let after = client.metadata("/d/long").await?;
    assert_eq!(before, after);
    read_all(&client).await?;
    cluster.check().await?;
    let _down = cluster.faults().crash(Part::DataNode(2)).await;
    read_all(&client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_short_appends_become_few_chunks_and_stay_readable_meanwhile() -> TestResult {
    let directory = directory();
    let cluster = restless().start(&directory).await?;
    let client = cluster.client().await?;
    let part = |n: usize| pattern(70_000 + n).split_off(n);
    let mut expected = Vec::new();
    client.create_file("/log", false).await?;
    for n in 0..40 {
        client.append("/log", part(n)).await?;
        expected.extend(part(n));
    }

    eventually("there are few chunks", async || {
        let layout = client.layout("/log", ByteRange::new(0, 1 << 40)).await?;
        assert!(client.read("/log").await? == expected);
        Ok(layout.extents.len() < 16)
    })
    .await?;

    client.append("/log", part(1)).await?;
    expected.extend(part(1));
    assert!(client.read("/log").await? == expected);
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
