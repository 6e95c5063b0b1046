//! Request ids: what makes a repeated request the same request.
//!
//! A session numbers its requests from 1. Each says below which number the client has all its
//! answers, so that masters can forget them; a number is *open* until its operation has ended,
//! however often it was sent.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::types::limits::REQUESTS_PER_CLIENT_MAX;
use crate::types::{ClientId, RequestId};

/// How far ahead of the oldest open request a new one may be: half of what masters remember.
const WINDOW: u64 = REQUESTS_PER_CLIENT_MAX / 2;

/// The numbers of a session's requests.
#[derive(Debug)]
struct Window {
    next: u64,
    open: BTreeSet<u64>,
}

impl Window {
    fn new() -> Window {
        Window {
            next: 1,
            open: BTreeSet::new(),
        }
    }

    /// A new number; none while the oldest open request is too far behind.
    fn begin(&mut self) -> Option<u64> {
        if self.next - self.answered_below() >= WINDOW {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.open.insert(sequence);
        Some(sequence)
    }

    /// Everything below this has ended.
    fn answered_below(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    fn end(&mut self, sequence: u64) {
        self.open.remove(&sequence);
    }
}

/// A session that masters know.
#[derive(Debug)]
pub(super) struct Session {
    client: ClientId,
    window: Mutex<Window>,
    /// Rung when a request ends.
    ended: Notify,
}

impl Session {
    pub(super) fn new(client: ClientId) -> Arc<Session> {
        Arc::new(Session {
            client,
            window: Mutex::new(Window::new()),
            ended: Notify::new(),
        })
    }

    pub(super) fn client(&self) -> ClientId {
        self.client
    }

    /// Opens a request, as soon as few enough are open.
    pub(super) async fn begin(self: &Arc<Session>) -> Ticket {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the check, so that no ring between the two is missed.
            ended.as_mut().enable();
            let begun = self.with_window(Window::begin);
            if let Some(sequence) = begun {
                let session = self.clone();
                return Ticket { session, sequence };
            }
            ended.await;
        }
    }

    fn with_window<T>(&self, act: impl FnOnce(&mut Window) -> T) -> T {
        act(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An open request. Dropping it ends the request: its number is never sent again.
#[derive(Debug)]
pub(super) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
}

impl Ticket {
    /// The request id to send now.
    pub(super) fn id(&self) -> RequestId {
        RequestId {
            client: self.session.client,
            sequence: self.sequence,
            answered_below: self.session.with_window(|w| w.answered_below()),
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.with_window(|w| w.end(self.sequence));
        self.session.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_below_the_oldest_open_request_is_answered() {
        let mut window = Window::new();
        let begun: Vec<_> = (0..3).map(|_| window.begin()).collect();
        assert_eq!(begun, [Some(1), Some(2), Some(3)]);
        assert_eq!(window.answered_below(), 1);
        window.end(2);
        assert_eq!(window.answered_below(), 1);
        window.end(1);
        assert_eq!(window.answered_below(), 3);
        window.end(3);
        assert_eq!(window.answered_below(), 4);
    }

    #[test]
    fn a_request_that_hangs_holds_back_those_far_ahead_of_it() {
        let mut window = Window::new();
        assert_eq!(window.begin(), Some(1));
        let mut last = 1;
        while let Some(sequence) = window.begin() {
            window.end(sequence);
            last = sequence;
        }
        assert_eq!(last, WINDOW);
        window.end(1);
        assert_eq!(window.begin(), Some(WINDOW + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_must_wait_begins_when_the_oldest_ends() {
        let session = Session::new(ClientId(7));
        let oldest = session.begin().await;
        for _ in 1..WINDOW {
            drop(session.begin().await);
        }
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.begin().await.id() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(oldest);
        let id = waiting.await.map(|id| (id.sequence, id.answered_below));
        assert!(matches!(id, Ok((sequence, below)) if sequence == below && below == WINDOW + 1));
    }
}
