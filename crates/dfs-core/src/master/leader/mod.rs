//! What a leader knows besides the map, and what it is about to do: soft state.
//!
//! It exists while this master leads, is made anew at each election, and nothing in it is needed
//! for safety. Its clock is the driver's: it stands still while this process does not run, so
//! that a pause of the leader buries no data node.

pub(super) mod driver;
pub(super) mod group;
mod ids;
pub(super) mod map;
mod meter;
mod recorder;
mod rewrites;
pub(super) mod room;
mod story;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ids::ChunkIdPool;
use meter::Meter;
use rewrites::Rewrites;
use room::Room;

use super::config::MasterConfig;
use super::liveness::{Effect, Event, Watch};
use super::planners::Intended;
use super::planners::rates::Rates;
use super::planners::repair::{self, Endangered};
use super::planners::report::{self, Asked, Finding};
use super::planners::surplus::Trials;
use super::tasks::{Purpose, Running, Tasks, made_by};
use super::view::{ClusterView, Fault, NodeRow, NodeView};
use crate::meta::command::Rewrite;
use crate::planted::{self, Bug};
use crate::proto::cluster::{Heartbeat, Task, TaskResult};
use crate::proto::metadata::Liveness;
use crate::types::topology::AdminState;
use crate::types::{ChunkId, NodeEpoch, NodeId, Timestamp};

/// Most chunks that wait to be looked at because of a hint.
const HINTS_MAX: usize = 4096;
/// Most replicas that clients doubt, of one node, at a time.
const DOUBTS_MAX: usize = 64;
/// Most results that wait to be recorded; while there are more, nodes are asked to wait.
const RESULTS_MAX: usize = 16_384;

/// A copy that was made and is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) by: NodeId,
    pub(crate) replaces: Option<NodeId>,
}

/// What the driver is to propose.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Copies that were made.
    pub(crate) made: BTreeMap<ChunkId, Made>,
    /// Replicas that were found where the map names too few.
    pub(crate) adopted: BTreeMap<NodeId, BTreeSet<ChunkId>>,
    /// Replicas that were deleted.
    pub(crate) deleted: BTreeMap<NodeId, BTreeSet<ChunkId>>,
    /// Surplus replicas, and who was seen to have the right bytes.
    pub(crate) surplus: BTreeMap<(NodeId, ChunkId), Vec<NodeId>>,
    /// Nodes that were to be emptied and are empty.
    pub(crate) drained: BTreeSet<NodeId>,
    /// What data nodes have rewritten.
    pub(crate) rewritten: VecDeque<Rewrite>,
}

impl Outbox {
    fn len(&self) -> usize {
        let sets = self.adopted.values().chain(self.deleted.values());
        self.made.len() + self.rewritten.len() + sets.map(BTreeSet::len).sum::<usize>()
    }
}

/// How far a leader is in looking at every chunk once, knowing what the data nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Survey {
    /// A data node has yet to tell.
    #[default]
    Awaited,
    /// A pass has begun since all have told.
    Begun,
    /// That pass has ended: what is not endangered by now is well. It stays so, because what
    /// happens later is told.
    Done,
}

/// How far the searches for endangered chunks are.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// The chunks of nodes that are lost or being emptied: after which id to go on.
    pub(crate) nodes: BTreeMap<NodeId, Option<ChunkId>>,
    /// The chunks of nodes that are too full: after which id to go on.
    pub(crate) full: BTreeMap<NodeId, ChunkId>,
    /// All chunks: after which id to go on.
    pub(crate) pass: Option<ChunkId>,
    /// When the next pass begins.
    pub(crate) pass_again: Duration,
    /// The first pass that misses nothing.
    pub(crate) survey: Survey,
    /// The surplus replicas of nodes: after which id to go on.
    pub(crate) surplus: BTreeMap<NodeId, ChunkId>,
    /// The replicas of nodes that wait for their deletion: after which to go on.
    pub(crate) deletions: BTreeMap<NodeId, Option<(Timestamp, ChunkId)>>,
}

/// What a leader knows and is about to do.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) term: u64,
    /// Time since the election, as the driver saw it pass.
    pub(crate) clock: Duration,
    pub(crate) view: ClusterView,
    pub(crate) watch: Watch,
    pub(crate) tasks: Tasks,
    /// What may be copied now.
    pub(crate) rates: Rates,
    /// What was copied lately.
    pub(crate) meter: Meter,
    pub(crate) endangered: Endangered,
    pub(crate) trials: Trials,
    pub(crate) ids: ChunkIdPool,
    /// What is rewritten.
    pub(crate) rewrites: Rewrites,
    /// Chunks to look at because something happened to them.
    pub(crate) hints: BTreeSet<ChunkId>,
    pub(crate) searches: Searches,
    pub(crate) outbox: Outbox,
    /// Replicas that wait to be deleted, as of the last tick.
    pub(crate) reclaiming: u64,
    /// When each node was last asked for a full report because time had passed.
    pub(crate) report_asked: BTreeMap<NodeId, Asked>,
    /// Room on the disk of this master.
    pub(crate) room: Room,
}

impl Leading {
    pub(crate) fn new(term: u64, config: &MasterConfig, nodes: Vec<NodeRow>) -> Leading {
        let mut leading = Leading {
            term,
            clock: Duration::ZERO,
            view: ClusterView::default(),
            watch: Watch::new(config.liveness),
            tasks: Tasks::default(),
            rates: Rates::default(),
            meter: Meter::default(),
            endangered: Endangered::default(),
            trials: Trials::default(),
            ids: ChunkIdPool::default(),
            rewrites: Rewrites::new(config.rewrite),
            hints: BTreeSet::new(),
            searches: Searches::default(),
            outbox: Outbox::default(),
            reclaiming: 0,
            report_asked: BTreeMap::new(),
            room: Room::Enough,
        };
        leading.know(nodes);
        leading
    }

    /// Takes in what the map says of data nodes.
    pub(crate) fn know(&mut self, nodes: Vec<NodeRow>) {
        for row in nodes {
            let (node, epoch) = (row.node, row.epoch);
            if row.admin == AdminState::Removed {
                self.forget(node);
                continue;
            }
            let known = self.view.node(node);
            let before = known.map(|known| known.row.admin);
            let is_dead = known.is_some_and(|known| known.liveness == Liveness::Dead);
            // It is emptied, or was away on purpose and is gone.
            let needs = row.admin == AdminState::Draining
                || before == Some(AdminState::Maintenance) && is_dead;
            if needs && before != Some(row.admin) {
                self.searches.nodes.insert(node, None);
            }
            self.view.know(row);
            self.watch.step(self.clock, Event::Known { node, epoch });
        }
    }

    /// Forgets a node that was removed.
    fn forget(&mut self, node: NodeId) {
        if self.view.node(node).is_some() {
            tracing::info!(%node, "a data node was removed");
            self.view.forget(node);
            self.watch.forget(node);
            self.forget_tasks(node);
            self.searches.nodes.remove(&node);
        }
    }

    /// Notes which nodes that were to be emptied are empty.
    fn note_drained(&mut self) {
        let nodes = self.view.nodes().map(|node| &node.row);
        let drained = nodes.filter(|row| row.admin == AdminState::Draining && row.replicas == 0);
        self.outbox.drained = drained.map(|row| row.node).collect();
    }

    /// Takes in a registration that was committed.
    pub(crate) fn registered(&mut self, row: NodeRow) {
        let (node, epoch) = (row.node, row.epoch);
        self.view.know(row);
        let event = Event::Registered { node, epoch };
        for effect in self.watch.step(self.clock, event) {
            self.carry_out(effect);
        }
    }

    /// Takes in a heartbeat; false if its sender must register.
    pub(crate) fn heartbeat(&mut self, heartbeat: &Heartbeat) -> bool {
        let event = Event::Heartbeat {
            node: heartbeat.node,
            epoch: heartbeat.epoch,
            failed: heartbeat.failed.is_some(),
            down: &heartbeat.down,
        };
        let effects = self.watch.step(self.clock, event);
        if effects.iter().any(|e| matches!(e, Effect::Fence(_))) {
            return false;
        }
        self.view.heard(heartbeat);
        for effect in effects {
            self.carry_out(effect);
        }
        true
    }

    /// The live data nodes that hold a node for down.
    pub(crate) fn accusers(&self, node: NodeId) -> Vec<NodeId> {
        self.watch.accusers(node)
    }

    /// Whether this is the present incarnation of a node.
    pub(crate) fn is_current(&self, node: NodeId, epoch: NodeEpoch) -> bool {
        self.view.node(node).is_some_and(|known| {
            known.row.epoch == epoch || planted::active(Bug::StaleEpochAccepted)
        })
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, elapsed: Duration) {
        self.clock = self.clock.saturating_add(elapsed);
        for effect in self.watch.step(self.clock, Event::Tick) {
            self.carry_out(effect);
        }
        for (node, running) in self.tasks.expire(self.clock) {
            tracing::warn!(%node, task = ?running.task, "a task took too long");
            self.fell_through(node, &running);
        }
        self.trials.expire(self.clock);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Revive(node) => {
                tracing::info!(%node, "a data node is live");
                self.endangered.retry_all();
                let was_dead = self
                    .view
                    .node(node)
                    .is_some_and(|node| node.liveness == Liveness::Dead);
                if was_dead {
                    self.view.want_report(node);
                    self.searches.nodes.remove(&node);
                }
                self.view.set_liveness(node, Liveness::Live);
            }
            Effect::Suspect(node) => {
                tracing::warn!(%node, "a data node is suspect: it missed heartbeats");
                self.view.set_liveness(node, Liveness::Suspect);
            }
            Effect::Bury(node) => {
                tracing::warn!(%node, "a data node is dead: its chunks are repaired");
                self.view.set_liveness(node, Liveness::Dead);
                self.forget_tasks(node);
                self.searches.nodes.insert(node, None);
            }
            Effect::Fence(_) => {}
        }
    }

    /// Notes that something happened to a chunk; forgotten when there is too much, because the
    /// pass over all chunks finds it too.
    pub(crate) fn hint(&mut self, chunk: ChunkId) {
        if self.hints.len() < HINTS_MAX {
            self.hints.insert(chunk);
        }
    }

    /// Takes in what a report says of one replica.
    pub(crate) fn note(&mut self, node: NodeId, chunk: ChunkId, found: Finding) {
        report::note(&mut self.view, node, chunk, found);
        match found {
            Finding::Fault(_) => self.hint(chunk),
            Finding::Adopt => {
                if self.outbox.len() < RESULTS_MAX {
                    self.outbox.adopted.entry(node).or_default().insert(chunk);
                }
                self.hint(chunk);
            }
            Finding::Fine
            | Finding::Surplus
            | Finding::CorruptSurplus
            | Finding::Orphan
            | Finding::Nothing => {}
        }
    }

    /// Begins the survey once no data node is waited for any longer, and begins it again after
    /// some of what it found was more than is kept.
    pub(crate) fn begin_survey(&mut self) {
        let searches = &mut self.searches;
        if searches.survey == Survey::Done && self.endangered.has_room_again() {
            searches.survey = Survey::Awaited;
        }
        if searches.survey == Survey::Awaited && !self.view.nodes().any(NodeView::is_awaited) {
            searches.survey = Survey::Begun;
            (searches.pass, searches.pass_again) = (None, self.clock);
        }
    }

    /// Whether every chunk that lacks a copy is among the endangered.
    pub(crate) fn has_surveyed(&self) -> bool {
        self.searches.survey == Survey::Done && !self.endangered.has_overflowed()
    }

    /// What is wrong with a chunk, if anything: fewer replicas are confirmed than wanted.
    pub(crate) fn ailment(&self, id: ChunkId, chunk: &Intended) -> Option<String> {
        let replicas = chunk.replicas.iter();
        let confirmed = replicas.filter(|node| self.view.confirmed(**node, id));
        let confirmed: Vec<_> = confirmed.collect();
        let (wanted, meant) = (usize::from(chunk.target.0), &chunk.replicas);
        (confirmed.len() < wanted).then(|| {
            format!("{id} is meant to be on {meant:?}, confirmed {confirmed:?}, wanted {wanted}")
        })
    }

    /// Has a node read a replica through that someone doubts.
    pub(crate) fn doubt(&mut self, node: NodeId, chunk: ChunkId) {
        let known = self.view.node(node).and_then(|node| node.fault(chunk));
        if known.is_none() && self.tasks.of_node(node).len() < DOUBTS_MAX {
            self.verify(node, chunk);
        }
    }

    /// Has a node read a replica through.
    pub(crate) fn verify(&mut self, node: NodeId, chunk: ChunkId) {
        let task = Task::Verify { chunk };
        self.tasks.start(node, task, Purpose::Doubt, self.clock);
    }

    /// Has a node read all of its replicas through; false if it is not heard.
    pub(crate) fn scrub(&mut self, node: NodeId) -> bool {
        let known = self.view.node(node);
        if !known.is_some_and(|node| node.heard && node.liveness != Liveness::Dead) {
            return false;
        }
        // One that was given and has not ended is as good.
        self.tasks
            .start(node, Task::Scrub, Purpose::Asked, self.clock);
        true
    }

    /// Whether results of tasks can be taken in.
    pub(crate) fn has_room_for_results(&self) -> bool {
        self.outbox.len() < RESULTS_MAX
    }

    /// Takes in how a task ended. `chunk` is what the map says of the chunk it was about.
    pub(crate) fn finished(&mut self, node: NodeId, ended: &TaskResult, chunk: Option<&Intended>) {
        let running = self.tasks.finish(node, &ended.task);
        match (&ended.task, &ended.result) {
            (
                Task::Copy {
                    chunk: id, length, ..
                }
                | Task::Rebuild {
                    chunk: id, length, ..
                },
                Ok(()),
            ) => {
                self.meter.add(self.clock, *length);
                self.copied(node, *id, running.map(|r| r.purpose), chunk);
            }
            (Task::Delete { chunks }, Ok(())) => {
                for &chunk in chunks {
                    self.view.gone(node, chunk);
                }
                let deleted = self.outbox.deleted.entry(node).or_default();
                deleted.extend(chunks);
            }
            (Task::Verify { chunk: id }, result) => {
                let wanted = chunk.is_some_and(|chunk| chunk.replicas.contains(&node));
                self.trials.witnessed(*id, node, result.is_ok());
                match result {
                    Ok(()) if wanted => self.note(node, *id, Finding::Fine),
                    Err(_) if wanted => self.note(node, *id, Finding::Fault(Fault::Corrupt)),
                    Ok(()) | Err(_) => {}
                }
            }
            (Task::Scrub, Ok(())) => {}
            (Task::Rewrite { .. }, Ok(())) => {
                if let Some(running) = running {
                    self.rewritten(running.purpose, &ended.task, &ended.stored);
                }
            }
            (
                Task::Copy { .. }
                | Task::Rebuild { .. }
                | Task::Delete { .. }
                | Task::Scrub
                | Task::Rewrite { .. },
                Err(reason),
            ) => {
                tracing::warn!(%node, task = ?ended.task, reason, "a task failed");
                if let Some(running) = running {
                    self.fell_through(node, &running);
                }
            }
        }
    }

    fn copied(
        &mut self,
        node: NodeId,
        id: ChunkId,
        purpose: Option<Purpose>,
        chunk: Option<&Intended>,
    ) {
        let Some(chunk) = chunk else {
            self.note(node, id, Finding::Orphan);
            return;
        };
        if chunk.replicas.contains(&node) {
            self.note(node, id, Finding::Fine);
            return;
        }
        let lacking = repair::assess(&self.view, id, chunk).lacking > 0;
        match purpose {
            Some(Purpose::Repair { replaces }) if lacking => {
                let by = node;
                self.outbox.made.insert(id, Made { by, replaces });
            }
            Some(Purpose::Move { from }) if !lacking && chunk.replicas.contains(&from) => {
                let (by, replaces) = (node, Some(from));
                self.outbox.made.insert(id, Made { by, replaces });
            }
            // It was cancelled, or another leader wanted it: the planners may still use it.
            _ => self.note(node, id, Finding::Surplus),
        }
    }

    /// Takes in that a copy was recorded, in the place of another if it says so. What is there of
    /// that one is surplus from now on, though its bytes may be wrong.
    pub(crate) fn replaced(&mut self, chunk: ChunkId, by: NodeId, replaces: Option<NodeId>) {
        self.view.settle(by, chunk);
        let Some(old) = replaces else {
            return;
        };
        let fault = self.view.node(old).and_then(|node| node.fault(chunk));
        match fault {
            Some(Fault::Corrupt) => self.note(old, chunk, Finding::CorruptSurplus),
            _ if repair::is_good(&self.view, chunk, old) => {
                self.note(old, chunk, Finding::Surplus);
            }
            _ => {}
        }
    }

    /// Takes in that a copy was not recorded: it is surplus, and is to be made elsewhere.
    pub(crate) fn not_replaced(&mut self, chunk: ChunkId, by: NodeId) {
        self.note(by, chunk, Finding::Surplus);
        self.endangered.set_back(chunk, Some(by), self.clock);
    }

    fn fell_through(&mut self, node: NodeId, running: &Running) {
        if let Some((chunk, _)) = made_by(&running.task) {
            if let Purpose::Move { from } = running.purpose {
                // Another chunk is tried before.
                self.searches.full.insert(from, chunk);
            }
            self.endangered.set_back(chunk, Some(node), self.clock);
        }
        if matches!(running.task, Task::Rewrite { .. }) {
            self.rewrite_failed(running);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::view::tests::row;
    use crate::types::ReplicationTarget;

    const C: ChunkId = ChunkId(1);

    fn leading() -> Leading {
        let config = MasterConfig::new("x");
        let mut leading = Leading::new(3, &config, (1..=4).map(row).collect());
        for id in 1..=4 {
            assert!(leading.heartbeat(&heartbeat(id, 1)));
        }
        leading
    }

    fn heartbeat(id: u32, epoch: u32) -> Heartbeat {
        Heartbeat {
            node: NodeId(id),
            epoch: NodeEpoch(epoch),
            space: row(id).space,
            replicas: 0,
            streams: 0,
            failed: None,
            volumes: Vec::new(),
            peers: 0,
            down: Vec::new(),
        }
    }

    fn intended(nodes: &[u32]) -> Intended {
        Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(3),
            replicas: nodes.iter().copied().map(NodeId).collect(),
            stripe: None,
        }
    }

    fn copy_done(replicas: &[u32], wanted: bool) -> Leading {
        let mut leading = leading();
        let task = Task::Copy {
            chunk: C,
            length: 10,
            checksum: 7,
            sources: vec![],
        };
        let purpose = Purpose::Repair { replaces: None };
        if wanted {
            leading
                .tasks
                .start(NodeId(4), task.clone(), purpose, Duration::ZERO);
        }
        let ended = TaskResult {
            stored: Vec::new(),
            task,
            result: Ok(()),
        };
        leading.finished(NodeId(4), &ended, Some(&intended(replicas)));
        leading
    }

    #[test]
    fn a_copy_that_is_still_wanted_is_to_be_recorded() {
        let leading = copy_done(&[1, 2], true);
        let made = Made {
            by: NodeId(4),
            replaces: None,
        };
        assert_eq!(leading.outbox.made.get(&C), Some(&made));
    }

    #[test]
    fn a_copy_that_is_wanted_no_longer_is_surplus() {
        for leading in [copy_done(&[1, 2, 3], true), copy_done(&[1, 2, 3], false)] {
            assert!(leading.outbox.made.is_empty());
            assert_eq!(leading.view.strays(C).collect::<Vec<_>>(), [NodeId(4)]);
        }
    }

    #[test]
    fn a_failed_verification_of_an_intended_replica_is_a_fault() {
        let mut leading = leading();
        let ended = TaskResult {
            stored: Vec::new(),
            task: Task::Verify { chunk: C },
            result: Err("bad".to_owned()),
        };
        leading.finished(NodeId(1), &ended, Some(&intended(&[1, 2, 3])));
        let fault = leading.view.node(NodeId(1)).and_then(|n| n.fault(C));
        assert_eq!(fault, Some(Fault::Corrupt));
        assert!(leading.hints.contains(&C));
    }

    #[test]
    fn a_replica_in_whose_place_another_came_is_surplus_unless_it_is_missing() {
        for (fault, is_surplus) in [
            (None, true),
            (Some(Fault::Corrupt), true),
            (Some(Fault::Missing), false),
        ] {
            let mut leading = leading();
            if let Some(fault) = fault {
                leading.note(NodeId(1), C, Finding::Fault(fault));
            }
            leading.replaced(C, NodeId(4), Some(NodeId(1)));
            assert_eq!(
                leading.view.is_surplus(NodeId(1), C),
                is_surplus,
                "{fault:?}"
            );
        }
    }

    #[test]
    fn a_late_deletion_of_what_is_wanted_again_stays_a_fault() {
        let mut leading = leading();
        leading.note(NodeId(1), C, Finding::Fault(Fault::Missing));
        let ended = TaskResult {
            stored: Vec::new(),
            task: Task::Delete { chunks: vec![C] },
            result: Ok(()),
        };
        leading.finished(NodeId(1), &ended, None);
        assert!(!leading.view.confirmed(NodeId(1), C));
        let fault = leading.view.node(NodeId(1)).and_then(|n| n.fault(C));
        assert_eq!(fault, Some(Fault::Missing));
    }

    #[test]
    fn the_death_of_a_node_ends_its_tasks_and_begins_a_search_of_its_chunks() {
        let mut leading = leading();
        leading.verify(NodeId(1), C);
        let dead_after = MasterConfig::new("x").liveness.dead_after;
        leading.advance(dead_after);
        assert!(leading.tasks.of_node(NodeId(1)).is_empty());
        assert!(leading.searches.nodes.contains_key(&NodeId(1)));
        assert!(leading.heartbeat(&heartbeat(1, 1)));
        assert!(!leading.searches.nodes.contains_key(&NodeId(1)));
    }

    #[test]
    fn an_older_incarnation_must_register() {
        let mut leading = leading();
        assert!(!leading.heartbeat(&heartbeat(1, 0)));
        assert!(!leading.heartbeat(&heartbeat(9, 1)));
    }
}
