//! Taking parts away, for tests. What was taken comes back when its guard is dropped.

use std::fmt;
use std::sync::Arc;

use super::parts::{Part, Parts};
use crate::error::Result;

/// Takes parts of a cluster away.
#[derive(Clone)]
pub struct Faults {
    parts: Arc<Parts>,
}

impl Faults {
    pub(super) fn new(parts: Arc<Parts>) -> Faults {
        Faults { parts }
    }

    /// Stops a part at once, without flushing anything, as a crash of its process would.
    ///
    /// It starts again when the guard is dropped, or [`restart`](Down::restart)ed.
    pub async fn crash(&self, part: Part) -> Down {
        Box::pin(self.parts.crash(part)).await;
        tracing::info!(%part, "crashed");
        Down {
            parts: Some(Arc::clone(&self.parts)),
            part,
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

/// A part that is down as long as this lives.
#[must_use = "the part starts again when this is dropped"]
pub struct Down {
    parts: Option<Arc<Parts>>,
    part: Part,
}

impl Down {
    /// Which part.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Starts it again and waits until it runs.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(mut self) -> Result<()> {
        match self.parts.take() {
            Some(parts) => Box::pin(parts.restart(self.part)).await,
            None => Ok(()),
        }
    }

    /// Leaves it down for good.
    pub fn forget(mut self) {
        self.parts = None;
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        let part = self.part;
        // A runtime that ends takes the cluster with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                match parts.restart(part).await {
                    Ok(()) => tracing::info!(%part, "started again"),
                    Err(error) => tracing::error!(%part, %error, "did not start again"),
                }
            });
        }
    }
}

impl fmt::Debug for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Down({})", self.part)
    }
}
