//! Writers that create file after file and remember when each was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_core::client::Client;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::cluster::Cluster;
use crate::content::content;

/// Bytes of each file: kept in the metadata, so that a create is one commit of the masters.
const FILE_LEN: usize = 100;
const READERS: usize = 64;

/// A create that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    number: u64,
    began: Instant,
    ended: Instant,
}

type Log = Arc<Mutex<Vec<Acknowledged>>>;

/// Writers at work, each with a client and a log of its own.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    logs: Vec<Log>,
    tasks: JoinSet<Vec<String>>,
}

impl Writers {
    pub(crate) async fn start(cluster: &Cluster, count: usize) -> Outcome<Writers> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut logs, mut tasks) = (Vec::new(), JoinSet::new());
        for writer in 0..count {
            let client = cluster.client().await?;
            client.create_dir_all(&format!("/load/{writer}")).await?;
            let log = Log::default();
            logs.push(log.clone());
            tasks.spawn(write(client, writer, stop.clone(), log));
        }
        Ok(Writers { stop, logs, tasks })
    }

    /// When the first create that began after `since` was acknowledged.
    pub(crate) fn next_after(&self, since: Instant) -> Option<Instant> {
        self.logs
            .iter()
            .filter_map(|log| first_after(log, since))
            .min()
    }

    /// Whether every writer has created a file since.
    pub(crate) fn all_wrote_after(&self, since: Instant) -> bool {
        self.logs
            .iter()
            .all(|log| first_after(log, since).is_some())
    }

    /// The longest time between two acknowledgements of one writer, as far as it was after
    /// `since`.
    pub(crate) fn longest_gap(&self, since: Instant) -> Duration {
        let gaps = self.logs.iter().map(|log| {
            let log = lock(log);
            let times = log.windows(2).rev();
            let late = times.take_while(|pair| pair[1].ended > since);
            late.map(|pair| pair[1].ended - pair[0].ended).max()
        });
        gaps.flatten().max().unwrap_or_default()
    }

    /// Stops them; gives how many creates were acknowledged, and reads all of them back.
    pub(crate) async fn stop_and_verify(mut self, client: &Client) -> Outcome<Verified> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(writer) = self.tasks.join_next().await {
            failures.extend(writer?);
        }
        let mut numbers = Vec::new();
        for (writer, log) in self.logs.iter().enumerate() {
            numbers.extend(
                lock(log)
                    .iter()
                    .map(|acknowledged| (writer, acknowledged.number)),
            );
        }
        let lost = stream::iter(numbers.iter())
            .map(|(writer, number)| async move {
                let path = path(*writer, *number);
                match client.read(&path).await {
                    Ok(bytes) if bytes == expected(*writer, *number) => Ok(0),
                    Ok(_) => Ok::<_, dfs_core::error::Error>(1),
                    Err(e) if e.kind() == dfs_core::error::ErrorKind::NotFound => Ok(1),
                    Err(e) => Err(e.context(path)),
                }
            })
            .buffer_unordered(READERS)
            .try_fold(0, |sum, lost| async move { Ok(sum + lost) })
            .await?;
        Ok(Verified {
            acknowledged: numbers.len() as u64,
            lost,
            failures,
        })
    }
}

/// What became of all creates.
pub(crate) struct Verified {
    pub(crate) acknowledged: u64,
    /// Acknowledged, and missing or different at the end.
    pub(crate) lost: u64,
    /// Creates that ended in an error.
    pub(crate) failures: Vec<String>,
}

async fn write(client: Client, writer: usize, stop: Arc<AtomicBool>, log: Log) -> Vec<String> {
    let mut failures = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        match client
            .write(&path(writer, number), expected(writer, number))
            .await
        {
            Ok(_) => lock(&log).push(Acknowledged {
                number,
                began,
                ended: Instant::now(),
            }),
            Err(error) => {
                failures.push(format!("{}: {error}", path(writer, number)));
                // So that a cluster that is gone does not fill the memory with errors.
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    failures
}

fn path(writer: usize, number: u64) -> String {
    format!("/load/{writer}/{number}")
}

fn expected(writer: usize, number: u64) -> bytes::Bytes {
    content(((writer as u64) << 32) | number, FILE_LEN)
}

fn first_after(log: &Log, since: Instant) -> Option<Instant> {
    let log = lock(log);
    let after = log.partition_point(|acknowledged| acknowledged.began <= since);
    log.get(after).map(|acknowledged| acknowledged.ended)
}

fn lock(log: &Log) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
