//! The state machine: one command in, one reply out, the same on every master.

use dfs_raft::state::StateTxn;
use dfs_raft::{ApplyContext, Fatal, StateMachine};

use super::chunks::{commit, grant, reclaim, replicas};
use super::command::{Command, Reply, validate};
use super::namespace::{create, link, remove, rename, setattr, trash, upload};
use super::nodes::Registration;
use super::sessions::Remembered;
use super::{counters, housekeeping, nodes, sessions, tables};
use crate::types::{Change, Changed, ClientId, Refusal, RefusalKind, RequestId, Timestamp};

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
        state.keep();
        Ok(match command {
            Command::OpenSession => Reply::Session(sessions::open(state, now)?),
            Command::Client { request, change } => {
                let Remembered { outcome, rev } = apply_request(state, &context, request, &change)?;
                Reply::Client { rev, outcome }
            }
            Command::ReserveChunkIds { count } => {
                let reserved = grant::reserve(state, now, count);
                Reply::ChunkIds(settle(state, reserved)?)
            }
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
                let set = nodes::set_admin_state(state, node, admin);
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
            Command::Reclaimed { node, chunks } => {
                let reclaimed = reclaim::reclaimed(state, node, &chunks);
                Reply::Reclaimed(settle(state, reclaimed)?)
            }
            Command::Housekeeping => {
                housekeeping::step(state, now)?;
                Reply::Housekeeping {
                    more: housekeeping::is_due(state, now)?,
                }
            }
        })
    }
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
    request: RequestId,
    change: &Change,
) -> Result<Remembered, Fatal> {
    let (now, rev) = (context.time, context.rev);
    let begun = sessions::begin(state, now, request);
    match settle(state, begun)? {
        Err(refusal) => {
            let outcome = Err(refusal);
            return Ok(Remembered { outcome, rev });
        }
        Ok(Some(first)) => return Ok(first),
        Ok(None) => {}
    }
    // What the session notes about itself stays, whatever becomes of the change.
    state.keep();
    let changed = apply_change(state, now, request.client, change);
    let outcome = settle(state, changed)?;
    let busy = matches!(&outcome, Err(refusal) if refusal.kind == RefusalKind::Busy);
    let answer = Remembered { outcome, rev };
    if !busy {
        sessions::remember(state, request, &answer)?;
    }
    Ok(answer)
}

fn apply_change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    client: ClientId,
    change: &Change,
) -> Result<Changed, Stop> {
    validate(change)?;
    match change {
        Change::MakeDirectory { at, attr, parents } => {
            create::make_directory(state, now, at, *attr, *parents)
        }
        Change::Create {
            at,
            attr,
            exclusive,
        } => create::file(state, now, at, *attr, *exclusive),
        Change::Symlink { at, target, attr } => create::symlink(state, now, at, target, *attr),
        Change::Link { from, at } => link::link(state, now, from, at),
        Change::Rename { from, to, replace } => rename::rename(state, now, from, to, *replace),
        Change::Remove {
            at,
            what,
            skip_trash,
        } => remove::remove(state, now, at, *what, *skip_trash),
        Change::SetAttr { at, change, follow } => {
            setattr::set_attr(state, now, at, change, *follow)
        }
        Change::Truncate { at, size } => setattr::truncate(state, now, at, *size),
        Change::SetPolicy { at, change } => setattr::set_policy(state, now, at, change),
        Change::Restore { trash, to } => trash::restore(state, now, *trash, to.as_ref()),
        Change::DropTrash { trash } => trash::drop_entry(state, now, *trash),
        Change::BeginUpload { at, attr } => upload::begin(state, now, client, at, *attr),
        Change::AbandonUpload { upload } => upload::abandon(state, now, client, *upload),
        Change::Commit(commit) => commit::commit(state, now, client, commit),
        Change::CloseSession => {
            sessions::close(state, client)?;
            Ok(Changed::default())
        }
    }
}
