//! Streams that are being served, and who gives way to whom.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// While streams are awaited, so many parts of the time are theirs and one is a copy's, which
/// never waits long for them.
const BEFORE_COPIES: (u32, Duration) = (2, Duration::from_millis(250));
/// While there are streams of any kind, so many parts of the time are theirs and one is scrub's.
const BEFORE_SCRUB: (u32, Duration) = (4, Duration::from_secs(1));

/// Counts the streams that are being served.
#[derive(Debug, Default)]
pub(in crate::datanode) struct Serving {
    running: AtomicU32,
    awaited: AtomicU32,
}

/// For whom a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datanode) enum Purpose {
    /// Somebody waits for it.
    Awaited,
    /// A data node reads it to make a copy.
    Copy,
}

impl Serving {
    /// Counts a stream as long as the guard is kept.
    pub(in crate::datanode) fn count(&self, purpose: Purpose) -> Served<'_> {
        let awaited = (purpose == Purpose::Awaited).then_some(&self.awaited);
        let counters = [Some(&self.running), awaited];
        for counter in counters.into_iter().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Served(counters)
    }

    /// How many there are.
    pub(in crate::datanode) fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Lets those go first who wait for bytes, after a part of a copy that took so long: copies
    /// take a third of the time that they would take of a machine that has nothing else to do.
    pub(in crate::datanode) async fn give_way(&self, took: Duration) {
        if self.awaited.load(Ordering::Relaxed) > 0 {
            wait(BEFORE_COPIES, took).await;
        }
    }

    /// Lets everything else go first, after a part of a scrub that took so long.
    pub(in crate::datanode) async fn give_way_to_all(&self, took: Duration) {
        if self.running() > 0 {
            wait(BEFORE_SCRUB, took).await;
        }
    }
}

async fn wait((parts, longest): (u32, Duration), took: Duration) {
    sleep(took.saturating_mul(parts).min(longest)).await;
}

/// A stream that is being served.
pub(in crate::datanode) struct Served<'a>([Option<&'a AtomicU32>; 2]);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        for counter in self.0.into_iter().flatten() {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn lasted(waiting: impl Future<Output = ()>) -> u64 {
        let begun = Instant::now();
        waiting.await;
        begun.elapsed().as_millis() as u64
    }

    async fn waited(serving: &Serving, took: u64) -> u64 {
        lasted(serving.give_way(Duration::from_millis(took))).await
    }

    #[tokio::test(start_paused = true)]
    async fn copies_give_way_to_whom_somebody_waits_for_and_not_to_each_other() {
        let serving = Serving::default();
        let copy = serving.count(Purpose::Copy);
        assert_eq!((waited(&serving, 100).await, serving.running()), (0, 1));
        let awaited = serving.count(Purpose::Awaited);
        assert_eq!((waited(&serving, 100).await, serving.running()), (200, 2));
        assert_eq!(waited(&serving, 10_000).await, 250);
        drop(awaited);
        assert_eq!((waited(&serving, 100).await, serving.running()), (0, 1));
        drop(copy);
        assert_eq!(serving.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn scrub_gives_way_to_whatever_is_served() {
        let serving = Serving::default();
        let way = |took| lasted(serving.give_way_to_all(Duration::from_millis(took)));
        assert_eq!(way(100).await, 0);
        for purpose in [Purpose::Copy, Purpose::Awaited] {
            let _served = serving.count(purpose);
            assert_eq!(way(100).await, 400);
            assert_eq!(way(10_000).await, 1000);
        }
        assert_eq!(way(100).await, 0);
    }
}
