//! How much a node takes on: connections, writes, memory.

pub(super) mod permits;
pub(super) mod serving;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::config::{DataNodeLimits, READ_BUFFER, WRITE_BUFFER};
use crate::node::lobby::{Lobby, Visitor};

/// Bytes of memory in one permit.
const PERMIT_LEN: usize = 64 * 1024;

/// Kinds of writes, by how many nodes they are yet forwarded to; the last is for more as well.
const KINDS: usize = 4;

/// One in so many connections may have shown no good permit yet, and one in so many of one source.
const STRANGERS: usize = 2;
const STRANGERS_OF_SOURCE: usize = 8;

/// Permits for everything a node does at a time.
///
/// A stream gets all the memory it will need before it begins.
///
/// A write holds its place here while it waits for one at the next node. Nodes that forward to
/// each other would wait for each other if each was full of writes that wait, so the more nodes a
/// write has before it, the fewer of its kind are let in: there is always a place for writes that
/// have less far to go, and those that go nowhere wait for nobody.
///
/// ```text
/// forwarded   0 times   ├───────────────────┤  all places
///             1         ├──────────────┤
///             2         ├─────────┤
///             3 or more ├────┤
/// ```
#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    strangers: Lobby,
    /// Places for writes that are forwarded so many times or more.
    writes: [Arc<Semaphore>; KINDS],
    reads: Arc<Semaphore>,
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
        let writes = limits.writes_admitted();
        let of_kind = |kind: usize| (writes * (KINDS - kind)).div_ceil(KINDS);
        let for_reads = limits.buffer_bytes.saturating_sub(writes * WRITE_BUFFER);
        Admission {
            connections: semaphore(limits.connections),
            strangers: Lobby::new(
                limits.connections / STRANGERS,
                limits.connections / STRANGERS_OF_SOURCE,
            ),
            writes: std::array::from_fn(|kind| semaphore(of_kind(kind))),
            reads: semaphore(for_reads / PERMIT_LEN),
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

    /// A place for somebody who has shown no good permit yet, for which another such may have to
    /// give way.
    pub(super) fn stranger(&self, peer: &str) -> Visitor<'_> {
        self.strangers.enter(peer)
    }

    /// Leave to receive a chunk that is forwarded to `further` nodes; for it the write that has
    /// been without bytes longest is cut off if need be.
    pub(super) async fn write(&self, further: usize) -> Option<Permit> {
        let places = self.writes.iter().take(further.min(KINDS - 1) + 1);
        if places.clone().any(|place| place.available_permits() == 0) {
            self.idle_writes.close_longest(self.write_idle);
        }
        let wanted: Vec<_> = places.rev().map(|place| (place, 1)).collect();
        self.acquire(&wanted).await
    }

    /// Leave to send a chunk.
    pub(super) async fn read(&self) -> Option<Permit> {
        self.acquire(&[(&self.reads, READ_BUFFER / PERMIT_LEN)])
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
    async fn there_is_a_place_for_writes_that_have_less_far_to_go() {
        let writes = 4;
        let limits = DataNodeLimits { writes, ..limits() };
        let admission = Admission::new(&limits);
        let mut admitted = Vec::new();
        for further in (0..KINDS).rev() {
            while let Some(permit) = admission.write(further).await {
                admitted.push((further, permit));
            }
        }
        let kinds: Vec<_> = admitted.iter().map(|(further, _)| *further).collect();
        assert_eq!(kinds, [3, 2, 1, 0]);
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
}
