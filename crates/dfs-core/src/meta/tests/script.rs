//! The language of golden scripts.
//!
//! Paths are written without their first slash, `i5@a` is the name `a` seen from inode 5. Pieces
//! of a commit: `c5` a new chunk of 100 bytes, `c5.900` one of 900, `c5@10-30` part of a chunk,
//! `_hello` inline bytes, `_@900` as many of them. Every command prints what it changed.

use std::error::Error;
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Command as Line, Context};

use super::fixture::{ATTR, Machine, at};
use super::show::{Picture, difference, list, picture, seconds, show_bytes};
use crate::meta::command::ReplicaDrop;
use crate::meta::query::{self, RangeState};
use crate::meta::{Command, Reply, check};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::query::{Answer, LayoutSource, Query};
use crate::types::{
    AdminState, Attr, AttrChange, ByteRange, Change, Changed, ChunkId, ClientId, GroupId, InodeId,
    Location, Mode, Name, NewChunk, NodeId, NodeKey, PolicyChange, Refusal, ReplicationTarget,
    RequestId, Space, Timestamp, Topology, TrashId, UserId,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) struct Runner {
    machine: Machine,
    client: Option<ClientId>,
    sequence: u64,
    picture: Picture,
}

impl Default for Runner {
    fn default() -> Runner {
        let machine = Machine::new();
        Runner {
            machine,
            client: None,
            sequence: 0,
            picture: Picture::new(),
        }
    }
}

impl goldenscript::Runner for Runner {
    type Command = Line;

    fn start_script(&mut self) -> Result<()> {
        // Founds the file system and opens the session that is used where no other is named.
        self.client = Some(self.machine.open_session());
        self.picture = picture(&self.machine.view())?;
        Ok(())
    }

    fn run(&mut self, line: &Line, _: &Context) -> Result<String> {
        let mut args = line.consume_args();
        let output = self.run_line(&line.name, &mut args)?;
        args.reject_next()?;
        let after = picture(&self.machine.view())?;
        let changes = difference(&self.picture, &after);
        self.picture = after;
        Ok(output + &changes)
    }

    fn end_script(&mut self) -> Result<()> {
        let violations = check(&self.machine.view())?;
        if violations.is_empty() {
            Ok(())
        } else {
            Err(format!("{violations:#?}").into())
        }
    }
}

type Args<'a> = ArgumentConsumer<'a>;

impl Runner {
    fn run_line(&mut self, name: &str, args: &mut Args<'_>) -> Result<String> {
        if let Some(change) = change(name, args)? {
            return self.change(change, args);
        }
        if let Some(command) = command(name, args)? {
            return show_reply(self.machine.apply(command));
        }
        if let Some(query) = query(name, args)? {
            return match query::answer(&self.machine.view(), &query)? {
                Ok(answer) => Ok(show_answer(answer)),
                Err(refusal) => Err(refused(&refusal)),
            };
        }
        self.other(name, args)
    }

    /// A client's change; `as`, `seq` and `below` override session and request id.
    fn change(&mut self, change: Change, args: &mut Args<'_>) -> Result<String> {
        let client = match args.take_key("as") {
            Some(text) => ClientId(id('s', text)?),
            None => self.client.ok_or("no session")?,
        };
        let sequence = match args.take_key("seq") {
            Some(text) => text.parse()?,
            None => {
                self.sequence += 1;
                self.sequence
            }
        };
        let below: Option<&str> = args.take_key("below");
        let answered_below = below.map_or(Ok(sequence), str::parse)?;
        let request = RequestId {
            client,
            sequence,
            answered_below,
        };
        match self.machine.request(request, change) {
            Ok(changed) => Ok(show_changed(&changed)),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    fn other(&mut self, name: &str, args: &mut Args<'_>) -> Result<String> {
        let view = self.machine.view();
        let now = self.machine.now;
        match name {
            "check" => {
                let violations = check(&view)?;
                let totals = query::counters(&view)?;
                let (inodes, chunks) = (totals.inodes, totals.chunks);
                match violations.is_empty() {
                    true => Ok(format!("ok {inodes} inodes {chunks} chunks\n")),
                    false => Err(format!("{violations:#?}").into()),
                }
            }
            "time" => {
                self.machine
                    .advance(Duration::from_secs(text(args)?.parse()?));
                Ok(String::new())
            }
            "housekeep" => Ok(format!("{} steps\n", self.machine.housekeep())),
            "is-due" => Ok(format!("{}\n", query::housekeeping_due(&view, now)?)),
            "many" => self.many(args),
            "due" => {
                let due = query::reclaim_due(&view, node(text(args)?)?, now, 100)?;
                let show = |d: &query::DueReclaim| {
                    format!("{}{}\n", d.chunk, if d.live { " live" } else { "" })
                };
                Ok(due.iter().map(show).collect())
            }
            "load" => {
                let load = query::node_load(&view, node(text(args)?)?)?;
                Ok(format!("{} replicas {} bytes\n", load.replicas, load.bytes))
            }
            "held" => {
                let (node, after) = (node(text(args)?)?, args.take_key("after"));
                let after = after.map(chunk).transpose()?;
                let limit = args.take_key("limit").map_or(Ok(100), str::parse)?;
                Ok(list(&query::chunks_of_node(&view, node, after, limit)?) + "\n")
            }
            "chunks" => {
                let after = args.take_key("after").map(chunk).transpose()?;
                let limit = args.take_key("limit").map_or(Ok(100), str::parse)?;
                let page = query::chunks_page(&view, after, limit)?;
                Ok(list(&page.iter().map(|(id, _)| *id).collect::<Vec<_>>()) + "\n")
            }
            "range" => Ok(match query::range_state(&view, chunk(text(args)?)?, now)? {
                RangeState::Unreserved => "unreserved\n".to_owned(),
                RangeState::Open(until) => format!("open until {}s\n", seconds(until)),
                RangeState::Expired => "expired\n".to_owned(),
            }),
            _ => Err(format!("unknown command `{name}`").into()),
        }
    }

    /// `many append f 300 _x`: the same change often; `many create d/f 300`: `d/f1`, `d/f2` …
    /// Prints only what went wrong, and no differences.
    fn many(&mut self, args: &mut Args<'_>) -> Result<String> {
        let verb = text(args)?;
        let path = text(args)?;
        let count: u64 = text(args)?.parse()?;
        let first = args
            .take_key("first")
            .map(|text| id('c', text))
            .transpose()?;
        for index in 0..count {
            let change = match (verb, first) {
                ("append", Some(first)) => {
                    let new = new_chunk(ChunkId(first + index), 10, vec![NodeId(1)]);
                    let piece = Piece::Chunk {
                        chunk: new.chunk,
                        offset: 0,
                        length: 10,
                    };
                    let target = CommitTarget::File(location(path)?);
                    Change::Commit(Commit {
                        target,
                        offset: WriteOffset::End,
                        pieces: vec![piece],
                        chunks: vec![new],
                        revision: None,
                    })
                }
                ("create", _) => {
                    let at = location(&format!("{path}{}", index + 1))?;
                    Change::Create {
                        at,
                        attr: ATTR,
                        exclusive: true,
                    }
                }
                ("mkdir", _) => {
                    let at = location(&format!("{path}{}", index + 1))?;
                    Change::MakeDirectory {
                        at,
                        attr: ATTR,
                        parents: true,
                    }
                }
                _ => return Err("many append or many create".into()),
            };
            self.sequence += 1;
            let client = self.client.ok_or("no session")?;
            let request = super::fixture::serial(client, self.sequence);
            self.machine
                .request(request, change)
                .map_err(|refusal| refused(&refusal))?;
        }
        let changes = difference(&self.picture, &picture(&self.machine.view())?);
        self.picture = picture(&self.machine.view())?;
        Ok(format!("{} rows changed\n", changes.lines().count()))
    }
}

fn refused(refusal: &Refusal) -> Box<dyn Error> {
    format!("{:?} {}", refusal.kind, refusal.subject).into()
}

fn text<'a>(args: &mut Args<'a>) -> Result<&'a str> {
    args.next_pos()
        .ok_or_else(|| "an argument is missing".into())
}

fn id(prefix: char, text: &str) -> Result<u64> {
    let digits = text
        .strip_prefix(prefix)
        .ok_or_else(|| format!("{text} is no {prefix}…"))?;
    Ok(digits.parse()?)
}

fn chunk(text: &str) -> Result<ChunkId> {
    Ok(ChunkId(id('c', text)?))
}

fn node(text: &str) -> Result<NodeId> {
    Ok(NodeId(u32::try_from(id('n', text)?)?))
}

fn flag(args: &mut Args<'_>, key: &str, otherwise: bool) -> Result<bool> {
    Ok(args.take_key(key).map_or(Ok(otherwise), str::parse)?)
}

fn number<T: std::str::FromStr>(args: &mut Args<'_>, key: &str) -> Result<Option<T>>
where
    T::Err: Error + 'static,
{
    Ok(args.take_key(key).map(str::parse).transpose()?)
}

fn location(text: &str) -> Result<Location> {
    if let Some((base, path)) = text.split_once('@')
        && let Ok(base) = id('i', base)
    {
        return Ok(Location {
            base: InodeId(base),
            path: format!("/{path}").parse()?,
        });
    }
    Ok(at(text.strip_prefix('/').unwrap_or(text)))
}

fn place(args: &mut Args<'_>) -> Result<Location> {
    location(text(args)?)
}

fn nodes(args: &mut Args<'_>, key: &str, otherwise: &str) -> Result<Vec<NodeId>> {
    let text = args.take_key(key).unwrap_or(otherwise);
    text.split('/')
        .filter(|part| !part.is_empty())
        .map(node)
        .collect()
}

fn new_chunk(chunk: ChunkId, length: u64, replicas: Vec<NodeId>) -> NewChunk {
    NewChunk {
        chunk,
        length,
        checksum: 0xc5,
        replicas,
    }
}

/// The rest of the arguments as pieces, with the chunks that are new.
fn pieces(args: &mut Args<'_>) -> Result<(Vec<Piece>, Vec<NewChunk>)> {
    let (mut pieces, mut chunks) = (Vec::new(), Vec::new());
    let on = nodes(args, "on", "n1")?;
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
            chunks.push(new_chunk(chunk, length, on.clone()));
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
    let (pieces, chunks) = pieces(args)?;
    Ok(Change::Commit(Commit {
        target,
        offset,
        pieces,
        chunks,
        revision,
    }))
}

fn change(name: &str, args: &mut Args<'_>) -> Result<Option<Change>> {
    let attr = ATTR;
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
        "setattr" | "policy" => return set(name, args).map(Some),
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
        _ => return change_contents(name, args),
    }))
}

fn change_contents(name: &str, args: &mut Args<'_>) -> Result<Option<Change>> {
    let attr = ATTR;
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

fn set(name: &str, args: &mut Args<'_>) -> Result<Change> {
    let at = place(args)?;
    if name == "policy" {
        let change = PolicyChange {
            replicas: number(args, "replicas")?.map(ReplicationTarget),
            replicas_min: number(args, "min")?.map(ReplicationTarget),
            chunk_size: number(args, "chunk")?,
            inline_max: number(args, "inline")?,
            trash: number(args, "trash")?.map(Duration::from_secs),
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
        accessed: number(args, "accessed")?.map(Timestamp),
        modified: number(args, "modified")?.map(Timestamp),
    };
    Ok(Change::SetAttr { at, change, follow })
}

fn command(name: &str, args: &mut Args<'_>) -> Result<Option<Command>> {
    Ok(Some(match name {
        "session" => Command::OpenSession,
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
            let state = match text(args)? {
                "in-service" => AdminState::InService,
                "draining" => AdminState::Draining,
                "drained" => AdminState::Drained,
                _ => AdminState::Maintenance,
            };
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
        "step" => Command::Housekeeping,
        _ => return Ok(None),
    }))
}

fn query(name: &str, args: &mut Args<'_>) -> Result<Option<Query>> {
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

fn show_changed(changed: &Changed) -> String {
    match (changed.offset, changed.trash) {
        (Some(offset), _) if offset > 0 => format!("at {offset}\n"),
        (_, Some(trash)) => format!("in the trash as {trash}\n"),
        _ => String::new(),
    }
}

fn more(more: bool) -> &'static str {
    if more { "more\n" } else { "" }
}

fn show_answer(answer: Answer) -> String {
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
        Answer::Layout(layout) => {
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
            format!("size {}\n", layout.attr.size)
                + &extents.collect::<String>()
                + more(layout.more)
        }
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
    }
}

fn show_reply(reply: Reply) -> Result<String> {
    let shown = match reply {
        Reply::Session(client) => Ok(format!("{client}\n")),
        Reply::Client(outcome) => outcome.map(|changed| show_changed(&changed)),
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
