//! Streams that are being served, and who gives way to whom.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// While streams are awaited, so many parts of the time are theirs and one is a copy's.
const GIVEN_WAY: u32 = 2;
/// But it is never long that a copy waits for them.
const GIVEN_WAY_MAX: Duration = Duration::from_millis(250);

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
            sleep((took * GIVEN_WAY).min(GIVEN_WAY_MAX)).await;
        }
    }
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

    async fn waited(serving: &Serving, took: u64) -> u64 {
        let begun = Instant::now();
        serving.give_way(Duration::from_millis(took)).await;
        begun.elapsed().as_millis() as u64
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
}
