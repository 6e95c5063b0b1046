//! What a member does by itself: durability, a bounded log, watching its own disk and end.

mod retention;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal as RaftFatal;
use openraft::type_config::alias::WatchReceiverOf;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::node::{Node, raft_failed};
use super::raft::Metrics;
use crate::error::Fatal;
use crate::machine::StateMachine;
use crate::types::TypeConfig;

/// How often a member tidies up while nothing is applied.
const TIDY_INTERVAL: Duration = Duration::from_millis(250);

/// The tasks of a member.
pub(super) fn tasks<M: StateMachine>(node: &Arc<Node<M>>) -> Vec<BoxFuture<'static, ()>> {
    vec![
        Box::pin(keep_durable(node.clone())),
        Box::pin(watch_own_disk(node.clone())),
        Box::pin(watch_raft(node.clone())),
        Box::pin(stop_on_failure(node.clone())),
        Box::pin(verify::compare_digests(node.clone())),
        Box::pin(verify::scrub(node.clone())),
    ]
}

/// Makes the state durable a while after something was applied, and tidies up behind it, or now
/// and then, as members come and go.
async fn keep_durable<M: StateMachine>(node: Arc<Node<M>>) {
    let mut applied = node.state.applied();
    loop {
        match timeout(TIDY_INTERVAL, applied.changed()).await {
            Ok(Ok(())) => {
                sleep(node.config.durable_interval).await;
                applied.mark_unchanged();
                if let Err(fatal) = node.state.make_durable().await {
                    return node.failure.stop(fatal);
                }
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        node.forget_former_members();
        node.bound_log().await;
    }
}

impl<M: StateMachine> Node<M> {
    fn forget_former_members(&self) {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let nodes = now.membership_config.nodes();
        let members: BTreeMap<_, _> = nodes.map(|(id, n)| (*id, n.addr.clone())).collect();
        self.peers.retain(&members);
    }
}

/// A leader whose disk hardly moves hands leadership over, again as long as it does not move: the
/// others may do better, and if not nothing is lost.
async fn watch_own_disk<M: StateMachine>(node: Arc<Node<M>>) {
    let limit = node.config.slow_append_max;
    let mut busy = node.log.writer().busy_since.clone();
    loop {
        let Ok(since) = busy.wait_for(Option::is_some).await.map(|since| *since) else {
            return;
        };
        let Some(since) = since else { continue };
        let mut end = since + limit;
        loop {
            let done = busy.wait_for(|now| *now != Some(since));
            match timeout_at(end, done).await {
                Ok(Ok(_)) => break,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            tracing::warn!(?limit, "an append to the log takes too long");
            node.hand_over().await;
            end = Instant::now() + limit;
        }
    }
}

/// Notes when openraft ends by itself.
async fn watch_raft<M: StateMachine>(node: Arc<Node<M>>) {
    if let Some(fatal) = raft_end(node.raft.metrics()).await {
        node.failure.stop(fatal);
    }
}

/// Waits for the end of openraft; its reason, unless it was told to end.
async fn raft_end(mut metrics: WatchReceiverOf<TypeConfig, Metrics>) -> Option<Fatal> {
    loop {
        let running = metrics.borrow_and_update().running_state.clone();
        match running {
            Err(RaftFatal::Stopped) => return None,
            Err(e) => return Some(raft_failed(e)),
            Ok(()) => {}
        }
        let gone = metrics.changed().await.is_err();
        if gone && metrics.borrow_watched().running_state.is_ok() {
            return Some(Fatal::new("raft ended without saying why: it panicked"));
        }
    }
}

/// Ends openraft when any part has failed, so that nothing is promised any more.
async fn stop_on_failure<M: StateMachine>(node: Arc<Node<M>>) {
    let mut failure = node.failure.watch();
    if failure.wait_for(Option::is_some).await.is_ok() {
        let deadline = node.config.rpc_timeout * 5;
        if timeout(deadline, node.raft.shutdown()).await.is_err() {
            tracing::error!("raft did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::async_runtime::WatchSender;
    use openraft::type_config::TypeConfigExt;

    use super::*;
    use crate::types::MemberId;

    #[tokio::test]
    async fn raft_that_ends_without_a_reason_is_a_fault_and_one_that_was_told_to_is_not() {
        let metrics = Metrics::new_initial(MemberId(1));
        let (panicked, watched) = TypeConfig::watch_channel(metrics.clone());
        drop(panicked);
        assert!(raft_end(watched).await.is_some());

        let (told, watched) = TypeConfig::watch_channel(metrics);
        let mut last = watched.borrow_watched().clone();
        last.running_state = Err(RaftFatal::Stopped);
        assert!(told.send(last).is_ok());
        drop(told);
        assert!(raft_end(watched).await.is_none());
    }
}
