//! The one task that writes the log: it drains its queue into one durable commit at a time.
//!
//! ```text
//! append ──▶ queue ─┐
//! vote ────▶ queue ─┼─▶ [ commit 1: one fsync ] ──▶ callbacks ──▶ [ commit 2 ] ──▶ …
//! purge ───▶ queue ─┘      meanwhile the queue fills for commit 2
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::file::LogFile;
use super::segment::Change;
use crate::env::Env;
use crate::error::Fatal;
use crate::planted::{self, Bug};
use crate::replica::failure::Failure;
use crate::types::TypeConfig;

/// Requests waiting for the writer; more wait to be queued.
const QUEUE_MAX: usize = 4096;

/// Requests and bytes taken into one commit.
const COMMIT_REQUESTS_MAX: usize = 1024;
const COMMIT_BYTES_MAX: usize = 8 << 20;

/// How long a committed position waits for something to be written with.
const COMMITTED_DELAY: Duration = Duration::from_millis(100);

/// Entries that are on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flushed {
    /// The index after the last of them.
    pub(crate) next: u64,
    /// How often the log had been truncated when they were appended.
    pub(crate) generation: u64,
}

/// What to do when a request is on disk.
pub(crate) enum Done {
    Nothing,
    Appended(IOFlushed<TypeConfig>, Flushed),
    Answer(oneshot::Sender<Result<(), Fatal>>),
}

pub(crate) struct Request {
    pub(crate) changes: Vec<Change>,
    pub(crate) done: Done,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Request>,
    /// When the commit that is being written began, for whoever watches for a slow disk.
    pub(crate) busy_since: watch::Receiver<Option<Instant>>,
}

impl Writer {
    /// Starts the task. It ends when the last [`Writer`] is dropped.
    ///
    /// `flushed` is called with what each append put on disk.
    pub(crate) fn start(
        env: Env,
        file: Arc<LogFile>,
        failure: Failure,
        flushed: impl Fn(Flushed) + Send + Sync + 'static,
    ) -> Writer {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let (busy, busy_since) = watch::channel(None);
        let task = Task {
            env,
            file,
            failure: failure.clone(),
            requests,
            busy,
            committed: None,
            flushed: Arc::new(flushed),
        };
        tokio::spawn(failure.guard(task.run()));
        Writer { queue, busy_since }
    }

    /// Queues a request, behind all that were queued before.
    pub(crate) async fn submit(&self, request: Request) -> io::Result<()> {
        self.queue
            .send(request)
            .await
            .map_err(|_| io::Error::other("the log's writer has stopped"))
    }

    /// Queues changes and waits until they are on disk.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (answer, result) = oneshot::channel();
        let done = Done::Answer(answer);
        self.submit(Request { changes, done }).await?;
        match result.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the log's writer has stopped")),
        }
    }
}

struct Task {
    env: Env,
    file: Arc<LogFile>,
    failure: Failure,
    requests: mpsc::Receiver<Request>,
    busy: watch::Sender<Option<Instant>>,
    /// A committed position that is not written yet: it needs no commit of its own.
    committed: Option<Change>,
    flushed: Arc<dyn Fn(Flushed) + Send + Sync>,
}

impl Task {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let first = match &self.committed {
                None => self.requests.recv().await,
                Some(_) => match timeout(COMMITTED_DELAY, self.requests.recv()).await {
                    Ok(request) => request,
                    Err(_) => {
                        if !self.commit(Vec::new()).await {
                            return;
                        }
                        continue;
                    }
                },
            };
            let Some(first) = first else { break };
            batch.push(first);
            self.drain(&mut batch);
            if !self.commit(std::mem::take(&mut batch)).await {
                return;
            }
        }
        // The last owner is gone: keep what was deferred.
        self.commit(Vec::new()).await;
    }

    fn drain(&mut self, batch: &mut Vec<Request>) {
        let mut bytes = 0;
        while batch.len() < COMMIT_REQUESTS_MAX && bytes < COMMIT_BYTES_MAX {
            let Ok(request) = self.requests.try_recv() else {
                return;
            };
            bytes += request.changes.iter().map(weight).sum::<usize>();
            batch.push(request);
        }
    }

    /// Writes a batch and tells its owners; false if that failed, which is the end.
    async fn commit(&mut self, batch: Vec<Request>) -> bool {
        let idle = batch.is_empty();
        let mut changes = Vec::with_capacity(batch.len() + 1);
        let mut waiting = Vec::with_capacity(batch.len());
        for request in batch {
            for change in request.changes {
                match change {
                    Change::Committed(_) => self.committed = Some(change),
                    Change::Vote(_) if planted::active(Bug::VoteNotDurable) => {}
                    change => changes.push(change),
                }
            }
            waiting.push(request.done);
        }
        if !changes.is_empty() || idle {
            changes.extend(self.committed.take());
        }
        if changes.is_empty() {
            // They only noted a committed position.
            let told = waiting.into_iter();
            told.for_each(|done| done.tell(&Ok(()), &*self.flushed));
            return true;
        }
        self.write(changes, waiting).await
    }

    /// Writes changes and tells those who wait, from the thread that wrote: they hear of it one
    /// switch of threads earlier.
    async fn write(&mut self, changes: Vec<Change>, waiting: Vec<Done>) -> bool {
        self.busy.send_replace(Some(Instant::now()));
        let (file, failure) = (self.file.clone(), self.failure.clone());
        let flushed = self.flushed.clone();
        let work = move || {
            let result = file.commit(&changes);
            if let Err(fatal) = &result {
                failure.stop(fatal.clone());
            }
            for done in waiting {
                done.tell(&result, &*flushed);
            }
            result.is_ok()
        };
        let written = self.env.run_blocking(work).await;
        self.busy.send_replace(None);
        written
    }
}

impl Done {
    fn tell(self, result: &Result<(), Fatal>, flushed: &dyn Fn(Flushed)) {
        match self {
            Done::Nothing => {}
            Done::Appended(callback, upto) => {
                if result.is_ok() {
                    flushed(upto);
                }
                callback.io_completed(result.clone().map_err(io::Error::other));
            }
            // Nobody may wait for it any more.
            Done::Answer(answer) => drop(answer.send(result.clone())),
        }
    }
}

fn weight(change: &Change) -> usize {
    match change {
        Change::Append { stored, .. } => stored.len(),
        _ => 0,
    }
}
