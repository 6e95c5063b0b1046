//! Garbage on every port of a running cluster.

use std::path::Path;
use std::time::Duration;

use dfs_core::env::{BoxStream, Env, Random, SeededRandom};
use dfs_core::proto::hello::{self, Hello, Service};
use dfs_core::types::ClusterId;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::TestResult;
use crate::cluster::{Cluster, MASTERS, name};

/// Within this a connection must be closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A process may need so much more memory after all of it.
const GROWTH_MAX: u64 = 64 << 20;
/// Connections at a time that announce the longest frame and send nothing of it.
const ANNOUNCED: usize = 64;
/// Connections at a time that say nothing.
const SILENT: usize = 1000;

/// Goal: whatever arrives at a port costs at most the connection it arrived on. Method: every
/// service of every process gets garbage, frames cut short and lengths up to 2^64; then all
/// processes still run, none has grown, and files are read and written as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_port_costs_its_connection_and_nothing_else() -> TestResult {
    let directory = tempdir()?;
    let cluster = Cluster::found_insecure(directory.path(), 3).await?;
    let client = cluster.client().await?;
    client.write("/before", vec![7; 3 << 20]).await?;
    let memory: Vec<u64> = memory_of_all(&cluster)?;
    let places = cluster.places();

    for place in 0..places {
        let address = cluster.address(place);
        let masters: &[Service] = &[Service::Raft, Service::Metadata, Service::Cluster];
        let services = match place < MASTERS {
            true => masters,
            false => &[Service::ChunkStream, Service::Peers],
        };
        for garbage in no_hellos() {
            let stream = Env::real().network.connect(address).await?;
            attack(stream, &garbage, address).await?;
        }
        for &service in services {
            for garbage in garbage_after_hello() {
                let stream = greeted(address, service, client.cluster()).await?;
                attack(stream, &garbage, address).await?;
            }
            let mut announced = Vec::new();
            for _ in 0..ANNOUNCED {
                let mut stream = greeted(address, service, client.cluster()).await?;
                stream.write_all(&[0, 0x3f, 0xff, 0xf0, 1, 2, 3]).await?;
                announced.push(stream);
            }
        }
    }

    assert_eq!(client.read("/before").await?, vec![7; 3 << 20]);
    client.write("/after", vec![8; 3 << 20]).await?;
    assert_eq!(client.read("/after").await?, vec![8; 3 << 20]);
    for (place, (before, after)) in memory.iter().zip(memory_of_all(&cluster)?).enumerate() {
        let grown = after.saturating_sub(*before);
        assert!(grown < GROWTH_MAX, "{} grew by {grown} bytes", name(place));
    }
    cluster.stop().await?;
    nobody_panicked(directory.path(), places)
}

#[tokio::test]
async fn strangers_on_secured_ports_cost_their_connections_and_nothing_else() -> TestResult {
    let directory = tempdir()?;
    let cluster = Cluster::found(directory.path(), 2).await?;
    let client = cluster.client().await?;
    client.write("/before", vec![7; 1 << 20]).await?;
    let memory: Vec<u64> = memory_of_all(&cluster)?;
    for place in 0..cluster.places() {
        let address = cluster.address(place);
        let half_a_hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec();
        for garbage in no_hellos().into_iter().chain([half_a_hello]) {
            let stream = Env::real().network.connect(address).await?;
            attack(stream, &garbage, address).await?;
        }
        // Whoever shows no key is told nothing, not even that it is the wrong door.
        let service = Service::Metadata;
        assert!(greeted(address, service, client.cluster()).await.is_err());
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(Env::real().network.connect(address).await?);
        }
        let newcomer = cluster.client().await?;
        assert_eq!(newcomer.read("/before").await?, vec![7; 1 << 20]);
        newcomer.close().await;
    }
    for (place, (before, after)) in memory.iter().zip(memory_of_all(&cluster)?).enumerate() {
        let grown = after.saturating_sub(*before);
        assert!(grown < GROWTH_MAX, "{} grew by {grown} bytes", name(place));
    }
    let places = cluster.places();
    cluster.stop().await?;
    nobody_panicked(directory.path(), places)
}

async fn greeted(
    address: &str,
    service: Service,
    cluster: ClusterId,
) -> std::io::Result<BoxStream> {
    let cluster = Some(cluster);
    let hello = Hello::new(service, cluster);
    let (stream, _) = hello::call(&*Env::real().network, address, hello, PATIENCE).await?;
    Ok(stream)
}

/// Sends garbage and nothing more; the other end must hang up.
async fn attack(mut stream: BoxStream, garbage: &[u8], address: &str) -> TestResult {
    // It may hang up before it has heard all: that is as good.
    if stream.write_all(garbage).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let start = &garbage[..garbage.len().min(16)];
    assert!(
        closed.is_ok(),
        "{address} keeps a connection after {start:x?}"
    );
    assert!(
        answer.len() < 4096,
        "{address} answers {start:x?} at length"
    );
    Ok(())
}

/// What a port hears before it knows what a connection is for.
fn no_hellos() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0xff; 64 << 10],
        vec![0; 64],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"dfs".to_vec(),
        b"dfs\x02\x02\0\0\0".to_vec(),
        b"dfs\x02\xff\xff".to_vec(),
        b"dfs\x02\x10\0\0".to_vec(),
        b"dfs\x02\x02\0\xff\xff".to_vec(),
    ]
}

/// What a service hears instead of a request.
fn garbage_after_hello() -> Vec<Vec<u8>> {
    let mut all = vec![
        Vec::new(),
        vec![0xff; 64 << 10],
        vec![0; 64],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        (1_u64 << 63).to_be_bytes().to_vec(),
        (1_u64 << 63).to_le_bytes().to_vec(),
        framed(&[0xff; 64]),
        // Cut short: the length, and then the frame.
        vec![0, 0],
        [&1000_u32.to_be_bytes()[..], &[1; 10]].concat(),
    ];
    // Requests that are waited for longer than a clock can count, and for two hundred years.
    let longest = [[0xff; 9].as_slice(), &[1]].concat();
    for seconds in [longest, vec![0x80, 0xf8, 0xc0, 0xbf, 0x17]] {
        all.push(framed(&[&[0], &seconds[..], &[0; 64]].concat()));
    }
    let random = SeededRandom::new(11);
    for length in 1..48 {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        // A request whose next length or number is 2^63, and one of random bytes.
        all.push(framed(&bytes));
        bytes.fill(0);
        bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
        all.push(framed(&bytes));
    }
    all
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn memory_of_all(cluster: &Cluster) -> std::io::Result<Vec<u64>> {
    let places = 0..cluster.places();
    places.map(|place| memory(cluster.pid(place))).collect()
}

/// The most memory that a process has had so far.
fn memory(pid: Option<u32>) -> std::io::Result<u64> {
    let pid = pid.ok_or_else(|| std::io::Error::other("a process has ended"))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| std::io::Error::other("no VmHWM"))
}

/// A panic that took one task only shows in the logs.
fn nobody_panicked(directory: &Path, places: usize) -> TestResult {
    for place in 0..places {
        let name = name(place);
        let log = std::fs::read_to_string(directory.join(format!("{name}.log")))?;
        assert!(!log.contains("panicked"), "{name}: {log}");
    }
    Ok(())
}
