//! Measures erasure coding: parity and decoding against the library's own rate, and in a cluster
//! of six data nodes in this process writes of `4+2` against three copies, and reads with and
//! without two of the data nodes. All of one kind are of the same run, in turns.
//!
//! ```console
//! $ cargo run --release -p dfs-core --example erasure -- /tmp/bench 256
//! ```
//!
//! Arguments: a directory to use (removed by you), and how many MiB a file has. Rates are of the
//! bytes of the file, or of the data of a stripe, the best of nine.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::path::PathBuf;

use bytes::Bytes;
use dfs_core::client::Client;
use dfs_core::cluster::{Cluster, Part};
use dfs_core::proto::erasure;
use dfs_core::types::stripe::{Code, StripeShape};
use dfs_core::types::{PolicyChange, ReplicationTarget};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;
const MIB: usize = 1 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory to use")?;
    let mib: usize = arguments.next().as_deref().unwrap_or("256").parse()?;
    for (data, parity) in [(4, 2), (6, 3), (10, 4)] {
        codec(StripeShape { data, parity })?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(cluster(directory.into(), mib * MIB))
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Bytes {
    let byte = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 11) as u8;
    (0..length).map(byte).collect()
}

/// The best rate of what handles so many bytes, in MiB/s.
fn best(bytes: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = 0_f64;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work()?;
        best = best.max(bytes as f64 / MIB as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Parity of members of 4 MiB, and two lost ones.
fn codec(shape: StripeShape) -> Result<()> {
    let length = 4 * MIB;
    let bytes = shape.data() * length;
    let whole = pattern(bytes);
    let data: Vec<Bytes> = (0..shape.data())
        .map(|i| whole.slice(i * length..(i + 1) * length))
        .collect();
    // What was freed once stays with this process: else the first shape pays for fresh memory.
    drop(pattern(24 * MIB));
    let library = best(bytes, || {
        // As the library would be used by itself, at the width at which it is fastest.
        let width = 64 << 10;
        let mut coder = ReedSolomonEncoder::new(shape.data(), shape.parity.into(), width)?;
        for at in (0..length).step_by(width) {
            coder.reset(shape.data(), shape.parity.into(), width)?;
            for member in &data {
                coder.add_original_shard(member.slice(at..at + width))?;
            }
            let coded = coder.encode()?;
            let parity: Vec<Vec<u8>> = coded.recovery_iter().map(<[u8]>::to_vec).collect();
            std::hint::black_box(parity);
        }
        Ok(())
    })?;
    let encode = best(bytes, || {
        std::hint::black_box(erasure::encode(Code::Leopard16, shape, &data)?);
        Ok(())
    })?;
    let parity = erasure::encode(Code::Leopard16, shape, &data)?;
    let members = data.into_iter().chain(parity.into_iter().map(Bytes::from));
    let left: Vec<(usize, Bytes)> = members.enumerate().skip(2).collect();
    let library_decode = best(bytes, || {
        let width = 512 << 10;
        let mut coder = ReedSolomonDecoder::new(shape.data(), shape.parity.into(), width)?;
        for at in (0..length).step_by(width) {
            coder.reset(shape.data(), shape.parity.into(), width)?;
            for (index, member) in left.iter().take(shape.data()) {
                let column = member.slice(at..at + width);
                match index.checked_sub(shape.data()) {
                    None => coder.add_original_shard(*index, column)?,
                    Some(parity) => coder.add_recovery_shard(parity, column)?,
                }
            }
            let decoded = coder.decode()?;
            let restored = decoded.restored_original_iter();
            let restored: Vec<Vec<u8>> = restored.map(|(_, lost)| lost.to_vec()).collect();
            std::hint::black_box(restored);
        }
        Ok(())
    })?;
    let decode = best(bytes, || {
        std::hint::black_box(erasure::decode(Code::Leopard16, shape, &left, 0)?);
        Ok(())
    })?;
    println!(
        "{shape}: encode {encode:.0} of {library:.0}, decode {decode:.0} of {library_decode:.0} \
         MiB/s of data that the library has by itself"
    );
    Ok(())
}

async fn cluster(directory: PathBuf, length: usize) -> Result<()> {
    let builder = Cluster::builder().masters(1).data_nodes(6);
    let cluster = builder.start(&directory).await?;
    let client = cluster.client().await?;
    let bytes = pattern(length);
    for (path, change) in policies()? {
        client.create_dir_all(path).await?;
        client.set_policy(path, change).await?;
    }
    let (mut copies, mut stripes) = (0_f64, 0_f64);
    for _ in 0..ROUNDS {
        copies = copies.max(write(&client, "/copies/f", &bytes).await?);
        stripes = stripes.max(write(&client, "/stripes/f", &bytes).await?);
    }
    println!("write: three copies {copies:.0}, 4+2 {stripes:.0} MiB/s");
    let (copies, healthy) = reads(&client, &bytes).await?;
    println!("read: three copies {copies:.0}, 4+2 {healthy:.0} MiB/s");
    let first = cluster.faults().crash(Part::DataNode(0)).await;
    let (copies, degraded) = reads(&client, &bytes).await?;
    println!("read without one node: three copies {copies:.0}, 4+2 {degraded:.0} MiB/s");
    let second = cluster.faults().crash(Part::DataNode(1)).await;
    let (copies, degraded) = reads(&client, &bytes).await?;
    println!("read without two nodes: three copies {copies:.0}, 4+2 {degraded:.0} MiB/s");
    first.restart().await?;
    second.restart().await?;
    cluster.check().await?;
    cluster.shutdown().await?;
    Ok(())
}

fn policies() -> Result<[(&'static str, PolicyChange); 2]> {
    let copies = PolicyChange {
        replicas: Some(ReplicationTarget(3)),
        // All of them, so that the figure is that of all the work.
        replicas_min: Some(ReplicationTarget(3)),
        ..PolicyChange::default()
    };
    let stripes = PolicyChange {
        ec: Some("4+2".parse()?),
        ..PolicyChange::default()
    };
    Ok([("/copies", copies), ("/stripes", stripes)])
}

async fn write(client: &Client, path: &str, bytes: &Bytes) -> Result<f64> {
    let begun = Instant::now();
    client.write(path, bytes.clone()).await?;
    Ok(rate(bytes, begun))
}

/// The best rates of reading both, in turns.
async fn reads(client: &Client, bytes: &Bytes) -> Result<(f64, f64)> {
    let (mut copies, mut stripes) = (0_f64, 0_f64);
    for _ in 0..ROUNDS {
        for (path, best) in [("/copies/f", &mut copies), ("/stripes/f", &mut stripes)] {
            let begun = Instant::now();
            let mut read = std::io::Cursor::new(Vec::with_capacity(bytes.len()));
            client.get(path, &mut read, Default::default()).await?;
            *best = best.max(rate(bytes, begun));
            assert!(
                read.into_inner() == *bytes,
                "what is read is what was written"
            );
        }
    }
    Ok((copies, stripes))
}

fn rate(bytes: &Bytes, begun: Instant) -> f64 {
    bytes.len() as f64 / MIB as f64 / begun.elapsed().as_secs_f64()
}
