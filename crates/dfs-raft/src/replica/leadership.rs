//! Who leads, as seen from here.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use super::node::Node;
use crate::error::LeaderHint;
use crate::machine::StateMachine;

/// Who leads, as one replica sees it. Another may have taken over already: only a linearizable
/// read or a proposal proves leadership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<LeaderHint>,
    /// The election it won.
    pub term: u64,
    /// Whether this replica is the leader.
    pub is_leader: bool,
    /// Whether it is and its state has all that earlier leaders acknowledged: it may act.
    pub is_ready: bool,
}

/// Keeps `leadership` up to date, for ever.
pub(super) async fn follow<M: StateMachine>(
    node: Arc<Node<M>>,
    leadership: watch::Sender<Leadership>,
) {
    let mut server = node.raft.server_metrics();
    let mut applied = node.state.applied();
    loop {
        let now = observe(&node, applied.borrow_and_update().map_or(0, |rev| rev.term));
        leadership.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                *before = now.clone();
            }
            changed
        });
        // An applied entry matters only until the leader's first one is.
        let waiting = now.is_leader && !now.is_ready;
        tokio::select! {
            changed = server.changed() => {
                if changed.is_err() {
                    leadership.send_replace(Leadership::default());
                    return;
                }
            }
            changed = applied.changed(), if waiting => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn observe<M: StateMachine>(node: &Node<M>, applied_term: u64) -> Leadership {
    let metrics = node.raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.and_then(|member| {
        let address = metrics.membership_config.get_node(&member)?.addr.clone();
        Some(LeaderHint { member, address })
    });
    let term = metrics.vote.leader_id.term;
    let is_leader =
        metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id);
    Leadership {
        leader,
        term,
        is_leader,
        is_ready: is_leader && applied_term == term,
    }
}
