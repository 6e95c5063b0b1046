//! Users, groups, access lists and nodes in scripts.
//!
//! `by=1000` before a change or question says which user asks, with its present credentials;
//! `epoch=0` with those it had then. Lists are written `rwx r-x --- u1000=rw g1001=r mask=rw`.

#![allow(clippy::too_many_lines, reason = "one table of cases")]

use std::time::Duration;

use super::language::{Args, Result, flag, location, number, place, text};
use crate::meta::Command;
use crate::meta::command::{Founding, SecretBytes};
use crate::types::account::{AccountChange, KeyHash, KeyId, PasswordHash, UserChange};
use crate::types::acl::{AclKind, Named};
use crate::types::node::{MemberChange, TokenHash, TokenId};
use crate::types::{Acl, Caller, Change, GroupId, NodeId, NodeKey, Rights, Role, UserId};

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

fn hash(text: &str) -> Result<TokenHash> {
    Ok(TokenHash([text.parse()?; 32]))
}

/// What is said of nodes: keys and tokens are written as numbers.
fn member(name: &str, args: &mut Args<'_>) -> Result<Option<Change>> {
    let change = match name {
        "token" => MemberChange::CreateToken {
            role: args.take_key("role").unwrap_or("data").parse()?,
            node: number(args, "node")?.map(NodeKey),
            uses: number(args, "uses")?.unwrap_or(1),
            ttl: Duration::from_secs(number(args, "ttl")?.unwrap_or(3600)),
            label: args.take_key("label").unwrap_or_default().to_owned(),
            hash: hash(text(args)?)?,
        },
        "revoke-token" => MemberChange::RevokeToken {
            token: TokenId(text(args)?.parse()?),
        },
        "revoke-node" => MemberChange::RevokeNode {
            node: NodeKey(text(args)?.parse()?),
        },
        "decide" => MemberChange::Decide {
            plan: number(args, "plan")?,
            rest: number(args, "rest")?.map(Duration::from_secs),
            node: NodeId(text(args)?.trim_start_matches('n').parse()?),
            state: super::language::admin_state(text(args)?),
        },
        _ => return Ok(None),
    };
    Ok(Some(Change::Member(change)))
}

pub(super) fn command(name: &str, caller: Caller, args: &mut Args<'_>) -> Result<Option<Command>> {
    let secret = |byte| SecretBytes([byte; 32]);
    Ok(Some(match name {
        "enrol" => Command::Enrol {
            key: [number(args, "key")?.unwrap_or(1); 32],
            role: args.take_key("role").unwrap_or("data").parse()?,
            node: NodeKey(text(args)?.parse()?),
            token: hash(text(args)?)?,
        },
        "found" => Command::Found(Founding {
            node: NodeKey(text(args)?.parse()?),
            key: [1; 32],
            authority: secret(1),
            certificate: vec![1, 2],
            handles: secret(2),
            signing: secret(3),
        }),
        "signing-key" => Command::AddSigningKey(secret(text(args)?.parse()?)),
        "exchange-key" => Command::ExchangeSigningKey {
            caller,
            void_former: flag(args, "void", false)?,
            secret: secret(text(args)?.parse()?),
        },
        _ => return Ok(None),
    }))
}

pub(super) fn change(name: &str, args: &mut Args<'_>) -> Result<Option<Change>> {
    if let Some(change) = member(name, args)? {
        return Ok(Some(change));
    }
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
