//! How many lines are written of those who are not let in.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines of one operation in a [`WINDOW`].
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// Counts their lines, of each operation for itself: who knocks at doors hides nobody who guesses
/// passwords. There are as many operations as services and methods.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    since: Option<Instant>,
    lines: u32,
    /// Not written since the last one that was.
    unwritten: u64,
}

impl Strangers {
    /// Whether one more may be written, and how many before it were not.
    pub(super) fn may_write(&self, operation: &str) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(operation) {
            seen.insert(operation.to_owned(), Seen::default());
        }
        let seen = seen.get_mut(operation)?;
        if seen.since.is_none_or(|since| since.elapsed() >= WINDOW) {
            seen.since = Some(Instant::now());
            seen.lines = 0;
        }
        if seen.lines >= LINES_MAX {
            seen.unwritten += 1;
            return None;
        }
        seen.lines += 1;
        Some(std::mem::take(&mut seen.unwritten))
    }
}
