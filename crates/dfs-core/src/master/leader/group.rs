//! The group of masters: learners become voters, and a wiped member gives way to its successor.

use std::sync::Arc;

use dfs_raft::{ChangeError, Member, MemberId, Role};

use crate::master::security::admission::stands;
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
    let mut here = members.filter(|member| shared.met.is_at(&member.address, node));
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
    use super::*;

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
