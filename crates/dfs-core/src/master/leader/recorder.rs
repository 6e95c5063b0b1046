//! Puts into the log what data nodes have done and what planners have decided.
//!
//! Each entry stays in the outbox until its command is known to be carried out; all of these
//! commands can be proposed again without harm.

use std::collections::BTreeSet;

use super::{Leading, Made};
use crate::master::planners::report::Finding;
use crate::master::shared::{Shared, unexpected};
use crate::meta::command::ReplicaDrop;
use crate::meta::{Command, Reply};
use crate::proto::error::RpcError;
use crate::types::limits::REPLICAS_PER_COMMAND_MAX;
use crate::types::{AdminState, ChunkId, NodeId};

/// Most commands of one kind in one tick.
const COMMANDS_PER_TICK: usize = 64;
/// Most steps of housekeeping in one tick.
const HOUSEKEEPING_PER_TICK: usize = 16;

/// Records what waits in the outbox.
///
/// # Errors
/// Something was not recorded; it stays.
pub(super) async fn record(shared: &Shared) -> Result<(), RpcError> {
    record_copies(shared).await?;
    record_adoptions(shared).await?;
    record_deletions(shared).await?;
    record_surplus(shared).await?;
    record_drained(shared).await?;
    record_rewrites(shared).await?;
    drop_orphans(shared).await
}

/// Says that nodes are drained which are empty; the state machine makes sure of it.
async fn record_drained(shared: &Shared) -> Result<(), RpcError> {
    let drained = shared.leading(|leading| std::mem::take(&mut leading.outbox.drained))?;
    for node in drained {
        let state = AdminState::Drained;
        let reply = shared
            .propose(Command::SetAdminState { node, state })
            .await?
            .value;
        match reply {
            Reply::AdminState(Ok(())) => tracing::info!(%node, "a data node is drained"),
            Reply::AdminState(Err(refusal)) => tracing::info!(%node, %refusal, "not drained"),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

/// Does what time or earlier commands have made due.
///
/// # Errors
/// It was not done; it stays due.
pub(super) async fn keep_house(shared: &Shared) -> Result<(), RpcError> {
    for _ in 0..HOUSEKEEPING_PER_TICK {
        match shared.propose(Command::Housekeeping).await?.value {
            Reply::Housekeeping { more: true } => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn record_copies(shared: &Shared) -> Result<(), RpcError> {
    let all = |leading: &mut Leading| {
        let made = leading.outbox.made.iter().take(COMMANDS_PER_TICK);
        made.map(|(&chunk, &made)| (chunk, made)).collect()
    };
    let all: Vec<(ChunkId, Made)> = shared.leading(all)?;
    for (chunk, Made { by, replaces }) in all {
        let command = Command::ReplaceReplica {
            chunk,
            remove: replaces,
            add: by,
        };
        let reply = shared.propose(command).await?.value;
        let Reply::Replaced(outcome) = reply else {
            return Err(unexpected(&reply));
        };
        shared.leading(|leading| {
            leading.outbox.made.remove(&chunk);
            match outcome {
                Ok(()) => {
                    tracing::info!(%chunk, node = %by, ?replaces, "a copy was recorded");
                    leading.replaced(chunk, by, replaces);
                }
                Err(refusal) => {
                    tracing::info!(%chunk, node = %by, %refusal, "a copy was not recorded");
                    leading.not_replaced(chunk, by);
                }
            }
            leading.hint(chunk);
        })?;
    }
    Ok(())
}

/// What was refused stays as it was; the new chunks are reclaimed when their grant has expired.
async fn record_rewrites(shared: &Shared) -> Result<(), RpcError> {
    for _ in 0..COMMANDS_PER_TICK {
        let Some(rewrite) = shared.leading(|leading| leading.outbox.rewritten.front().cloned())?
        else {
            break;
        };
        let inode = rewrite.inode;
        let command = Command::Rewrite(rewrite.clone());
        let reply = shared.propose(command).await?.value;
        let Reply::Rewritten(outcome) = reply else {
            return Err(unexpected(&reply));
        };
        match &outcome {
            Ok(()) => tracing::info!(%inode, chunks = rewrite.chunks.len(), "bytes were rewritten"),
            Err(refusal) => tracing::info!(%inode, %refusal, "bytes stay as they are"),
        }
        shared.leading(|leading| {
            leading.outbox.rewritten.pop_front();
            leading.rewrite_recorded(&rewrite, outcome.is_ok());
        })?;
    }
    Ok(())
}

/// The first node of a part of the outbox, with as many chunks as go into one command.
fn first<'a>(
    sets: impl IntoIterator<Item = (&'a NodeId, &'a BTreeSet<ChunkId>)>,
) -> Option<(NodeId, Vec<ChunkId>)> {
    let (node, chunks) = sets.into_iter().next()?;
    let chunks = chunks.iter().take(REPLICAS_PER_COMMAND_MAX);
    Some((*node, chunks.copied().collect()))
}

fn remove(
    sets: &mut std::collections::BTreeMap<NodeId, BTreeSet<ChunkId>>,
    node: NodeId,
    chunks: &[ChunkId],
) {
    if let Some(set) = sets.get_mut(&node) {
        for chunk in chunks {
            set.remove(chunk);
        }
        if set.is_empty() {
            sets.remove(&node);
        }
    }
}

async fn record_adoptions(shared: &Shared) -> Result<(), RpcError> {
    for _ in 0..COMMANDS_PER_TICK {
        let next = shared.leading(|leading| first(&leading.outbox.adopted))?;
        let Some((node, chunks)) = next else {
            break;
        };
        let command = Command::AdoptReplicas {
            node,
            chunks: chunks.clone(),
        };
        let reply = shared.propose(command).await?.value;
        let Reply::Adopted(outcome) = reply else {
            return Err(unexpected(&reply));
        };
        let adopted = outcome.unwrap_or_else(|refusal| {
            tracing::warn!(%node, %refusal, "replicas were not adopted");
            Vec::new()
        });
        shared.leading(|leading| {
            remove(&mut leading.outbox.adopted, node, &chunks);
            for chunk in chunks {
                if !adopted.contains(&chunk) {
                    leading.note(node, chunk, Finding::Surplus);
                }
                leading.hint(chunk);
            }
        })?;
    }
    Ok(())
}

async fn record_deletions(shared: &Shared) -> Result<(), RpcError> {
    for _ in 0..COMMANDS_PER_TICK {
        let next = shared.leading(|leading| first(&leading.outbox.deleted))?;
        let Some((node, chunks)) = next else {
            break;
        };
        let command = Command::Reclaimed {
            node,
            chunks: chunks.clone(),
        };
        let reply = shared.propose(command).await?.value;
        let Reply::Reclaimed(outcome) = reply else {
            return Err(unexpected(&reply));
        };
        if let Err(refusal) = outcome {
            tracing::warn!(%node, %refusal, "a deletion was not recorded");
        }
        shared.leading(|leading| {
            remove(&mut leading.outbox.deleted, node, &chunks);
            for chunk in chunks {
                leading.hint(chunk);
            }
        })?;
    }
    Ok(())
}

async fn record_surplus(shared: &Shared) -> Result<(), RpcError> {
    let all = shared.leading(|leading| std::mem::take(&mut leading.outbox.surplus))?;
    for ((node, chunk), confirmed) in all {
        let drops = vec![ReplicaDrop { chunk, confirmed }];
        let command = Command::DropReplicas { node, drops };
        let reply = shared.propose(command).await?.value;
        let Reply::Dropped(outcome) = reply else {
            return Err(unexpected(&reply));
        };
        tracing::info!(%chunk, %node, ?outcome, "a surplus copy is given up");
    }
    Ok(())
}

/// Gives up copies of chunks that nobody can commit any more. What is not given up is looked at
/// again after the next full report.
async fn drop_orphans(shared: &Shared) -> Result<(), RpcError> {
    let next = shared.leading(|leading| {
        let mut nodes = leading.view.nodes();
        nodes.find_map(|node| {
            let chunks = node.orphans().take(REPLICAS_PER_COMMAND_MAX);
            let chunks: Vec<_> = chunks.collect();
            (!chunks.is_empty()).then_some((node.row.node, chunks))
        })
    })?;
    let Some((node, chunks)) = next else {
        return Ok(());
    };
    let command = Command::DropOrphans {
        node,
        chunks: chunks.clone(),
    };
    let reply = shared.propose(command).await?.value;
    let Reply::OrphansDropped(outcome) = reply else {
        return Err(unexpected(&reply));
    };
    match outcome {
        Ok(dropped) if dropped.is_empty() => {}
        outcome => tracing::info!(%node, ?outcome, "orphans are given up"),
    }
    shared.leading(|leading| {
        for chunk in chunks {
            leading.view.settle(node, chunk);
        }
    })
}
