//! openraft, called so that no call ends half-way.
//!
//! Whoever notices first that openraft's core has ended waits for its task on behalf of all
//! others. If that call is dropped, as when a connection is cut or a deadline passes, the next one
//! panics: "RaftCore should have already quit" (`RaftInner::join_core_task` of openraft
//! 0.10.0-alpha.37). So a call that is dropped goes on in a task of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use openraft::RaftMetrics;
use openraft::errors::Fatal as RaftFatal;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::{JoinErrorOf, WatchReceiverOf};
use tokio::runtime::Handle;

use crate::env::Random;
use crate::machine::StateMachine;
use crate::storage::state_machine::StateStore;
use crate::types::{DeterministicRuntime, TypeConfig};

/// What openraft calls a replica.
pub(crate) type Raft<M> = openraft::Raft<TypeConfig, StateStore<M>>;
/// What it tells of itself.
pub(super) type Metrics = RaftMetrics<TypeConfig>;

/// A running openraft.
pub(crate) struct Core<M: StateMachine> {
    raft: Raft<M>,
    random: Arc<dyn Random>,
}

impl<M: StateMachine> Core<M> {
    pub(super) fn new(raft: Raft<M>, random: Arc<dyn Random>) -> Core<M> {
        Core { raft, random }
    }

    /// Calls openraft. If what this returns is dropped once it was waited for, the call goes on.
    pub(crate) fn call<F>(&self, call: impl FnOnce(Raft<M>) -> F) -> Unbroken<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let call = call(self.raft.clone());
        let scoped = DeterministicRuntime::scope(self.random.next_u64(), call);
        Unbroken::new(scoped)
    }

    pub(super) fn elect(&self) -> Unbroken<Result<(), RaftFatal<TypeConfig>>> {
        self.call(|raft| async move { raft.trigger().elect(true).await })
    }

    pub(super) fn snapshot(&self) -> Unbroken<Result<(), RaftFatal<TypeConfig>>> {
        self.call(|raft| async move { raft.trigger().snapshot().await })
    }

    pub(super) fn purge_log(&self, upto: u64) -> Unbroken<Result<(), RaftFatal<TypeConfig>>> {
        self.call(move |raft| async move { raft.trigger().purge_log(upto).await })
    }

    /// Ends it and waits for its end.
    pub(super) fn shutdown(&self) -> Unbroken<Result<(), JoinErrorOf<TypeConfig>>> {
        self.call(|raft| async move { raft.shutdown().await })
    }

    pub(crate) fn metrics(&self) -> WatchReceiverOf<TypeConfig, Metrics> {
        self.raft.metrics()
    }

    pub(super) fn server_metrics(
        &self,
    ) -> WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>> {
        self.raft.server_metrics()
    }
}

/// A future that, once it has begun, goes on without whoever waited for it.
pub(crate) struct Unbroken<T: Send + 'static> {
    begun: bool,
    rest: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Unbroken<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Unbroken<T> {
        Unbroken {
            begun: false,
            rest: Some(Box::pin(future)),
        }
    }
}

impl<T: Send + 'static> Future for Unbroken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.begun = true;
        // Like any future, it is not polled again after its end.
        let Some(rest) = &mut self.rest else {
            return Poll::Pending;
        };
        let polled = rest.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Unbroken<T> {
    fn drop(&mut self) {
        if self.begun
            && let Some(rest) = self.rest.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::env::Env;
    use crate::error::Fatal;
    use crate::machine::ApplyContext;
    use crate::state::StateTxn;
    use crate::testing::Cluster;

    struct Nothing;

    impl StateMachine for Nothing {
        const TABLES: &'static [&'static str] = &["nothing"];
        type Command = u64;
        type Reply = ();

        fn apply(&self, _: &mut StateTxn<'_>, _: ApplyContext, _: u64) -> Result<(), Fatal> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_at_the_end_of_raft_harms_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(1, Env::real(), directory.path(), || Nothing, |_| {});
        let cluster = cluster.await.unwrap();
        let node = cluster.replica(0).inner().node().unwrap();
        let first = node.raft.shutdown();
        assert!(
            first.now_or_never().is_none(),
            "it waits for the end of the core"
        );
        let others = async { while node.raft.snapshot().await.is_ok() {} };
        timeout(Duration::from_secs(30), others).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_never_waited_for_does_not_begin() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        drop(Unbroken::new(async move { sender.send(()) }));
        assert!(receiver.await.is_err());
    }
}
