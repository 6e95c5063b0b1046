//! How much a node takes on: connections, writes, memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{DataNodeLimits, READ_BUFFER, WRITE_BUFFER};

/// Bytes of memory in one permit.
const PERMIT_LEN: usize = 64 * 1024;

/// Permits for everything a node does at a time.
///
/// A stream gets all the memory it will need before it begins. A write holds its place here while
/// it waits for one on the next node, so writes that go on to more nodes may take fewer of the
/// places: those at the end of their pipelines, which wait for nobody, always find one, then
/// those before them. Nodes that forward to each other never wait in a circle.
#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Writes that go on to one more node at least, to two more at least.
    forwarded: [Arc<Semaphore>; 2],
    memory: Arc<Semaphore>,
    patience: Duration,
    idle: Idle,
    idle_writes: Idle,
    write_idle: Duration,
}

/// Those who have a place and wait for the other side.
#[derive(Debug, Default)]
struct Idle(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order in which they began to wait.
    all: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// Leave to do something, until dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    pub(super) fn new(limits: &DataNodeLimits) -> Admission {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits));
        let writes = limits.writes.min(limits.buffer_bytes / WRITE_BUFFER);
        let part = |thirds: usize| semaphore((writes * thirds / 3).max(1));
        Admission {
            connections: semaphore(limits.connections),
            writes: semaphore(limits.writes),
            forwarded: [part(2), part(1)],
            memory: semaphore(limits.buffer_bytes / PERMIT_LEN),
            patience: limits.admission,
            idle: Idle::default(),
            idle_writes: Idle::default(),
            write_idle: limits.write_idle,
        }
    }

    /// Leave to have one more connection; for it the one idle longest is closed if need be.
    pub(super) async fn connection(&self) -> Option<Permit> {
        if self.connections.available_permits() == 0 {
            self.idle.close_longest(Duration::ZERO)?;
        }
        self.acquire(&[(&self.connections, 1)]).await
    }

    /// Leave to receive a chunk that goes on to `more` nodes; for it the write that has been
    /// without bytes longest is cut off if need be.
    pub(super) async fn write(&self, more: usize) -> Option<Permit> {
        let forwarded = self.forwarded.iter().take(more).rev().map(|f| (f, 1));
        let all = [(&self.writes, 1), (&self.memory, WRITE_BUFFER / PERMIT_LEN)];
        let wanted: Vec<_> = forwarded.chain(all).collect();
        if wanted.iter().any(|(s, n)| s.available_permits() < *n) {
            self.idle_writes.close_longest(self.write_idle);
        }
        self.acquire(&wanted).await
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
        self.idle.wait()
    }

    /// Says that a write waits for its next bytes, until the guard is dropped.
    pub(super) fn idle_write(&self) -> IdleGuard<'_> {
        self.idle_writes.wait()
    }
}

impl Idle {
    fn wait(&self) -> IdleGuard<'_> {
        let closed = CancellationToken::new();
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.insert(number, (Instant::now(), closed.clone()));
        IdleGuard {
            idle: self,
            number,
            closed,
        }
    }

    /// Closes the one that has waited longest, if that is long enough.
    fn close_longest(&self, at_least: Duration) -> Option<()> {
        let mut waiting = self.waiting();
        let first = waiting.all.first_entry()?;
        if first.get().0.elapsed() < at_least {
            return None;
        }
        let (_, longest) = first.remove();
        longest.cancel();
        Some(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for the other side.
#[derive(Debug)]
pub(super) struct IdleGuard<'a> {
    idle: &'a Idle,
    number: u64,
    /// Cancelled when its place is needed.
    pub(super) closed: CancellationToken,
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.idle.waiting().all.remove(&self.number);
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
        let first = admission.write(0).await;
        assert!(first.is_some());
        assert!(admission.write(0).await.is_none());
        drop(first);
        assert!(admission.write(0).await.is_some());
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

    #[tokio::test(start_paused = true)]
    async fn the_write_that_was_without_bytes_longest_makes_room_if_that_is_long() {
        let admission = Admission::new(&limits());
        let first = admission.write(0).await;
        let waits = admission.idle_write();
        assert!(admission.write(0).await.is_none());
        assert!(!waits.closed.is_cancelled(), "it may only be slow");

        tokio::time::sleep(limits().write_idle).await;
        let cut_off = async {
            let cut_off = timeout(Duration::from_secs(1), waits.closed.cancelled());
            cut_off.await.map(|()| drop(first))
        };
        let (second, cut_off) = tokio::join!(admission.write(0), cut_off);

        assert!(second.is_some() && cut_off.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_cross_between_nodes_do_not_wait_in_a_circle() {
        const NODES: usize = 3;
        let limits = DataNodeLimits {
            writes: 6,
            ..DataNodeLimits::default()
        };
        let nodes: Vec<Admission> = (0..NODES).map(|_| Admission::new(&limits)).collect();
        let through = async |head: usize| {
            let mut held = Vec::new();
            for more in (0..NODES).rev() {
                let node = nodes.get((head + more) % NODES)?;
                held.push(node.write(more).await?);
                // The others get on as far.
                tokio::task::yield_now().await;
            }
            Some(())
        };
        let all = futures::future::join_all((0..60).map(through)).await;
        assert!(all.iter().all(Option::is_some));
    }
}
