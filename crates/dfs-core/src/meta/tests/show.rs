//! What a command changed, row by row, in short lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use dfs_raft::Fatal;
use dfs_raft::state::{Key, ReadState, Table, Value};

use super::fixture::{LENIENT, START};
use crate::meta::Inode;
use crate::meta::accounts::acl::Acls;
use crate::meta::accounts::user::User;
use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::counters::uses::Use;
use crate::meta::namespace::dirent::Dirent;
use crate::meta::namespace::inode::Body;
use crate::meta::snapshots::old::{Row, Which};
use crate::meta::tables::{
    ACLS, CHUNKS, CONCATS, COUNTING, DIRENTS, ENROLLED, EXTENTS, GROUPS, INODES, JOIN_TOKENS,
    NODES, OLD, PURGE, RANGES, RECLAIM, SECRETS, SEEN, SESSIONS, SHARES, SNAPSHOTS, SPENT, STRIPES,
    TABLES, TRASH, TRIMS, UPLOADS, USERS, USES,
};
use crate::types::quota::Limits;
use crate::types::{Acl, InodeId, Mode, Name, Policy, Timestamp};

/// How many rows of a table may be shown as new, gone or changed before they are only counted.
const SHOWN_MAX: usize = 8;

/// Every row worth showing, by table and key: how it is called, and what it says.
pub(crate) type Picture = BTreeMap<(usize, Vec<u8>), (String, String)>;

/// Seconds since the fixture began.
pub(crate) fn seconds(time: Timestamp) -> u64 {
    time.since(START).as_secs()
}

pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn rows<K: Key, V: Value>(
    state: &impl ReadState,
    picture: &mut Picture,
    table: Table<K, V>,
    show: impl Fn(K, V) -> (String, String),
) -> Result<(), Fatal> {
    for row in state.scan(table, ..)? {
        let (key, value) = row?;
        let bytes = key.to_bytes();
        picture.insert((table.index(), bytes), show(key, value));
    }
    Ok(())
}

/// The whole state.
pub(crate) fn picture(state: &impl ReadState) -> Result<Picture, Fatal> {
    let p = &mut Picture::new();
    rows(state, p, INODES, |id, inode| {
        (id.to_string(), show_inode(&inode))
    })?;
    rows(state, p, DIRENTS, |(dir, name), entry| {
        (format!("{dir}/{name}"), format!("-> {}", entry.inode))
    })?;
    rows(state, p, TRASH, |id, entry| {
        let until = seconds(entry.expires);
        (
            id.to_string(),
            format!("-> {} was {} until {until}s", entry.inode, entry.path),
        )
    })?;
    rows(state, p, UPLOADS, |(client, id), ()| {
        (format!("upload {id}"), format!("of {client}"))
    })?;
    rows(state, p, PURGE, |id, purge| {
        (format!("purge {id}"), format!("{purge:?}"))
    })?;
    rows(state, p, EXTENTS, |(id, offset), extent| {
        (format!("{id}@{offset}"), show_extent(offset, &extent))
    })?;
    rows(state, p, TRIMS, |id, from| {
        (format!("trim {id}"), format!("from {from}"))
    })?;
    chunks(state, p)?;
    sums(state, p)?;
    rows(state, p, RANGES, |start, range| {
        (
            format!("range {start}"),
            format!("to {} until {}s", range.end, seconds(range.expires)),
        )
    })?;
    rows(state, p, SPENT, |id, ()| {
        (format!("spent {id}"), String::new())
    })?;
    rows(state, p, RECLAIM, |(id, node), since| {
        (
            format!("reclaim {id} on {node}"),
            format!("since {}s", seconds(since.0)),
        )
    })?;
    rows(state, p, NODES, |id, node| {
        (
            id.to_string(),
            format!("{} {} {:?}", node.epoch, node.address, node.admin),
        )
    })?;
    rows(state, p, SESSIONS, |id, session| {
        let closed = if session.closed { " closed" } else { "" };
        let (active, below) = (seconds(session.active), session.forgotten_below);
        (
            id.to_string(),
            format!("active {active}s, forgot below {below}{closed}"),
        )
    })?;
    accounts(state, p)?;
    snapshots(state, p)?;
    Ok(std::mem::take(p))
}

fn snapshots(state: &impl ReadState, p: &mut Picture) -> Result<(), Fatal> {
    rows(state, p, SNAPSHOTS, |number, row| {
        let leaving = if row.leaving { ", leaving" } else { "" };
        let (dir, name, next) = (row.dir, row.name, row.next_inode);
        (
            number.to_string(),
            format!("of {dir} as {name}, below {next}{leaving}"),
        )
    })?;
    rows(state, p, SEEN, |id, row| {
        let mut text = String::new();
        text += &row.own.map(|own| format!(" own {own}")).unwrap_or_default();
        let carried = row.carried.map(|number| format!(" carried {number}"));
        text += &carried.unwrap_or_default();
        text += if row.several { " several" } else { "" };
        text += if row.joined { " joined" } else { "" };
        (format!("seen {id}"), text.trim_start().to_owned())
    })?;
    rows(state, p, OLD, |key, old| {
        let (name, text) = show_old(&key.row, old.row.as_deref());
        (format!("for {} {name}", key.number), text)
    })
}

/// A row that is kept for a snapshot: what it is of, and what it says.
fn show_old(row: &Row, kept: Option<&[u8]>) -> (String, String) {
    let shown = |show: &dyn Fn(&[u8]) -> String| kept.map_or("none".to_owned(), show);
    let owner = row.owner().unwrap();
    match row.which {
        Which::Inodes => {
            let show = |bytes: &[u8]| show_inode(&Inode::from_bytes(bytes).unwrap());
            (owner.to_string(), shown(&show))
        }
        Which::Dirents => {
            let (dir, name) = <(InodeId, Name)>::from_bytes(&row.key).unwrap();
            let show = |bytes: &[u8]| format!("-> {}", Dirent::from_bytes(bytes).unwrap().inode);
            (format!("{dir}/{name}"), shown(&show))
        }
        Which::Extents => {
            let (id, at) = <(InodeId, u64)>::from_bytes(&row.key).unwrap();
            let show = |bytes: &[u8]| show_extent(at, &Extent::from_bytes(bytes).unwrap());
            (format!("{id}@{at}"), shown(&show))
        }
        Which::Acls => {
            let show = |bytes: &[u8]| show_lists(&Acls::from_bytes(bytes).unwrap());
            (format!("lists of {owner}"), shown(&show))
        }
    }
}

fn sums(state: &impl ReadState, p: &mut Picture) -> Result<(), Fatal> {
    rows(state, p, SHARES, |(chunk, id), extents| {
        (format!("{chunk} in {id}"), format!("{extents} extents"))
    })?;
    rows(state, p, CONCATS, |(id, at), part| {
        let end = at + part.length;
        (
            format!("part {id}@{at}"),
            format!("to {end} = {}", part.source),
        )
    })?;
    rows(state, p, USES, |id, row| {
        (format!("use {id}"), show_use(&row))
    })?;
    rows(state, p, COUNTING, |id, row| {
        let after = row.after.map(|name| format!("after {name}"));
        (format!("counting {id}"), after.unwrap_or_default())
    })
}

fn chunks(state: &impl ReadState, p: &mut Picture) -> Result<(), Fatal> {
    rows(state, p, CHUNKS, |id, chunk| {
        let (refs, on) = (chunk.references, list(&chunk.replicas));
        let of = chunk
            .stripe
            .map(|m| format!(" {} of {}", m.index, m.stripe));
        let of = of.unwrap_or_default();
        (
            id.to_string(),
            format!("{} bytes, refs {refs}, on {on}{of}", chunk.length),
        )
    })?;
    rows(state, p, STRIPES, |id, stripe| {
        let members = stripe.members.iter();
        let members: Vec<_> = members
            .map(|(id, length)| format!("{id}.{length}"))
            .collect();
        let (shape, live, shard) = (stripe.shape, stripe.live, stripe.shard_length);
        (
            id.to_string(),
            format!("{shape} of {shard}, live {live}: {}", members.join(" ")),
        )
    })
}

fn accounts(state: &impl ReadState, p: &mut Picture) -> Result<(), Fatal> {
    rows(state, p, USERS, |id, user| {
        (id.to_string(), show_user(&user))
    })?;
    rows(state, p, GROUPS, |id, group| {
        let removed = if group.removed { " removed" } else { "" };
        (id.to_string(), format!("{}{removed}", group.name))
    })?;
    rows(state, p, JOIN_TOKENS, |id, token| {
        let until = seconds(token.expires);
        (
            id.to_string(),
            format!("{} {} times until {until}s", token.role, token.uses),
        )
    })?;
    rows(state, p, ENROLLED, |node, row| {
        let revoked = if row.revoked { " revoked" } else { "" };
        (format!("node {}", node.0), format!("{}{revoked}", row.role))
    })?;
    rows(state, p, SECRETS, |id, _| {
        (format!("{id:?}"), String::new())
    })?;
    rows(state, p, ACLS, |id, lists| {
        (format!("lists of {id}"), show_lists(&lists))
    })
}

/// `rwx r-x --- u1000:rw- g1001:r-- mask=rw-`, as scripts write it.
pub(crate) fn show_acl(acl: &Acl) -> String {
    let mut parts = vec![
        acl.owner.to_string(),
        acl.group.to_string(),
        acl.other.to_string(),
    ];
    parts.extend(
        acl.named
            .users
            .iter()
            .map(|(id, may)| format!("{id}:{may}")),
    );
    parts.extend(
        acl.named
            .groups
            .iter()
            .map(|(id, may)| format!("{id}:{may}")),
    );
    parts.extend(acl.mask.map(|mask| format!("mask={mask}")));
    parts.join(" ")
}

fn show_lists(lists: &Acls) -> String {
    let access = lists.access.as_ref().map(|list| {
        let acl = Acl {
            group: list.group,
            named: list.named.clone(),
            ..Acl::of_mode(Mode::new(0))
        };
        format!("access {} ", show_acl(&acl))
    });
    let default = lists
        .default
        .as_ref()
        .map(|acl| format!("default {}", show_acl(acl)));
    access.unwrap_or_default() + &default.unwrap_or_default()
}

fn show_user(user: &User) -> String {
    let groups: Vec<String> = user.all_groups().iter().map(ToString::to_string).collect();
    let mut text = format!("{} {} in {}", user.name, user.group, groups.join(" "));
    text += &format!(
        " {:?} epoch {} keys {}",
        user.role,
        user.epoch.0,
        user.keys.len()
    );
    if let Some(root) = user.confinement.root {
        text += &format!(" below {root}");
    }
    for (is, word) in [
        (user.confinement.read_only, " read-only"),
        (!user.enabled, " disabled"),
        (user.removed, " removed"),
        (user.password.is_some(), " password"),
    ] {
        text += if is { word } else { "" };
    }
    text
}

fn show_use(row: &Use) -> String {
    let mut text = format!("{} bytes {} inodes", row.sum.bytes, row.sum.inodes);
    if row.sum.pending > 0 {
        text += &format!(" {} pending", row.sum.pending);
    }
    if let Some(above) = row.above {
        text += &format!(" in {above}");
    }
    let Limits { bytes, inodes } = row.limits;
    text += &bytes
        .map(|limit| format!(" max {limit} bytes"))
        .unwrap_or_default();
    text += &inodes
        .map(|limit| format!(" max {limit} inodes"))
        .unwrap_or_default();
    text + if row.gone { " gone" } else { "" }
}

fn show_inode(inode: &Inode) -> String {
    let mut text = match &inode.body {
        Body::File {
            size,
            inline_bytes: 0,
            ..
        } => format!("file {size}"),
        Body::File {
            size, inline_bytes, ..
        } => format!("file {size} ({inline_bytes} inline)"),
        Body::Directory(_) => "dir".to_owned(),
        Body::Symlink { target } => format!("link to {target}"),
    };
    let usual_links = inode.links == 1;
    if !usual_links {
        text += &format!(" links {}", inode.links);
    }
    if !matches!(inode.mode.bits(), 0o644 | 0o755) {
        text += &format!(" mode {}", inode.mode);
    }
    if inode.owner.0 != 7 || inode.group.0 != 8 {
        text += &format!(" {} {}", inode.owner, inode.group);
    }
    if let Some(dir) = inode.charged {
        text += &format!(" charged to {dir}");
    }
    text + &show_policy(&inode.policy)
}

fn show_policy(policy: &Policy) -> String {
    fn field<T: PartialEq + Debug>(name: &str, value: T, usual: T) -> String {
        if value == usual {
            String::new()
        } else {
            format!(" {name} {value:?}")
        }
    }
    let usual = LENIENT;
    field("replicas", policy.replicas.0, usual.replicas.0)
        + &field("min", policy.replicas_min.0, usual.replicas_min.0)
        + &field("chunk size", policy.chunk_size, usual.chunk_size)
        + &field("inline", policy.inline_max, usual.inline_max)
        + &field("trash", policy.trash, usual.trash)
        + &field("ec", policy.ec.map(|shape| shape.to_string()), None)
        + &field("after", policy.ec_after, None)
}

/// `0..100 c1@0` or `0..5 "hello"`.
pub(crate) fn show_extent(offset: u64, extent: &Extent) -> String {
    let source = match &extent.source {
        Source::Chunk { chunk, offset } => format!("{chunk} from {offset}"),
        Source::Inline(bytes) => show_bytes(bytes),
    };
    format!("to {} = {source}", offset + extent.length)
}

pub(crate) fn show_bytes(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=20 => format!("{:?}", String::from_utf8_lossy(bytes)),
        length => format!("{length} bytes inline"),
    }
}

/// The difference of two states: `+` new, `-` gone, `~` changed.
pub(crate) fn difference(before: &Picture, after: &Picture) -> String {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes: BTreeMap<usize, Vec<(char, String)>> = BTreeMap::new();
    for key in keys {
        let change = match (before.get(key), after.get(key)) {
            (None, Some((name, new))) => ('+', format!("{name} {new}")),
            (Some((name, old)), None) => ('-', format!("{name} {old}")),
            (Some((name, old)), Some((_, new))) if old != new => {
                ('~', format!("{name} {new} (was {old})"))
            }
            _ => continue,
        };
        changes.entry(key.0).or_default().push(change);
    }
    let mut lines = String::new();
    for (table, changes) in changes {
        for sign in ['-', '+', '~'] {
            let same: Vec<_> = changes.iter().filter(|(s, _)| *s == sign).collect();
            if same.len() > SHOWN_MAX {
                lines += &format!("{sign} {} rows of {}\n", same.len(), TABLES[table]);
                continue;
            }
            for (sign, text) in same {
                lines += &format!("{sign} {}\n", text.trim_end());
            }
        }
    }
    lines
}
