//! A cluster inside this program: it stores a file, loses the leader and a data node, and reads
//! the file back.
//!
//! ```text
//! cargo run -p dfs-core --example embedded [directory]
//! ```

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

use dfs_core::cluster::Cluster;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let directory = match std::env::args().nth(1) {
        Some(directory) => directory.into(),
        None => temporary.path().to_owned(),
    };
    let begun = Instant::now();
    let cluster = Cluster::builder()
        .masters(3)
        .data_nodes(4)
        .start(&directory)
        .await?;
    println!(
        "3 masters and 4 data nodes run in {} after {:?}",
        directory.display(),
        begun.elapsed()
    );

    let client = cluster.client().await?;
    let bytes: Vec<u8> = (0..10 << 20).map(|i: u32| (i / 7) as u8).collect();
    client.write("/log", bytes.clone()).await?;
    println!("stored /log, {} bytes on three data nodes", bytes.len());

    let holder = cluster.holder_of("/log").await?;
    let leader = cluster.leader().await?;
    let node_down = cluster.faults().crash(holder).await;
    let leader_down = cluster.faults().crash(leader).await;
    println!("crashed {holder}, which has /log, and {leader}, which led");

    let begun = Instant::now();
    let read = client.read("/log").await?;
    assert_eq!(read, bytes, "what is read is what was stored");
    println!("read /log back after {:?}: right", begun.elapsed());
    client.write("/more", "still writable\n").await?;
    println!("wrote /more; {} leads now", cluster.leader().await?);

    leader_down.restart().await?;
    node_down.restart().await?;
    cluster.check().await?;
    println!("all are back, every copy is where it should be");
    cluster.shutdown().await?;
    Ok(())
}
