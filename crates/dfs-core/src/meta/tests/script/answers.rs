//! From an answer to a line of a script.

use std::error::Error;

use super::language::Result;
use crate::meta::Reply;
use crate::meta::tests::show::{list, seconds, show_acl, show_bytes};
use crate::types::account::{Account, GroupInfo, UserInfo};
use crate::types::node::NodeDuties;
use crate::types::node::{EnrolledNode, TokenInfo};
use crate::types::query::{Layout, LayoutSource};
use crate::types::quota::QuotaInfo;
use crate::types::story::ChunkStory;
use crate::types::{Answer, Attr, Changed, Refusal};

pub(super) fn refused(refusal: &Refusal) -> Box<dyn Error> {
    format!("{:?} {}", refusal.kind, refusal.subject).into()
}

fn show_attr(attr: &Attr) -> String {
    format!(
        "{} {:?} {} {} {} size {} links {} revision {} modified {}s changed {}s created {}s\n",
        attr.inode,
        attr.kind,
        attr.mode,
        attr.owner,
        attr.group,
        attr.size,
        attr.links,
        attr.revision,
        seconds(attr.modified),
        seconds(attr.changed),
        seconds(attr.created),
    )
}

pub(super) fn show_changed(changed: &Changed) -> String {
    match (changed.offset, changed.trash) {
        (Some(offset), _) if offset > 0 => format!("at {offset}\n"),
        (_, Some(trash)) => format!("in the trash as {trash}\n"),
        _ => match changed.account {
            Some(Account::User(id)) => format!("{id}\n"),
            Some(Account::Group(id)) => format!("{id}\n"),
            Some(Account::Key(id, key)) => format!("{key} of {id}\n"),
            None => changed.token.map_or(String::new(), |id| format!("{id}\n")),
        },
    }
}

fn more(more: bool) -> &'static str {
    if more { "more\n" } else { "" }
}

pub(super) fn show_answer(answer: Answer) -> String {
    match answer {
        Answer::Attr(attr) => show_attr(&attr),
        Answer::Entries(page) => {
            let entries = page.entries.iter().map(|entry| {
                let attr = entry
                    .attr
                    .as_ref()
                    .map(|attr| format!(" size {}", attr.size));
                format!(
                    "{} {} {:?}{}\n",
                    entry.name,
                    entry.inode,
                    entry.kind,
                    attr.unwrap_or_default()
                )
            });
            entries.collect::<String>() + more(page.more)
        }
        Answer::Layout(layout) => show_layout(&layout),
        Answer::Target(target) => format!("{target}\n"),
        Answer::StatFs(fs) => {
            format!(
                "{} inodes {} chunks {} bytes\n",
                fs.inodes, fs.chunks, fs.chunk_bytes
            )
        }
        Answer::Trash(page) => {
            let entries = page.entries.iter().map(|item| {
                let (removed, until) = (seconds(item.removed), seconds(item.expires));
                format!(
                    "{} {} {} {removed}s until {until}s\n",
                    item.trash, item.inode, item.path
                )
            });
            entries.collect::<String>() + more(page.more)
        }
        Answer::Acl(acl) => acl.map_or("none\n".to_owned(), |acl| show_acl(&acl) + "\n"),
        Answer::User(user) => show_user(&user),
        Answer::Users(users) => users.iter().map(show_user).collect(),
        Answer::Group(group) => show_group(&group),
        Answer::Groups(groups) => groups.iter().map(show_group).collect(),
        Answer::JoinTokens(tokens) => tokens.iter().map(show_token).collect(),
        Answer::EnrolledNodes(nodes) => nodes.iter().map(show_enrolled).collect(),
        Answer::Explained(explained) => {
            let layout = show_layout(&explained.layout);
            layout + &explained.chunks.iter().map(show_story).collect::<String>()
        }
        Answer::Chunks(chunks) => chunks.iter().map(show_story).collect(),
        Answer::NodeDuties(duties) => show_duties(&duties),
        Answer::Quotas(quotas) => show_quotas(&quotas),
        Answer::Snapshots(page) => {
            let shown = page.snapshots.iter().map(|found| {
                let (name, number, inode) = (&found.name, found.number, found.inode);
                let created = seconds(found.created);
                format!("{name} {number} {inode} by {} at {created}s\n", found.by)
            });
            shown.collect::<String>() + more(page.more)
        }
        Answer::QuotaPage(page) => show_quotas(&page.quotas) + more(page.more),
    }
}

fn show_quotas(quotas: &[QuotaInfo]) -> String {
    quotas.iter().map(show_quota).collect()
}

fn show_quota(quota: &QuotaInfo) -> String {
    let of = |limit: Option<u64>| {
        limit
            .map(|limit| format!(" of {limit}"))
            .unwrap_or_default()
    };
    format!(
        "{} {}: {}{} bytes {}{} inodes{}\n",
        quota.inode,
        quota.path,
        quota.bytes,
        of(quota.limits.bytes),
        quota.inodes,
        of(quota.limits.inodes),
        if quota.counting { " counting" } else { "" }
    )
}

fn show_user(user: &UserInfo) -> String {
    let keys: Vec<String> = user
        .keys
        .iter()
        .map(|key| format!("{}:{}", key.id, key.label))
        .collect();
    let off = if user.enabled { "" } else { " disabled" };
    let password = if user.has_password { " password" } else { "" };
    format!(
        "{} {} {} [{}] {:?}{off}{password} {}\n",
        user.id,
        user.name,
        user.group,
        list(&user.groups),
        user.role,
        list(&keys)
    )
}

fn show_token(token: &TokenInfo) -> String {
    let until = seconds(token.expires);
    let TokenInfo {
        id,
        role,
        uses,
        label,
        by,
        ..
    } = token;
    format!("{id} {role} {uses} times until {until}s by {by} {label}\n")
}

fn show_enrolled(node: &EnrolledNode) -> String {
    let EnrolledNode { key, role, .. } = node;
    let since = seconds(node.since);
    let token = node.token.map_or(String::new(), |id| format!(" with {id}"));
    let registered = node
        .registered
        .map_or(String::new(), |id| format!(" is {id}"));
    let revoked = if node.revoked { " revoked" } else { "" };
    format!(
        "{} {role} since {since}s{token}{registered}{revoked}\n",
        key.0
    )
}

fn show_group(group: &GroupInfo) -> String {
    format!("{} {} [{}]\n", group.id, group.name, list(&group.members))
}

pub(super) fn show_reply(reply: Reply) -> Result<String> {
    let shown = match reply {
        Reply::Session(client) => client.map(|client| format!("{client}\n")),
        Reply::Account(outcome) => outcome.map(|changed| show_changed(&changed)),
        Reply::Founded(done) | Reply::Enrolled(done) | Reply::Rewritten(done) => {
            done.map(|()| String::new())
        }
        Reply::SigningKey(id) => id.map(|id| format!("{id:?}\n")),
        Reply::Client { outcome, .. } => outcome.map(|changed| show_changed(&changed)),
        Reply::ChunkIds(ids) => ids.map(|ids| format!("{}..{}\n", ids.start, ids.end)),
        Reply::Node(node) => node.map(|node| format!("{} {}\n", node.node, node.epoch)),
        Reply::AdminState(done) | Reply::Replaced(done) | Reply::Reclaimed(done) => {
            done.map(|()| String::new())
        }
        Reply::Adopted(chunks) | Reply::Dropped(chunks) | Reply::OrphansDropped(chunks) => {
            chunks.map(|chunks| format!("yes: {}\n", list(&chunks)))
        }
        Reply::Housekeeping { more } => Ok(format!("more {more}\n")),
    };
    shown.map_err(|refusal| refused(&refusal))
}

fn show_story(story: &ChunkStory) -> String {
    let nodes: Vec<_> = story.replicas.iter().map(|replica| replica.node).collect();
    let (chunk, length, target) = (story.chunk, story.length, story.target.0);
    format!("{chunk} {length} bytes on {} of {target}\n", list(&nodes))
}

fn show_layout(layout: &Layout) -> String {
    let extents = layout.extents.iter().map(|extent| {
        let source = match &extent.source {
            LayoutSource::Inline(bytes) => show_bytes(bytes),
            LayoutSource::Chunk {
                chunk,
                offset,
                length,
                replicas,
            } => {
                format!("{chunk} from {offset} of {length} on {}", list(replicas))
            }
        };
        format!(
            "{}..{} {source}\n",
            extent.offset,
            extent.offset + extent.length
        )
    });
    let stripes = layout.stripes.iter().map(|stripe| {
        let members = stripe.members.iter().map(|member| {
            format!(
                " {}.{} on {}",
                member.chunk,
                member.length,
                list(&member.replicas)
            )
        });
        format!("stripe {}:{}\n", stripe.shape, members.collect::<String>())
    });
    format!("size {}\n", layout.attr.size)
        + &extents.collect::<String>()
        + &stripes.collect::<String>()
        + more(layout.more)
}

fn show_duties(duties: &NodeDuties) -> String {
    format!(
        "plan {}: {}, {} replicas {} bytes; {} others, {} chunks on {}\n",
        duties.plan,
        duties.state,
        duties.replicas,
        duties.bytes,
        duties.others,
        duties.widest_chunks,
        duties.widest
    )
}
