//! Moves of replicas that are good where they are: to make nodes equally full, and to spread those
//! of a chunk over more failure domains.

use super::{affordable, begin_copy, is_under_way};
use crate::master::MasterConfig;
use crate::master::leader::Leading;
use crate::master::leader::map::Answers;
use crate::master::planners::Intended;
use crate::master::planners::balance::{self, Fullness};
use crate::master::planners::repair;
use crate::master::planners::spread;
use crate::master::tasks::Purpose;
use crate::types::{ChunkId, NodeId};

/// Whether anything may move: nothing lacks copies that can be made, and every data node has
/// told what it has.
fn may_move(leading: &Leading, config: &MasterConfig) -> bool {
    leading.tasks.moves().count() < config.balance.moves
        && leading.has_surveyed()
        && leading.endangered.first(1, leading.clock).is_empty()
}

/// The chunks to look at of a node that is too full: after which, and how many.
pub(super) fn ask(
    leading: &Leading,
    config: &MasterConfig,
) -> Option<(NodeId, Option<ChunkId>, usize)> {
    if !may_move(leading, config) {
        return None;
    }
    let fullness = Fullness::of(&leading.view, &leading.tasks);
    let from = fullness.source(&config.balance)?;
    let after = leading.searches.full.get(&from).copied();
    Some((from, after, config.balance.lookups_per_tick))
}

/// Begins moves, as many as may be under way.
pub(super) fn plan(leading: &mut Leading, config: &MasterConfig, answers: &Answers) {
    apart(leading, config, answers);
    let Some((from, chunks)) = &answers.too_full else {
        return;
    };
    let from = *from;
    let mut fullness = Fullness::of(&leading.view, &leading.tasks);
    for &id in chunks {
        if !may_move(leading, config) || fullness.source(&config.balance) != Some(from) {
            return;
        }
        leading.searches.full.insert(from, id);
        let Some(Some(chunk)) = answers.chunks.get(&id) else {
            continue;
        };
        if is_under_way(leading, id, chunk) {
            continue;
        }
        let balance = (&fullness, &config.balance);
        let Some(copy) = balance::plan_move(&leading.view, balance, from, id, chunk) else {
            continue;
        };
        if !affordable(leading, &config.repair, &copy) {
            return;
        }
        fullness.moved(from, copy.to, copy.length);
        begin_copy(leading, &copy, Purpose::Move { from });
    }
    if chunks.len() < config.balance.lookups_per_tick {
        leading.searches.full.remove(&from);
    }
}

/// Moves replicas that share more fate than they need to.
fn apart(leading: &mut Leading, config: &MasterConfig, answers: &Answers) {
    if !may_move(leading, config) {
        return;
    }
    let widest = spread::widest(&leading.view);
    for (&id, chunk) in &answers.chunks {
        let Some(chunk) = chunk else {
            continue;
        };
        if is_under_way(leading, id, chunk) {
            continue;
        }
        let Some(copy) = spread::plan_move(&leading.view, widest, id, chunk) else {
            continue;
        };
        if !may_move(leading, config) || !affordable(leading, &config.repair, &copy) {
            return;
        }
        if let Some(from) = copy.replaces {
            begin_copy(leading, &copy, Purpose::Move { from });
        }
    }
}

/// Gives up the move of a replica of which the others are no longer all good, or that is where it
/// is not meant to be.
pub(super) fn withdraw(leading: &mut Leading, id: ChunkId, chunk: Option<&Intended>) {
    let Some(from) = leading.tasks.moving_from(id) else {
        return;
    };
    let stands = chunk.is_some_and(|chunk| {
        let lacking = repair::assess(&leading.view, id, chunk).lacking;
        lacking == 0 && chunk.replicas.contains(&from)
    });
    if !stands {
        leading.tasks.cancel_copy(id);
    }
}
