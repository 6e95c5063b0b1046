//! The group of masters: learners become voters, and a wiped member gives way to its successor.

use std::sync::Arc;

use dfs_raft::{ChangeError, Member, MemberId, Role};

use crate::master::security::admission::{is_revoked, stands};
use crate::master::shared::{Shared, internal, not_leader};
use crate::proto::error::RpcError;
use crate::proto::rules::Rule;
use crate::types::{Caller, NodeKey, Refusal, RefusalKind};

/// What is to be changed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A member at whose address another, later one answers now: its files are gone.
    Remove(MemberId),
    /// A learner that gets a vote.
    Promote(MemberId),
}

/// Looks after the group while this master leads, for ever.
pub(in crate::master) async fn run(shared: Arc<Shared>) {
    let mut leadership = shared.replica.leadership();
    loop {
        if leadership.wait_for(|now| now.is_ready).await.is_err() {
            return;
        }
        let members = shared.replica.status().ok().flatten();
        let members = members.map_or_else(Vec::new, |status| status.members);
        let members = without_revoked(&shared, members).await;
        if let Some(step) = next(&members, shared.config.group_size) {
            let changed = match step {
                Step::Remove(member) => shared.replica.remove(member).await,
                Step::Promote(member) => shared.replica.promote(member).await,
            };
            match changed {
                Ok(()) => {
                    tracing::info!(?step, "the group of masters changed");
                    continue;
                }
                Err(ChangeError::Stopped(_)) => return,
                Err(error) => tracing::info!(?step, %error, "the group cannot change yet"),
            }
        }
        // Nothing tells of new members.
        tokio::time::sleep(shared.config.tick).await;
    }
}

/// The members without learners that were revoked: they get no vote, and nobody gives way to them.
/// One that was revoked before the leader had met it is in the group all the same.
async fn without_revoked(shared: &Shared, mut members: Vec<Member>) -> Vec<Member> {
    for at in (0..members.len()).rev() {
        let learner = members.get(at).filter(|m| m.role == Role::Learner);
        let node = learner.and_then(|learner| shared.met.node_at(&learner.address));
        if let Some(node) = node
            && is_revoked(shared, node).await
        {
            members.remove(at);
        }
    }
    members
}

/// Takes a master out of the group, as its leader. To be taken out itself it hands leadership over
/// and leaves the rest to whoever leads then.
pub(in crate::master) async fn remove(shared: &Shared, member: MemberId) -> Result<(), RpcError> {
    let status = shared.status()?;
    if member == status.member {
        let others = status.members.iter().filter(|known| known.id != member);
        let answering = others.filter(|o| o.role == Role::Voter && o.answers == Some(true));
        if let Some(heir) = answering.max_by_key(|heir| heir.matched) {
            let handed = shared.replica.transfer(heir.id).await;
            handed.map_err(|e| change_failed(e, member))?;
            return Err(shared.not_leading());
        }
    }
    let removed = shared.replica.remove(member).await;
    removed.map_err(|e| change_failed(e, member))
}

/// Refuses to revoke a master of the group: it would be talked to no more and still count, and a
/// group that has too few left cannot even be changed.
pub(in crate::master) async fn require_outside(
    shared: &Shared,
    caller: Caller,
    node: NodeKey,
) -> Result<(), RpcError> {
    let members = shared.status()?.members.into_iter();
    let mut here = members.filter(|member| shared.met.node_at(&member.address) == Some(node));
    let Some(member) = here.next_back() else {
        return Ok(());
    };
    // Who may not revoke is told that instead.
    if stands(shared, caller, Rule::Administrator).await.is_err() {
        return Ok(());
    }
    let what = format!(
        "revoking node {node}: it is master {} of the group, and is taken out of it first",
        member.id
    );
    Err(Refusal::new(RefusalKind::NotPermitted, what).into())
}

fn change_failed(error: ChangeError, member: MemberId) -> RpcError {
    match error {
        ChangeError::Refused(why) => Refusal::new(
            RefusalKind::NotPermitted,
            format!("removing {member}: {why}"),
        )
        .into(),
        ChangeError::NotLeader(leader) => not_leader(leader),
        ChangeError::Unavailable(why) => RpcError::Unavailable(why),
        ChangeError::Unknown(why) => RpcError::Unknown(why),
        ChangeError::Stopped(fatal) => internal(fatal),
    }
}

/// The next change, if one is wanted. Of two members with one address the older is removed only
/// if the later one answers there and it does not: a stranger that names the address of a
/// member by mistake removes nobody. A learner is promoted only when no member it succeeds is
/// left, so a group never counts one machine twice.
fn next(members: &[Member], group_size: usize) -> Option<Step> {
    let succeeds = |new: &Member, old: &Member| new.address == old.address && new.id > old.id;
    let answers = |member: &Member| member.answers == Some(true);
    let is_gone = |old: &&Member| {
        let mut successors = members.iter().filter(|new| succeeds(new, old));
        !answers(old) && successors.any(answers)
    };
    if let Some(old) = members.iter().find(is_gone) {
        return Some(Step::Remove(old.id));
    }
    let voters = members.iter().filter(|m| m.role == Role::Voter).count();
    if voters >= group_size {
        return None;
    }
    let alone = |new: &&Member| !members.iter().any(|old| succeeds(new, old));
    let mut learners = members.iter().filter(|m| m.role == Role::Learner);
    Some(Step::Promote(learners.find(alone)?.id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use std::time::Duration;

    use super::*;
    use crate::env::Env;
    use crate::master::tests::{elected, start_in};
    use crate::node::{Papers, Security};
    use crate::types::node::MemberChange;
    use crate::types::{Change, NodeRole};

    fn member(id: u64, address: &str, role: Role) -> Member {
        Member {
            id: MemberId(id),
            address: address.to_owned(),
            role,
            matched: None,
            answers: Some(true),
        }
    }

    #[test]
    fn learners_get_votes_until_the_group_is_whole() {
        let (v, l) = (Role::Voter, Role::Learner);
        let mut members = vec![member(1, "a", v), member(2, "b", l), member(3, "c", l)];
        assert_eq!(next(&members, 3), Some(Step::Promote(MemberId(2))));
        members[1].role = v;
        members[2].role = v;
        members.push(member(4, "d", l));
        assert_eq!(next(&members, 3), None);
    }

    #[test]
    fn a_wiped_member_gives_way_before_its_successor_gets_a_vote() {
        let (v, l) = (Role::Voter, Role::Learner);
        let mut members = vec![
            member(1, "a", v),
            member(2, "b", v),
            member(3, "c", v),
            member(4, "b", l),
        ];
        members[1].answers = Some(false);
        assert_eq!(next(&members, 3), Some(Step::Remove(MemberId(2))));
        members.remove(1);
        assert_eq!(next(&members, 3), Some(Step::Promote(MemberId(4))));
    }

    #[tokio::test]
    async fn a_learner_that_was_revoked_gets_no_vote() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        master.found().await.unwrap();
        elected(&master).await;
        let token = master.create_token(NodeRole::Master, 1, Duration::from_secs(60));
        let (node, kept) = (NodeKey(9), tempfile::tempdir().unwrap());
        let who = (Some(node), NodeRole::Master);
        let token = token.await.unwrap();
        let joined = Papers::join(&Env::real(), kept.path(), who, &token, (&[], None)).await;
        joined.unwrap();
        master.shared.met.at("b", node);
        let (v, l) = (Role::Voter, Role::Learner);
        let members = vec![member(1, "a", v), member(2, "b", l), member(3, "c", l)];
        let step = async || {
            let members = without_revoked(&master.shared, members.clone()).await;
            next(&members, 3)
        };
        assert_eq!(step().await, Some(Step::Promote(MemberId(2))));
        let revoked = Change::Member(MemberChange::RevokeNode { node });
        master.change(revoked).await.unwrap();
        assert_eq!(step().await, Some(Step::Promote(MemberId(3))));
    }

    #[test]
    fn a_learner_that_names_the_address_of_a_member_by_mistake_removes_nobody() {
        let (v, l) = (Role::Voter, Role::Learner);
        let mut members = vec![member(1, "a", v), member(2, "b", v), member(3, "b", l)];
        // Who is called at the address is the member.
        members[2].answers = Some(false);
        assert_eq!(next(&members, 3), None);
        members[1].answers = Some(false);
        assert_eq!(next(&members, 3), None);
        members.push(member(4, "c", l));
        assert_eq!(next(&members, 3), Some(Step::Promote(MemberId(4))));
    }
}
