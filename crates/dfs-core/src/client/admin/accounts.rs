//! Who may use the cluster: users, groups, and who may do what with a file. Most of it is for
//! administrators; a password and keys of one's own are not.

use crate::client::{Client, IntoLocation, changed_attr, mismatch};
use crate::error::{Error, ErrorKind, Result};
use crate::security::{ApiKey, Password};
use crate::types::account::{
    Account, AccountChange, AccountName, GroupInfo, KeyId, UserChange, UserInfo,
};
use crate::types::acl::AclKind;
use crate::types::{Acl, Answer, Attr, Change, GroupId, Location, Query, Role, UserId};

/// How many users or groups are asked for at a time.
const PAGE_LEN: u32 = 256;

/// What a new user is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Its name.
    pub name: AccountName,
    /// Its id; otherwise the next free one.
    pub id: Option<UserId>,
    /// The group of what it makes; otherwise `users`.
    pub group: Option<GroupId>,
    /// What it may do.
    pub role: Role,
    /// The directory that is its `/`, if not all is.
    pub root: Option<Location>,
    /// Whether it may change nothing.
    pub read_only: bool,
}

impl NewUser {
    /// One of whom nothing else is said.
    pub fn named(name: AccountName) -> NewUser {
        NewUser {
            name,
            id: None,
            group: None,
            role: Role::User,
            root: None,
            read_only: false,
        }
    }
}

impl Client {
    /// Who it is logged in as; without security the first administrator.
    ///
    /// # Errors
    /// `Denied` if that user may log in no more; `Unavailable`.
    pub async fn whoami(&self) -> Result<UserInfo> {
        user(self.ask(Query::Whoami).await?)
    }

    /// The user of a name. What is private of it is shown to itself and to administrators.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Unavailable`.
    pub async fn user(&self, name: &AccountName) -> Result<UserInfo> {
        user(self.ask(Query::User(name.clone())).await?)
    }

    /// All users, by id.
    ///
    /// # Errors
    /// `Denied`; `Unavailable`.
    pub async fn users(&self) -> Result<Vec<UserInfo>> {
        let mut users: Vec<UserInfo> = Vec::new();
        loop {
            let after = users.last().map(|user| user.id);
            let limit = PAGE_LEN;
            match self.ask(Query::Users { after, limit }).await? {
                Answer::Users(page) if page.is_empty() => return Ok(users),
                Answer::Users(page) => users.extend(page),
                other => return Err(mismatch(&other)),
            }
        }
    }

    /// The group of a name, with who is in it.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Unavailable`.
    pub async fn group(&self, name: &AccountName) -> Result<GroupInfo> {
        match self.ask(Query::Group(name.clone())).await? {
            Answer::Group(group) => Ok(group),
            other => Err(mismatch(&other)),
        }
    }

    /// All groups, by id; who is in them is told of one at a time, by [`group`](Self::group).
    ///
    /// # Errors
    /// `Denied`; `Unavailable`.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>> {
        let mut groups: Vec<GroupInfo> = Vec::new();
        loop {
            let after = groups.last().map(|group| group.id);
            let limit = PAGE_LEN;
            match self.ask(Query::Groups { after, limit }).await? {
                Answer::Groups(page) if page.is_empty() => return Ok(groups),
                Answer::Groups(page) => groups.extend(page),
                other => return Err(mismatch(&other)),
            }
        }
    }

    /// Adds a user. It cannot log in until it has a password or a key.
    ///
    /// # Errors
    /// `Exists` for a name or id that is taken; `NotFound` for the group or root; `Invalid` for
    /// an administrator with a root; `Denied` for whoever is no administrator.
    pub async fn add_user(&self, new: NewUser) -> Result<UserId> {
        let change = AccountChange::AddUser {
            name: new.name,
            id: new.id,
            group: new.group,
            role: new.role,
            root: new.root,
            read_only: new.read_only,
        };
        match self.account(change).await? {
            Account::User(user) => Ok(user),
            other => Err(another(other)),
        }
    }

    /// Gives a user another name.
    ///
    /// # Errors
    /// `NotFound`; `Exists`; `Denied` for whoever is no administrator.
    pub async fn rename_user(&self, user: UserId, name: AccountName) -> Result<()> {
        self.account_done(AccountChange::RenameUser { user, name })
            .await
    }

    /// Sets what is said of a user. With another role or root, or when it is disabled, it must
    /// log in again.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for an administrator with a root; `Denied` for whoever is no
    /// administrator, and if the first administrator would be one no more.
    pub async fn set_user(&self, user: UserId, change: UserChange) -> Result<()> {
        self.account_done(AccountChange::SetUser { user, change })
            .await
    }

    /// Removes a user. Its id is not given to another; files keep it.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator, and for the first administrator.
    pub async fn remove_user(&self, user: UserId) -> Result<()> {
        self.account_done(AccountChange::RemoveUser { user }).await
    }

    /// Sets a user's password, or takes it away. Whoever is logged in as that user must log in
    /// again. The password itself stays here: masters get a hash.
    ///
    /// # Errors
    /// `Invalid` if it is too short or too long; `NotFound`; `Denied` for whoever is neither that
    /// user nor an administrator.
    pub async fn set_password(&self, user: UserId, password: Option<Password>) -> Result<()> {
        let hash = match password {
            None => None,
            Some(password) => {
                let random = self.inner.env.random.clone();
                let hash = move || password.hash(&*random);
                let hashed = self.inner.env.run_blocking(hash).await;
                Some(hashed.map_err(|e| Error::invalid(e.to_string()))?)
            }
        };
        self.account_done(AccountChange::SetPassword { user, hash })
            .await
    }

    /// Makes a key for a user. The cluster keeps a hash of it; whoever has it is that user.
    ///
    /// # Errors
    /// `Invalid` if it has as many as it can, or the label is too long; `NotFound`; `Denied` for
    /// whoever is neither that user nor an administrator.
    pub async fn add_key(
        &self,
        user: UserId,
        label: impl Into<String> + Send,
    ) -> Result<(KeyId, ApiKey)> {
        let key = ApiKey::generate(&*self.inner.env.random);
        let change = AccountChange::AddKey {
            user,
            label: label.into(),
            hash: key.hash(),
        };
        match self.account(change).await? {
            Account::Key(_, id) => Ok((id, key)),
            other => Err(another(other)),
        }
    }

    /// Takes a key away from a user. Whoever is logged in as that user must log in again.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is neither that user nor an administrator.
    pub async fn remove_key(&self, user: UserId, key: KeyId) -> Result<()> {
        self.account_done(AccountChange::RemoveKey { user, key })
            .await
    }

    /// Adds a group, with this id or the next free one.
    ///
    /// # Errors
    /// `Exists` for a name or id that is taken; `Denied` for whoever is no administrator.
    pub async fn add_group(&self, name: AccountName, id: Option<GroupId>) -> Result<GroupId> {
        match self.account(AccountChange::AddGroup { name, id }).await? {
            Account::Group(group) => Ok(group),
            other => Err(another(other)),
        }
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// `NotFound`; `Exists`; `Denied` for whoever is no administrator.
    pub async fn rename_group(&self, group: GroupId, name: AccountName) -> Result<()> {
        self.account_done(AccountChange::RenameGroup { group, name })
            .await
    }

    /// Removes a group that nobody is in. Its id is not given to another; files keep it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if somebody is in it; `Denied` for whoever is no administrator, and
    /// for the groups that a cluster is founded with.
    pub async fn remove_group(&self, group: GroupId) -> Result<()> {
        self.account_done(AccountChange::RemoveGroup { group })
            .await
    }

    /// Puts a user into a group. One that is in it is no error.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is in as many as it can; `Denied` for whoever is no
    /// administrator.
    pub async fn add_member(&self, group: GroupId, user: UserId) -> Result<()> {
        self.account_done(AccountChange::AddMember { group, user })
            .await
    }

    /// Takes a user out of a group. One that is not in it is no error.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the group of what the user makes; `Denied` for whoever is no
    /// administrator.
    pub async fn remove_member(&self, group: GroupId, user: UserId) -> Result<()> {
        self.account_done(AccountChange::RemoveMember { group, user })
            .await
    }

    /// One of the access lists of what a path leads to; none if mode bits say all, or if there
    /// is no default list. Symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`; `Denied`; `Unavailable`.
    pub async fn acl(&self, path: impl IntoLocation, which: AclKind) -> Result<Option<Acl>> {
        let at = path.into_location()?;
        match self.ask(Query::Acl { at, which }).await? {
            Answer::Acl(acl) => Ok(acl),
            other => Err(mismatch(&other)),
        }
    }

    /// Sets one of the access lists of what a path leads to, or takes it away, so that mode bits
    /// say all. Symbolic links are followed.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a list that contradicts itself, and for a default list of what
    /// is no directory; `Denied` for whoever is neither the owner nor an administrator.
    pub async fn set_acl(
        &self,
        path: impl IntoLocation,
        which: AclKind,
        acl: Option<Acl>,
    ) -> Result<Attr> {
        let at = path.into_location()?;
        changed_attr(self.change(Change::SetAcl { at, which, acl }).await?)
    }

    /// Makes a change of accounts; says whom or what it was about.
    async fn account(&self, change: AccountChange) -> Result<Account> {
        let changed = self.change(Change::Account(change)).await?;
        changed.account.ok_or_else(|| {
            let what = "a master changed an account and did not say which";
            Error::new(ErrorKind::Internal, what)
        })
    }

    async fn account_done(&self, change: AccountChange) -> Result<()> {
        self.account(change).await.map(|_| ())
    }
}

fn user(answer: Answer) -> Result<UserInfo> {
    match answer {
        Answer::User(user) => Ok(user),
        other => Err(mismatch(&other)),
    }
}

/// A master changed something else than it was asked to.
fn another(account: Account) -> Error {
    let what = match account {
        Account::User(user) => user.to_string(),
        Account::Group(group) => group.to_string(),
        Account::Key(user, key) => format!("{key} of {user}"),
    };
    let message = format!("a master answered another change, that of {what}");
    Error::new(ErrorKind::Internal, message)
}
