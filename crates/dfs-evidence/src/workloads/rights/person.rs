//! A user with a group, a key and directories of its own, and all that it needs to use them.

use std::fmt::Display;

use dfs_core::client::{Access, Client, ClientConfig, NewUser};
use dfs_core::env::Env;
use dfs_core::error::{Error, ErrorKind, Result};
use dfs_core::security::ApiKey;
use dfs_core::types::account::{Account, AccountChange, KeyId, UserChange};
use dfs_core::types::acl::{AclKind, Named};
use dfs_core::types::{
    AccountName, Acl, Answer, AttrChange, Change, Changed, GroupId, Mode, NewAttr, Query, Rights,
    UserId,
};

use super::{FILE, ROOT};
use crate::history::Right;
use crate::workloads::act::at;

/// A user. Its group is called as it is.
#[derive(Debug)]
pub(super) struct Person {
    name: AccountName,
    user: UserId,
    group: GroupId,
    key: ApiKey,
    key_id: KeyId,
}

impl Person {
    /// Makes a person, or what there is not of it yet, and gives it all rights.
    pub(super) async fn make(admin: &Client, name: &str) -> Result<Person> {
        let name = account(name)?;
        let user = match admin.add_user(NewUser::named(name.clone())).await {
            Err(error) if error.kind() == ErrorKind::Exists => admin.user(&name).await?.id,
            made => made?,
        };
        let group = match admin.add_group(name.clone(), None).await {
            Err(error) if error.kind() == ErrorKind::Exists => admin.group(&name).await?.id,
            made => made?,
        };
        admin.add_member(group, user).await?;
        let (key_id, key) = admin.add_key(user, "of a worker").await?;
        let person = Person {
            name,
            user,
            group,
            key,
            key_id,
        };
        person.furnish(admin).await?;
        Ok(person)
    }

    async fn furnish(&self, admin: &Client) -> Result<()> {
        let home = home(&self.name);
        admin.create_dir_all(&home).await?;
        let of_group = NewAttr {
            group: Some(self.group),
            ..NewAttr::of_mode(Mode::new(0o770))
        };
        for (path, attr) in [
            (named(&self.name), NewAttr::of_mode(Mode::new(0o700))),
            (member(&self.name), of_group),
        ] {
            admin.create_dir_with(&path, attr, true).await?;
            let file = format!("{path}/file");
            admin.create_file(&file, false).await?;
            admin.set_permissions(&file, Mode::new(0o666)).await?;
        }
        let list = Some(self.list());
        let set = admin
            .set_acl(named(&self.name), AclKind::Access, list)
            .await;
        set.map(drop)
    }

    /// A client that is logged in as this person.
    pub(super) async fn log_in(&self, admin: &Client) -> Result<Client> {
        let config = admin.config();
        let access = config.access.as_ref();
        let access = access.ok_or_else(|| Error::invalid("this cluster has no users"))?;
        let (name, key) = (self.name.clone(), self.key.clone());
        let config = ClientConfig {
            access: Some(Access::with_key(access.authority(), name, key)),
            ..config.clone()
        };
        Client::connect(config, Env::real()).await
    }

    pub(super) fn name(&self) -> String {
        self.name.to_string()
    }

    /// All that this person may need, of its own or not.
    pub(super) fn rights(&self) -> Vec<Right> {
        let mut rights = without_key(&self.name);
        rights.push(Right::Key(self.name()));
        rights.extend(super::shared());
        rights
    }

    /// Those of them that are of places.
    pub(super) fn places(&self) -> Vec<Right> {
        let mut rights = self.rights();
        rights.retain(|right| matches!(right, Right::Mode(_) | Right::Named(_) | Right::Member(_)));
        rights
    }

    /// What gives this person a right or takes it away.
    pub(super) fn change(&self, right: &Right, on: bool) -> Result<Change> {
        let (user, group) = (self.user, self.group);
        let set = |change| AccountChange::SetUser { user, change };
        Ok(Change::Account(match right {
            Right::LogIn(_) => set(UserChange {
                enabled: Some(on),
                ..UserChange::default()
            }),
            Right::Change(_) => set(UserChange {
                read_only: Some(!on),
                ..UserChange::default()
            }),
            Right::Key(_) if on => AccountChange::AddKey {
                user,
                label: "of a worker".to_owned(),
                hash: self.key.hash(),
            },
            Right::Key(_) => AccountChange::RemoveKey {
                user,
                key: self.key_id,
            },
            Right::Member(_) if on => AccountChange::AddMember { group, user },
            Right::Member(_) => AccountChange::RemoveMember { group, user },
            Right::Named(path) => {
                return Ok(Change::SetAcl {
                    at: at(path)?,
                    which: AclKind::Access,
                    acl: on.then(|| self.list()),
                });
            }
            Right::Mode(_) => return shared(right, on),
        }))
    }

    /// Takes in what a change was answered: a key that is given back has another number.
    pub(super) fn learn(&mut self, changed: Option<Changed>) {
        if let Some(Account::Key(_, id)) = changed.and_then(|changed| changed.account) {
            self.key_id = id;
        }
    }

    /// What makes it log in again, and takes nothing from it.
    pub(super) fn void_tickets(&self) -> Change {
        let (user, hash) = (self.user, None);
        Change::Account(AccountChange::SetPassword { user, hash })
    }

    fn list(&self) -> Acl {
        Acl {
            owner: Rights::ALL,
            group: Rights::NONE,
            other: Rights::NONE,
            mask: Some(Rights::ALL),
            named: Named {
                users: vec![(self.user, Rights::ALL)],
                groups: Vec::new(),
            },
        }
    }
}

fn account(name: &str) -> Result<AccountName> {
    name.parse().map_err(|_| Error::invalid(name))
}

fn home(name: impl Display) -> String {
    format!("{ROOT}/{name}")
}

fn named(name: impl Display) -> String {
    format!("{ROOT}/{name}/named")
}

fn member(name: impl Display) -> String {
    format!("{ROOT}/{name}/member")
}

/// The rights of the person of a name, but for its key.
pub(super) fn without_key(name: impl Display) -> Vec<Right> {
    let user = || name.to_string();
    vec![
        Right::LogIn(user()),
        Right::Change(user()),
        Right::Named(named(&name)),
        Right::Member(member(&name)),
    ]
}

/// What gives all a right or takes it away.
pub(super) fn shared(right: &Right, on: bool) -> Result<Change> {
    let Right::Mode(path) = right else {
        return Err(Error::invalid("a right of somebody"));
    };
    let mode = match (path.as_str(), on) {
        (FILE, true) => 0o666,
        (FILE, false) => 0o600,
        (_, true) => 0o777,
        (_, false) => 0o700,
    };
    Ok(Change::SetAttr {
        at: at(path)?,
        change: AttrChange {
            mode: Some(Mode::new(mode)),
            ..AttrChange::default()
        },
        follow: true,
    })
}

/// What is asked to know whether a right is given.
pub(super) fn question(right: &Right) -> Result<Query> {
    Ok(match right {
        Right::LogIn(user) | Right::Key(user) | Right::Change(user) => Query::User(account(user)?),
        Right::Mode(path) => Query::Stat {
            at: at(path)?,
            follow: true,
        },
        Right::Named(path) => Query::Acl {
            at: at(path)?,
            which: AclKind::Access,
        },
        Right::Member(path) => {
            let name = path.split('/').nth(2);
            Query::Group(account(name.unwrap_or_default())?)
        }
    })
}

/// What the answer says, if it is one. Of a key it must be known who logs in with it.
pub(super) fn is_on(right: &Right, answer: &Answer, person: Option<&Person>) -> Option<bool> {
    match (right, answer) {
        (Right::LogIn(_), Answer::User(user)) => Some(user.enabled),
        (Right::Change(_), Answer::User(user)) => Some(!user.confinement.read_only),
        (Right::Key(_), Answer::User(user)) => {
            let key = person?.key_id;
            Some(user.keys.iter().any(|known| known.id == key))
        }
        (Right::Mode(_), Answer::Attr(attr)) => Some(attr.mode.bits() & 0o007 != 0),
        (Right::Named(_), Answer::Acl(list)) => Some(list.is_some()),
        (Right::Member(_), Answer::Group(group)) => Some(!group.members.is_empty()),
        _ => None,
    }
}
