//! Linearizable reads: one question to the quorum for all readers that wait.
//!
//! ```text
//! readers  a b ──▶ [ round 1: read index ] ──▶ applied ──▶ one view for a and b
//!            c d e ── wait ───────────────────▶ [ round 2 ] ──▶ one view for c, d and e
//! ```
//!
//! A reader joins a round only before it begins, so the index it gets covers everything that was
//! acknowledged before the read.

use std::sync::Arc;
use std::time::Duration;

use openraft::LinearizerOption;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Reading;
use super::node::Node;
use crate::error::{LeaderHint, ReadError};
use crate::machine::{Rev, StateMachine};
use crate::network::message::Refusal;
use crate::network::peers::{CallError, Purpose};
use crate::planted::{self, Bug};
use crate::types;

/// A reader of a round.
pub(crate) type Waiting = oneshot::Sender<Result<Reading, ReadError>>;

/// The pause before a leader that cannot be reached is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Readers served by one round at most.
const ROUND_READERS_MAX: usize = 4096;

/// Runs rounds, one at a time, while the node is there.
pub(super) async fn serve<M: StateMachine>(node: Arc<Node<M>>, mut queue: mpsc::Receiver<Waiting>) {
    let mut round = Vec::new();
    loop {
        if queue.recv_many(&mut round, ROUND_READERS_MAX).await == 0 {
            return;
        }
        let deadline = node.config.read_timeout;
        let result = match timeout(deadline, node.read_round()).await {
            Ok(result) => result,
            Err(_) => Err(node.unavailable("no leader confirmed the read in time")),
        };
        for waiting in round.drain(..) {
            // A reader that gave up does not need its answer.
            drop(waiting.send(result.clone()));
        }
    }
}

impl<M: StateMachine> Node<M> {
    async fn read_round(&self) -> Result<Reading, ReadError> {
        if planted::active(Bug::StaleRead) {
            return self.read_now();
        }
        let index = loop {
            let asked = match self.read_index().await {
                Err(ReadError::NotLeader(Some(leader))) => self.ask_read_index(leader).await?,
                Err(ReadError::NotLeader(None))
                    if planted::active(Bug::FollowerReadWithoutLeader) =>
                {
                    Some(Rev::default())
                }
                result => Some(result?),
            };
            match asked {
                Some(index) => break index,
                // The leader may come back, or another may lead soon.
                None => sleep(RETRY_PAUSE).await,
            }
        };
        self.wait_applied(index.index).await?;
        self.read_now()
    }

    /// The state as it is here now.
    pub(super) fn read_now(&self) -> Result<Reading, ReadError> {
        match self.state.view() {
            Ok((view, applied)) => Ok(Reading { view, applied }),
            Err(fatal) => {
                self.failure.stop(fatal.clone());
                Err(ReadError::Stopped(fatal))
            }
        }
    }

    /// The entry up to which a read must see, confirmed by a quorum after this was called.
    pub(crate) async fn read_index(&self) -> Result<Rev, ReadError> {
        // Nothing that was heard before counts; a quorum on slow disks may take long to answer.
        let option = LinearizerOption::new(Some(Duration::ZERO), true);
        let option = option.with_wait_timeout(self.config.read_timeout);
        let linearizer = self
            .raft
            .call(|raft| async move { raft.get_read_linearizer(option).await });
        match linearizer.await {
            Ok(linearizer) => Ok(types::rev(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader(self.hint(&forward)))
            }
            Err(e) => Err(self.unavailable(&e.to_string())),
        }
    }

    /// `None` if the leader cannot be reached.
    async fn ask_read_index(&self, leader: LeaderHint) -> Result<Option<Rev>, ReadError> {
        let connection = self
            .peers
            .connection(leader.member, &leader.address, Purpose::Control);
        let deadline = self.config.rpc_timeout;
        let answer = connection.call(deadline, async move |client, context, header| {
            client.read_index(context, header).await
        });
        match answer.await {
            Ok(rev) => Ok(Some(rev)),
            Err(_) if planted::active(Bug::FollowerReadWithoutLeader) => Ok(Some(Rev::default())),
            Err(CallError::Unreachable(..)) => Ok(None),
            Err(CallError::Refused(_, Refusal::NotLeader { .. })) => {
                Err(ReadError::NotLeader(None))
            }
            Err(e) => Err(self.unavailable(&e.to_string())),
        }
    }

    async fn wait_applied(&self, index: u64) -> Result<(), ReadError> {
        let mut applied = self.state.applied();
        let reached = applied.wait_for(|rev| rev.is_some_and(|rev| rev.index >= index));
        match reached.await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.unavailable("the replica is stopping")),
        }
    }

    fn unavailable(&self, why: &str) -> ReadError {
        match self.failure.reason() {
            Some(fatal) => ReadError::Stopped(fatal),
            None => ReadError::Unavailable(why.to_owned()),
        }
    }
}
