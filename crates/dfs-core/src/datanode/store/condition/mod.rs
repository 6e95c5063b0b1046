//! How a store is: whether it has failed, how much room it has, what changed lately.

mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tracing::error;

pub use space::Purpose;
pub(super) use space::{Promise, Room};

use super::error::StoreError;
use super::replica::ReplicaSummary;
use crate::types::ChunkId;

/// More changes than this are not kept: a full report says it all.
const CHANGES_MAX: usize = 256 * 1024;
/// With so many replicas that the disk cannot read, it is taken for broken.
const UNREADABLE_MAX: usize = 16;

/// What happened to replicas since it was last asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Replicas that came, by id.
    pub present: Vec<ReplicaSummary>,
    /// Replicas that went.
    pub absent: Vec<ChunkId>,
    /// Replicas that were found corrupt and are in quarantine.
    pub corrupt: Vec<ChunkId>,
    /// There were too many to remember: only a full report is right now.
    pub overflowed: bool,
}

impl Changes {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        let Changes {
            present,
            absent,
            corrupt,
            overflowed,
        } = self;
        present.is_empty() && absent.is_empty() && corrupt.is_empty() && !overflowed
    }
}

/// The last thing that happened to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Present(ReplicaSummary),
    Absent,
    Corrupt,
}

#[derive(Debug, Default)]
struct Feed {
    changes: BTreeMap<ChunkId, Change>,
    overflowed: bool,
}

/// Shared by all parts of a store.
#[derive(Debug)]
pub(super) struct Condition {
    failed: watch::Sender<Option<String>>,
    feed: Mutex<Feed>,
    changed: Notify,
    /// Replicas that could not be read, because the disk did not do it.
    unreadable: Mutex<BTreeSet<ChunkId>>,
}

impl Condition {
    pub(super) fn new() -> Condition {
        Condition {
            failed: watch::Sender::new(None),
            feed: Mutex::default(),
            changed: Notify::new(),
            unreadable: Mutex::default(),
        }
    }

    pub(super) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }

    /// Refuses if the store has failed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.failed.borrow() {
            Some(reason) => Err(StoreError::Failed(reason.clone())),
            None => Ok(()),
        }
    }

    /// Passes an error on; if it means that the disk has failed, the store has from now on.
    pub(super) fn note(&self, error: StoreError) -> StoreError {
        if let StoreError::Failed(reason) = &error {
            self.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                if first {
                    error!(reason, "the store has failed and takes no more writes");
                    *failed = Some(reason.clone());
                }
                first
            });
        }
        error
    }

    /// Notes that the disk could not read a replica. One is a bad sector, many are a bad disk:
    /// then the store has failed.
    pub(super) fn unreadable(&self, chunk: ChunkId, error: &io::Error) {
        if matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
        ) {
            return;
        }
        let mut all = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(chunk);
        if all.len() >= UNREADABLE_MAX {
            let count = all.len();
            let why = format!("{count} replicas cannot be read, the last because of: {error}");
            self.note(StoreError::Failed(why));
        }
    }

    pub(super) fn changed(&self, chunk: ChunkId, change: Change) {
        let mut feed = self.feed();
        feed.changes.insert(chunk, change);
        if feed.changes.len() > CHANGES_MAX {
            feed.changes.clear();
            feed.overflowed = true;
        }
        drop(feed);
        self.changed.notify_one();
    }

    pub(super) fn take(&self, limit: usize) -> Changes {
        let mut feed = self.feed();
        let mut taken = Changes {
            overflowed: std::mem::take(&mut feed.overflowed),
            ..Changes::default()
        };
        for _ in 0..limit {
            match feed.changes.pop_first() {
                None => break,
                Some((_, Change::Present(replica))) => taken.present.push(replica),
                Some((chunk, Change::Absent)) => taken.absent.push(chunk),
                Some((chunk, Change::Corrupt)) => taken.corrupt.push(chunk),
            }
        }
        if !feed.changes.is_empty() {
            self.changed.notify_one();
        }
        taken
    }

    pub(super) fn put_back(&self, changes: Changes) {
        let mut feed = self.feed();
        feed.overflowed |= changes.overflowed;
        let present = changes
            .present
            .into_iter()
            .map(|replica| (replica.chunk, Change::Present(replica)));
        let absent = changes.absent.into_iter().map(|c| (c, Change::Absent));
        let corrupt = changes.corrupt.into_iter().map(|c| (c, Change::Corrupt));
        for (chunk, change) in present.chain(absent).chain(corrupt) {
            // What happened since is newer.
            feed.changes.entry(chunk).or_insert(change);
        }
        drop(feed);
        self.changed.notify_one();
    }

    pub(super) async fn wait(&self) {
        loop {
            {
                let feed = self.feed();
                if !feed.changes.is_empty() || feed.overflowed {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
