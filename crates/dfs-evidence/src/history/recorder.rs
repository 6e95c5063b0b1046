//! Takes events down while they happen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dfs_core::types::Rev;

use super::{Actor, Event, Kind, Op, Output};

/// Takes events down, in one order. Clones write to one history.
#[derive(Clone)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
    now: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Recorder {
    /// An empty history whose times come from `now`: nanoseconds, never going back.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Recorder {
        Recorder {
            events: Arc::default(),
            now: Arc::new(now),
        }
    }

    /// An operation is about to be sent.
    pub fn invoke(&self, actor: Actor, op: Op) -> Pending {
        self.push(actor, Kind::Invoke, op.clone(), None, None, None);
        Pending {
            recorder: self.clone(),
            actor,
            op,
        }
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    fn push(
        &self,
        actor: Actor,
        kind: Kind,
        op: Op,
        output: Option<Output>,
        rev: Option<Rev>,
        error: Option<String>,
    ) {
        let mut events = self.lock();
        let index = events.len() as u64;
        // Taken under the lock, so that times do not contradict the order.
        let time = (self.now)();
        events.push(Event {
            index,
            time,
            actor,
            kind,
            op,
            output,
            rev,
            error,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// An operation that has begun. Dropped without an end it stays unfinished: nobody knows whether
/// it was done.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    recorder: Recorder,
    actor: Actor,
    op: Op,
}

impl Pending {
    /// It was done.
    pub fn ok(self, output: Option<Output>, rev: Option<Rev>) {
        self.end(Kind::Ok, output, rev, None);
    }

    /// It was provably not done.
    pub fn fail(self, error: impl Into<String>, rev: Option<Rev>) {
        self.end(Kind::Fail, None, rev, Some(error.into()));
    }

    /// It is not known whether it was done.
    pub fn info(self, error: impl Into<String>) {
        self.end(Kind::Info, None, None, Some(error.into()));
    }

    fn end(self, kind: Kind, output: Option<Output>, rev: Option<Rev>, error: Option<String>) {
        let Pending {
            recorder,
            actor,
            op,
        } = self;
        recorder.push(actor, kind, op, output, rev, error);
    }
}
