//! All masters are lost, and one is made of a backup.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dfs_core::client::{Client, ClientConfig, Liveness};
use dfs_core::env::Env;
use dfs_core::error::ErrorKind;
use tempfile::tempdir;
use tokio::time::{Instant, sleep};

use crate::TestResult;
use crate::cluster::{Cluster, MASTERS, Process, command};
use crate::refusals::refused;

const WITHIN: Duration = Duration::from_secs(60);
const DATA_NODES: usize = 3;
const LENGTH: usize = 3 << 20;

async fn write_down(client: &Client, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut backup = client.backup();
    let mut bytes = Vec::new();
    while let Some(piece) = backup.next().await? {
        bytes.extend(piece);
    }
    Ok(fs::write(path, bytes)?)
}

/// Waits until all data nodes are back and nothing lacks copies.
async fn healthy(client: &Client) -> TestResult {
    let end = Instant::now() + WITHIN;
    loop {
        let status = client.status().await?;
        let live = status.nodes.iter().filter(|n| n.liveness == Liveness::Live);
        let chunks = status.chunks;
        let well = chunks.surveyed && chunks.under_replicated + chunks.missing == 0;
        if live.count() == DATA_NODES && well {
            return Ok(());
        }
        assert!(Instant::now() < end, "{status:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn chunk_files(directory: &Path) -> std::io::Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        found += match path.is_dir() {
            true => chunk_files(&path)?,
            false => usize::from(path.extension().is_some_and(|e| e == "chunk")),
        };
    }
    Ok(found)
}

#[tokio::test]
async fn a_cluster_whose_masters_are_all_lost_goes_on_from_a_backup_with_its_data_nodes()
-> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), DATA_NODES).await?;
    let client = cluster.client().await?;
    client.write("/kept", vec![7; LENGTH]).await?;
    let backup = directory.path().join("metadata.dfs");
    write_down(&client, &backup).await?;
    client.write("/later", vec![8; LENGTH]).await?;

    let from = backup.display().to_string();
    let home = directory.path().join("restored").display().to_string();
    let address = cluster.address(0).to_owned();
    let at = ["--directory", &home, "--listen", &address];
    let restore = [&["restore", "--from", &from][..], &at].concat();
    let (code, said) = refused(&restore).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the cluster lives"), "{said}");
    assert_eq!(fs::read_dir(&home)?.count(), 0);

    for place in 0..MASTERS {
        cluster.kill(place).await?;
    }
    let output = command(&restore).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (code, said) = refused(&restore).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not empty"), "{said}");

    let run = [&["master"][..], &at].concat();
    let master = Process::start(&run, &directory.path().join("restored.log")).await?;
    let config = ClientConfig {
        masters: vec![address],
        ..cluster.client_config()?
    };
    let client = Client::connect(config, Env::real()).await?;
    healthy(&client).await?;
    assert!(client.read("/kept").await? == vec![7; LENGTH]);
    let lost = client.read("/later").await.map_err(|e| e.kind());
    assert!(matches!(lost, Err(ErrorKind::NotFound)), "{lost:?}");
    client.write("/new", vec![9; LENGTH]).await?;
    assert!(client.read("/new").await? == vec![9; LENGTH]);
    // What the backup does not know is for a person to judge.
    let first = cluster.directory(MASTERS);
    assert_eq!(chunk_files(&first)?, 3, "in {}", first.display());
    healthy(&client).await?;
    assert_eq!(master.stop().await?, Some(0));
    Ok(())
}

/// Goal: after all masters have moved, one data node that is told is enough. Method: the masters
/// are lost, one is restored where none was; the other data nodes run on and know the old places.
#[tokio::test]
async fn data_nodes_find_masters_that_moved_by_the_one_of_them_that_is_told() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), DATA_NODES).await?;
    let client = cluster.client().await?;
    client.write("/kept", vec![7; LENGTH]).await?;
    let backup = directory.path().join("metadata.dfs");
    write_down(&client, &backup).await?;
    for place in 0..MASTERS {
        cluster.kill(place).await?;
    }
    let from = backup.display().to_string();
    let home = directory.path().join("restored").display().to_string();
    // A port that is free, as none of the masters' was.
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = free.local_addr()?.to_string();
    drop(free);
    let at = ["--directory", &home, "--listen", &address];
    let restore = [&["restore", "--from", &from][..], &at].concat();
    let output = command(&restore).output().await?;
    assert!(output.status.success(), "{output:?}");
    let run = [&["master"][..], &at].concat();
    let master = Process::start(&run, &directory.path().join("restored.log")).await?;

    cluster.kill(MASTERS).await?;
    let told = cluster.directory(MASTERS).display().to_string();
    let listen = cluster.address(MASTERS);
    let again = [
        "data",
        "--directory",
        &told,
        "--listen",
        listen,
        "--masters",
        &address,
    ];
    let told = Process::start(&again, &directory.path().join("told.log")).await?;

    let config = ClientConfig {
        masters: vec![address],
        ..cluster.client_config()?
    };
    let client = Client::connect(config, Env::real()).await?;
    healthy(&client).await?;
    assert!(client.read("/kept").await? == vec![7; LENGTH]);
    assert_eq!(told.stop().await?, Some(0));
    assert_eq!(master.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_says_so() -> TestResult {
    let directory = tempdir()?;
    let cluster = Cluster::found(directory.path(), 0).await?;
    let backup = directory.path().join("metadata.dfs");
    write_down(&cluster.client().await?, &backup).await?;
    let whole = fs::read(&backup)?;
    let from = backup.display().to_string();
    let home = directory.path().join("restored").display().to_string();
    let check = ["restore", "--check", "--from", &from];
    assert!(command(&check).output().await?.status.success());

    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    for (bytes, why) in [
        (&flipped[..], "checksum"),
        (&whole[..middle], "cut short"),
        (&b"hello"[..], "does not begin as a backup"),
        (&b""[..], "cut short"),
    ] {
        fs::write(&backup, bytes)?;
        for arguments in [
            &check[..],
            &["restore", "--from", &from, "--directory", &home],
        ] {
            let (code, said) = refused(arguments).await?;
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(why), "{why}: {said}");
        }
    }
    Ok(())
}
