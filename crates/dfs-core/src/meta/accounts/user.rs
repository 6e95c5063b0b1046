//! Users.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::group;
use super::subject::Subject;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::resolve::existing;
use crate::meta::tables::{MEMBERS, Meta, USER_NAMES, USERS};
use crate::types::account::{
    Account, AccountChange, AccountName, Confinement, CredentialEpoch, KeyHash, KeyId, KeyInfo,
    PasswordHash, UserChange, UserInfo,
};
use crate::types::limits::{GROUPS_PER_USER_MAX, KEYS_PER_USER_MAX, LABEL_LEN_MAX};
use crate::types::{FileKind, GroupId, InodeId, Location, RefusalKind, Role, Timestamp, UserId};

/// What every kept password begins with: whoever brings it does not choose what it costs to verify.
const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// Longest text that is kept of a password.
const HASH_LEN_MAX: usize = 256;

/// A row of USERS. One that was removed stays, so that its id is not given to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Its name, also when it is removed.
    pub name: AccountName,
    /// The group of what it makes.
    pub group: GroupId,
    /// The other groups it is in, by id.
    pub groups: Vec<GroupId>,
    /// What it may do.
    pub role: Role,
    /// What confines it.
    pub confinement: Confinement,
    /// Whether it may log in.
    pub enabled: bool,
    /// Whether it is removed.
    pub removed: bool,
    /// How often its own became void.
    pub epoch: CredentialEpoch,
    /// Its password.
    pub password: Option<PasswordHash>,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Keys it had so far.
    pub keys_made: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// A key of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// What others see.
    pub info: KeyInfo,
    /// What is kept of it.
    pub hash: KeyHash,
}

dfs_raft::postcard_values!(1: User, UserId);

impl User {
    /// Without password and keys.
    pub(crate) fn new(name: AccountName, group: GroupId, now: Timestamp) -> User {
        User {
            name,
            group,
            groups: Vec::new(),
            role: Role::User,
            confinement: Confinement::default(),
            enabled: true,
            removed: false,
            epoch: CredentialEpoch::default(),
            password: None,
            keys: Vec::new(),
            keys_made: 0,
            created: now,
        }
    }

    /// All groups it is in, by id.
    pub(crate) fn all_groups(&self) -> Vec<GroupId> {
        let mut groups = self.groups.clone();
        groups.push(self.group);
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// What others may see of it.
    pub(crate) fn info(&self, id: UserId) -> UserInfo {
        UserInfo {
            id,
            name: self.name.clone(),
            group: self.group,
            groups: self.groups.clone(),
            role: self.role,
            confinement: self.confinement,
            enabled: self.enabled,
            has_password: self.password.is_some(),
            keys: self.keys.iter().map(|key| key.info.clone()).collect(),
            created: self.created,
        }
    }

    /// What was let in so far is void.
    fn void_credentials(&mut self) {
        self.epoch.0 = self.epoch.0.saturating_add(1);
    }
}

/// A user that is not removed.
pub(crate) fn get(state: &impl ReadState, user: UserId) -> Result<Option<User>, Fatal> {
    Ok(state.get(USERS, &user)?.filter(|user| !user.removed))
}

/// The user of a name.
pub(crate) fn named(
    state: &impl ReadState,
    name: &AccountName,
) -> Result<Option<(UserId, User)>, Fatal> {
    let Some(id) = state.get(USER_NAMES, name)? else {
        return Ok(None);
    };
    match get(state, id)? {
        Some(user) => Ok(Some((id, user))),
        None => Err(Fatal::new(format!("the name {name} leads to no user"))),
    }
}

/// What a user proves who it is with, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Which user.
    pub user: UserId,
    /// Of which credentials these are.
    pub epoch: CredentialEpoch,
    /// Its password.
    pub password: Option<PasswordHash>,
    /// Its keys.
    pub keys: Vec<KeyHash>,
}

/// The credentials of a user that may log in.
///
/// # Errors
/// The state cannot be read.
pub fn credentials(
    state: &impl ReadState,
    name: &AccountName,
) -> Result<Option<Credentials>, Fatal> {
    let found = named(state, name)?.filter(|(_, user)| user.enabled);
    let Some((id, user)) = found else {
        return Ok(None);
    };
    Ok(Some(Credentials {
        user: id,
        epoch: epoch(state, &user)?,
        password: user.password,
        keys: user.keys.iter().map(|key| key.hash).collect(),
    }))
}

/// What a user is called.
///
/// # Errors
/// The state cannot be read.
pub fn name_of(state: &impl ReadState, user: UserId) -> Result<Option<AccountName>, Fatal> {
    Ok(get(state, user)?.map(|user| user.name))
}

/// Of which credentials a user is let in now: what was void for all counts for each.
pub(crate) fn epoch(state: &impl ReadState, user: &User) -> Result<CredentialEpoch, Fatal> {
    let voided = counters::number(state, Meta::LoginsVoided)?;
    let voided = u32::try_from(voided).unwrap_or(u32::MAX);
    Ok(CredentialEpoch(user.epoch.0.saturating_add(voided)))
}

/// A user by its name, whether it may log in or not, and its credentials; without a name the
/// first administrator.
///
/// # Errors
/// The state cannot be read.
pub fn user(
    state: &impl ReadState,
    name: Option<&AccountName>,
) -> Result<Option<(UserId, AccountName, CredentialEpoch)>, Fatal> {
    let found = match name {
        Some(name) => named(state, name)?,
        None => get(state, UserId::ROOT)?.map(|user| (UserId::ROOT, user)),
    };
    let Some((id, user)) = found else {
        return Ok(None);
    };
    let epoch = epoch(state, &user)?;
    Ok(Some((id, user.name, epoch)))
}

pub(super) fn require(state: &impl ReadState, user: UserId) -> Result<User, Stop> {
    match get(state, user)? {
        Some(user) => Ok(user),
        None => refuse(RefusalKind::NotFound, user),
    }
}

/// Carries out a change of a user.
pub(super) fn change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    change: &AccountChange,
) -> Result<Account, Stop> {
    let id = match change {
        AccountChange::AddUser {
            name,
            id,
            group,
            role,
            root,
            read_only,
        } => {
            let mut user = User::new(name.clone(), group.unwrap_or(GroupId::USERS), now);
            user.role = *role;
            user.confinement = Confinement {
                root: root.as_ref().map(|at| directory(state, at)).transpose()?,
                read_only: *read_only,
            };
            add(state, *id, &user)?
        }
        AccountChange::RenameUser { user, name } => rename(state, *user, name)?,
        AccountChange::SetUser { user, change } => set(state, *user, change)?,
        AccountChange::RemoveUser { user } => remove(state, *user)?,
        AccountChange::SetPassword { user, hash } => set_password(state, *user, hash.as_ref())?,
        AccountChange::AddKey { user, label, hash } => {
            let key = add_key(state, now, *user, label, *hash)?;
            return Ok(Account::Key(*user, key));
        }
        AccountChange::RemoveKey { user, key } => remove_key(state, *user, *key)?,
        _ => return refuse(RefusalKind::Invalid, "no change of a user"),
    };
    Ok(Account::User(id))
}

/// Who may do everything can be confined to nothing.
fn require_consistent(user: &User) -> Result<(), Stop> {
    match (user.role, user.confinement.root) {
        (Role::Administrator, Some(root)) => {
            let subject = format!("{}: an administrator below {root}", user.name);
            refuse(RefusalKind::Invalid, subject)
        }
        _ => Ok(()),
    }
}

fn add(state: &mut StateTxn<'_>, id: Option<UserId>, user: &User) -> Result<UserId, Stop> {
    require_consistent(user)?;
    group::require(state, user.group)?;
    if state.get(USER_NAMES, &user.name)?.is_some() {
        return refuse(RefusalKind::Exists, &user.name);
    }
    let id = match id {
        Some(id) => match state.get(USERS, &id)? {
            None => id,
            Some(there) => return refuse(RefusalKind::Exists, format!("{id} ({})", there.name)),
        },
        None => next_id(state)?,
    };
    state.put(USER_NAMES, &user.name, &id)?;
    state.put(USERS, &id, user)?;
    state.put(MEMBERS, &(user.group, id), &())?;
    Ok(id)
}

/// The next id that nobody has or had.
fn next_id(state: &mut StateTxn<'_>) -> Result<UserId, Stop> {
    loop {
        let next = counters::take(state, Meta::NextUser, 1)?;
        let Ok(id) = u32::try_from(next).map(UserId) else {
            return refuse(RefusalKind::TooLarge, "all user ids are used");
        };
        if state.get(USERS, &id)?.is_none() {
            return Ok(id);
        }
    }
}

/// The directory that is to be somebody's `/`.
fn directory(state: &impl ReadState, at: &Location) -> Result<InodeId, Stop> {
    let (id, inode) = existing(state, &Subject::system(), at, true)?;
    match inode.kind() {
        FileKind::Directory => Ok(id),
        _ => refuse(RefusalKind::NotADirectory, at),
    }
}

fn rename(state: &mut StateTxn<'_>, id: UserId, name: &AccountName) -> Result<UserId, Stop> {
    let mut user = require(state, id)?;
    if state.get(USER_NAMES, name)?.is_some() {
        return refuse(RefusalKind::Exists, name);
    }
    state.remove(USER_NAMES, &user.name)?;
    state.put(USER_NAMES, name, &id)?;
    user.name = name.clone();
    state.put(USERS, &id, &user)?;
    Ok(id)
}

fn set(state: &mut StateTxn<'_>, id: UserId, change: &UserChange) -> Result<UserId, Stop> {
    let mut user = require(state, id)?;
    let before = user.clone();
    if let Some(group) = change.group {
        group::require(state, group)?;
        user.group = group;
    }
    user.role = change.role.unwrap_or(user.role);
    user.enabled = change.enabled.unwrap_or(user.enabled);
    if let Some(root) = &change.root {
        user.confinement.root = root.as_ref().map(|at| directory(state, at)).transpose()?;
    }
    user.confinement.read_only = change.read_only.unwrap_or(user.confinement.read_only);
    let is_less = user.enabled != before.enabled
        || user.role != before.role
        || user.confinement != before.confinement;
    if is_less {
        user.void_credentials();
    }
    require_consistent(&user)?;
    require_administrators(state, id, &user)?;
    move_member(state, id, &before, &user)?;
    Ok(id)
}

/// Refuses to leave the system without the administrator it was founded with: who else is one
/// may come and go.
fn require_administrators(state: &impl ReadState, id: UserId, user: &User) -> Result<(), Stop> {
    let is_one = |user: &User| {
        user.enabled
            && user.role == Role::Administrator
            && user.confinement == Confinement::default()
    };
    if id != UserId::ROOT || is_one(user) {
        return Ok(());
    }
    let name = state.get(USERS, &id)?.map(|user| user.name.to_string());
    let subject = format!("{} must stay an administrator", name.unwrap_or_default());
    refuse(RefusalKind::NotPermitted, subject)
}

fn remove(state: &mut StateTxn<'_>, id: UserId) -> Result<UserId, Stop> {
    let mut user = require(state, id)?;
    if id == UserId::ROOT {
        return refuse(
            RefusalKind::NotPermitted,
            format!("{} must stay", user.name),
        );
    }
    state.remove(USER_NAMES, &user.name)?;
    for group in user.all_groups() {
        state.remove(MEMBERS, &(group, id))?;
    }
    user.groups.clear();
    user.removed = true;
    user.enabled = false;
    user.password = None;
    user.keys.clear();
    user.void_credentials();
    state.put(USERS, &id, &user)?;
    Ok(id)
}

fn set_password(
    state: &mut StateTxn<'_>,
    id: UserId,
    hash: Option<&PasswordHash>,
) -> Result<UserId, Stop> {
    let mut user = require(state, id)?;
    let is_kept = |hash: &PasswordHash| {
        hash.0.starts_with(ARGON2ID) && hash.0.len() <= HASH_LEN_MAX && hash.0.is_ascii()
    };
    if !hash.is_none_or(is_kept) {
        return refuse(
            RefusalKind::Invalid,
            "what is kept of a password is of argon2id",
        );
    }
    user.password = hash.cloned();
    user.void_credentials();
    state.put(USERS, &id, &user)?;
    Ok(id)
}

fn add_key(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    id: UserId,
    label: &str,
    hash: KeyHash,
) -> Result<KeyId, Stop> {
    let mut user = require(state, id)?;
    if user.keys.len() >= KEYS_PER_USER_MAX {
        let subject = format!("{} has {KEYS_PER_USER_MAX} keys", user.name);
        return refuse(RefusalKind::TooLarge, subject);
    }
    if label.len() > LABEL_LEN_MAX {
        return refuse(
            RefusalKind::NameTooLong,
            format!("a label of {} bytes", label.len()),
        );
    }
    user.keys_made = user.keys_made.saturating_add(1);
    let key = KeyId(user.keys_made);
    let info = KeyInfo {
        id: key,
        label: label.to_owned(),
        created: now,
    };
    user.keys.push(Key { info, hash });
    state.put(USERS, &id, &user)?;
    Ok(key)
}

fn remove_key(state: &mut StateTxn<'_>, id: UserId, key: KeyId) -> Result<UserId, Stop> {
    let mut user = require(state, id)?;
    let before = user.keys.len();
    user.keys.retain(|there| there.info.id != key);
    if user.keys.len() == before {
        return refuse(RefusalKind::NotFound, format!("{key} of {}", user.name));
    }
    user.void_credentials();
    state.put(USERS, &id, &user)?;
    Ok(id)
}

/// Notes that a user is in one more group, or in one less.
pub(super) fn set_member(
    state: &mut StateTxn<'_>,
    id: UserId,
    group: GroupId,
    member: bool,
) -> Result<(), Stop> {
    let before = require(state, id)?;
    let mut user = before.clone();
    if !member && user.group == group {
        let subject = format!("what {} makes is of {group}", user.name);
        return refuse(RefusalKind::Invalid, subject);
    }
    user.groups.retain(|there| *there != group);
    if member {
        if user.groups.len() >= GROUPS_PER_USER_MAX {
            let subject = format!("{} is in {GROUPS_PER_USER_MAX} groups", user.name);
            return refuse(RefusalKind::TooLarge, subject);
        }
        user.groups.push(group);
        user.groups.sort_unstable();
    }
    Ok(move_member(state, id, &before, &user)?)
}

/// Stores a user, and in which groups it is now.
fn move_member(
    state: &mut StateTxn<'_>,
    id: UserId,
    before: &User,
    user: &User,
) -> Result<(), Fatal> {
    for group in before.all_groups() {
        state.remove(MEMBERS, &(group, id))?;
    }
    for group in user.all_groups() {
        state.put(MEMBERS, &(group, id), &())?;
    }
    state.put(USERS, &id, user)
}
