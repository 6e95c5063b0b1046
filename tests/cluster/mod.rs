//! The promises of the system, one story each, told with a cluster in this process.

mod durable;
mod failover;
mod linearizable;
mod once;
mod peers;
mod quota;
mod reclaim;
mod repair;
mod restored;
mod rights;
mod rot;
mod sharing;
mod snapshots;
mod stripes;
mod too_few_nodes;
mod volumes;
mod whole;
mod wiped;

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use dfs_core::cluster::{Cluster, ClusterBuilder, Part};
use dfs_core::env::{Clock, Env, Timestamp};
use dfs_core::types::Policy;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

type TestResult = Result<(), Box<dyn Error>>;

const MIB: usize = 1 << 20;

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251 + i) as u8).collect()
}

/// Clusters that run at a time: elections need their share of the processors.
const CLUSTERS_MAX: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A directory that goes with the test, and its turn to run a cluster in it.
struct Stage(TempDir);

impl AsRef<Path> for Stage {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// Waits for the test's turn. Each test has a thread and a runtime of its own, so it may block.
#[allow(clippy::expect_used, reason = "without a directory there is no test")]
fn directory() -> Stage {
    // `RUST_LOG=info` makes a story talk. The first test to get here sets it up for all.
    let talk = tracing_subscriber::fmt().with_test_writer();
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = talk.with_env_filter(filter).try_init();
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = ENDED
        .wait_while(running, |running| *running >= CLUSTERS_MAX)
        .unwrap_or_else(PoisonError::into_inner);
    *running += 1;
    Stage(tempfile::tempdir().expect("a temporary directory"))
}

/// A cluster that gives dead nodes up after seconds instead of minutes.
fn impatient() -> ClusterBuilder {
    Cluster::builder().tune_masters(|config| {
        config.liveness.heartbeat_interval = Duration::from_millis(100);
        config.liveness.suspect_after = Duration::from_millis(500);
        config.liveness.dead_after = Duration::from_millis(1500);
    })
}

/// The machine, with a clock that can be put forward.
fn shifted() -> (Env, Arc<ShiftedClock>) {
    let clock = Arc::new(ShiftedClock::default());
    let env = Env {
        clock: clock.clone(),
        ..Env::real()
    };
    (env, clock)
}

#[derive(Default)]
struct ShiftedClock(AtomicU64);

impl ShiftedClock {
    fn put_forward(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp(Env::real().clock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

/// Bytes of the large chunks on the disks of all data nodes.
fn bytes_on_disk(cluster: &Cluster) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for index in 0..cluster.data_nodes() {
        let directory = cluster.directory_of(Part::DataNode(index));
        let mut directories = vec![directory.join("chunks")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => directories.push(entry.path()),
                    Ok(meta) => sum += meta.len(),
                    // It went while we looked.
                    Err(_) => {}
                }
            }
        }
    }
    Ok(sum)
}

/// Waits until something is so.
async fn eventually<F>(what: &str, mut is_so: impl FnMut() -> F) -> TestResult
where
    F: Future<Output = Result<bool, Box<dyn Error>>>,
{
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await? {
        if Instant::now() > deadline {
            return Err(format!("waited in vain: {what}").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Copies of a new chunk, unless a policy says otherwise.
const COPIES: usize = Policy::DEFAULT.replicas.0 as usize;
