//! Who is connected: so many at a time. When all seats are taken, who was silent longest gives
//! way, so that peers that are slow or idle keep nobody out; a member in touch never is the one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The pause between two lines in the log about connections that gave way.
const WARN_PAUSE: Duration = Duration::from_secs(10);

/// The seats of a replica.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    /// When each was used last, and what ends it.
    taken: BTreeMap<u64, (Instant, CancellationToken)>,
    warned: Option<Instant>,
}

/// The seat of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    gives_way: CancellationToken,
}

impl Connections {
    pub(crate) fn new(max: usize) -> Arc<Connections> {
        let seats = Mutex::default();
        Arc::new(Connections { max, seats })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection.
    pub(crate) fn take(self: &Arc<Self>) -> Seat {
        let gives_way = CancellationToken::new();
        let mut seats = self.seats();
        if seats.taken.len() >= self.max {
            seats.make_room(self.max);
        }
        let number = seats.next;
        seats.next += 1;
        let seat = (Instant::now(), gives_way.clone());
        seats.taken.insert(number, seat);
        Seat {
            connections: self.clone(),
            number,
            gives_way,
        }
    }
}

impl Seats {
    fn make_room(&mut self, max: usize) {
        let silent = self.taken.iter().min_by_key(|(_, (used, _))| *used);
        let Some((number, _)) = silent.map(|(number, seat)| (*number, seat)) else {
            return;
        };
        if let Some((_, gives_way)) = self.taken.remove(&number) {
            gives_way.cancel();
        }
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= WARN_PAUSE) {
            self.warned = Some(now);
            tracing::warn!(
                max,
                "all connections are taken; the most idle ones are closed"
            );
        }
    }
}

impl Seat {
    /// Notes that the connection is in use.
    pub(crate) fn used(&self) {
        if let Some((used, _)) = self.connections.seats().taken.get_mut(&self.number) {
            *used = Instant::now();
        }
    }

    /// Resolves when the connection is to give way.
    pub(crate) async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.seats().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_that_was_silent_longest_gives_way() {
        let connections = Connections::new(2);
        let second = Duration::from_secs(1);
        let first = connections.take();
        tokio::time::advance(second).await;
        let idle = connections.take();
        tokio::time::advance(second).await;
        first.used();
        let third = connections.take();
        assert!(idle.gives_way.is_cancelled());
        assert!(!first.gives_way.is_cancelled() && !third.gives_way.is_cancelled());
        drop(third);
        let fourth = connections.take();
        assert!(!first.gives_way.is_cancelled() && !fourth.gives_way.is_cancelled());
    }
}
