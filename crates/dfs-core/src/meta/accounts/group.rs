//! Groups. Their users say who is in them; MEMBERS has the same by group.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::user;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{GROUP_NAMES, GROUPS, MEMBERS, Meta};
use crate::types::account::{Account, AccountChange, AccountName, GroupInfo};
use crate::types::{GroupId, RefusalKind, UserId};

/// A row of GROUPS. One that was removed stays, so that its id is not given to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Its name, also when it is removed.
    pub name: AccountName,
    /// Whether it is removed.
    pub removed: bool,
}

dfs_raft::postcard_values!(1: Group, GroupId);

impl Group {
    pub(crate) fn new(name: AccountName) -> Group {
        let removed = false;
        Group { name, removed }
    }

    /// What others may see of it: at most so many of its members.
    pub(crate) fn info(
        self,
        state: &impl ReadState,
        id: GroupId,
        limit: usize,
    ) -> Result<GroupInfo, Fatal> {
        let rows = state.scan_prefix(MEMBERS, &id)?.take(limit);
        let members = rows.map(|row| Ok(row?.0.1)).collect::<Result<_, Fatal>>()?;
        Ok(GroupInfo {
            id,
            name: self.name,
            members,
        })
    }
}

/// A group that is not removed.
pub(crate) fn get(state: &impl ReadState, group: GroupId) -> Result<Option<Group>, Fatal> {
    Ok(state.get(GROUPS, &group)?.filter(|group| !group.removed))
}

/// The group of a name.
pub(crate) fn named(
    state: &impl ReadState,
    name: &AccountName,
) -> Result<Option<(GroupId, Group)>, Fatal> {
    let Some(id) = state.get(GROUP_NAMES, name)? else {
        return Ok(None);
    };
    match get(state, id)? {
        Some(group) => Ok(Some((id, group))),
        None => Err(Fatal::new(format!("the name {name} leads to no group"))),
    }
}

pub(crate) fn require(state: &impl ReadState, group: GroupId) -> Result<Group, Stop> {
    match get(state, group)? {
        Some(group) => Ok(group),
        None => refuse(RefusalKind::NotFound, group),
    }
}

/// Carries out a change of a group.
pub(super) fn change(state: &mut StateTxn<'_>, change: &AccountChange) -> Result<Account, Stop> {
    let id = match change {
        AccountChange::AddGroup { name, id } => add(state, name, *id)?,
        AccountChange::RenameGroup { group, name } => rename(state, *group, name)?,
        AccountChange::RemoveGroup { group } => remove(state, *group)?,
        AccountChange::AddMember { group, user } => set_member(state, *group, *user, true)?,
        AccountChange::RemoveMember { group, user } => set_member(state, *group, *user, false)?,
        _ => return refuse(RefusalKind::Invalid, "no change of a group"),
    };
    Ok(Account::Group(id))
}

fn add(state: &mut StateTxn<'_>, name: &AccountName, id: Option<GroupId>) -> Result<GroupId, Stop> {
    if state.get(GROUP_NAMES, name)?.is_some() {
        return refuse(RefusalKind::Exists, name);
    }
    let id = match id {
        Some(id) => match state.get(GROUPS, &id)? {
            None => id,
            Some(there) => return refuse(RefusalKind::Exists, format!("{id} ({})", there.name)),
        },
        None => next_id(state)?,
    };
    state.put(GROUP_NAMES, name, &id)?;
    state.put(GROUPS, &id, &Group::new(name.clone()))?;
    Ok(id)
}

/// The next id that no group has or had.
fn next_id(state: &mut StateTxn<'_>) -> Result<GroupId, Stop> {
    loop {
        let next = counters::take(state, Meta::NextGroup, 1)?;
        let Ok(id) = u32::try_from(next).map(GroupId) else {
            return refuse(RefusalKind::TooLarge, "all group ids are used");
        };
        if state.get(GROUPS, &id)?.is_none() {
            return Ok(id);
        }
    }
}

fn rename(state: &mut StateTxn<'_>, id: GroupId, name: &AccountName) -> Result<GroupId, Stop> {
    let mut group = require(state, id)?;
    if state.get(GROUP_NAMES, name)?.is_some() {
        return refuse(RefusalKind::Exists, name);
    }
    state.remove(GROUP_NAMES, &group.name)?;
    state.put(GROUP_NAMES, name, &id)?;
    group.name = name.clone();
    state.put(GROUPS, &id, &group)?;
    Ok(id)
}

fn remove(state: &mut StateTxn<'_>, id: GroupId) -> Result<GroupId, Stop> {
    let mut group = require(state, id)?;
    if id == GroupId::ADMIN || id == GroupId::USERS {
        return refuse(
            RefusalKind::NotPermitted,
            format!("{} must stay", group.name),
        );
    }
    if let Some(row) = state.scan_prefix(MEMBERS, &id)?.next() {
        let ((_, user), ()) = row?;
        return refuse(
            RefusalKind::NotEmpty,
            format!("{} ({user} is in it)", group.name),
        );
    }
    state.remove(GROUP_NAMES, &group.name)?;
    group.removed = true;
    state.put(GROUPS, &id, &group)?;
    Ok(id)
}

fn set_member(
    state: &mut StateTxn<'_>,
    group: GroupId,
    user: UserId,
    member: bool,
) -> Result<GroupId, Stop> {
    require(state, group)?;
    user::set_member(state, user, group, member)?;
    Ok(group)
}
