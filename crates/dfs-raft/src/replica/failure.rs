//! The reason for which a replica stops, told once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
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

    /// Runs a task whose panic stops the replica, instead of ending the task unseen.
    pub(crate) async fn guard(self, task: impl Future<Output = ()>) {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            self.stop(Fatal::of_panic(&*panic));
        }
    }

    pub(crate) fn reason(&self) -> Option<Fatal> {
        self.0.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Fatal>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::panic, reason = "the panic is what is tested")]
    async fn a_task_that_panics_stops_the_replica() {
        let failure = Failure::new();
        failure.clone().guard(async {}).await;
        assert!(failure.reason().is_none());
        failure.clone().guard(async { panic!("a defect") }).await;
        let reason = failure.reason().map(|fatal| fatal.to_string());
        assert!(reason.is_some_and(|why| why.contains("a defect")));
    }
}
