//! What there is to know of a replica.

use openraft::async_runtime::WatchReceiver;

use super::leadership::Leadership;
use super::node::Node;
use crate::error::Fatal;
use crate::machine::{Rev, StateMachine};
use crate::state::Digest;
use crate::types::{self, ClusterId, MemberId};

/// What a member of the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It votes, and the change that gave it the vote is finished; acknowledged commands are on
    /// a majority of the voters.
    Voter,
    /// It receives the log and has no vote, or a change of its vote is under way.
    Learner,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Where it is reached.
    pub address: String,
    /// What it is.
    pub role: Role,
    /// The last entry it is known to have, if this replica leads.
    pub matched: Option<u64>,
    /// Whether it answered lately, if this replica leads.
    pub answers: Option<bool>,
}

/// What there is to know of a replica, as it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its own id.
    pub member: MemberId,
    /// All members, by id.
    pub members: Vec<Member>,
    /// Who leads.
    pub leadership: Leadership,
    /// The index of the last entry in its log.
    pub last_log: Option<u64>,
    /// The last entry it knows a majority to have.
    pub committed: Option<Rev>,
    /// The last entry applied to its state.
    pub applied: Rev,
    /// The digest of all rows of its state, at `applied`.
    pub digest: Digest,
    /// The last entry that a snapshot includes.
    pub snapshot: Option<Rev>,
    /// The last entry that is gone from the log.
    pub purged: Option<Rev>,
    /// An entry at which members differ while no majority can tell who is wrong: known to
    /// members that verified themselves for it, until they start again or, as the leader, see a
    /// majority agree at a later one.
    pub doubt: Option<Rev>,
    /// Bytes of the entries in its log, about.
    pub log_bytes: u64,
}

impl<M: StateMachine> Node<M> {
    pub(super) fn status(&self, leadership: Leadership) -> Result<ReplicaStatus, Fatal> {
        let (applied, digest) = self.state.digest()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let matched = |id: &MemberId| {
            let replication = metrics.replication.as_ref()?;
            Some(replication.get(id)?.as_ref()?.index)
        };
        // While a change is under way there are two groups, and until it is committed it may be
        // only half known: who votes in all of them is safe to count on.
        let committed = metrics.committed_membership_config.membership();
        let groups = [membership, committed].map(|m| m.get_joint_config());
        let votes = |id: &MemberId| groups.iter().all(|g| g.iter().all(|g| g.contains(id)));
        let members = membership
            .nodes()
            .map(|(id, node)| Member {
                id: *id,
                address: node.addr.clone(),
                role: match votes(id) {
                    true => Role::Voter,
                    false => Role::Learner,
                },
                matched: matched(id),
                answers: leadership
                    .is_leader
                    .then(|| self.answered_lately(&metrics, *id)),
            })
            .collect();
        Ok(ReplicaStatus {
            cluster: self.identity.cluster,
            member: self.identity.member,
            members,
            leadership,
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(types::rev),
            applied,
            digest,
            snapshot: metrics.snapshot.as_ref().map(types::rev),
            purged: metrics.purged.as_ref().map(types::rev),
            doubt: *self.doubt.borrow(),
            log_bytes: self.log.size().0,
        })
    }
}
