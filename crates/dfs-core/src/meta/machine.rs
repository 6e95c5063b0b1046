//! The state machine: one command in, one reply out, the same on every master.

use dfs_raft::state::StateTxn;
use dfs_raft::{ApplyContext, Fatal, StateMachine};

use super::accounts::sessions::Remembered;
use super::accounts::subject::Subject;
use super::accounts::{acl, sessions};
use super::chunks::stripes::rewrite;
use super::chunks::{clone, commit, concat, grant, reclaim, replicas};
use super::command::{Command, Reply, validate};
use super::counters::quota;
use super::members::decisions;
use super::members::nodes::Registration;
use super::members::{enrolled, nodes, secrets};
use super::namespace::{create, link, remove, rename, setattr, trash, upload};
use super::{accounts, counters, housekeeping, members, tables};
use crate::planted::{self, Bug};
use crate::types::{Caller, Change, Changed, ClientId, Refusal, RefusalKind, RequestId, Timestamp};

/// The metadata of a file system as a replicated state machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetaMachine;

impl StateMachine for MetaMachine {
    const TABLES: &'static [&'static str] = tables::TABLES;

    type Command = Command;

    type Reply = Reply;

    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        context: ApplyContext,
        command: Command,
    ) -> Result<Reply, Fatal> {
        let now = context.time;
        counters::found(state, now)?;
        if planted::active(Bug::RenameNotAtomic) {
            rename::remove_old_names(state, now)?;
        }
        state.keep();
        Ok(match command {
            Command::OpenSession { caller } => {
                let opened = sessions::open(state, now, caller);
                Reply::Session(settle(state, opened)?)
            }
            Command::Client {
                caller,
                request,
                change,
            } => {
                let asked = (caller, request);
                let Remembered { outcome, rev } = apply_request(state, &context, asked, &change)?;
                Reply::Client { rev, outcome }
            }
            Command::ReserveChunkIds { count } => {
                let reserved = grant::reserve(state, now, count);
                Reply::ChunkIds(settle(state, reserved)?)
            }
            Command::Housekeeping => {
                housekeeping::step(state, now)?;
                Reply::Housekeeping {
                    more: housekeeping::is_due(state, now)?,
                }
            }
            Command::Account(change) => {
                let changed = accounts::change(state, now, &Subject::system(), &change);
                Reply::Account(settle(state, changed)?)
            }
            Command::Found(founding) => {
                let founded = secrets::found(state, now, &founding);
                Reply::Founded(settle(state, founded)?)
            }
            Command::AddSigningKey(secret) => {
                let added = secrets::add_signing_key(state, now, &secret);
                Reply::SigningKey(settle(state, added)?)
            }
            Command::ExchangeSigningKey {
                caller,
                secret,
                void_former,
            } => {
                let exchanged = Subject::of(state, caller).and_then(|by| {
                    secrets::exchange_signing_key(state, now, &by, (&secret, void_former))
                });
                Reply::SigningKey(settle(state, exchanged)?)
            }
            Command::Enrol {
                node,
                role,
                key,
                token,
            } => {
                let enrolled = enrolled::enrol(state, now, (node, role, key), token);
                Reply::Enrolled(settle(state, enrolled)?)
            }
            command => apply_of_nodes(state, now, command)?,
        })
    }
}

/// Carries out what concerns data nodes and what they hold.
fn apply_of_nodes(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    command: Command,
) -> Result<Reply, Fatal> {
    Ok(match command {
        Command::RegisterNode {
            key,
            node,
            address,
            topology,
            space,
        } => {
            let registration = Registration {
                key,
                node,
                address,
                topology,
                space,
            };
            let registered = nodes::register(state, now, registration);
            Reply::Node(settle(state, registered)?)
        }
        Command::SetAdminState { node, state: admin } => {
            let set = decisions::decide(state, node, (admin, None), None);
            Reply::AdminState(settle(state, set)?)
        }
        Command::AdoptReplicas { node, chunks } => {
            let adopted = replicas::adopt(state, node, &chunks);
            Reply::Adopted(settle(state, adopted)?)
        }
        Command::ReplaceReplica { chunk, remove, add } => {
            let replaced = replicas::replace(state, chunk, remove, add);
            Reply::Replaced(settle(state, replaced)?)
        }
        Command::DropReplicas { node, drops } => {
            let dropped = replicas::drop_surplus(state, now, node, &drops);
            Reply::Dropped(settle(state, dropped)?)
        }
        Command::DropOrphans { node, chunks } => {
            let dropped = reclaim::drop_orphans(state, now, node, &chunks);
            Reply::OrphansDropped(settle(state, dropped)?)
        }
        Command::Rewrite(what) => {
            let rewritten = rewrite::rewrite(state, now, &what);
            Reply::Rewritten(settle(state, rewritten)?)
        }
        Command::Reclaimed { node, chunks } => {
            let reclaimed = reclaim::reclaimed(state, node, &chunks);
            Reply::Reclaimed(settle(state, reclaimed)?)
        }
        other => return Err(Fatal::new(format!("{other:?} concerns no data node"))),
    })
}

/// Why a command ends early: it is refused, or the replica must stop.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An answer like any other. What was written so far is taken back.
    Refused(Refusal),
    /// The state cannot be read or written, or is impossible.
    Fatal(Fatal),
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Stop {
        Stop::Fatal(fatal)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

/// Refuses.
pub(crate) fn refuse<T>(kind: RefusalKind, subject: impl ToString) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::new(kind, subject)))
}

/// Separates refusals from faults; what a refused command had written is taken back.
fn settle<T>(
    state: &mut StateTxn<'_>,
    result: Result<T, Stop>,
) -> Result<Result<T, Refusal>, Fatal> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => {
            state.undo();
            Ok(Err(refusal))
        }
        Err(Stop::Fatal(fatal)) => Err(fatal),
    }
}

/// Carries out a client's request, unless it has been before.
fn apply_request(
    state: &mut StateTxn<'_>,
    context: &ApplyContext,
    (caller, request): (Caller, RequestId),
    change: &Change,
) -> Result<Remembered, Fatal> {
    let (now, rev) = (context.time, context.rev);
    let begun = begin(state, now, (caller, request));
    let by = match settle(state, begun)? {
        Err(refusal) => {
            let outcome = Err(refusal);
            return Ok(Remembered { outcome, rev });
        }
        Ok(Begun::Before(first)) => return Ok(first),
        Ok(Begun::Now(by)) => by,
    };
    // What the session notes about itself stays, whatever becomes of the change.
    state.keep();
    let changed = apply_change(state, now, (&by, request.client), change);
    let outcome = settle(state, changed)?;
    let busy = matches!(&outcome, Err(refusal) if refusal.kind == RefusalKind::Busy);
    let answer = Remembered { outcome, rev };
    if !busy {
        sessions::remember(state, request, &answer)?;
    }
    Ok(answer)
}

/// What comes of looking a request up.
enum Begun {
    /// It was carried out before.
    Before(Remembered),
    /// It is to be carried out, for this one.
    Now(Subject),
}

/// Looks a request up. Whoever was shut out is not told what it has done before, either.
fn begin(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (caller, request): (Caller, RequestId),
) -> Result<Begun, Stop> {
    let by = Subject::of(state, caller)?;
    let before = sessions::begin(state, now, by.user, request)?;
    Ok(before.map_or(Begun::Now(by), Begun::Before))
}

fn apply_change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (by, client): (&Subject, ClientId),
    change: &Change,
) -> Result<Changed, Stop> {
    validate(change)?;
    if !matches!(change, Change::CloseSession) {
        by.require_writable()?;
    }
    match change {
        Change::MakeDirectory { at, attr, parents } => {
            create::make_directory(state, now, by, at, attr, *parents)
        }
        Change::Create {
            at,
            attr,
            exclusive,
        } => create::file(state, now, by, at, attr, *exclusive),
        Change::Symlink { at, target, attr } => create::symlink(state, now, by, at, target, attr),
        Change::Link { from, at } => link::link(state, now, by, from, at),
        Change::Rename { from, to, replace } => rename::rename(state, now, by, from, to, *replace),
        Change::Remove {
            at,
            what,
            skip_trash,
        } => remove::remove(state, now, by, at, *what, *skip_trash),
        Change::SetAttr { at, change, follow } => {
            setattr::set_attr(state, now, by, at, change, *follow)
        }
        Change::Truncate { at, size } => setattr::truncate(state, now, by, at, *size),
        Change::SetPolicy { at, change } => setattr::set_policy(state, now, by, at, change),
        Change::Restore { trash, to } => trash::restore(state, now, by, *trash, to.as_ref()),
        Change::DropTrash { trash } => trash::drop_entry(state, now, by, *trash),
        Change::BeginUpload { at, attr } => upload::begin(state, now, (client, by), at, attr),
        Change::AbandonUpload { upload } => upload::abandon(state, now, client, *upload),
        Change::Commit(commit) => commit::commit(state, now, (client, by), commit),
        Change::CloseSession => {
            sessions::close(state, client)?;
            Ok(Changed::default())
        }
        Change::SetAcl { at, which, acl } => acl::set(state, now, by, at, *which, acl.as_ref()),
        Change::Account(change) => accounts::change(state, now, by, change),
        Change::Member(change) => members::change(state, now, by, change),
        Change::Clone { from, to, revision } => {
            clone::clone(state, now, (client, by), (from, to), *revision)
        }
        Change::Concat { to, from } => concat::concat(state, now, by, to, from),
        Change::Quota { at, change } => quota::change(state, by, at, change),
    }
}
