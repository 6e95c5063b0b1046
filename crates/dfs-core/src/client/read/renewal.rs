//! A layout in the place of one by which members of stripes had to be made from others.
//!
//! ```text
//! made ─▶ asked for, beside the reading ─▶ there: readers go on by it
//!             │                        └─▶ no master answers: they go on by the old one
//!             └ not again for a while, however many readers have it
//! ```
//!
//! By then what was lost may have been made again elsewhere, where it is only read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::super::Client;
use super::layout::Window;
use crate::types::Location;

/// A layout is asked for no more often than this, and not when it is younger.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// What is being done about a layout that may be out of date.
#[derive(Debug)]
enum State {
    /// Nothing, since it came or the masters did not give another.
    Resting(Instant),
    /// They are being asked.
    Asking,
    /// This one is newer.
    Renewed(Arc<Window>),
}

/// The state, shared by all who read by the layout.
#[derive(Debug)]
pub(super) struct Renewal {
    state: Mutex<State>,
}

impl Renewal {
    /// Of a layout that has just come.
    pub(super) fn new() -> Renewal {
        let state = Mutex::new(State::Resting(Instant::now()));
        Renewal { state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the masters should be asked now, by the caller.
    fn begin(&self) -> bool {
        let mut state = self.state();
        let is_due = match &*state {
            State::Resting(since) => since.elapsed() >= RENEWED_EVERY,
            State::Asking | State::Renewed(_) => false,
        };
        if is_due {
            *state = State::Asking;
        }
        is_due
    }

    fn end(&self, newer: Option<Window>) {
        *self.state() = match newer {
            Some(window) => State::Renewed(Arc::new(window)),
            None => State::Resting(Instant::now()),
        };
    }

    fn newer(&self) -> Option<Arc<Window>> {
        match &*self.state() {
            State::Renewed(window) => Some(window.clone()),
            State::Resting(_) | State::Asking => None,
        }
    }
}

impl Window {
    /// The newest that came in its place, if one did.
    pub(super) fn newest(&self) -> Option<Arc<Window>> {
        let mut newest = self.renewal.newer()?;
        while let Some(newer) = newest.renewal.newer() {
            newest = newer;
        }
        Some(newest)
    }
}

impl Client {
    /// Asks for the layout that comes in the place of `window`, if that was not done lately.
    /// Nobody waits for it.
    pub(super) fn renew(&self, window: &Arc<Window>) {
        if !window.renewal.begin() {
            return;
        }
        let (client, window) = (self.clone(), window.clone());
        tokio::spawn(async move {
            let at = Location::from(&window.attr);
            let newer = client.window(&at, window.covers()).await;
            if let Err(error) = &newer {
                debug!(%at, %error, "the layout stays as it is");
            }
            window.renewal.end(newer.ok());
        });
    }
}
