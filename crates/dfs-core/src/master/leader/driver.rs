//! The leader's loop: looks around on a tick, decides in pure code, and acts.
//!
//! ```text
//! tick ─▶ what to ask ─▶ look up the map ─▶ decide ─▶ tasks for nodes, commands for the log
//! ```
//!
//! What it does beside repair, to make nodes equally full and to spread replicas, is in `moves`.
//! Everything it does is bounded by a budget a tick, and nothing it knows survives the loss of
//! leadership.

mod moves;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dfs_raft::Consistency;
use tokio::time::{MissedTickBehavior, interval};

use super::map::{self, Answers, Question};
use super::{Leading, Survey, recorder, room};
use crate::env::Random;
use crate::master::planners::Intended;
use crate::master::planners::reclaim::{self, CHUNKS_PER_DELETE_MAX};
use crate::master::planners::repair::{self, PlannedCopy, RepairBudget};
use crate::master::planners::report::Shape;
use crate::master::planners::surplus::{self, Verdict};
use crate::master::security::keys;
use crate::master::shared::{Pace, Shared};
use crate::master::tasks::Purpose;
use crate::master::view::NodeView;
use crate::master::{MasterConfig, grants};
use crate::meta::Command;
use crate::proto::cluster::{RebuildSource, Task};
use crate::proto::error::RpcError;
use crate::proto::metadata::Liveness;
use crate::types::{ChunkId, NodeId};

/// Surplus copies looked at in one tick.
const SURPLUS_PER_TICK: usize = 16;
/// Nodes whose chunks are searched in one tick.
const SEARCHES_PER_TICK: usize = 4;
/// A full report of which no part came for this long is asked for anew.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// Leads whenever this master is elected, for ever.
pub(in crate::master) async fn run(shared: Arc<Shared>) {
    let mut leadership = shared.replica.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        if now.is_ready {
            if let Err(error) = lead(&shared, now.term).await {
                tracing::warn!(%error, "leading was interrupted");
                tokio::time::sleep(shared.config.tick).await;
            }
            shared.set_leading(None);
            continue;
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Leads until leadership is lost.
async fn lead(shared: &Shared, term: u64) -> Result<(), RpcError> {
    let reading = shared.read(Consistency::Stale).await?;
    let look = |view: &dfs_raft::state::View| map::nodes(view);
    let nodes = shared.look(reading, look).await?;
    shared.set_leading(Some(Leading::new(term, &shared.config, nodes)));
    tracing::info!(term, address = shared.address, "leads");
    // The first command says what log time is.
    if let Err(error) = shared.propose(Command::Housekeeping).await {
        tracing::debug!(%error, "the first command failed");
    }
    let mut leadership = shared.replica.leadership();
    let mut pace = Pace::new(shared.config.tick);
    let mut ticks = interval(shared.config.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            lost = leadership.wait_for(|now| !now.is_ready || now.term != term) => {
                tracing::info!(term, known = lost.is_ok(), "leads no longer");
                return Ok(());
            }
            _ = ticks.tick() => {}
            () = shared.results.notified() => {}
        }
        // What fails is tried again at the next tick; losing leadership is seen above.
        if let Err(error) = step(shared, pace.elapsed()).await {
            tracing::debug!(%error, "a step of the leader failed");
        }
    }
}

async fn step(shared: &Shared, elapsed: Duration) -> Result<(), RpcError> {
    room::look(shared).await;
    recorder::record(shared).await?;
    let question = shared.leading(|leading| {
        leading.advance(elapsed);
        leading.rates.pass(elapsed, &shared.config.repair);
        ask(leading, &shared.config)
    })?;
    let reading = shared.read(Consistency::Stale).await?;
    let now = shared.now();
    let look = move |view: &dfs_raft::state::View| map::look_up(view, now, question);
    let mut answers = shared.look(reading, look).await?;
    let housekeeping = answers.housekeeping;
    let signing_key_is_old = answers.signing_key_is_old;
    let files = answers.files.take();
    let ids_wanted = shared.leading(|leading| {
        let random = &*shared.env.random;
        decide(leading, &shared.config, answers, random);
        if let Some(page) = files {
            leading.plan_rewrites(&shared.config, &page, now, random);
        }
        std::mem::take(&mut leading.rewrites.ids_wanted)
    })?;
    if ids_wanted > 0 {
        grants::reserve(shared, ids_wanted).await?;
    }
    recorder::record(shared).await?;
    if signing_key_is_old {
        keys::renew(shared).await?;
    }
    if housekeeping {
        recorder::keep_house(shared).await?;
    }
    Ok(())
}

/// What this tick wants to know of the map.
fn ask(leading: &mut Leading, config: &MasterConfig) -> Question {
    let budget = &config.repair;
    leading.view.expire_reports(leading.clock, REPORT_TIMEOUT);
    ask_for_reports(leading, config);
    let mut chunks = std::mem::take(&mut leading.hints);
    let urgent = leading
        .endangered
        .first(budget.lookups_per_tick, leading.clock);
    chunks.extend(urgent);
    chunks.extend(leading.tasks.copied_chunks());
    chunks.extend(leading.tasks.deletions_of_live().map(|(_, chunk)| chunk));
    let mut copies: BTreeSet<_> = leading.trials.copies().collect();
    copies.extend(next_surplus(leading));
    chunks.extend(copies.iter().map(|(chunk, _)| *chunk));
    let pass_is_due =
        leading.searches.pass.is_some() || leading.searches.pass_again <= leading.clock;
    let can_delete = |node: &&NodeView| {
        node.heard && node.liveness == Liveness::Live && !leading.tasks.is_deleting(node.row.node)
    };
    let searches = leading.searches.nodes.iter().take(SEARCHES_PER_TICK);
    let deleters = leading.view.nodes().filter(can_delete);
    let deleters = deleters.map(|node| {
        let after = leading.searches.deletions.get(&node.row.node);
        (node.row.node, after.copied().flatten())
    });
    Question {
        chunks,
        ranges: searches.map(|(&node, &after)| (node, after)).collect(),
        pass: pass_is_due.then_some(leading.searches.pass),
        too_full: moves::ask(leading, config),
        rows: config.pass_rows_per_tick,
        deleters: deleters.collect(),
        deletions: CHUNKS_PER_DELETE_MAX,
        copies,
        files: leading.next_files(),
        extents: config.rewrite.extents_per_tick,
    }
}

/// The next surplus copies to look at, of each node.
fn next_surplus(leading: &mut Leading) -> Vec<(ChunkId, NodeId)> {
    let mut next = Vec::new();
    for node in leading.view.nodes() {
        let after = leading.searches.surplus.entry(node.row.node).or_default();
        let from = ChunkId(after.0.saturating_add(1));
        let chunks = node.surplus_from(from).take(SURPLUS_PER_TICK);
        let chunks: Vec<_> = chunks.collect();
        *after = match chunks.last() {
            Some(last) if chunks.len() == SURPLUS_PER_TICK => *last,
            Some(_) | None => ChunkId(0),
        };
        next.extend(chunks.into_iter().map(|chunk| (chunk, node.row.node)));
    }
    next
}

/// Asks nodes for full reports, each once in a long while.
fn ask_for_reports(leading: &mut Leading, config: &MasterConfig) {
    let nodes = leading.view.nodes();
    let nodes: Vec<_> = nodes.map(|node| (node.row.node, Shape::of(node))).collect();
    for (node, shape) in nodes {
        let asked = leading.report_asked.entry(node).or_default();
        if asked.is_due(shape, config.report_interval, leading.clock) {
            leading.view.want_report(node);
        }
    }
}

/// Decides, from what is known and what the map says.
fn decide(leading: &mut Leading, config: &MasterConfig, answers: Answers, random: &dyn Random) {
    leading.know(answers.nodes.clone());
    advance_searches(leading, config, &answers);
    for (&id, chunk) in &answers.chunks {
        let found = chunk
            .as_ref()
            .map(|chunk| repair::assess(&leading.view, id, chunk));
        match found {
            Some(found) if found.lacking > 0 => {
                let bytes = chunk.as_ref().map_or(0, |chunk| chunk.length);
                let bytes = bytes.saturating_mul(found.lacking as u64);
                leading
                    .endangered
                    .update(id, found.readable(), bytes, leading.clock);
            }
            Some(_) | None => {
                leading.endangered.remove(id);
                if leading.tasks.moving_from(id).is_none() {
                    leading.tasks.cancel_copy(id);
                }
            }
        }
        moves::withdraw(leading, id, chunk.as_ref());
    }
    leading.begin_survey();
    plan_repairs(leading, config, &answers, random);
    moves::plan(leading, config, &answers);
    leading.note_drained();
    withdraw_deletions(leading, &answers);
    consider_surplus(leading, &answers);
    consider_excess(leading, &answers);
    plan_deletions(leading, &answers);
}

fn advance_searches(leading: &mut Leading, config: &MasterConfig, answers: &Answers) {
    for (&node, &after) in &answers.ranges {
        match after {
            Some(after) => leading.searches.nodes.insert(node, Some(after)),
            None => leading.searches.nodes.remove(&node),
        };
    }
    leading.searches.deletions.extend(&answers.deleters);
    if let Some(after) = answers.pass {
        leading.searches.pass = after;
        if after.is_none() {
            leading.searches.pass_again = leading.clock.saturating_add(config.pass_interval);
            if leading.searches.survey == Survey::Begun {
                leading.searches.survey = Survey::Done;
            }
        }
    }
}

fn plan_repairs(
    leading: &mut Leading,
    config: &MasterConfig,
    answers: &Answers,
    random: &dyn Random,
) {
    let budget = &config.repair;
    for id in leading
        .endangered
        .first(budget.lookups_per_tick, leading.clock)
    {
        let Some(Some(chunk)) = answers.chunks.get(&id) else {
            continue;
        };
        if is_under_way(leading, id, chunk) {
            continue;
        }
        let avoid = leading.endangered.avoided(id);
        let draw = &mut |bound| random.below(bound);
        match repair::plan_copy(&leading.view, id, chunk, avoid, draw) {
            Ok(Some(copy)) if affordable(leading, budget, &copy) => {
                let replaces = copy.replaces;
                begin_copy(leading, &copy, Purpose::Repair { replaces });
            }
            Ok(Some(_)) => {
                if leading.tasks.copies() >= budget.copies {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(chunk = %id, %error, "there is no place for a copy");
                leading.endangered.set_back(id, None, leading.clock);
            }
        }
    }
}

/// Whether a copy of a chunk is under way, or one of another member of its stripe: two at a time
/// could go to the same node.
fn is_under_way(leading: &Leading, id: ChunkId, chunk: &Intended) -> bool {
    let stripe = chunk.stripe.iter().flat_map(|stripe| &stripe.members);
    let mut members = stripe.map(|member| member.chunk).chain([id]);
    members.any(|id| leading.tasks.is_copying(id) || leading.outbox.made.contains_key(&id))
}

/// Whether a copy may begin now.
fn affordable(leading: &Leading, budget: &RepairBudget, copy: &PlannedCopy) -> bool {
    repair::affordable(budget, &leading.tasks, copy) && leading.rates.allow(copy)
}

fn begin_copy(leading: &mut Leading, copy: &PlannedCopy, purpose: Purpose) {
    let addresses = |nodes: &[NodeId]| {
        let known = nodes.iter().filter_map(|&node| leading.view.node(node));
        known.map(|node| node.address()).collect()
    };
    let PlannedCopy {
        chunk,
        length,
        checksum,
        ..
    } = *copy;
    let task = match &copy.recipe {
        None => Task::Copy {
            chunk,
            length,
            checksum,
            sources: addresses(&copy.sources),
        },
        Some(recipe) => Task::Rebuild {
            chunk,
            length,
            checksum,
            index: recipe.index,
            code: recipe.code,
            shape: recipe.shape,
            shard_length: recipe.shard_length,
            sources: recipe
                .parts
                .iter()
                .map(|part| RebuildSource {
                    index: part.index,
                    chunk: part.chunk,
                    length: part.length,
                    checksum: part.checksum,
                    nodes: addresses(&part.nodes),
                })
                .collect(),
        },
    };
    tracing::info!(chunk = %copy.chunk, to = %copy.to, ?purpose, "a copy is to be made");
    if leading.tasks.start(copy.to, task, purpose, leading.clock) {
        leading.view.pledge(copy.to, copy.length);
        leading.rates.spend(copy);
    }
}

/// Puts surplus copies on trial, and gives up those that passed.
fn consider_surplus(leading: &mut Leading, answers: &Answers) {
    for (&(id, node), &queued) in &answers.copies {
        let Some(chunk) = answers.chunks.get(&id) else {
            continue;
        };
        if queued || !leading.view.is_surplus(node, id) {
            continue;
        }
        match surplus::consider(&leading.view, node, id, chunk.as_ref()) {
            Verdict::Settled => leading.view.settle(node, id),
            Verdict::Keep | Verdict::Wait => {}
            Verdict::Try(witnesses) => {
                if try_surplus(leading, id, node, &witnesses) {
                    leading.outbox.surplus.insert((node, id), witnesses);
                }
            }
        }
    }
}

/// Gives up intended replicas beyond what is wanted, after a trial like that of surplus ones.
fn consider_excess(leading: &mut Leading, answers: &Answers) {
    for (&id, chunk) in &answers.chunks {
        let Some(chunk) = chunk else {
            continue;
        };
        if let Some((victim, witnesses)) = surplus::excess(&leading.view, id, chunk) {
            if try_surplus(leading, id, victim, &witnesses) {
                leading.outbox.surplus.insert((victim, id), witnesses);
            } else {
                leading.hint(id);
            }
        }
    }
}

/// Goes on with the trial of a copy; true once it has passed.
fn try_surplus(leading: &mut Leading, id: ChunkId, node: NodeId, witnesses: &[NodeId]) -> bool {
    if let Some(right) = leading.trials.take_passed(id, node) {
        // The same nodes must still be the ones that count.
        return right == witnesses;
    }
    if !leading.trials.knows(id, node) && leading.trials.has_room() {
        leading.trials.begin(id, node, witnesses, leading.clock);
        for &witness in witnesses {
            leading.verify(witness, id);
        }
    }
    false
}

/// Takes back the deletions of nodes that have one in hand of a replica which is needed by now.
fn withdraw_deletions(leading: &mut Leading, answers: &Answers) {
    let in_hand = leading.tasks.deletions_of_live().collect::<Vec<_>>();
    for (node, id) in in_hand {
        let Some(Some(chunk)) = answers.chunks.get(&id) else {
            continue;
        };
        let verdict = surplus::consider(&leading.view, node, id, Some(chunk));
        if !matches!(verdict, Verdict::Try(_)) {
            tracing::info!(chunk = %id, %node, ?verdict, "a deletion is taken back");
            leading.tasks.cancel_deletion(node);
        }
    }
}

/// Orders deletions that the log has decided. A replica of a chunk that a file still has goes
/// only if the others are right at this time.
fn plan_deletions(leading: &mut Leading, answers: &Answers) {
    leading.reclaiming = answers.due.len() as u64;
    let on_trial = answers.copies.iter().filter(|(_, queued)| **queued);
    let on_trial = on_trial.map(|(&(id, node), _)| (id, node, true));
    let on_trial = on_trial.filter(|&(id, node, _)| leading.trials.knows(id, node));
    let all: BTreeSet<_> = on_trial.chain(answers.due.iter().copied()).collect();
    let mut due = Vec::new();
    for (id, node, live) in all {
        if leading.outbox.deleted.contains_key(&node) || leading.tasks.is_deleting(node) {
            continue;
        }
        // The copy may be the one on this node.
        if leading.tasks.is_copying(id) || leading.outbox.made.contains_key(&id) {
            continue;
        }
        if live {
            let chunk = answers.chunks.get(&id).and_then(Option::as_ref);
            match surplus::consider(&leading.view, node, id, chunk) {
                Verdict::Try(witnesses) if try_surplus(leading, id, node, &witnesses) => {}
                Verdict::Settled if chunk.is_none() => {}
                _ => continue,
            }
        }
        due.push((id, node));
    }
    for (node, chunks) in reclaim::plan(&leading.view, &leading.tasks, due) {
        tracing::info!(%node, chunks = chunks.len(), "replicas are to be deleted");
        let live = |id: &&ChunkId| matches!(answers.chunks.get(*id), Some(Some(_)));
        let live = chunks.iter().filter(live).copied().collect();
        let purpose = Purpose::Reclaim { live };
        let task = Task::Delete { chunks };
        leading.tasks.start(node, task, purpose, leading.clock);
    }
}

#[cfg(test)]
mod tests;
