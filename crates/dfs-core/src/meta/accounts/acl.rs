//! Access control lists. Mode bits say most of them; ACLS has the rest, for the few that have it.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Inode};
use crate::meta::namespace::resolve::existing;
use crate::meta::snapshots::rows;
use crate::meta::tables::{ACLS, INODES};
use crate::types::acl::{AclKind, Named};
use crate::types::{
    Acl, Changed, FileKind, GroupId, InodeId, Location, Mode, NewAttr, RefusalKind, Rights,
    Timestamp,
};

/// A row of ACLS: what the mode bits of an inode cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Acls {
    /// The access list beyond mode bits, whose group bits are then the mask.
    pub access: Option<Extended>,
    /// What is made in a directory gets this.
    pub default: Option<Acl>,
}

/// An access list beyond mode bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extended {
    /// The owning group's rights.
    pub group: Rights,
    /// Named users and groups.
    pub named: Named,
}

dfs_raft::postcard_values!(1: Acls);

fn row(state: &impl ReadState, id: InodeId, inode: &Inode) -> Result<Acls, Fatal> {
    if !inode.has_acl {
        return Ok(Acls::default());
    }
    let row = state.get(ACLS, &id)?;
    row.ok_or_else(|| Fatal::new(format!("{id} should have an access list and has none")))
}

/// Who may do what with an inode.
pub(crate) fn access(state: &impl ReadState, id: InodeId, inode: &Inode) -> Result<Acl, Fatal> {
    let of_mode = Acl::of_mode(inode.mode);
    let Some(Extended { group, named }) = row(state, id, inode)?.access else {
        return Ok(of_mode);
    };
    Ok(Acl {
        mask: Some(of_mode.group),
        group,
        named,
        ..of_mode
    })
}

/// One of the lists of an inode; none if mode bits say all, or if it has no default list.
pub(crate) fn get(
    state: &impl ReadState,
    (id, inode): (InodeId, &Inode),
    which: AclKind,
) -> Result<Option<Acl>, Fatal> {
    match which {
        AclKind::Default => Ok(row(state, id, inode)?.default),
        AclKind::Access => {
            let list = access(state, id, inode)?;
            Ok(Some(list).filter(|list| !list.is_minimal()))
        }
    }
}

/// Sets or takes away one of the lists.
pub(crate) fn set(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    which: AclKind,
    list: Option<&Acl>,
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, at, true)?;
    by.require_owner(&inode, at)?;
    let list = list.cloned().map(Acl::validated).transpose();
    let list = match list {
        Ok(list) => list,
        Err(why) => return refuse(RefusalKind::Invalid, why),
    };
    let mut row = row(state, id, &inode)?;
    match which {
        AclKind::Default if inode.kind() != FileKind::Directory => {
            return refuse(RefusalKind::NotADirectory, at);
        }
        AclKind::Default => row.default = list,
        AclKind::Access => {
            let list = match list {
                Some(list) => list,
                // What the mask kept from the group, it does not get by losing it.
                None => {
                    let before = access(state, id, &inode)?;
                    let group = before.mask.map_or(before.group, |m| before.group.within(m));
                    Acl {
                        mask: None,
                        named: Named::default(),
                        group,
                        ..before
                    }
                }
            };
            inode.mode = inode.mode.with_permissions(list.mode_bits());
            drop_set_group_id(&mut inode, by);
            row.access = extended(list);
        }
    }
    put(state, id, &mut inode, row)?;
    inode.changed = now;
    rows::put(state, INODES, &id, &inode)?;
    Ok(Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    })
}

/// Whoever is not in the group of a file cannot give its right to others (POSIX `chmod`).
pub(crate) fn drop_set_group_id(inode: &mut Inode, by: &Subject) {
    if inode.kind() == FileKind::File && !by.is_administrator() && !by.is_in(inode.group) {
        inode.mode = inode.mode.without(Mode::SET_GROUP_ID);
    }
}

/// Whoever changes a program does not do so with the rights of its owner (POSIX `write`).
pub(crate) fn drop_special_bits(inode: &mut Inode, by: &Subject) {
    if by.is_administrator() {
        return;
    }
    inode.mode = inode.mode.without(Mode::SET_USER_ID);
    if inode.mode.has(Mode::GROUP_EXECUTE) {
        inode.mode = inode.mode.without(Mode::SET_GROUP_ID);
    }
}

fn extended(list: Acl) -> Option<Extended> {
    let is_extended = !list.is_minimal();
    is_extended.then_some(Extended {
        group: list.group,
        named: list.named,
    })
}

fn put(state: &mut StateTxn<'_>, id: InodeId, inode: &mut Inode, row: Acls) -> Result<(), Fatal> {
    inode.has_acl = row != Acls::default();
    match inode.has_acl {
        true => rows::put(state, ACLS, &id, &row),
        false => rows::remove(state, ACLS, &id),
    }
}

/// Forgets the lists of an inode that goes.
pub(crate) fn forget(state: &mut StateTxn<'_>, id: InodeId) -> Result<(), Fatal> {
    rows::remove(state, ACLS, &id)
}

/// What something new gets in a directory: owner, group, mode bits and lists.
pub(crate) struct Inheritance {
    pub(crate) mode: Mode,
    pub(crate) group: GroupId,
    lists: Acls,
}

/// What something new of a kind gets.
pub(crate) fn inherit(
    state: &impl ReadState,
    by: &Subject,
    (dir, parent): (InodeId, &Inode),
    attr: &NewAttr,
    kind: FileKind,
) -> Result<Inheritance, Stop> {
    let of_parent = parent.mode.has(Mode::SET_GROUP_ID);
    let group = match attr.group {
        Some(group) => group,
        None if of_parent => parent.group,
        None => by.group,
    };
    let mut mode = attr.mode;
    if of_parent && kind == FileKind::Directory {
        mode = Mode::new(mode.bits() | Mode::SET_GROUP_ID.bits());
    }
    if kind == FileKind::File && !by.is_administrator() && !by.is_in(group) {
        mode = mode.without(Mode::SET_GROUP_ID);
    }
    let default = match kind {
        FileKind::Symlink => None,
        FileKind::File | FileKind::Directory => row(state, dir, parent)?.default,
    };
    let Some(default) = default else {
        // Nobody asks for the permissions of a link.
        let mode = match kind {
            FileKind::Symlink => mode,
            FileKind::File | FileKind::Directory => mode.without(attr.umask),
        };
        let lists = Acls::default();
        return Ok(Inheritance { mode, group, lists });
    };
    let access = default.clone().inherited(mode);
    mode = mode.with_permissions(access.mode_bits());
    let lists = Acls {
        access: extended(access),
        default: Some(default).filter(|_| kind == FileKind::Directory),
    };
    Ok(Inheritance { mode, group, lists })
}

impl Inheritance {
    /// Stores the lists of what got an id.
    pub(crate) fn store(
        self,
        state: &mut StateTxn<'_>,
        id: InodeId,
        inode: &mut Inode,
    ) -> Result<(), Fatal> {
        put(state, id, inode, self.lists)
    }
}

/// Refuses who may not make, remove or rename names in a directory.
pub(crate) fn require_entry_rights(
    state: &impl ReadState,
    by: &Subject,
    (dir, inode): (InodeId, &Inode),
    at: &Location,
) -> Result<(), Stop> {
    let rights = Rights::WRITE.and(Rights::EXECUTE);
    by.require(state, (dir, inode), rights, at)
}

/// Refuses who may not remove or rename an entry that is there: in a sticky directory only the
/// owner of either may.
pub(crate) fn require_removal_rights(
    state: &impl ReadState,
    by: &Subject,
    (dir, parent): (InodeId, &Inode),
    entry: InodeId,
    at: &Location,
) -> Result<(), Stop> {
    require_entry_rights(state, by, (dir, parent), at)?;
    require_unstuck(state, by, parent, entry, at)
}

/// The part of it about sticky directories.
pub(crate) fn require_unstuck(
    state: &impl ReadState,
    by: &Subject,
    parent: &Inode,
    entry: InodeId,
    at: &Location,
) -> Result<(), Stop> {
    if !parent.mode.has(Mode::STICKY) || by.owns(parent) {
        return Ok(());
    }
    by.require_owner(&inode::require(state, entry)?, at)
}
