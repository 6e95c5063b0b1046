//! Who acts, as the state knows it at the moment, and what it may do.

use dfs_raft::state::ReadState;

use super::{acl, user};
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::Inode;
use crate::types::{Caller, GroupId, InodeId, RefusalKind, Rights, Role, UserId};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) user: UserId,
    /// The group of what it makes.
    pub(crate) group: GroupId,
    /// All groups it is in, that one included.
    pub(crate) groups: Vec<GroupId>,
    pub(crate) role: Role,
    /// The directory that is its `/`.
    pub(crate) root: InodeId,
    pub(crate) read_only: bool,
}

impl Subject {
    /// The user that a caller was let in as.
    ///
    /// # Errors
    /// Refuses one that is unknown, disabled, or was let in with what is void by now; all in the
    /// same words.
    pub(crate) fn of(state: &impl ReadState, caller: Caller) -> Result<Subject, Stop> {
        let Caller::User { user: id, epoch } = caller else {
            return Ok(Subject::system());
        };
        let user = user::get(state, id)?.filter(|user| user.enabled);
        match user {
            Some(user) if user::epoch(state, &user)? == epoch => Ok(Subject {
                user: id,
                group: user.group,
                groups: user.all_groups(),
                role: user.role,
                root: user.confinement.root.unwrap_or(InodeId::ROOT),
                read_only: user.confinement.read_only,
            }),
            _ => refuse(RefusalKind::LoginRequired, id),
        }
    }

    /// The system itself.
    pub(crate) fn system() -> Subject {
        Subject {
            user: UserId::ROOT,
            group: GroupId::ADMIN,
            groups: vec![GroupId::ADMIN],
            role: Role::Administrator,
            root: InodeId::ROOT,
            read_only: false,
        }
    }

    pub(crate) fn is_administrator(&self) -> bool {
        self.role == Role::Administrator
    }

    /// Refuses who is no administrator.
    pub(crate) fn require_administrator(&self) -> Result<(), Stop> {
        match self.is_administrator() {
            true => self.require_writable(),
            false => refuse(RefusalKind::NotPermitted, "only administrators may do this"),
        }
    }

    /// Refuses who may change nothing.
    pub(crate) fn require_writable(&self) -> Result<(), Stop> {
        match self.read_only {
            true => refuse(
                RefusalKind::NotPermitted,
                format!("{} may only read", self.user),
            ),
            false => Ok(()),
        }
    }

    /// Whether it is in a group.
    pub(crate) fn is_in(&self, group: GroupId) -> bool {
        self.groups.contains(&group)
    }

    /// Whether it owns something, or may do as if.
    pub(crate) fn owns(&self, inode: &Inode) -> bool {
        self.is_administrator() || inode.owner == self.user
    }

    /// Refuses who does not own it.
    pub(crate) fn require_owner(&self, inode: &Inode, at: impl ToString) -> Result<(), Stop> {
        match self.owns(inode) {
            true => Ok(()),
            false => refuse(RefusalKind::NotPermitted, at),
        }
    }

    /// Whether it has rights to an inode.
    pub(crate) fn may(
        &self,
        state: &impl ReadState,
        (id, inode): (InodeId, &Inode),
        wanted: Rights,
    ) -> Result<bool, Stop> {
        if self.is_administrator() {
            return Ok(true);
        }
        let list = acl::access(state, id, inode)?;
        let owners = (inode.owner, inode.group);
        Ok(list.permits(wanted, (self.user, &self.groups), owners))
    }

    /// Refuses who lacks rights to an inode.
    pub(crate) fn require(
        &self,
        state: &impl ReadState,
        inode: (InodeId, &Inode),
        wanted: Rights,
        at: impl ToString,
    ) -> Result<(), Stop> {
        match self.may(state, inode, wanted)? {
            true => Ok(()),
            false => refuse(RefusalKind::AccessDenied, at),
        }
    }
}
