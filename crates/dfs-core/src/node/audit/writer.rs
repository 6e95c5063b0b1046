//! Writes lines, many at a time, and makes them durable now and then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::files::{Files, Unsynced};
use crate::env::{DiskFile, Env};

/// How long a line may be without being on stable storage.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A disk that has taken no line for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of one write.
const BATCH_MAX: usize = 256;

/// A line to write.
pub(super) struct Job {
    pub(super) line: Vec<u8>,
    /// Whom to tell whether it was.
    pub(super) written: Option<oneshot::Sender<bool>>,
}

/// Writes until the log is closed, or nobody is left who asks, or the disk has failed.
pub(super) async fn run(
    env: Env,
    mut files: Files,
    mut queue: mpsc::Receiver<Job>,
    closing: CancellationToken,
) {
    let settling = move || (files.settle(), files);
    let (settled, mut files) = env.run_blocking(settling).await;
    if let Err(error) = settled {
        tracing::error!(%error, "the audit log is not ready; former lines may be lost");
    }
    let mut jobs = Vec::new();
    let mut failing: Option<Instant> = None;
    let mut next_sync = Instant::now() + SYNC_INTERVAL;
    let mut syncing: Option<BoxFuture<'static, Synced>> = None;
    loop {
        let is_due = files.has_unsynced() && syncing.is_none();
        tokio::select! {
            biased;
            synced = async { syncing.as_mut()?.await.into() }, if syncing.is_some() => {
                syncing = None;
                if let Some((unsynced, Err(error))) = synced {
                    tracing::error!(%error, "the audit log is not synced; begins another file");
                    files.give_up(unsynced);
                }
            }
            () = sleep_until(next_sync), if is_due => {
                next_sync = Instant::now() + SYNC_INTERVAL;
                syncing = files.begin_sync().map(|begun| sync(env.clone(), begun).boxed());
            }
            () = closing.cancelled(), if !queue.is_closed() => queue.close(),
            count = queue.recv_many(&mut jobs, BATCH_MAX) => {
                if count == 0 {
                    break;
                }
                let is_written;
                (files, is_written) = write(&env, files, &mut jobs).await;
                let since = *failing.get_or_insert_with(Instant::now);
                if is_written && !files.is_behind() {
                    failing = None;
                } else if since.elapsed() > PATIENCE {
                    tracing::error!("the disk of the audit log has failed");
                    return;
                }
            }
        }
    }
    if let Some(syncing) = syncing
        && let (unsynced, Err(_)) = syncing.await
    {
        files.give_up(unsynced);
    }
    let last = env.run_blocking(move || files.close()).await;
    if let Err(error) = last {
        tracing::error!(%error, "the audit log could not be synced at its end");
    }
}

/// What was synced, and whether it could be.
type Synced = (Unsynced, io::Result<()>);

async fn sync(env: Env, (file, unsynced): (Arc<dyn DiskFile>, Unsynced)) -> Synced {
    let synced = env.run_blocking(move || file.sync()).await;
    (unsynced, synced)
}

async fn write(env: &Env, mut files: Files, jobs: &mut Vec<Job>) -> (Files, bool) {
    let bytes: Vec<u8> = jobs
        .iter()
        .flat_map(|job| job.line.iter().copied())
        .collect();
    let appending = move || {
        let appended = files.append(&bytes);
        (files, appended)
    };
    let (files, appended) = env.run_blocking(appending).await;
    if let Err(error) = &appended {
        tracing::error!(%error, "the audit log is not written; what it tells is not answered");
    }
    for job in jobs.drain(..) {
        if let Some(written) = job.written {
            // Who asked may be gone.
            let _ = written.send(appended.is_ok());
        }
    }
    (files, appended.is_ok())
}
