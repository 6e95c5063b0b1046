//! Users, groups, who is in them, access lists and join tokens agree.

use std::collections::BTreeSet;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use crate::meta::tables::{
    ACLS, GROUP_NAMES, GROUPS, INODES, JOIN_TOKENS, MEMBERS, TOKEN_HASHES, TRASH, TRASH_OWNERS,
    USER_NAMES, USERS,
};

pub(super) fn check(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    users(state, findings)?;
    groups(state, findings)?;
    lists(state, findings)?;
    trash(state, findings)?;
    tokens(state, findings)
}

fn users(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let (mut named, mut members) = (0, BTreeSet::new());
    for row in state.scan(USERS, ..)? {
        let (id, user) = row?;
        if user.removed {
            continue;
        }
        named += 1;
        let by_name = state.get(USER_NAMES, &user.name)?;
        findings.equal(by_name, Some(id), format!("{id}: its name's user"));
        members.extend(user.all_groups().into_iter().map(|group| (group, id)));
    }
    findings.equal(
        state.scan(USER_NAMES, ..)?.count(),
        named,
        "rows of USER_NAMES",
    );
    let rows = state.scan(MEMBERS, ..)?;
    let found = rows
        .map(|row| Ok(row?.0))
        .collect::<Result<BTreeSet<_>, Fatal>>()?;
    for (group, user) in found.symmetric_difference(&members) {
        findings.require(false, || format!("{user} and {group} disagree"));
    }
    for (group, user) in &members {
        let there = state
            .get(GROUPS, group)?
            .is_some_and(|group| !group.removed);
        findings.require(there, || {
            format!("{user} is in {group}, which is not there")
        });
    }
    Ok(())
}

fn groups(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let mut named = 0;
    for row in state.scan(GROUPS, ..)? {
        let (id, group) = row?;
        if group.removed {
            continue;
        }
        named += 1;
        let by_name = state.get(GROUP_NAMES, &group.name)?;
        findings.equal(by_name, Some(id), format!("{id}: its name's group"));
    }
    findings.equal(
        state.scan(GROUP_NAMES, ..)?.count(),
        named,
        "rows of GROUP_NAMES",
    );
    Ok(())
}

fn lists(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    for row in state.scan(ACLS, ..)? {
        let (id, _) = row?;
        let said = state.get(INODES, &id)?.is_some_and(|inode| inode.has_acl);
        findings.require(said, || format!("the lists of {id} are of nothing"));
    }
    for row in state.scan(INODES, ..)? {
        let (id, inode) = row?;
        let there = !inode.has_acl || state.get(ACLS, &id)?.is_some();
        findings.require(there, || format!("{id} lacks its lists"));
    }
    Ok(())
}

fn tokens(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let mut tokens = 0;
    for row in state.scan(JOIN_TOKENS, ..)? {
        let (id, token) = row?;
        tokens += 1;
        let by_hash = state.get(TOKEN_HASHES, &token.hash)?;
        findings.equal(by_hash, Some(id), format!("{id}: its hash's token"));
        findings.require(token.uses > 0, || format!("{id} is used up"));
    }
    let hashes = state.scan(TOKEN_HASHES, ..)?.count();
    findings.equal(hashes, tokens, "rows of TOKEN_HASHES");
    Ok(())
}

fn trash(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let mut entries = 0;
    for row in state.scan(TRASH, ..)? {
        let (id, entry) = row?;
        entries += 1;
        let owned = state.get(TRASH_OWNERS, &(entry.by, id))?.is_some();
        findings.require(owned, || format!("{id} is not {}'s", entry.by));
    }
    findings.equal(
        state.scan(TRASH_OWNERS, ..)?.count(),
        entries,
        "rows of TRASH_OWNERS",
    );
    Ok(())
}
