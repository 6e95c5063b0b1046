//! From a line of a script to a change, a command or a query.
#![allow(clippy::too_many_lines, reason = "one table of cases")]

use std::error::Error;
use std::time::Duration;

use goldenscript::ArgumentConsumer;

use super::accounts;
use crate::meta::Command;
use crate::meta::command::{Replaced, ReplicaDrop, Rewrite};
use crate::meta::tests::fixture::{ATTR, at};
use crate::types::attr::SetTime;
use crate::types::change::{CloneTarget, Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::quota::{Limits, QuotaChange};
use crate::types::snapshot::SnapshotChange;
use crate::types::stripe::Code;
use crate::types::{
    AdminState, AttrChange, ByteRange, Caller, Change, ChunkId, GroupId, InodeId, Location, Mode,
    Name, NewAttr, NewChunk, NewStripe, NodeId, NodeKey, Permit, PolicyChange, Query,
    ReplicationTarget, SnapshotId, Space, StripeShape, Timestamp, Topology, TrashId, UserId,
};

pub(super) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is left of a line's arguments.
pub(super) type Args<'a> = ArgumentConsumer<'a>;

pub(super) fn text<'a>(args: &mut Args<'a>) -> Result<&'a str> {
    args.next_pos()
        .ok_or_else(|| "an argument is missing".into())
}

pub(super) fn id(prefix: char, text: &str) -> Result<u64> {
    let digits = text
        .strip_prefix(prefix)
        .ok_or_else(|| format!("{text} is no {prefix}…"))?;
    Ok(digits.parse()?)
}

pub(super) fn chunk(text: &str) -> Result<ChunkId> {
    Ok(ChunkId(id('c', text)?))
}

pub(super) fn node(text: &str) -> Result<NodeId> {
    Ok(NodeId(u32::try_from(id('n', text)?)?))
}

pub(super) fn flag(args: &mut Args<'_>, key: &str, otherwise: bool) -> Result<bool> {
    Ok(args.take_key(key).map_or(Ok(otherwise), str::parse)?)
}

pub(super) fn number<T: std::str::FromStr>(args: &mut Args<'_>, key: &str) -> Result<Option<T>>
where
    T::Err: Error + 'static,
{
    Ok(args.take_key(key).map(str::parse).transpose()?)
}

pub(super) fn location(text: &str) -> Result<Location> {
    if let Some((base, path)) = text.split_once('@')
        && let Ok(base) = id('i', base)
    {
        // `i5@v3@a`: seen from what the third snapshot has of inode 5.
        let view = path.split_once('@').unwrap_or((path, ""));
        let (base, path) = match id('v', view.0) {
            Ok(number) => (InodeId(base).within(SnapshotId(number)).0, view.1),
            Err(_) => (base, path),
        };
        return Ok(Location {
            handle: None,
            base: InodeId(base),
            path: format!("/{path}").parse()?,
        });
    }
    Ok(at(text.strip_prefix('/').unwrap_or(text)))
}

pub(super) fn place(args: &mut Args<'_>) -> Result<Location> {
    location(text(args)?)
}

fn nodes(args: &mut Args<'_>, key: &str, otherwise: &str) -> Result<Vec<NodeId>> {
    let text = args.take_key(key).unwrap_or(otherwise);
    text.split('/')
        .filter(|part| !part.is_empty())
        .map(node)
        .collect()
}

pub(super) fn new_chunk(chunk: ChunkId, length: u64, replicas: Vec<NodeId>) -> NewChunk {
    NewChunk {
        permit: Permit::default(),
        chunk,
        length,
        checksum: 0xc5,
        replicas,
    }
}

/// What a commit brings.
type Contents = (Vec<Piece>, Vec<NewChunk>, Vec<NewStripe>);

/// The rest of the arguments as pieces, with the chunks that are new. With `stripe=2+1` these are
/// the members of one stripe, each on the next data node of `on`; with `shard=` its members are
/// said to have another length than the first.
fn contents(args: &mut Args<'_>) -> Result<Contents> {
    let shape: Option<StripeShape> = number(args, "stripe")?;
    let shard = number(args, "shard")?;
    let on = nodes(args, "on", "n1")?;
    let (mut pieces, mut chunks) = pieces(args, &on)?;
    let Some(shape) = shape else {
        return Ok((pieces, chunks, Vec::new()));
    };
    let mut on = on.into_iter();
    for new in &mut chunks {
        new.replicas = on.next().into_iter().collect();
    }
    let members: Vec<ChunkId> = chunks.iter().map(|new| new.chunk).collect();
    let parity = members.get(shape.data()..).unwrap_or_default();
    pieces.retain(|piece| !matches!(piece, Piece::Chunk { chunk, .. } if parity.contains(chunk)));
    let stripe = NewStripe {
        code: Code::Leopard16,
        shape,
        shard_length: shard.or(chunks.first().map(|new| new.length)).unwrap_or(0),
        members,
    };
    Ok((pieces, chunks, vec![stripe]))
}

/// The rest of the arguments as pieces, with the chunks that are new.
fn pieces(args: &mut Args<'_>, on: &[NodeId]) -> Result<(Vec<Piece>, Vec<NewChunk>)> {
    let (mut pieces, mut chunks) = (Vec::new(), Vec::new());
    while let Some(text) = args.next_pos() {
        if let Some(bytes) = text.strip_prefix('_') {
            let bytes = match bytes.strip_prefix('@') {
                Some(count) => vec![b'x'; count.parse()?],
                None => bytes.as_bytes().to_vec(),
            };
            pieces.push(Piece::Inline(bytes.into()));
            continue;
        }
        let (name, part) = match text.split_once('@') {
            Some((name, part)) => (name, Some(part)),
            None => (text, None),
        };
        let (name, length) = match name.split_once('.') {
            Some((name, length)) => (name, Some(length.parse()?)),
            None => (name, part.is_none().then_some(100)),
        };
        let chunk = chunk(name)?;
        if let Some(length) = length {
            chunks.push(new_chunk(chunk, length, on.to_vec()));
        }
        let (from, to) = match part.and_then(|part| part.split_once('-')) {
            Some((from, to)) => (from.parse()?, to.parse()?),
            None => (0_u64, length.unwrap_or(100)),
        };
        pieces.push(Piece::Chunk {
            chunk,
            offset: from,
            length: to - from,
        });
    }
    Ok((pieces, chunks))
}

fn commit(args: &mut Args<'_>, target: CommitTarget, offset: WriteOffset) -> Result<Change> {
    let revision = number(args, "revision")?;
    let (pieces, chunks, stripes) = contents(args)?;
    Ok(Change::Commit(Commit {
        target,
        offset,
        pieces,
        chunks,
        revision,
        stripes,
    }))
}

/// The attributes of something new: for the system somebody's, for a user its own.
fn new_attr(caller: Caller, args: &mut Args<'_>) -> Result<NewAttr> {
    let octal = |text| u32::from_str_radix(text, 8).map(Mode::new);
    let mode = args.take_key("mode").map(octal).transpose()?;
    let umask = args.take_key("umask").map(octal).transpose()?;
    let (owner, group) = match caller {
        Caller::User { .. } => (None, None),
        Caller::System => (ATTR.owner, ATTR.group),
    };
    Ok(NewAttr {
        mode: mode.unwrap_or(ATTR.mode),
        umask: umask.unwrap_or(ATTR.umask),
        owner: number(args, "owner")?.map(UserId).or(owner),
        group: number(args, "group")?.map(GroupId).or(group),
    })
}

pub(super) fn change(name: &str, caller: Caller, args: &mut Args<'_>) -> Result<Option<Change>> {
    if name == "setattr" || name == "policy" {
        return set(name, args).map(Some);
    }
    if let Some(change) = accounts::change(name, args)? {
        return Ok(Some(change));
    }
    let attr = new_attr(caller, args)?;
    Ok(Some(match name {
        "mkdir" | "mkdirs" => Change::MakeDirectory {
            at: place(args)?,
            attr,
            parents: name == "mkdirs",
        },
        "create" => {
            let exclusive = flag(args, "exclusive", false)?;
            Change::Create {
                at: place(args)?,
                attr,
                exclusive,
            }
        }
        "symlink" => {
            let at = place(args)?;
            Change::Symlink {
                at,
                target: text(args)?.to_owned(),
                attr,
            }
        }
        "link" => Change::Link {
            from: place(args)?,
            at: place(args)?,
        },
        "mv" => {
            let replace = flag(args, "replace", true)?;
            Change::Rename {
                from: place(args)?,
                to: place(args)?,
                replace,
            }
        }
        "rm" | "rmdir" | "rmtree" => {
            let what = match name {
                "rm" => Removal::File,
                "rmdir" => Removal::EmptyDirectory,
                _ => Removal::Tree,
            };
            let skip_trash = !flag(args, "trash", false)?;
            Change::Remove {
                at: place(args)?,
                what,
                skip_trash,
            }
        }
        "truncate" => Change::Truncate {
            at: place(args)?,
            size: text(args)?.parse()?,
        },
        "restore" => {
            let trash = TrashId(id('t', text(args)?)?);
            Change::Restore {
                trash,
                to: args.next_pos().map(location).transpose()?,
            }
        }
        "drop-trash" => Change::DropTrash {
            trash: TrashId(id('t', text(args)?)?),
        },
        "begin" => Change::BeginUpload {
            at: place(args)?,
            attr,
        },
        "abandon" => Change::AbandonUpload {
            upload: InodeId(id('i', text(args)?)?),
        },
        "close" => Change::CloseSession,
        "clone" => {
            let replace = flag(args, "replace", true)?;
            let (revision, from) = (number(args, "revision")?, place(args)?);
            let to = CloneTarget::New {
                at: place(args)?,
                attr,
                replace,
            };
            Change::Clone { from, to, revision }
        }
        "clone-part" => {
            let (revision, from) = (number(args, "revision")?, place(args)?);
            let to = CloneTarget::Upload(InodeId(id('i', text(args)?)?));
            Change::Clone { from, to, revision }
        }
        "quota" => {
            let limits = Limits {
                bytes: number(args, "bytes")?,
                inodes: number(args, "inodes")?,
            };
            let force = flag(args, "force", false)?;
            let change = QuotaChange::Set { limits, force };
            Change::Quota {
                at: place(args)?,
                change,
            }
        }
        "quota-rm" => Change::Quota {
            at: place(args)?,
            change: QuotaChange::Remove,
        },
        "prepare" => Change::Snapshot {
            at: place(args)?,
            change: SnapshotChange::Prepare,
        },
        "put-in-place" => Change::Snapshot {
            at: place(args)?,
            change: SnapshotChange::Replace { by: place(args)? },
        },
        "snapshot" | "snapshot-rm" => {
            let at = place(args)?;
            let taken = Name::new(text(args)?)?;
            let change = match name {
                "snapshot" => SnapshotChange::Create { name: taken },
                _ => SnapshotChange::Remove { name: taken },
            };
            Change::Snapshot { at, change }
        }
        "concat" => Change::Concat {
            to: place(args)?,
            from: std::iter::from_fn(|| args.next_pos())
                .map(location)
                .collect::<Result<_>>()?,
        },
        _ => return change_contents(name, attr, args),
    }))
}

fn change_contents(name: &str, attr: NewAttr, args: &mut Args<'_>) -> Result<Option<Change>> {
    let replace = flag(args, "replace", true)?;
    let (target, offset) = match name {
        "put" => (
            CommitTarget::New {
                at: place(args)?,
                attr,
                replace,
            },
            WriteOffset::At(0),
        ),
        "append" => (CommitTarget::File(place(args)?), WriteOffset::End),
        "write" => {
            let target = CommitTarget::File(place(args)?);
            (target, WriteOffset::At(text(args)?.parse()?))
        }
        "upload" => (
            CommitTarget::Upload(InodeId(id('i', text(args)?)?)),
            WriteOffset::End,
        ),
        "publish" => {
            let upload = InodeId(id('i', text(args)?)?);
            (
                CommitTarget::Publish {
                    upload,
                    at: place(args)?,
                    replace,
                },
                WriteOffset::End,
            )
        }
        _ => return Ok(None),
    };
    commit(args, target, offset).map(Some)
}

fn time(args: &mut Args<'_>, key: &str) -> Result<Option<SetTime>> {
    Ok(match args.take_key(key) {
        None => None,
        Some("now") => Some(SetTime::Now),
        Some(text) => Some(SetTime::At(Timestamp(text.parse()?))),
    })
}

fn set(name: &str, args: &mut Args<'_>) -> Result<Change> {
    let at = place(args)?;
    if name == "policy" {
        let change = PolicyChange {
            replicas: number(args, "replicas")?.map(ReplicationTarget),
            replicas_min: number(args, "min")?.map(ReplicationTarget),
            chunk_size: number(args, "chunk")?,
            inline_max: number(args, "inline")?,
            trash: number(args, "trash")?.map(Duration::from_secs),
            ec: number(args, "ec")?,
            ec_after: number(args, "after")?.map(Duration::from_secs),
        };
        return Ok(Change::SetPolicy { at, change });
    }
    let follow = flag(args, "follow", true)?;
    let mode = args
        .take_key("mode")
        .map(|text| u32::from_str_radix(text, 8))
        .transpose()?;
    let change = AttrChange {
        mode: mode.map(Mode::new),
        owner: number(args, "owner")?.map(UserId),
        group: number(args, "group")?.map(GroupId),
        accessed: time(args, "accessed")?,
        modified: time(args, "modified")?,
    };
    Ok(Change::SetAttr { at, change, follow })
}

pub(super) fn admin_state(name: &str) -> AdminState {
    match name {
        "in-service" => AdminState::InService,
        "draining" => AdminState::Draining,
        "drained" => AdminState::Drained,
        "removed" => AdminState::Removed,
        _ => AdminState::Maintenance,
    }
}

pub(super) fn command(name: &str, caller: Caller, args: &mut Args<'_>) -> Result<Option<Command>> {
    if let Some(command) = accounts::command(name, caller, args)? {
        return Ok(Some(command));
    }
    Ok(Some(match name {
        "session" => Command::OpenSession {
            caller: Caller::System,
        },
        "reserve" => Command::ReserveChunkIds {
            count: text(args)?.parse()?,
        },
        "node" => {
            let key: u128 = text(args)?.parse()?;
            let claimed = args.take_key("id").map(node).transpose()?;
            let address = args
                .take_key("address")
                .map_or(format!("node{key}.1"), str::to_owned);
            let (topology, space) = (Topology::default(), Space::default());
            Command::RegisterNode {
                key: NodeKey(key),
                node: claimed,
                address,
                topology,
                space,
            }
        }
        "admin" => {
            let node = node(text(args)?)?;
            let state = admin_state(text(args)?);
            Command::SetAdminState { node, state }
        }
        "adopt" | "orphans" | "reclaimed" => {
            let node = node(text(args)?)?;
            let chunks = std::iter::from_fn(|| args.next_pos())
                .map(chunk)
                .collect::<Result<_>>()?;
            match name {
                "adopt" => Command::AdoptReplicas { node, chunks },
                "orphans" => Command::DropOrphans { node, chunks },
                _ => Command::Reclaimed { node, chunks },
            }
        }
        "replace" => {
            let remove = args.take_key("remove").map(node).transpose()?;
            let chunk = chunk(text(args)?)?;
            Command::ReplaceReplica {
                chunk,
                remove,
                add: node(text(args)?)?,
            }
        }
        "surplus" => {
            let confirmed = nodes(args, "confirmed", "")?;
            let node = node(text(args)?)?;
            let chunks = std::iter::from_fn(|| args.next_pos()).map(chunk);
            let drops = chunks
                .map(|chunk| {
                    Ok(ReplicaDrop {
                        chunk: chunk?,
                        confirmed: confirmed.clone(),
                    })
                })
                .collect::<Result<_>>()?;
            Command::DropReplicas { node, drops }
        }
        "rewrite" => rewrite(args)?,
        "step" => Command::Housekeeping,
        _ => return Ok(None),
    }))
}

/// `rewrite i2 c1@0-100/c2@5-50 at=300 c9.145`: what is at this offset of a file, and what is to be
/// there instead.
fn rewrite(args: &mut Args<'_>) -> Result<Command> {
    let inode = InodeId(id('i', text(args)?)?);
    let mut offset = number(args, "at")?.unwrap_or(0);
    let mut replaced = Vec::new();
    for part in text(args)?.split('/') {
        let (name, range) = part.split_once('@').ok_or("no range")?;
        let (from, to) = range.split_once('-').ok_or("no range")?;
        let (from, to): (u64, u64) = (from.parse()?, to.parse()?);
        replaced.push(Replaced {
            offset,
            length: to - from,
            chunk: chunk(name)?,
            chunk_offset: from,
        });
        offset += to - from;
    }
    let (pieces, chunks, stripes) = contents(args)?;
    Ok(Command::Rewrite(Rewrite {
        inode,
        replaced,
        pieces,
        chunks,
        stripes,
    }))
}

pub(super) fn query(name: &str, args: &mut Args<'_>) -> Result<Option<Query>> {
    Ok(Some(match name {
        "stat" | "lstat" => Query::Stat {
            at: place(args)?,
            follow: name == "stat",
        },
        "ls" => Query::List {
            after: args.take_key("after").map(Name::new).transpose()?,
            limit: number(args, "limit")?.unwrap_or(100),
            attrs: flag(args, "attrs", false)?,
            at: place(args)?,
        },
        "layout" => {
            let at = place(args)?;
            let from = args.next_pos().map_or(Ok(0), str::parse)?;
            let length = args.next_pos().map_or(Ok(u64::MAX), str::parse)?;
            Query::Layout {
                at,
                range: ByteRange::new(from, length),
            }
        }
        "readlink" => Query::ReadLink { at: place(args)? },
        "statfs" => Query::StatFs,
        "getfacl" => Query::Acl {
            which: accounts::which(args)?,
            at: place(args)?,
        },
        "quotas" => Query::Quotas { at: place(args)? },
        "snapshots" => {
            let after = args.take_key("after").map(Name::new).transpose()?;
            let limit = number(args, "limit")?.unwrap_or(100);
            let at = place(args)?;
            Query::Snapshots { at, after, limit }
        }
        "quotas-below" => Query::QuotasBelow {
            after: args
                .take_key("after")
                .map(|text| id('i', text))
                .transpose()?
                .map(InodeId),
            limit: number(args, "limit")?.unwrap_or(100),
            at: place(args)?,
        },
        "tokens" => Query::JoinTokens,
        "enrolled" => Query::EnrolledNodes {
            after: number(args, "after")?.map(NodeKey),
            limit: number(args, "limit")?.unwrap_or(100),
        },
        "duties" => Query::NodeDuties(node(text(args)?)?),
        "explain" => Query::Explain {
            at: place(args)?,
            range: ByteRange::new(0, u64::MAX),
        },
        "node-chunks" => Query::NodeChunks {
            after: args.take_key("after").map(chunk).transpose()?,
            limit: number(args, "limit")?.unwrap_or(100),
            node: node(text(args)?)?,
        },
        "whoami" => Query::Whoami,
        "user" => Query::User(text(args)?.parse()?),
        "group" => Query::Group(text(args)?.parse()?),
        "users" => Query::Users {
            after: number(args, "after")?.map(UserId),
            limit: number(args, "limit")?.unwrap_or(100),
        },
        "groups" => Query::Groups {
            after: number(args, "after")?.map(GroupId),
            limit: number(args, "limit")?.unwrap_or(100),
        },
        "trash" => {
            let after = args
                .take_key("after")
                .map(|text| id('t', text))
                .transpose()?;
            Query::ListTrash {
                after: after.map(TrashId),
                limit: number(args, "limit")?.unwrap_or(100),
            }
        }
        _ => return Ok(None),
    }))
}
