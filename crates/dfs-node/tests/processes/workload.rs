//! Writers that remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dfs_core::client::Client;
use dfs_core::env::{Random, SeededRandom};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

/// Lengths of files: in the metadata, in one small chunk, in one large chunk.
const LENGTHS: [usize; 4] = [100, 4096, 200_000, 3 << 20];

/// What the file with this number contains: nobody else's bytes.
fn content(number: u64) -> Bytes {
    let length = LENGTHS[number as usize % LENGTHS.len()];
    let random = SeededRandom::new(number);
    let words = (0..length.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes());
    words.take(length).collect()
}

fn path(number: u64) -> String {
    format!("/load/{}/{number}", number % 10)
}

/// Writers at work.
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<u64, ()>>>,
    writers: JoinSet<u64>,
}

impl Workload {
    /// Starts `writers` that write file after file until they are told to stop.
    pub(crate) async fn start(client: &Client, writers: u64) -> dfs_core::error::Result<Workload> {
        Workload::start_with(client, writers, 1).await
    }

    /// Starts `writers` that write only files small enough to be in the metadata.
    pub(crate) async fn start_small(
        client: &Client,
        writers: u64,
    ) -> dfs_core::error::Result<Workload> {
        Workload::start_with(client, writers, LENGTHS.len() as u64).await
    }

    /// The numbers of files are multiples of `step`.
    async fn start_with(
        client: &Client,
        writers: u64,
        step: u64,
    ) -> dfs_core::error::Result<Workload> {
        for directory in 0..10 {
            client.create_dir_all(&format!("/load/{directory}")).await?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let (client, stop, acknowledged) = (client.clone(), stop.clone(), acknowledged.clone());
            tasks.spawn(async move {
                let mut failures = 0;
                for turn in (writer..).step_by(writers as usize) {
                    let number = turn * step;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match client.write(&path(number), content(number)).await {
                        Ok(_) => {
                            let mut acknowledged =
                                acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                            acknowledged.insert(number, ());
                        }
                        Err(e) => {
                            eprintln!("write {number}: {e}");
                            failures += 1;
                        }
                    }
                }
                failures
            });
        }
        Ok(Workload {
            stop,
            acknowledged,
            writers: tasks,
        })
    }

    /// How many files are acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Stops the writers; gives the files that were acknowledged and the number of writes that
    /// ended in an error.
    pub(crate) async fn stop(mut self) -> (Vec<u64>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = 0;
        while let Some(writer) = self.writers.join_next().await {
            failures += writer.unwrap_or(u64::MAX / 2);
        }
        let acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (acknowledged.keys().copied().collect(), failures)
    }
}

/// Reads every file back and compares every byte.
pub(crate) async fn verify(client: &Client, numbers: &[u64]) -> dfs_core::error::Result<()> {
    stream::iter(numbers.iter().map(Ok))
        .try_for_each_concurrent(8, |number| async move {
            let found = client.read(&path(*number)).await?;
            assert!(
                found == content(*number),
                "{} has other bytes",
                path(*number)
            );
            Ok(())
        })
        .await
}

/// Waits until a number of files more are acknowledged.
pub(crate) async fn progress(workload: &Workload, more: usize) {
    let target = workload.acknowledged() + more;
    let mut ticks = stream::repeat(())
        .then(|()| tokio::time::sleep(POLL))
        .boxed();
    while workload.acknowledged() < target {
        ticks.next().await;
    }
}

const POLL: std::time::Duration = std::time::Duration::from_millis(20);
