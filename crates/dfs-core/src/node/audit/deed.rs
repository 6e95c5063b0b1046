//! What is asked for, in words.

use std::borrow::Cow;

use serde::Serialize;

use crate::types::account::{AccountChange, Role, UserChange};
use crate::types::acl::{Acl, AclKind, Named};
use crate::types::attr::AttrChange;
use crate::types::change::{CloneTarget, Commit, CommitTarget, Removal};
use crate::types::node::MemberChange;
use crate::types::quota::QuotaChange;
use crate::types::snapshot::SnapshotChange;
use crate::types::{Change, PolicyChange, Query, RequestId};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deed {
    operation: Cow<'static, str>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Where to, for what has two ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Whom or what it is about, if that is no place.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The id that repeats of it have too.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

/// Longest text in a field, in bytes: whoever asks chooses it.
const TEXT_LEN_MAX: usize = 1 << 10;

/// The beginning of a text.
pub(super) fn cut(text: impl ToString) -> String {
    let mut text = text.to_string();
    if text.len() > TEXT_LEN_MAX {
        text.truncate(text.floor_char_boundary(TEXT_LEN_MAX));
        text.push('…');
    }
    text
}

impl Deed {
    /// Of this name.
    pub fn new(operation: impl Into<Cow<'static, str>>) -> Deed {
        Deed {
            operation: operation.into(),
            path: None,
            to: None,
            subject: None,
            detail: None,
            request: None,
        }
    }

    pub(super) fn operation(&self) -> &str {
        &self.operation
    }

    /// At this place.
    #[must_use]
    pub fn at(self, path: impl ToString) -> Deed {
        let path = Some(cut(path));
        Deed { path, ..self }
    }

    /// To this place.
    #[must_use]
    pub fn to(self, to: impl ToString) -> Deed {
        let to = Some(cut(to));
        Deed { to, ..self }
    }

    /// About this.
    #[must_use]
    pub fn about(self, subject: impl ToString) -> Deed {
        let subject = Some(cut(subject));
        Deed { subject, ..self }
    }

    /// With this to say of it.
    #[must_use]
    pub fn with(self, detail: impl ToString) -> Deed {
        let detail = Some(cut(detail));
        Deed { detail, ..self }
    }

    /// One change; none for the end of a session, which changes nothing for anybody.
    pub fn of_change(request: RequestId, change: &Change) -> Option<Deed> {
        let deed = match change {
            Change::MakeDirectory { at, .. } => Deed::new("mkdir").at(at),
            Change::Create { at, .. } => Deed::new("create").at(at),
            Change::Symlink { at, target, .. } => Deed::new("symlink").at(at).to(target),
            Change::Link { from, at } => Deed::new("link").at(from).to(at),
            Change::Rename { from, to, .. } => Deed::new("rename").at(from).to(to),
            Change::Remove {
                at,
                what,
                skip_trash,
            } => {
                let deed = Deed::new(of_removal(*what)).at(at);
                match skip_trash {
                    true => deed.with("for good"),
                    false => deed,
                }
            }
            Change::SetAttr { at, change, .. } => {
                Deed::new("set-attr").at(at).with(of_attr(change))
            }
            Change::Truncate { at, size } => Deed::new("truncate")
                .at(at)
                .with(format!("to {size} bytes")),
            Change::SetPolicy { at, change } => {
                Deed::new("set-policy").at(at).with(of_policy(*change))
            }
            Change::Restore { trash, to } => {
                let deed = Deed::new("restore").about(trash);
                match to {
                    Some(to) => deed.to(to),
                    None => deed,
                }
            }
            Change::DropTrash { trash } => Deed::new("drop-trash").about(trash),
            Change::BeginUpload { at, .. } => Deed::new("begin-upload").at(at),
            Change::AbandonUpload { upload } => Deed::new("abandon-upload").about(upload),
            Change::Commit(commit) => of_commit(commit),
            Change::CloseSession => return None,
            Change::SetAcl { at, which, acl } => {
                let which = match which {
                    AclKind::Access => "access",
                    AclKind::Default => "default",
                };
                let acl = acl.as_ref().map_or("taken away".to_owned(), of_acl);
                Deed::new("set-acl").at(at).with(format!("{which}: {acl}"))
            }
            Change::Account(change) => of_account(change),
            Change::Member(change) => of_member(change),
            Change::Clone { from, to, .. } => {
                let deed = Deed::new("clone").at(from);
                match to {
                    CloneTarget::New { at, .. } => deed.to(at),
                    CloneTarget::Upload(upload) => deed.about(upload),
                }
            }
            Change::Concat { to, from } => {
                let from: Vec<_> = from.iter().map(ToString::to_string).collect();
                let (count, from) = (from.len(), from.join(" "));
                Deed::new("concat")
                    .at(to)
                    .with(format!("{count} files: {from}"))
            }
            Change::Quota { at, change } => of_quota(change).at(at),
            Change::Snapshot { at, change } => of_snapshot(change).at(at),
        };
        let request = Some(request.to_string());
        Some(Deed { request, ..deed })
    }

    /// One question.
    pub fn of_query(query: &Query) -> Deed {
        let operation = match query {
            Query::Stat { .. } => "stat",
            Query::List { .. } => "list",
            Query::Layout { .. } => "read",
            Query::ReadLink { .. } => "read-link",
            Query::StatFs => "stat-fs",
            Query::ListTrash { .. } => "list-trash",
            Query::Acl { .. } => "get-acl",
            Query::Whoami => "whoami",
            Query::User(_) | Query::Users { .. } => "list-users",
            Query::Group(_) | Query::Groups { .. } => "list-groups",
            Query::JoinTokens => "list-tokens",
            Query::EnrolledNodes { .. } => "list-nodes",
            Query::NodeDuties(_) | Query::NodeChunks { .. } => "look-at-node",
            Query::Explain { .. } => "explain",
            Query::Quotas { .. } | Query::QuotasBelow { .. } => "list-quotas",
            Query::Snapshots { .. } => "list-snapshots",
        };
        match query.location() {
            Some(at) => Deed::new(operation).at(at),
            None => Deed::new(operation),
        }
    }
}

fn of_removal(what: Removal) -> &'static str {
    match what {
        Removal::File => "unlink",
        Removal::EmptyDirectory => "rmdir",
        Removal::Tree => "remove-tree",
    }
}

fn of_commit(commit: &Commit) -> Deed {
    let deed = Deed::new("write");
    let lengths = commit.pieces.iter().map(|piece| piece.length());
    let bytes = lengths.fold(0, u64::saturating_add);
    let deed = match &commit.target {
        CommitTarget::File(at)
        | CommitTarget::Publish { at, .. }
        | CommitTarget::New { at, .. } => deed.at(at),
        CommitTarget::Upload(upload) => deed.about(upload),
    };
    deed.with(format!("{bytes} bytes"))
}

/// Says what is set, one word after the other.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn add(mut self, name: &str, value: Option<impl ToString>) -> Words {
        let word = value.map(|value| format!("{name}={}", value.to_string()));
        self.0.extend(word);
        self
    }

    fn join(&self) -> String {
        self.0.join(" ")
    }
}

fn of_attr(change: &AttrChange) -> String {
    let times = change.accessed.is_some() || change.modified.is_some();
    Words::default()
        .add("mode", change.mode)
        .add("owner", change.owner)
        .add("group", change.group)
        .add("times", times.then_some("set"))
        .join()
}

fn of_policy(change: PolicyChange) -> String {
    let trash = change.trash.map(|trash| format!("{}s", trash.as_secs()));
    let after = change.ec_after.map(|after| format!("{}s", after.as_secs()));
    Words::default()
        .add("replicas", change.replicas.map(|target| target.0))
        .add("replicas-min", change.replicas_min.map(|target| target.0))
        .add("chunk-size", change.chunk_size)
        .add("inline-max", change.inline_max)
        .add("trash", trash)
        .add("ec", change.ec)
        .add("ec-after", after)
        .join()
}

fn of_snapshot(change: &SnapshotChange) -> Deed {
    match change {
        SnapshotChange::Prepare => Deed::new("prepare-snapshots"),
        SnapshotChange::Create { name } => Deed::new("make-snapshot").about(name),
        SnapshotChange::Remove { name } => Deed::new("remove-snapshot").about(name),
        SnapshotChange::Replace { by } => Deed::new("put-in-place").to(by),
    }
}

fn of_quota(change: &QuotaChange) -> Deed {
    match change {
        QuotaChange::Set { limits, force } => {
            let said = Words::default()
                .add("bytes", limits.bytes)
                .add("inodes", limits.inodes)
                .add("force", force.then_some(true));
            Deed::new("set-quota").with(said.join())
        }
        QuotaChange::Remove => Deed::new("remove-quota"),
    }
}

/// In the notation of POSIX.1e.
fn of_acl(acl: &Acl) -> String {
    let mut entries = vec![
        format!("user::{}", acl.owner),
        format!("group::{}", acl.group),
        format!("other::{}", acl.other),
    ];
    entries.extend(acl.mask.map(|mask| format!("mask::{mask}")));
    let Named { users, groups } = &acl.named;
    entries.extend(
        users
            .iter()
            .map(|(id, rights)| format!("user:{id}:{rights}")),
    );
    entries.extend(
        groups
            .iter()
            .map(|(id, rights)| format!("group:{id}:{rights}")),
    );
    entries.join(",")
}

fn of_role(role: Role) -> String {
    format!("{role:?}").to_lowercase()
}

fn of_user(change: &UserChange) -> String {
    let root = change.root.as_ref();
    let root = root.map(|root| root.as_ref().map_or("/".to_owned(), ToString::to_string));
    Words::default()
        .add("role", change.role.map(of_role))
        .add("enabled", change.enabled)
        .add("group", change.group)
        .add("root", root)
        .add("read-only", change.read_only)
        .join()
}

fn of_account(change: &AccountChange) -> Deed {
    match change {
        AccountChange::AddUser {
            name,
            id,
            group,
            role,
            root,
            read_only,
        } => {
            let said = Words::default()
                .add("role", Some(of_role(*role)))
                .add("id", *id)
                .add("group", *group)
                .add("root", root.as_ref())
                .add("read-only", read_only.then_some(true));
            Deed::new("user-add").about(name).with(said.join())
        }
        AccountChange::RenameUser { user, name } => Deed::new("user-rename").about(user).to(name),
        AccountChange::SetUser { user, change } => {
            Deed::new("user-set").about(user).with(of_user(change))
        }
        AccountChange::RemoveUser { user } => Deed::new("user-remove").about(user),
        AccountChange::SetPassword { user, hash } => {
            let deed = Deed::new("user-password").about(user);
            match hash {
                Some(_) => deed.with("set"),
                None => deed.with("taken away"),
            }
        }
        AccountChange::AddKey { user, label, .. } => {
            Deed::new("user-key-add").about(user).with(label)
        }
        AccountChange::RemoveKey { user, key } => {
            Deed::new("user-key-remove").about(user).with(key)
        }
        AccountChange::AddGroup { name, id: None } => Deed::new("group-add").about(name),
        AccountChange::AddGroup { name, id: Some(id) } => {
            Deed::new("group-add").about(name).with(format!("id={id}"))
        }
        AccountChange::RenameGroup { group, name } => {
            Deed::new("group-rename").about(group).to(name)
        }
        AccountChange::RemoveGroup { group } => Deed::new("group-remove").about(group),
        AccountChange::AddMember { group, user } => {
            Deed::new("group-member-add").about(group).with(user)
        }
        AccountChange::RemoveMember { group, user } => {
            Deed::new("group-member-remove").about(group).with(user)
        }
    }
}

fn of_member(change: &MemberChange) -> Deed {
    match change {
        MemberChange::CreateToken {
            hash: _,
            role,
            node,
            uses,
            ttl,
            label,
        } => {
            let said = Words::default()
                .add("role", Some(role))
                .add("node", *node)
                .add("uses", Some(uses))
                .add("ttl", Some(format!("{}s", ttl.as_secs())));
            Deed::new("token-create").about(label).with(said.join())
        }
        MemberChange::RevokeToken { token } => Deed::new("token-revoke").about(token),
        MemberChange::RevokeNode { node } => Deed::new("node-revoke").about(node),
        MemberChange::Decide { node, state, .. } => {
            Deed::new("node-decide").about(node).with(state)
        }
    }
}
