//! One chunk on its way to its data nodes.
//!
//! Its bytes are sent while they come, and kept until enough nodes have them on stable storage:
//! when a pipeline fails they are sent again, under another chunk id, through another pipeline.
//!
//! ```text
//! bytes ──▶ kept ──▶ n1 ─▶ n2 ✗          c19 on n1 alone: too few, given up
//!             └────▶ n1 ─▶ n4 ─▶ n3      c20 on n1 n4 n3: this is what is committed
//! ```

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::super::Client;
use super::super::budget::Hold;
use super::super::metadata::backoff;
use super::grants::{Assignment, Grants};
use crate::error::{Error, ErrorKind, Result};
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::{Stored as Acknowledged, StreamError, StreamErrorKind};
use crate::types::{ChunkId, NewChunk, NewStripe, Policy, ReplicationTarget};

/// Slices that may wait to be sent.
const QUEUE_LEN: usize = 2;
/// However long the deadline, and however short, a chunk is tried so often.
const TRIES_MIN: u32 = 3;
const TRIES_MAX: u32 = 50;

/// A chunk, or the chunks of a stripe, being stored. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Job {
    input: Option<mpsc::Sender<Bytes>>,
    task: AbortOnDropHandle<Result<Stored>>,
}

/// Chunks that enough data nodes have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// In the order of the bytes, then parity.
    pub(super) chunks: Vec<NewChunk>,
    /// The stripe that they are.
    pub(super) stripe: Option<NewStripe>,
    /// Whether fewer nodes have them than the policy wants.
    pub(super) degraded: bool,
}

impl Stored {
    /// The chunks that hold the bytes, in their order.
    pub(super) fn data(&self) -> impl Iterator<Item = &NewChunk> {
        let data = self.stripe.as_ref().map(|stripe| stripe.shape.data());
        self.chunks.iter().take(data.unwrap_or(self.chunks.len()))
    }
}

/// Begins a chunk of at most `length_max` bytes. `hold` is what its bytes take of a budget; what
/// they do not need of it goes back when the last has come.
pub(super) fn begin(
    client: Client,
    grants: Arc<Grants>,
    policy: Policy,
    length_max: u64,
    hold: Option<Hold>,
) -> Job {
    Job::begin(move |input| {
        let come = (Vec::new(), input);
        Store::of((client, grants), policy, length_max, come, hold).run()
    })
}

impl Job {
    /// Begins to store what comes.
    pub(super) fn begin<F>(store: impl FnOnce(mpsc::Receiver<Bytes>) -> F) -> Job
    where
        F: Future<Output = Result<Stored>> + Send + 'static,
    {
        let (sender, input) = mpsc::channel(QUEUE_LEN);
        Job {
            input: Some(sender),
            task: AbortOnDropHandle::new(tokio::spawn(store(input))),
        }
    }

    /// Adds bytes. If the chunk has failed, [`Job::stored`] says why.
    pub(super) async fn send(&mut self, bytes: Bytes) {
        if let Some(input) = &self.input
            && input.send(bytes).await.is_err()
        {
            self.input = None;
        }
    }

    /// Says that there are no more bytes.
    pub(super) fn end(&mut self) {
        self.input = None;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it is stored.
    ///
    /// # Errors
    /// Too few data nodes have it, however often it was tried.
    pub(super) async fn stored(mut self) -> Result<Stored> {
        self.end();
        match self.task.await {
            Ok(result) => result,
            Err(stopped) => {
                let message = "a write was stopped";
                Err(Error::with_source(ErrorKind::Internal, message, stopped))
            }
        }
    }
}

/// A chunk whose bytes come, or have come.
pub(super) struct Store {
    client: Client,
    grants: Arc<Grants>,
    policy: Policy,
    length_max: u64,
    input: mpsc::Receiver<Bytes>,
    /// All bytes that have come.
    kept: Vec<Bytes>,
    /// Whether there are no more.
    complete: bool,
    hold: Option<Hold>,
    failing: Option<Failing>,
}

/// Tries that failed, one after the other.
pub(super) struct Failing {
    since: Instant,
    tries: u32,
}

impl Failing {
    pub(super) fn begin() -> Failing {
        Failing {
            since: Instant::now(),
            tries: 0,
        }
    }

    /// Counts a try that failed, and waits until it is time for the next; false if there is none.
    pub(super) async fn may_go_on(&mut self, client: &Client) -> bool {
        self.tries += 1;
        let late = self.since.elapsed() >= client.config().deadlines.operation;
        if self.tries >= TRIES_MAX || (late && self.tries >= TRIES_MIN) {
            return false;
        }
        // One node that fails is passed over at once; more of it is worth a pause.
        if self.tries > 1 {
            sleep(backoff(self.tries, &*client.inner.env.random)).await;
        }
        true
    }
}

impl Store {
    /// A chunk of at most `length_max` bytes: those that have come, and those that will.
    pub(super) fn of(
        (client, grants): (Client, Arc<Grants>),
        policy: Policy,
        length_max: u64,
        (kept, input): (Vec<Bytes>, mpsc::Receiver<Bytes>),
        hold: Option<Hold>,
    ) -> Store {
        Store {
            client,
            grants,
            policy,
            length_max,
            input,
            kept,
            complete: false,
            hold,
            failing: None,
        }
    }

    pub(super) async fn run(mut self) -> Result<Stored> {
        loop {
            let assignment = self.grants.next().await?;
            let min = self.policy.replicas_min;
            let (held, errors) = match self.attempt(&assignment).await {
                Ok(stored) => {
                    self.note(&stored);
                    if stored.nodes.len() >= usize::from(min.0)
                        || planted::active(Bug::CommittedAtOneReplica)
                    {
                        return self.done(&assignment, stored);
                    }
                    (stored.nodes.len(), stored.failed)
                }
                Err(error) => {
                    self.client.node_failed(&error);
                    (0, vec![error])
                }
            };
            if errors.iter().any(|e| e.kind == StreamErrorKind::Denied) {
                self.grants.void(&assignment.permit).await;
            }
            let failing = self.failing.get_or_insert_with(Failing::begin);
            let (chunk, tries) = (assignment.chunk, failing.tries);
            debug!(%chunk, tries, ?errors, "a chunk is stored on too few data nodes");
            if !failing.may_go_on(&self.client).await {
                return Err(verdict(chunk, held, min, &errors));
            }
        }
    }

    /// Sends the bytes through one pipeline: those kept first, then those that come. Who writes
    /// does not stand still while bytes are sent again: more are taken in meanwhile. A pipeline
    /// that took all, and then more, has ended the failure of those before.
    async fn attempt(&mut self, to: &Assignment) -> std::result::Result<Acknowledged, StreamError> {
        let pool = &self.client.inner.pool;
        let mut writer = pool
            .write(&to.pipeline, (to.chunk, &to.permit), self.length_max)
            .await?;
        let (kept, mut sent) = (self.kept.len(), 0);
        while let Some(bytes) = self.piece(sent).await {
            sent += 1;
            let behind = sent < self.kept.len();
            let mut sending = pin!(writer.send(bytes));
            loop {
                tokio::select! {
                    biased;
                    result = &mut sending => break result?,
                    more = self.input.recv(), if behind && !self.complete => self.take(more),
                }
            }
            if sent > kept && !behind {
                self.failing = None;
            }
        }
        writer.finish().await
    }

    /// The piece with this index, as soon as it has come; none after the last.
    async fn piece(&mut self, index: usize) -> Option<Bytes> {
        if index == self.kept.len() && !self.complete {
            let more = self.input.recv().await;
            self.take(more);
        }
        self.kept.get(index).cloned()
    }

    /// Keeps what has come; none says that it was all.
    fn take(&mut self, more: Option<Bytes>) {
        match more {
            Some(bytes) => self.kept.push(bytes),
            None => {
                self.complete = true;
                let length = self.length();
                if let Some(hold) = &mut self.hold {
                    hold.shrink(length);
                }
            }
        }
    }

    fn length(&self) -> u64 {
        self.kept.iter().map(|bytes| bytes.len() as u64).sum()
    }

    fn note(&self, stored: &Acknowledged) {
        for node in &stored.nodes {
            self.client.inner.nodes.worked(*node);
        }
        for error in &stored.failed {
            self.client.node_failed(error);
        }
    }

    fn done(&self, to: &Assignment, stored: Acknowledged) -> Result<Stored> {
        let mut replicas = stored.nodes;
        replicas.dedup();
        let known = |node: &crate::types::NodeId| to.pipeline.iter().any(|n| n.node == *node);
        if stored.length != self.length() || !replicas.iter().all(known) {
            let message = format!("data nodes say that they stored another {}", to.chunk);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        Ok(Stored {
            degraded: replicas.len() < usize::from(self.policy.replicas.0),
            chunks: vec![NewChunk {
                chunk: to.chunk,
                length: stored.length,
                checksum: stored.checksum,
                replicas,
                permit: to.permit.clone(),
            }],
            stripe: None,
        })
    }
}

/// The error of a chunk whose last try ended so, on `held` data nodes.
fn verdict(chunk: ChunkId, held: usize, min: ReplicationTarget, errors: &[StreamError]) -> Error {
    let mut message = format!(
        "too few data nodes: {chunk} is on {held}, the policy insists on {}",
        min.0
    );
    for (index, error) in errors.iter().enumerate() {
        let mark = if index == 0 { ": " } else { "; " };
        message.push_str(mark);
        message.push_str(&error.to_string());
    }
    let full = |e: &StreamError| e.kind == StreamErrorKind::OutOfSpace;
    match !errors.is_empty() && errors.iter().all(full) {
        true => Error::new(ErrorKind::OutOfSpace, message),
        false => Error::unavailable(message),
    }
}
