//! How much a node takes on: connections, writes, memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::{DataNodeLimits, READ_BUFFER, WRITE_BUFFER};

/// Bytes of memory in one permit.
const PERMIT_LEN: usize = 64 * 1024;

/// Permits for everything a node does at a time.
///
/// A stream gets all the memory it will need before it begins: two nodes that forward to each
/// other can then never wait for memory that the other's streams hold.
#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    patience: Duration,
    idle: Mutex<IdleConnections>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    next: u64,
    /// In the order in which they became idle.
    waiting: BTreeMap<u64, CancellationToken>,
}

/// Leave to do something, until dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    pub(super) fn new(limits: &DataNodeLimits) -> Admission {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits));
        Admission {
            connections: semaphore(limits.connections),
            writes: semaphore(limits.writes),
            memory: semaphore(limits.buffer_bytes / PERMIT_LEN),
            patience: limits.admission,
            idle: Mutex::default(),
        }
    }

    /// Leave to have one more connection; for it the one idle longest is closed if need be.
    pub(super) async fn connection(&self) -> Option<Permit> {
        if self.connections.available_permits() == 0 {
            self.close_idle()?;
        }
        self.acquire(&[(&self.connections, 1)]).await
    }

    /// Leave to receive a chunk.
    pub(super) async fn write(&self) -> Option<Permit> {
        self.acquire(&[(&self.writes, 1), (&self.memory, WRITE_BUFFER / PERMIT_LEN)])
            .await
    }

    /// Leave to send a chunk.
    pub(super) async fn read(&self) -> Option<Permit> {
        self.acquire(&[(&self.memory, READ_BUFFER / PERMIT_LEN)])
            .await
    }

    async fn acquire(&self, wanted: &[(&Arc<Semaphore>, usize)]) -> Option<Permit> {
        let all = async {
            let mut permits = Vec::with_capacity(wanted.len());
            for (semaphore, count) in wanted {
                let count = u32::try_from(*count).ok()?;
                permits.push(Arc::clone(semaphore).acquire_many_owned(count).await.ok()?);
            }
            Some(Permit { _permits: permits })
        };
        timeout(self.patience, all).await.ok().flatten()
    }

    /// Says that a connection waits for its next request, until the guard is dropped.
    pub(super) fn idle(&self) -> IdleGuard<'_> {
        let closed = CancellationToken::new();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let number = idle.next;
        idle.next += 1;
        idle.waiting.insert(number, closed.clone());
        IdleGuard {
            admission: self,
            number,
            closed,
        }
    }

    fn close_idle(&self) -> Option<()> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, longest) = idle.waiting.pop_first()?;
        longest.cancel();
        Some(())
    }
}

/// A connection that waits for a request.
#[derive(Debug)]
pub(super) struct IdleGuard<'a> {
    admission: &'a Admission,
    number: u64,
    /// Cancelled when its place is needed.
    pub(super) closed: CancellationToken,
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        let mut idle = self
            .admission
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> DataNodeLimits {
        DataNodeLimits {
            connections: 2,
            writes: 1,
            ..DataNodeLimits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_told_so_after_a_while() {
        let admission = Admission::new(&limits());
        let first = admission.write().await;
        assert!(first.is_some());
        assert!(admission.write().await.is_none());
        drop(first);
        assert!(admission.write().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_longest_makes_room() {
        let admission = Admission::new(&limits());
        let (old, new) = (admission.idle(), admission.idle());
        let (first, _second) = (admission.connection().await, admission.connection().await);

        let (third, ()) = tokio::join!(admission.connection(), async {
            old.closed.cancelled().await;
            drop(first);
        });

        assert!(third.is_some());
        assert!(!new.closed.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn busy_connections_are_not_closed_for_new_ones() {
        let admission = Admission::new(&limits());
        let _both = (admission.connection().await, admission.connection().await);
        assert!(admission.connection().await.is_none());
    }
}
