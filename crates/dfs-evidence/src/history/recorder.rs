//! Takes events down while they happen.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_core::types::Rev;

use super::lines::line;
use super::{Actor, Event, Kind, Op, Output};

/// Takes events down, in one order. Clones write to one history.
#[derive(Clone)]
pub struct Recorder {
    book: Arc<Mutex<Book>>,
    now: Arc<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Default)]
struct Book {
    events: Vec<Event>,
    sink: Option<Box<dyn Write + Send>>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// An empty history whose times come from `now`: nanoseconds, never going back.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Recorder {
        Recorder {
            book: Arc::default(),
            now: Arc::new(now),
        }
    }

    /// The same, and each event is a line in `sink` before anything else happens. If that is a
    /// file without a buffer, the lines survive the death of this process.
    pub fn with_sink(
        now: impl Fn() -> u64 + Send + Sync + 'static,
        sink: impl Write + Send + 'static,
    ) -> Recorder {
        let recorder = Recorder::new(now);
        recorder.lock().sink = Some(Box::new(sink));
        recorder
    }

    /// An operation is about to be sent.
    pub fn invoke(&self, actor: Actor, op: Op) -> Pending {
        self.push(actor, Kind::Invoke, op.clone(), End::default());
        Pending {
            recorder: self.clone(),
            actor,
            op,
        }
    }

    /// The time of what would be taken down now.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos((self.now)())
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Why lines are missing in the sink, if any are: such a history is not to be trusted.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.as_ref().map(ToString::to_string)
    }

    fn push(&self, actor: Actor, kind: Kind, op: Op, end: End) {
        let mut book = self.lock();
        // Taken under the lock, and never twice the same: times do not contradict the order.
        let least = book.events.last().map_or(0, |last| last.time + 1);
        let event = Event {
            index: book.events.len() as u64,
            time: (self.now)().max(least),
            actor,
            kind,
            op,
            output: end.output,
            rev: end.rev,
            error: end.error,
        };
        book.write(&event);
        book.events.push(event);
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn write(&mut self, event: &Event) {
        if let Some(sink) = &mut self.sink {
            let written = sink.write_all(line(event).as_bytes());
            if let Err(error) = written.and_then(|()| sink.flush()) {
                self.failure.get_or_insert(error);
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct End {
    output: Option<Output>,
    rev: Option<Rev>,
    error: Option<String>,
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
        let error = None;
        self.end(Kind::Ok, End { output, rev, error });
    }

    /// It was provably not done. An error begins with its stable name: `NotFound: /a`.
    pub fn fail(self, error: impl Into<String>, rev: Option<Rev>) {
        let (output, error) = (None, Some(error.into()));
        self.end(Kind::Fail, End { output, rev, error });
    }

    /// It is not known whether it was done.
    pub fn info(self, error: impl Into<String>) {
        let end = End {
            error: Some(error.into()),
            ..End::default()
        };
        self.end(Kind::Info, end);
    }

    fn end(self, kind: Kind, end: End) {
        self.recorder.push(self.actor, kind, self.op, end);
    }
}
