//! Changes of members: one at a time, never to where a majority would be missing.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, Fatal as RaftFatal, RaftError};
use openraft::{BasicNode, ChangeMembers, ServerState};
use tokio::time::{Instant, timeout, timeout_at};

use super::node::Node;
use super::raft::{Metrics, Raft};
use crate::error::{ChangeError, LeaderHint, ProposeError};
use crate::machine::StateMachine;
use crate::network::message::{Refusal, Welcome};
use crate::network::peers::Purpose;
use crate::types::{Answer, MemberId, Proposal, TypeConfig};

/// A change that was not committed within this many proposal deadlines is left to its fate.
const CHANGE_DEADLINES: u32 = 3;

/// What openraft makes of a change.
type RaftResult<T> = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

impl<M: StateMachine> Node<M> {
    /// Gives a member id to someone who wants to join.
    pub(crate) async fn welcome(&self) -> Result<Welcome, Refusal> {
        let time = self.env.clock.now();
        match self.propose(Proposal::AllocateMember { time }).await {
            Ok((_, outcome)) => match outcome.answer {
                Answer::Member(member) => Ok(Welcome {
                    cluster: self.identity.cluster,
                    leader: self.identity.member,
                    member,
                }),
                _ => Err(Refusal::Unavailable("no member id was given".to_owned())),
            },
            Err(ProposeError::NotLeader(leader)) => Err(not_leader(leader)),
            Err(ProposeError::Stopped(_)) => Err(Refusal::Stopped),
            Err(e) => Err(Refusal::Unavailable(e.to_string())),
        }
    }

    /// Adds someone who was given a member id.
    pub(crate) async fn admit(&self, member: MemberId, address: String) -> Result<(), Refusal> {
        match self.add_learner(member, &address).await {
            Ok(()) => Ok(()),
            Err(ChangeError::NotLeader(leader)) => Err(not_leader(leader)),
            Err(ChangeError::Refused(why)) => Err(Refusal::Invalid(why)),
            Err(ChangeError::Stopped(_)) => Err(Refusal::Stopped),
            Err(e) => Err(Refusal::Unavailable(e.to_string())),
        }
    }

    pub(super) fn is_in_membership(&self) -> bool {
        self.has_member(self.identity.member)
    }

    /// Whether a group has taken it in, by what its log says, committed or not. (The metrics do
    /// not say it yet when it has just started.)
    pub(super) async fn is_admitted(&self) -> bool {
        let own = self.identity.member;
        let look = self.raft.call(move |raft| async move {
            let admitted = raft.with_raft_state(move |state| {
                let members = state.membership_state.effective();
                members.get_node(&own).is_some()
            });
            admitted.await
        });
        // One that has stopped has other worries.
        look.await.unwrap_or(true)
    }

    /// Waits until it is a member by what it knows to be committed; false if it stops first.
    pub(super) async fn hear_of_membership(&self) -> bool {
        let mut metrics = self.raft.metrics();
        while !self.is_in_membership() {
            if metrics.changed().await.is_err() {
                return false;
            }
        }
        true
    }

    /// Whether it is a member by what is known to be committed.
    pub(crate) fn has_member(&self, member: MemberId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = &metrics.committed_membership_config;
        members.get_node(&member).is_some()
    }

    /// The vote this member has given last.
    pub(crate) fn current_vote(&self) -> crate::types::Vote {
        self.raft.metrics().borrow_watched().vote
    }

    pub(super) async fn add_learner(
        &self,
        member: MemberId,
        address: &str,
    ) -> Result<(), ChangeError> {
        let _change = self.begin_change().await?;
        match self.state.may_be_member(member) {
            Ok(true) => {}
            Ok(false) => {
                let why = format!("{member} was never given out, or was removed");
                return Err(ChangeError::Refused(why));
            }
            Err(fatal) => {
                self.failure.stop(fatal.clone());
                return Err(ChangeError::Stopped(fatal));
            }
        }
        if let Some(known) = self.address_of(member) {
            return match known == address {
                true => Ok(()),
                false => {
                    let why = format!("{member} is a member at {known}");
                    Err(ChangeError::Refused(why))
                }
            };
        }
        let addr = address.to_owned();
        let node = BasicNode { addr };
        self.finish_change(move |raft| async move { raft.add_learner(member, node, false).await })
            .await
    }

    pub(super) async fn promote(&self, member: MemberId) -> Result<(), ChangeError> {
        let _change = self.begin_change().await?;
        if self.address_of(member).is_none() {
            return Err(ChangeError::Refused(format!("{member} is not a member")));
        }
        let deadline = Instant::now() + self.config.promotion_timeout;
        self.wait_caught_up(member, deadline).await?;
        let with = self.voters().into_iter().chain([member]).collect();
        self.require_majority(&with, &format!("with {member}"))?;
        let voters = ChangeMembers::AddVoterIds(BTreeSet::from([member]));
        self.change_voters(voters, true).await
    }

    async fn wait_caught_up(&self, member: MemberId, deadline: Instant) -> Result<(), ChangeError> {
        let mut metrics = self.raft.metrics();
        loop {
            let lag = {
                let now = metrics.borrow_watched();
                if now.state != ServerState::Leader {
                    return Err(ChangeError::NotLeader(None));
                }
                // What it had when it answered last says nothing of whether it still does.
                let answers = self.answered_lately(&now, member);
                lag(&now, member).filter(|_| answers)
            };
            if lag.is_some_and(|lag| lag <= self.config.promotion_lag_max) {
                return Ok(());
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ChangeError::Unavailable("it is stopping".to_owned())),
                Err(_) => {
                    let why = match lag {
                        Some(lag) => format!("{member} is {lag} entries behind"),
                        None => format!("{member} does not answer"),
                    };
                    return Err(ChangeError::Refused(why));
                }
            }
        }
    }

    pub(super) async fn remove(&self, member: MemberId) -> Result<(), ChangeError> {
        let _change = self.begin_change().await?;
        if self.address_of(member).is_none() {
            return self.members_are_committed().await;
        }
        let voters = self.voters();
        if !voters.contains(&member) {
            let nodes = ChangeMembers::RemoveNodes(BTreeSet::from([member]));
            let change = |raft: Raft<M>| async move { raft.change_membership(nodes, false).await };
            return self.finish_change(change).await;
        }
        let left: BTreeSet<_> = voters.into_iter().filter(|v| *v != member).collect();
        self.require_majority(&left, &format!("without {member}"))?;
        let voters = ChangeMembers::RemoveVoters(BTreeSet::from([member]));
        self.change_voters(voters, false).await
    }

    /// Waits until who is a member, as it is known here, is for good: a change may have been begun
    /// and given up.
    async fn members_are_committed(&self) -> Result<(), ChangeError> {
        let mut metrics = self.raft.metrics();
        let committed =
            metrics.wait_until(|now| now.membership_config.log_id() <= &now.last_applied);
        match timeout(self.config.propose_timeout, committed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ChangeError::Unavailable("it is stopping".to_owned())),
            Err(_) => Err(ChangeError::Unknown("the deadline passed".to_owned())),
        }
    }

    /// Changes who votes, in two steps: when leadership is lost the first may be done.
    async fn change_voters(
        &self,
        voters: ChangeMembers<MemberId, BasicNode>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let change = |raft: Raft<M>| async move { raft.change_membership(voters, retain).await };
        match self.finish_change(change).await {
            Err(ChangeError::NotLeader(_)) => {
                let why = "leadership was lost meanwhile";
                Err(ChangeError::Unknown(why.to_owned()))
            }
            result => result,
        }
    }

    /// Refuses voters of which no majority answers.
    fn require_majority(&self, voters: &BTreeSet<MemberId>, when: &str) -> Result<(), ChangeError> {
        let answering = voters.iter().filter(|v| self.is_reachable(**v)).count();
        match answering * 2 > voters.len() {
            true => Ok(()),
            false => Err(ChangeError::Refused(format!(
                "{when}, {answering} of {} voters answer, which is no majority",
                voters.len()
            ))),
        }
    }

    pub(super) async fn transfer(&self, to: MemberId) -> Result<(), ChangeError> {
        let mut metrics = self.raft.metrics();
        let lag = {
            let now = metrics.borrow_watched();
            if now.state != ServerState::Leader {
                return Err(ChangeError::NotLeader(None));
            }
            lag(&now, to)
        };
        if to == self.identity.member {
            return Ok(());
        }
        if !self.voters().contains(&to) {
            return Err(ChangeError::Refused(format!("{to} is not a voter")));
        }
        // Once it was told, this leader takes no more commands, whether the other comes to lead
        // or not.
        if lag.is_none_or(|lag| lag > self.config.promotion_lag_max) {
            return Err(ChangeError::Refused(format!("{to} is too far behind")));
        }
        if !self.answers(to).await {
            return Err(ChangeError::Refused(format!("{to} does not answer")));
        }
        let triggered = self
            .raft
            .call(|raft| async move { raft.trigger().transfer_leader(to).await });
        triggered.await.map_err(|e| self.change_stopped(&e))?;
        let gone = async {
            while metrics.borrow_watched().state == ServerState::Leader {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        match timeout(self.config.rpc_timeout, gone).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ChangeError::Unknown(format!("{to} did not take over yet"))),
        }
    }

    /// Hands leadership, if this is the leader, to the voter with most of the log among those
    /// that have nearly all of it and answer now. If none does, as when all members stop, nobody
    /// is waited for.
    pub(super) async fn hand_over(&self) {
        for (_, to) in self.others_by_log() {
            match self.transfer(to).await {
                Err(ChangeError::Refused(_)) => continue,
                Err(e) => tracing::info!(%to, error = %e, "leadership was not handed over"),
                Ok(()) => {}
            }
            return;
        }
    }

    /// The other voters that have nearly all of the log and how much each is behind, the one with
    /// most first; none if this is not the leader.
    fn others_by_log(&self) -> Vec<(u64, MemberId)> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let others = now.membership_config.voter_ids();
        let others = others.filter(|v| *v != self.identity.member);
        let others = others.filter_map(|v| Some((lag(&now, v)?, v)));
        let close = others.filter(|(lag, _)| *lag <= self.config.promotion_lag_max);
        let mut close: Vec<_> = close.collect();
        close.sort_unstable();
        close
    }

    async fn answers(&self, member: MemberId) -> bool {
        let Some(address) = self.address_of(member) else {
            return false;
        };
        let connection = self.peers.connection(member, &address, Purpose::Control);
        let deadline = self.config.election_timeout_min;
        let answer = connection.call(deadline, async move |client, context, header| {
            client.digests(context, header).await
        });
        answer.await.is_ok()
    }

    /// Waits for earlier changes, and makes sure that this is the leader with all its state.
    async fn begin_change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, ChangeError> {
        let guard = self.change.lock().await;
        match timeout(self.config.read_timeout, self.lead()).await {
            Ok(result) => result.map(|()| guard),
            Err(_) => Err(ChangeError::Unavailable("no majority answers".to_owned())),
        }
    }

    async fn lead(&self) -> Result<(), ChangeError> {
        use crate::error::ReadError;
        let index = self.read_index().await.map_err(|e| match e {
            ReadError::NotLeader(leader) => ChangeError::NotLeader(leader),
            ReadError::Unavailable(why) => ChangeError::Unavailable(why),
            ReadError::Stopped(fatal) => ChangeError::Stopped(fatal),
        })?;
        let mut applied = self.state.applied();
        let reached = applied.wait_for(|rev| rev.is_some_and(|rev| rev.index >= index.index));
        match reached.await {
            Ok(_) => Ok(()),
            Err(_) => Err(ChangeError::Unavailable("it is stopping".to_owned())),
        }
    }

    async fn finish_change<F, T>(
        &self,
        change: impl FnOnce(Raft<M>) -> F,
    ) -> Result<(), ChangeError>
    where
        F: Future<Output = RaftResult<T>> + Send + 'static,
        T: Send + 'static,
    {
        let deadline = self.config.propose_timeout * CHANGE_DEADLINES;
        match timeout(deadline, self.raft.call(change)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(e))) => Err(self.change_error(e)),
            Ok(Err(e)) => Err(ChangeError::Unknown(e.to_string())),
            Err(_) => Err(ChangeError::Unknown("the deadline passed".to_owned())),
        }
    }

    fn change_error(&self, e: ClientWriteError<TypeConfig>) -> ChangeError {
        match e {
            ClientWriteError::ForwardToLeader(forward) => {
                ChangeError::NotLeader(self.hint(&forward))
            }
            ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unknown(e.to_string()),
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::UncommittedLeaderLog(_),
            ) => ChangeError::Unavailable(e.to_string()),
            e => ChangeError::Refused(e.to_string()),
        }
    }

    pub(super) fn change_stopped(&self, e: &RaftFatal<TypeConfig>) -> ChangeError {
        match self.failure.reason() {
            Some(fatal) => ChangeError::Stopped(fatal),
            None => ChangeError::Unavailable(e.to_string()),
        }
    }

    fn address_of(&self, member: MemberId) -> Option<String> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        Some(now.membership_config.get_node(&member)?.addr.clone())
    }

    fn voters(&self) -> BTreeSet<MemberId> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        now.membership_config.voter_ids().collect()
    }

    /// Whether a voter answered the leader lately.
    fn is_reachable(&self, member: MemberId) -> bool {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        self.answered_lately(&now, member)
    }

    /// The same, for who holds the metrics: they are locked, and not to be locked again.
    pub(super) fn answered_lately(&self, now: &Metrics, member: MemberId) -> bool {
        if member == self.identity.member {
            return true;
        }
        let lately: Duration = self.config.election_timeout_max * 2;
        last_answer(now, member).is_some_and(|ago| ago < lately)
    }
}

/// How long ago the last request that a member answered was sent, if this is the leader.
pub(super) fn last_answer(now: &Metrics, member: MemberId) -> Option<Duration> {
    let last = now.heartbeat.as_ref()?.get(&member)?.as_ref()?;
    Some(openraft::Instant::elapsed(&**last))
}

/// How many entries a member is behind, if this is the leader and the member ever answered.
fn lag(now: &Metrics, member: MemberId) -> Option<u64> {
    let matched = now.replication.as_ref()?.get(&member)?.as_ref()?;
    Some(now.last_log_index?.saturating_sub(matched.index))
}

fn not_leader(leader: Option<LeaderHint>) -> Refusal {
    Refusal::NotLeader {
        leader: leader.map(|l| l.address),
    }
}
