//! Where work that blocks a thread runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::sync::oneshot;

/// Runs closures that block: file reads, database commits, fsyncs.
pub trait Blocking: Send + Sync {
    /// Runs `work`, now or soon, on a thread where blocking is allowed. A simulator runs it at
    /// once, on the spot. `work` does not panic.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>);
}

/// Tokio's pool of blocking threads.
#[derive(Debug, Clone, Copy)]
pub struct ThreadPool;

impl Blocking for ThreadPool {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that blocks threads"
    )]
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

pub(super) async fn run<T, F>(blocking: &dyn Blocking, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, result) = oneshot::channel();
    blocking.spawn(Box::new(move || {
        // A receiver that went away no longer wants the result.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    }));
    match result.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        // The runtime is shutting down and dropped the closure unrun: never resume.
        Err(_) => std::future::pending().await,
    }
}
