//! The reason for which a replica stops, told once.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Fatal;

/// Where any part of a replica reports a fault that ends it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Arc<watch::Sender<Option<Fatal>>>);

impl Failure {
    pub(crate) fn new() -> Failure {
        Failure(Arc::new(watch::Sender::new(None)))
    }

    /// Stops the replica. The first reason counts.
    pub(crate) fn stop(&self, fatal: Fatal) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(reason = ?fatal, "the replica stops");
                *reason = Some(fatal);
            }
            first
        });
    }

    pub(crate) fn reason(&self) -> Option<Fatal> {
        self.0.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Fatal>> {
        self.0.subscribe()
    }
}
