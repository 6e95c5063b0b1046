//! The group of masters: learners become voters, and a wiped member gives way to its successor.

use std::sync::Arc;

use dfs_raft::{ChangeError, Member, MemberId, Role};

use crate::master::shared::Shared;

/// What is to be changed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A member whose address another, later one has now: its files are gone.
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

/// The next change, if one is wanted. A learner is promoted only when no member it succeeds is
/// left, so a group never counts one machine twice.
fn next(members: &[Member], group_size: usize) -> Option<Step> {
    let succeeded = |old: &&Member| {
        let newer = |m: &&Member| m.address == old.address && m.id > old.id;
        members.iter().any(|m| newer(&m))
    };
    if let Some(old) = members.iter().find(succeeded) {
        return Some(Step::Remove(old.id));
    }
    let voters = members.iter().filter(|m| m.role == Role::Voter).count();
    if voters >= group_size {
        return None;
    }
    let learner = members.iter().find(|m| m.role == Role::Learner)?;
    Some(Step::Promote(learner.id))
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
            answers: None,
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
        assert_eq!(next(&members, 3), Some(Step::Remove(MemberId(2))));
        members.remove(1);
        assert_eq!(next(&members, 3), Some(Step::Promote(MemberId(4))));
    }
}
