//! Who asks, and what they may do: users, groups, sessions, access lists.
//!
//! Whoever asks is a [`Caller`](crate::types::Caller): a user id and the epoch of its
//! credentials. What that user may do is looked up here when the request is carried out, never
//! before, so what was taken away from a user is gone with the answer that says so.

pub(crate) mod acl;
pub(crate) mod group;
pub mod sessions;
pub(crate) mod subject;
pub(crate) mod user;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use self::group::Group;
use self::subject::Subject;
use self::user::User;
use super::machine::{Stop, refuse};
use super::tables::{GROUP_NAMES, GROUPS, MEMBERS, USER_NAMES, USERS};
use crate::types::account::{AccountChange, AccountName, AccountNameError, Confinement};
use crate::types::{Answer, Changed, GroupId, Query, RefusalKind, Role, Timestamp, UserId};

/// The first id given to a user or group, as on Linux.
pub(crate) const FIRST_ID: u64 = 1000;
/// Users in one answer: each may have keys with long labels.
const USERS_PER_REPLY_MAX: usize = 256;

/// Makes the administrator, who cannot log in until it is given a password or key, and the groups
/// of administrators and of everybody.
pub(crate) fn found(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let named = |text: &str| -> Result<AccountName, Fatal> {
        let name = text.parse();
        name.map_err(|e: AccountNameError| Fatal::with_source("a built-in name is none", e))
    };
    for (id, text) in [(GroupId::ADMIN, "admin"), (GroupId::USERS, "users")] {
        let name = named(text)?;
        state.put(GROUP_NAMES, &name, &id)?;
        state.put(GROUPS, &id, &Group::new(name))?;
    }
    let name = named("admin")?;
    let mut admin = User::new(name.clone(), GroupId::ADMIN, now);
    admin.role = Role::Administrator;
    state.put(MEMBERS, &(GroupId::ADMIN, UserId::ROOT), &())?;
    state.put(USER_NAMES, &name, &UserId::ROOT)?;
    state.put(USERS, &UserId::ROOT, &admin)
}

/// Changes an account.
pub(crate) fn change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    change: &AccountChange,
) -> Result<Changed, Stop> {
    require_right(by, change)?;
    let account = match change {
        AccountChange::AddUser { .. }
        | AccountChange::RenameUser { .. }
        | AccountChange::SetUser { .. }
        | AccountChange::RemoveUser { .. }
        | AccountChange::SetPassword { .. }
        | AccountChange::AddKey { .. }
        | AccountChange::RemoveKey { .. } => user::change(state, now, change)?,
        AccountChange::AddGroup { .. }
        | AccountChange::RenameGroup { .. }
        | AccountChange::RemoveGroup { .. }
        | AccountChange::AddMember { .. }
        | AccountChange::RemoveMember { .. } => group::change(state, change)?,
    };
    Ok(Changed {
        account: Some(account),
        ..Changed::default()
    })
}

/// Refuses what is for administrators. A user's own password and keys are its own.
fn require_right(by: &Subject, change: &AccountChange) -> Result<(), Stop> {
    match change {
        AccountChange::SetPassword { user, .. }
        | AccountChange::AddKey { user, .. }
        | AccountChange::RemoveKey { user, .. }
            if *user == by.user =>
        {
            by.require_writable()
        }
        _ => by.require_administrator(),
    }
}

/// Answers questions about accounts. Names, ids and groups are for everybody to see, as in
/// `/etc/passwd`; the rest is for the user and administrators.
pub(crate) fn answer(
    state: &impl ReadState,
    by: &Subject,
    query: &Query,
    page_len: impl Fn(u32) -> usize,
) -> Result<Answer, Stop> {
    let shown = |(id, user): (UserId, User)| {
        let mut info = user.info(id);
        if id != by.user && !by.is_administrator() {
            info.keys.clear();
            info.confinement = Confinement::default();
            (info.has_password, info.enabled) = (false, true);
        }
        info
    };
    Ok(match query {
        Query::Whoami => {
            let user = user::require(state, by.user)?;
            Answer::User(shown((by.user, user)))
        }
        Query::User(name) => match user::named(state, name)? {
            Some(found) => Answer::User(shown(found)),
            None => return refuse(RefusalKind::NotFound, format!("the user {name}")),
        },
        Query::Group(name) => match group::named(state, name)? {
            Some((id, found)) => Answer::Group(found.info(state, id, page_len(u32::MAX))?),
            None => return refuse(RefusalKind::NotFound, format!("the group {name}")),
        },
        Query::Users { after, limit } => {
            let from = UserId(after.map_or(0, |after| after.0.saturating_add(1)));
            let rows = state.scan(USERS, from..)?;
            let there = rows.filter(|row| !matches!(row, Ok((_, user)) if user.removed));
            let page = there.take(page_len(*limit).min(USERS_PER_REPLY_MAX));
            let page = page.map(|row| row.map(shown));
            Answer::Users(page.collect::<Result<_, Fatal>>()?)
        }
        Query::Groups { after, limit } => {
            let from = GroupId(after.map_or(0, |after| after.0.saturating_add(1)));
            let rows = state.scan(GROUPS, from..)?;
            let there = rows.filter(|row| !matches!(row, Ok((_, group)) if group.removed));
            let mut page = Vec::new();
            for row in there.take(page_len(*limit)) {
                let (id, group) = row?;
                // Members are told of one group at a time.
                page.push(group.info(state, id, 0)?);
            }
            Answer::Groups(page)
        }
        _ => return refuse(RefusalKind::Invalid, "no question about accounts"),
    })
}
