//! Users, groups and access lists in scripts.
//!
//! `by=1000` before a change or question says which user asks, with its present credentials;
//! `epoch=0` with those it had then. Lists are written `rwx r-x --- u1000=rw g1001=r mask=rw`.

use super::language::{Args, Result, flag, location, number, place, text};
use crate::types::account::{AccountChange, KeyHash, KeyId, PasswordHash, UserChange};
use crate::types::acl::{AclKind, Named};
use crate::types::{Acl, Change, GroupId, Rights, Role, UserId};

pub(super) fn which(args: &mut Args<'_>) -> Result<AclKind> {
    Ok(match flag(args, "default", false)? {
        true => AclKind::Default,
        false => AclKind::Access,
    })
}

fn rights(text: &str) -> Result<Rights> {
    let bit = |letter| match letter {
        'r' => Ok(Rights::READ),
        'w' => Ok(Rights::WRITE),
        'x' => Ok(Rights::EXECUTE),
        '-' => Ok(Rights::NONE),
        other => Err(format!("{other} is no right")),
    };
    let mut all = Rights::NONE;
    for letter in text.chars() {
        all = all.and(bit(letter)?);
    }
    Ok(all)
}

fn list(args: &mut Args<'_>) -> Result<Option<Acl>> {
    let Some(owner) = args.next_pos() else {
        return Ok(None);
    };
    let mut acl = Acl {
        owner: rights(owner)?,
        group: rights(text(args)?)?,
        other: rights(text(args)?)?,
        mask: args.take_key("mask").map(rights).transpose()?,
        named: Named::default(),
    };
    while let Some(entry) = args.next_pos() {
        let (who, may) = entry.split_once(':').ok_or("no `:`")?;
        let (kind, id) = who.split_at(1);
        let (id, may) = (id.parse()?, rights(may)?);
        match kind {
            "u" => acl.named.users.push((UserId(id), may)),
            _ => acl.named.groups.push((GroupId(id), may)),
        }
    }
    Ok(Some(acl))
}

fn user(args: &mut Args<'_>) -> Result<UserId> {
    Ok(UserId(text(args)?.parse()?))
}

fn group(args: &mut Args<'_>) -> Result<GroupId> {
    Ok(GroupId(text(args)?.parse()?))
}

fn role(args: &mut Args<'_>) -> Result<Option<Role>> {
    let administrator: Option<bool> = number(args, "administrator")?;
    Ok(administrator.map(|is| if is { Role::Administrator } else { Role::User }))
}

pub(super) fn change(name: &str, args: &mut Args<'_>) -> Result<Option<Change>> {
    let change = match name {
        "setfacl" => {
            return Ok(Some(Change::SetAcl {
                which: which(args)?,
                at: place(args)?,
                acl: list(args)?,
            }));
        }
        "useradd" => AccountChange::AddUser {
            id: number(args, "id")?.map(UserId),
            group: number(args, "group")?.map(GroupId),
            role: role(args)?.unwrap_or_default(),
            root: args.take_key("root").map(location).transpose()?,
            read_only: flag(args, "read_only", false)?,
            name: text(args)?.parse()?,
        },
        "usermod" => AccountChange::SetUser {
            change: UserChange {
                group: number(args, "group")?.map(GroupId),
                role: role(args)?,
                enabled: number(args, "enabled")?,
                root: match args.take_key("root") {
                    None => None,
                    Some("none") => Some(None),
                    Some(path) => Some(Some(location(path)?)),
                },
                read_only: number(args, "read_only")?,
            },
            user: user(args)?,
        },
        "userren" => AccountChange::RenameUser {
            user: user(args)?,
            name: text(args)?.parse()?,
        },
        "userdel" => AccountChange::RemoveUser { user: user(args)? },
        "passwd" => AccountChange::SetPassword {
            user: user(args)?,
            hash: args.next_pos().map(|text| PasswordHash(text.to_owned())),
        },
        "keyadd" => AccountChange::AddKey {
            user: user(args)?,
            label: text(args)?.to_owned(),
            hash: KeyHash([7; 32]),
        },
        "keydel" => AccountChange::RemoveKey {
            user: user(args)?,
            key: KeyId(text(args)?.parse()?),
        },
        "groupadd" => AccountChange::AddGroup {
            id: number(args, "id")?.map(GroupId),
            name: text(args)?.parse()?,
        },
        "groupren" => AccountChange::RenameGroup {
            group: group(args)?,
            name: text(args)?.parse()?,
        },
        "groupdel" => AccountChange::RemoveGroup {
            group: group(args)?,
        },
        "join" => AccountChange::AddMember {
            group: group(args)?,
            user: user(args)?,
        },
        "leave" => AccountChange::RemoveMember {
            group: group(args)?,
            user: user(args)?,
        },
        _ => return Ok(None),
    };
    Ok(Some(Change::Account(change)))
}
