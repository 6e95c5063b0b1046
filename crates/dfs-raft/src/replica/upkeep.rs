//! What a member does by itself: durability, a bounded log, watching its own disk and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal as RaftFatal;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::node::{Node, raft_failed};
use super::verify;
use crate::machine::StateMachine;

/// Starts the tasks of a member.
pub(super) fn start<M: StateMachine>(node: &Arc<Node<M>>, tasks: &mut JoinSet<()>) {
    tasks.spawn(keep_durable(node.clone()));
    tasks.spawn(watch_own_disk(node.clone()));
    tasks.spawn(watch_raft(node.clone()));
    tasks.spawn(stop_on_failure(node.clone()));
    tasks.spawn(verify::compare_digests(node.clone()));
    tasks.spawn(verify::scrub(node.clone()));
}

/// Makes the state durable a while after something was applied, and tidies up behind it.
async fn keep_durable<M: StateMachine>(node: Arc<Node<M>>) {
    let mut applied = node.state.applied();
    while applied.changed().await.is_ok() {
        sleep(node.config.durable_interval).await;
        applied.mark_unchanged();
        if let Err(fatal) = node.state.make_durable().await {
            node.failure.stop(fatal);
            return;
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

/// A leader whose disk hardly moves hands leadership over: the others may do better, and if not
/// nothing is lost.
async fn watch_own_disk<M: StateMachine>(node: Arc<Node<M>>) {
    let limit = node.config.slow_append_max;
    let mut busy = node.log.writer().busy_since.clone();
    loop {
        let Ok(since) = busy.wait_for(Option::is_some).await.map(|since| *since) else {
            return;
        };
        let Some(since) = since else { continue };
        let done = busy.wait_for(|now| *now != Some(since));
        tokio::select! {
            done = done => match done {
                Ok(_) => continue,
                Err(_) => return,
            },
            () = sleep_until(since + limit) => {}
        }
        tracing::warn!(?limit, "an append to the log takes too long");
        node.hand_over().await;
        if busy.wait_for(|now| *now != Some(since)).await.is_err() {
            return;
        }
    }
}

/// Notes when openraft ends by itself.
async fn watch_raft<M: StateMachine>(node: Arc<Node<M>>) {
    let mut metrics = node.raft.metrics();
    loop {
        let running = metrics.borrow_watched().running_state.clone();
        match running {
            Err(RaftFatal::Stopped) => return,
            Err(e) => return node.failure.stop(raft_failed(e)),
            Ok(()) => {}
        }
        if metrics.changed().await.is_err() {
            return;
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
