//! openraft, called so that no call is given up while it waits for openraft's end.
//!
//! Whoever notices first that openraft's core has ended waits for its task on behalf of all
//! others. If that call is dropped, as when a connection is cut or a deadline passes, the next one
//! panics: "RaftCore should have already quit" (`RaftInner::join_core_task` of openraft
//! 0.10.0-alpha.37). So a call that is dropped then goes on in a task of its own. One that is
//! dropped before does not: it would keep openraft running, whose end is the end of its last user.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
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

    /// Calls openraft. If what this returns is dropped, the call is given up, unless openraft has
    /// ended.
    pub(crate) fn call<F>(&self, call: impl FnOnce(Raft<M>) -> F) -> Unbroken<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let call = call(self.raft.clone());
        let scoped = DeterministicRuntime::scope(self.random.next_u64(), call);
        Unbroken::new(scoped, Some(self.raft.metrics()))
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

    /// Ends it and waits for its end. It goes on if it is given up once it has begun.
    pub(super) fn shutdown(&self) -> Unbroken<Result<(), JoinErrorOf<TypeConfig>>> {
        let raft = self.raft.clone();
        Unbroken::new(async move { raft.shutdown().await }, None)
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

/// A call that goes on without whoever waited for it, if openraft has ended.
pub(crate) struct Unbroken<T: Send + 'static> {
    begun: bool,
    rest: Option<BoxFuture<'static, T>>,
    /// Tells whether openraft has ended; none if the call is to end it.
    core: Option<WatchReceiverOf<TypeConfig, Metrics>>,
}

impl<T: Send + 'static> Unbroken<T> {
    fn new(
        future: impl Future<Output = T> + Send + 'static,
        core: Option<WatchReceiverOf<TypeConfig, Metrics>>,
    ) -> Unbroken<T> {
        Unbroken {
            begun: false,
            rest: Some(Box::pin(future)),
            core,
        }
    }

    fn is_for_the_end(&mut self) -> bool {
        let Some(core) = &mut self.core else {
            return true;
        };
        let stopped = core.borrow_and_update().running_state.is_err();
        // Whoever tells of it goes with it, if it panicked.
        stopped || matches!(core.changed().now_or_never(), Some(Err(_)))
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
            && self.is_for_the_end()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    async fn a_call_that_is_given_up_does_not_keep_a_replica_running_that_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(2, Env::real(), directory.path(), || Nothing, |_| {});
        let mut cluster = cluster.await.unwrap();
        let leader = cluster.leader().await;
        cluster.crash(1 - leader);
        // Nobody is left to make it count.
        let proposed = timeout(
            Duration::from_millis(50),
            cluster.replica(leader).propose(7),
        );
        assert!(proposed.await.is_err());
        cluster.crash(leader);
        cluster.start_member(leader).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_never_waited_for_does_not_begin() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        drop(Unbroken::new(async move { sender.send(()) }, None));
        assert!(receiver.await.is_err());
    }
}
