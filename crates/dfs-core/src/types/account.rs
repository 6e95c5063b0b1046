//! Who may use the system: users, groups, and whoever asks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::id::{GroupId, InodeId, UserId};
use super::path::Location;
use dfs_raft::env::Timestamp;

/// Longest name of a user or group, in bytes; as on Linux.
const ACCOUNT_NAME_LEN_MAX: usize = 32;

/// Why something is no name of a user or group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0:.40}` is no name of a user or group: 1 to {ACCOUNT_NAME_LEN_MAX} of a-z 0-9 _ - . , \
     a letter or _ first"
)]
pub struct AccountNameError(String);

/// The name of a user or group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AccountName(String);

impl AccountName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<AccountName, AccountNameError> {
        let first = text.chars().next();
        let begins = first.is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
        let is_name = begins && text.len() <= ACCOUNT_NAME_LEN_MAX && text.chars().all(fits);
        match is_name {
            true => Ok(AccountName(text.to_owned())),
            false => Err(AccountNameError(text.to_owned())),
        }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What arrives from a network or a disk is checked like what arrives from a person.
impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AccountName, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl dfs_raft::state::Key for AccountName {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<AccountName, dfs_raft::Fatal> {
        let text = String::decode(bytes)?;
        let name = text.parse::<AccountName>();
        name.map_err(|e| dfs_raft::Fatal::with_source("a stored name is damaged", e))
    }
}

/// Who asks for something, as it was let in. Whether that is still so is for the state machine to
/// say, when it carries out what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Caller {
    /// The masters themselves.
    System,
    /// A user.
    User {
        /// Which.
        user: UserId,
        /// Its credentials at the time, see [`CredentialEpoch`].
        epoch: CredentialEpoch,
    },
}

impl Caller {
    /// The user as whom it acts.
    pub fn user(self) -> UserId {
        match self {
            Caller::System => UserId::ROOT,
            Caller::User { user, .. } => user,
        }
    }
}

/// Counts how often what a user was let in with became void: with a new password, a removed key,
/// when it is disabled. What was let in with an older one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct CredentialEpoch(pub u32);

/// What a user may do beyond files of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Role {
    /// What permissions of files say.
    #[default]
    User,
    /// Everything: it is a role and no user id.
    Administrator,
}

/// What confines a user, a service's most of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// The directory that is its `/`; nothing outside of it can be named.
    pub root: Option<InodeId>,
    /// Whether it may change nothing.
    pub read_only: bool,
}

/// A user as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: AccountName,
    /// The group of what it makes.
    pub group: GroupId,
    /// The other groups it is in.
    pub groups: Vec<GroupId>,
    /// What it may do.
    pub role: Role,
    /// What confines it.
    pub confinement: Confinement,
    /// Whether it may log in.
    pub enabled: bool,
    /// Whether it has a password.
    pub has_password: bool,
    /// Its keys.
    pub keys: Vec<KeyInfo>,
    /// When it was made.
    pub created: Timestamp,
}

/// A key of a user, without what is secret of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Which of the user's.
    pub id: KeyId,
    /// What it is for, in the user's words.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A key of a user. Never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// A group as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: AccountName,
    /// Who is in it.
    pub members: Vec<UserId>,
}

/// A change of who may use the system. All but a user's own password and keys are for
/// administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountChange {
    /// Adds a user.
    AddUser {
        /// Its name.
        name: AccountName,
        /// Its id; otherwise the next free one.
        id: Option<UserId>,
        /// The group of what it makes; otherwise `users`.
        group: Option<GroupId>,
        /// What it may do.
        role: Role,
        /// The directory that is its `/`, if not all is.
        root: Option<Location>,
        /// Whether it may change nothing.
        read_only: bool,
    },
    /// Gives a user another name. Its id, and so what is its own, stays.
    RenameUser {
        /// Which.
        user: UserId,
        /// The new name.
        name: AccountName,
    },
    /// Sets what is said of a user.
    SetUser {
        /// Which.
        user: UserId,
        /// To what.
        change: UserChange,
    },
    /// Removes a user. Its id is not given to another; files keep it.
    RemoveUser {
        /// Which.
        user: UserId,
    },
    /// Sets or takes away a password.
    SetPassword {
        /// Whose.
        user: UserId,
        /// What is left of it.
        hash: Option<PasswordHash>,
    },
    /// Adds a key.
    AddKey {
        /// Whose.
        user: UserId,
        /// What it is for.
        label: String,
        /// What is left of it.
        hash: KeyHash,
    },
    /// Removes a key.
    RemoveKey {
        /// Whose.
        user: UserId,
        /// Which.
        key: KeyId,
    },
    /// Adds a group.
    AddGroup {
        /// Its name.
        name: AccountName,
        /// Its id; otherwise the next free one.
        id: Option<GroupId>,
    },
    /// Gives a group another name.
    RenameGroup {
        /// Which.
        group: GroupId,
        /// The new name.
        name: AccountName,
    },
    /// Removes a group that nobody is in. Its id is not given to another.
    RemoveGroup {
        /// Which.
        group: GroupId,
    },
    /// Puts a user into a group.
    AddMember {
        /// Which group.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// Takes a user out of a group.
    RemoveMember {
        /// Which group.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
}

/// What to set of a user, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserChange {
    /// The group of what it makes.
    pub group: Option<GroupId>,
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it may log in, and go on with what it was let in with.
    pub enabled: Option<bool>,
    /// The directory that is its `/`; inside, none if all is.
    pub root: Option<Option<Location>>,
    /// Whether it may change nothing.
    pub read_only: Option<bool>,
}

/// Whom or what a change of accounts was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    /// A user.
    User(UserId),
    /// A group.
    Group(GroupId),
    /// A key of a user.
    Key(UserId, KeyId),
}

/// What is kept of a password: a PHC string of argon2id (RFC 9106). It is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub String);

/// What is kept of a key: SHA-256 of it. A key is as random as a hash, so no more is needed. It is
/// not shown.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_linux() {
        for good in ["alice", "_backup", "svc-1.prod", "a"] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(33);
        for bad in ["", "Alice", "1st", "-x", "a b", "ä", "a/b", "a:b", &long] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad}");
        }
    }
}
