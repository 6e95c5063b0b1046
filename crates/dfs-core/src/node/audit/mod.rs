//! The audit log: who asked for what, and how it ended, as lines of JSON in files of this node.
//!
//! ```text
//! service ─▶ Audit::ask ─▶ Asked ─┬─ ended ───▶ writer ─▶ Files     then it is answered
//!                                 └─ dropped ─▶   "
//! ```
//!
//! - **Written, then answered.** The end of the process takes no line of what was answered, the
//!   loss of power those of the last second.
//! - **What is not answered is in it too.** Whoever asks and goes away before the answer has
//!   perhaps done something, and the line says so.
//! - **Strangers cannot flood it.** Of those who are not let in only so many lines a second are
//!   written, and the others are counted.
//! - **No secret is in it**: what is written is chosen field by field.
//!
//! Not done here: putting the files of several nodes together, and guarding them against who is
//! root on one.

mod deed;
mod files;
mod line;
mod strangers;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use deed::Deed;
pub use line::{Actor, Ending, Outcome};

use crate::env::{Clock, Env};
use crate::planted::{self, Bug};
use files::Files;
use line::Line;
use strangers::Strangers;
use writer::Job;

/// What the directory of the files is called, in that of a node.
pub const DIRECTORY: &str = "audit";
/// Lines that wait for the disk.
const QUEUE_LEN: usize = 1024;

/// A line could not be written, so what it tells must not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct NotWritten;

/// Writes down who asks for what. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Job>,
    closing: CancellationToken,
    clock: Arc<dyn Clock>,
    strangers: Arc<Strangers>,
    /// Lines that found no room in the queue, and nobody waited for.
    lost: Arc<AtomicU64>,
}

impl Audit {
    /// That of a node with this directory, whose files may be `bytes` long together: the oldest
    /// go. The future writes; it ends when the log is [closed](Audit::close), or when the disk has
    /// failed for long.
    ///
    /// The oldest go, too, while less than `keep_free` bytes are left on the disk.
    pub fn new(
        env: &Env,
        directory: &Path,
        (bytes, keep_free): (u64, u64),
    ) -> (Audit, impl Future<Output = ()> + Send + use<>) {
        let files = Files::new(
            Arc::clone(&env.disk),
            directory.join(DIRECTORY),
            (bytes, keep_free),
        );
        let (queue, jobs) = mpsc::channel(QUEUE_LEN);
        let audit = Audit {
            queue,
            closing: CancellationToken::new(),
            clock: Arc::clone(&env.clock),
            strangers: Arc::default(),
            lost: Arc::default(),
        };
        let writing = writer::run(env.clone(), files, jobs, audit.closing.clone());
        (audit, writing)
    }

    /// Takes no more lines. Those that were taken are on stable storage when the future ends that
    /// writes.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Whether it takes no more lines.
    pub fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Takes down what is asked for. The line is written when it has ended.
    pub fn ask(&self, actor: &Actor, deed: Deed) -> Asked {
        Asked {
            audit: self.clone(),
            line: Some(Line::new(actor, deed)),
        }
    }

    /// Writes down that somebody was not let in, if that is not too much.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn not_let_in(
        &self,
        actor: &Actor,
        deed: Deed,
        why: impl ToString,
    ) -> Result<(), NotWritten> {
        // Nobody waits for room who is not let in.
        let Ok(room) = self.queue.try_reserve() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Err(NotWritten);
        };
        let Some(unwritten) = self.strangers.may_write(deed.operation()) else {
            return Ok(());
        };
        let mut line = Line::new(actor, deed);
        line.end(Ending::refused(why), self.clock.now());
        line.unwritten = unwritten;
        self.write(room, line).await
    }

    async fn write(&self, room: mpsc::Permit<'_, Job>, mut line: Line) -> Result<(), NotWritten> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        line.unwritten += lost;
        let (written, done) = oneshot::channel();
        room.send(Job {
            line: line.to_json(),
            written: Some(written),
        });
        if planted::active(Bug::AnsweredBeforeAudited) {
            return Ok(());
        }
        match done.await.unwrap_or(false) {
            true => Ok(()),
            false => {
                self.lost.fetch_add(lost, Ordering::Relaxed);
                Err(NotWritten)
            }
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// Something that was asked for and has not ended. Dropped, it is written down as unanswered.
#[derive(Debug)]
pub struct Asked {
    audit: Audit,
    line: Option<Line>,
}

impl Asked {
    /// Writes down how it ended. It may be answered after that.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn ended(mut self, ending: Ending) -> Result<(), NotWritten> {
        let audit = self.audit.clone();
        let now = audit.clock.now();
        // Whoever gives up while there is no room has the line yet.
        let Ok(room) = audit.queue.reserve().await else {
            return Err(NotWritten);
        };
        let Some(mut line) = self.line.take() else {
            return Ok(());
        };
        line.end(ending, now);
        audit.write(room, line).await
    }

    /// Writes nothing: nothing was done, and nothing refused.
    pub fn forget(mut self) {
        self.line = None;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        line.end(Ending::UNANSWERED, self.audit.clock.now());
        let job = Job {
            line: line.to_json(),
            written: None,
        };
        if self.audit.queue.try_send(job).is_err() {
            self.audit.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
