//! The language of golden scripts.
//!
//! Paths are written without their first slash, `i5@a` is the name `a` seen from inode 5. Pieces
//! of a commit: `c5` a new chunk of 100 bytes, `c5.900` one of 900, `c5@10-30` part of a chunk,
//! `_hello` inline bytes, `_@900` as many of them. Every command prints what it changed.
//! The policy is content with one copy, and chunks are on n1, unless a script says otherwise.

mod accounts;
mod answers;
mod language;

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_raft::state::ReadState;
use goldenscript::{Command as Line, Context};

use self::answers::{refused, show_answer, show_changed, show_reply};
use self::language::{Args, Result, change, chunk, command, id, location, new_chunk, node, text};
use super::fixture::{ATTR, Machine, serial};
use super::show::{Picture, difference, list, picture, seconds};
use crate::meta::accounts::user::epoch;
use crate::meta::query::{self, RangeState};
use crate::meta::tables::USERS;
use crate::meta::{Command, Reply, check};
use crate::types::account::CredentialEpoch;
use crate::types::change::{Commit, CommitTarget, Piece, WriteOffset};
use crate::types::stripe::Code;
use crate::types::{
    Caller, Change, ChunkId, ClientId, NewChunk, NewStripe, NodeId, RequestId, StripeShape, UserId,
};

pub(crate) struct Runner {
    machine: Machine,
    client: Option<ClientId>,
    /// Those of users.
    sessions: BTreeMap<UserId, ClientId>,
    sequence: u64,
    picture: Picture,
}

impl Default for Runner {
    fn default() -> Runner {
        let machine = Machine::lenient();
        Runner {
            machine,
            client: None,
            sessions: BTreeMap::new(),
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

impl Runner {
    fn run_line(&mut self, name: &str, args: &mut Args<'_>) -> Result<String> {
        let caller = self.caller(args)?;
        if let Some(change) = change(name, caller, args)? {
            return self.change(caller, change, args);
        }
        if let Some(command) = command(name, caller, args)? {
            return show_reply(self.machine.apply(command));
        }
        if let Some(query) = self::language::query(name, args)? {
            return match query::answer(&self.machine.view(), caller, &query)? {
                Ok(answer) => Ok(show_answer(answer)),
                Err(refusal) => Err(refused(&refusal)),
            };
        }
        self.other(name, args)
    }

    /// Who asks: the system, unless `by` names a user. It has its present credentials, unless
    /// `epoch` says otherwise.
    fn caller(&self, args: &mut Args<'_>) -> Result<Caller> {
        let Some(text) = args.take_key("by") else {
            return Ok(Caller::System);
        };
        let user = UserId(text.parse()?);
        let view = self.machine.view();
        let row = view.get(USERS, &user)?;
        let present = row
            .map(|row| epoch(&view, &row))
            .transpose()?
            .unwrap_or_default();
        let then = args.take_key("epoch").map(str::parse).transpose()?;
        let epoch = then.map_or(present, CredentialEpoch);
        Ok(Caller::User { user, epoch })
    }

    /// The session of a user, opened when it is first needed.
    fn session_of(&mut self, caller: Caller) -> Result<ClientId> {
        if caller == Caller::System {
            return Ok(self.client.ok_or("no session")?);
        }
        if let Some(client) = self.sessions.get(&caller.user()) {
            return Ok(*client);
        }
        match self.machine.apply(Command::OpenSession { caller }) {
            Reply::Session(Ok(client)) => {
                self.sessions.insert(caller.user(), client);
                Ok(client)
            }
            // So that the request itself is refused.
            _ => Ok(self.client.ok_or("no session")?),
        }
    }

    /// A client's change; `as`, `seq` and `below` override session and request id.
    fn change(&mut self, caller: Caller, change: Change, args: &mut Args<'_>) -> Result<String> {
        let client = match args.take_key("as") {
            Some(text) => ClientId(id('s', text)?),
            None => self.session_of(caller)?,
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
        match self.machine.request_of(caller, request, change) {
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
                let due = query::reclaim_due(&view, node(text(args)?)?, None, now, 100)?;
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
    /// Prints no differences.
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
                        stripes: Vec::new(),
                    })
                }
                ("stripes", Some(first)) => {
                    append_stripe(CommitTarget::File(location(path)?), first + 3 * index)
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
            let request = serial(client, self.sequence);
            self.machine
                .request(request, change)
                .map_err(|refusal| refused(&refusal))?;
        }
        self.picture = picture(&self.machine.view())?;
        Ok(format!("{count} done\n"))
    }
}

/// A stripe of 2+1 at the end of a file, on three data nodes.
fn append_stripe(target: CommitTarget, first: u64) -> Change {
    let length = 128;
    let new =
        |(node, index): (u32, u64)| new_chunk(ChunkId(first + index), length, vec![NodeId(node)]);
    let chunks: Vec<NewChunk> = (1..=3).zip(0..).map(new).collect();
    let piece = |new: &NewChunk| Piece::Chunk {
        chunk: new.chunk,
        offset: 0,
        length,
    };
    Change::Commit(Commit {
        target,
        offset: WriteOffset::End,
        pieces: chunks.iter().take(2).map(piece).collect(),
        revision: None,
        stripes: vec![NewStripe {
            code: Code::Leopard16,
            shape: StripeShape { data: 2, parity: 1 },
            shard_length: length,
            members: chunks.iter().map(|new| new.chunk).collect(),
        }],
        chunks,
    })
}
