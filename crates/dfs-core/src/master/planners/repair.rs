//! Which chunks lack copies, and which copies to make next: most endangered first, within a
//! budget.
//!
//! Chunks come here from reports (a replica is missing or corrupt), from commits that were
//! acknowledged with fewer copies than wanted, from the ranges of dead and draining nodes, and
//! from a slow pass over the whole map that finds whatever was forgotten. Each is looked up
//! again before a copy is planned, so what has healed meanwhile costs nothing.
//!
//! A copy goes back to a node that should have one and does not, if that node can take it, else
//! to a node that has one it should not have, and otherwise to a new place; in the last two cases
//! it takes the place of a replica that is lost. Copies are made by nodes
//! pulling from nodes; every byte is verified there, so a source that turns out to be wrong costs
//! time only. Nothing is deleted here.
//!
//! A member of a stripe has one replica. When that can still be read it is copied; when it cannot,
//! the member is made from others ([`rebuild`](super::rebuild)). It counts as having as many copies
//! as members of its stripe may be lost until it is lost, and one more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Intended;
use super::placement::{self, PlacementError, Wish};
use super::rebuild::{Recipe, Remains};
use super::wait::Wait;
use crate::master::tasks::Tasks;
use crate::master::view::{ClusterView, Fault};
use crate::proto::metadata::Liveness;
use crate::types::topology::AdminState;
use crate::types::{ChunkId, NodeId};

/// Most chunks in the queue, and as many again of which no copy can be read: these wait for their
/// nodes, and keep nobody from being repaired. The rest is found again by the next pass.
pub const ENDANGERED_MAX: usize = 65_536;
/// How long a chunk that could not be repaired is left alone at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Most nodes avoided for a chunk.
const SETBACK_NODES_MAX: usize = 4;

/// How much repair may cost at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairBudget {
    /// Copies a node makes or serves at a time.
    pub copies_per_node: usize,
    /// Bytes of copies a node makes or serves at a time; one copy may have more.
    pub bytes_per_node: u64,
    /// Copies under way in the cluster.
    pub copies: usize,
    /// Bytes of copies under way.
    pub bytes: u64,
    /// Bytes of copies a second that a node makes and serves.
    pub bytes_per_second_per_node: u64,
    /// Bytes of copies a second in the cluster.
    pub bytes_per_second: u64,
    /// Chunks looked at in one tick.
    pub lookups_per_tick: usize,
}

impl RepairBudget {
    /// Four large copies a node or 48 small ones, 256 in all, 2 GiB under way; 128 MiB a second
    /// for a node, 4 GiB a second for all.
    pub const DEFAULT: RepairBudget = RepairBudget {
        copies_per_node: 48,
        bytes_per_node: 256 << 20,
        copies: 256,
        bytes: 2 << 30,
        bytes_per_second_per_node: 128 << 20,
        bytes_per_second: 4 << 30,
        lookups_per_tick: 512,
    };
}

/// How the replicas of a chunk are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// Good, on nodes that stay.
    pub good: Vec<NodeId>,
    /// Good, on nodes that are being emptied.
    pub leaving: Vec<NodeId>,
    /// On nodes away on purpose: counted, not read.
    pub resting: Vec<NodeId>,
    /// Missing or corrupt on nodes that are not dead.
    pub faulty: Vec<NodeId>,
    /// Of these, the corrupt ones: most of their blocks are good.
    pub damaged: Vec<NodeId>,
    /// On nodes that are dead or unknown.
    pub dead: Vec<NodeId>,
    /// Of these, on nodes that are heard: their directory failed, and may still be read.
    pub failing: Vec<NodeId>,
    /// On nodes that are not meant to have one; they may be good.
    pub stray: Vec<NodeId>,
    /// Copies to make.
    pub lacking: usize,
    /// What is left of its stripe; only where a copy lacks.
    pub remains: Option<Remains>,
}

impl Assessment {
    /// Copies that can be read now. Two damaged ones may be a good one together. Of a member of a
    /// stripe: how many members can be lost, and one more.
    pub fn readable(&self) -> usize {
        let own = self.whole() + usize::from(self.damaged.len() > 1);
        let spare = self
            .remains
            .as_ref()
            .map_or(0, |remains| remains.spare(own > 0));
        own.max(spare)
    }

    /// Whole copies that can be read.
    fn whole(&self) -> usize {
        self.good.len() + self.leaving.len() + self.stray.len() + self.failing.len()
    }

    /// Whether copies are to be made and can be.
    pub fn wants_repair(&self) -> bool {
        self.lacking > 0 && self.readable() > 0
    }
}

/// Whether a replica is there as far as is known: nothing says otherwise.
pub fn is_good(view: &ClusterView, chunk: ChunkId, node: NodeId) -> bool {
    view.node(node)
        .is_some_and(|node| node.liveness != Liveness::Dead && node.fault(chunk).is_none())
}

/// Looks at the replicas of a chunk.
pub fn assess(view: &ClusterView, chunk: ChunkId, intended: &Intended) -> Assessment {
    let mut found = Assessment::default();
    for &id in &intended.replicas {
        let Some(node) = view.node(id) else {
            found.dead.push(id);
            continue;
        };
        let list = match (node.liveness, node.row.admin) {
            (Liveness::Dead, AdminState::Maintenance) if node.failed.is_none() => {
                &mut found.resting
            }
            (Liveness::Dead, _) => &mut found.dead,
            _ if node.fault(chunk).is_some() => &mut found.faulty,
            (_, AdminState::Draining | AdminState::Drained) => &mut found.leaving,
            _ => &mut found.good,
        };
        list.push(id);
        let fault = node.fault(chunk);
        if node.serves_in_spite() && fault.is_none() {
            found.failing.push(id);
        }
        if node.liveness != Liveness::Dead && fault == Some(Fault::Corrupt) {
            found.damaged.push(id);
        }
    }
    found.stray.extend(view.strays(chunk));
    found.damaged.extend(view.damaged_strays(chunk));
    let have = found.good.len() + found.resting.len();
    found.lacking = usize::from(intended.target.0).saturating_sub(have);
    if let Some(stripe) = intended.stripe.as_ref().filter(|_| found.lacking > 0) {
        found.remains = Some(Remains::of(view, chunk, stripe));
    }
    found
}

/// How repairing a chunk failed so far.
#[derive(Debug, Default)]
struct Setback {
    /// Nodes that could not make the copy, lately.
    nodes: Vec<NodeId>,
    wait: Wait,
}

/// Where a chunk is in the queue, and what it lacks.
#[derive(Debug, Clone, Copy)]
struct Place {
    readable: usize,
    since: Duration,
    bytes: u64,
}

/// Chunks that lack copies, most endangered first.
#[derive(Debug)]
pub struct Endangered {
    /// See [`ENDANGERED_MAX`].
    room: usize,
    order: BTreeSet<(usize, Duration, ChunkId)>,
    chunks: BTreeMap<ChunkId, Place>,
    /// How many of them have no copy that can be read.
    missing: usize,
    /// Bytes of the copies that they lack.
    bytes: u64,
    /// What went wrong with some of them.
    setbacks: BTreeMap<ChunkId, Setback>,
    /// Some that can be repaired found no room.
    overflowed: bool,
}

impl Default for Endangered {
    fn default() -> Endangered {
        Endangered::with_room(ENDANGERED_MAX)
    }
}

impl Endangered {
    /// A queue of so many chunks, and as many again of which no copy can be read.
    pub fn with_room(room: usize) -> Endangered {
        Endangered {
            room,
            order: BTreeSet::new(),
            chunks: BTreeMap::new(),
            missing: 0,
            bytes: 0,
            setbacks: BTreeMap::new(),
            overflowed: false,
        }
    }

    /// Takes a chunk in, or changes its place, by what was found of it at `now`: the copies that
    /// can be read, and the bytes of those that lack. In a full queue it takes the place of the
    /// least endangered, or gets none.
    pub fn update(&mut self, chunk: ChunkId, readable: usize, bytes: u64, now: Duration) {
        let since = self.unlink(chunk).unwrap_or(now);
        if readable == 0 {
            if self.missing >= self.room {
                return;
            }
            self.missing += 1;
        } else if self.repairable() >= self.room {
            self.overflowed = true;
            match self.order.last() {
                Some(&last) if (readable, since, chunk) < last => self.remove(last.2),
                _ => return,
            };
        }
        self.order.insert((readable, since, chunk));
        let place = Place {
            readable,
            since,
            bytes,
        };
        self.chunks.insert(chunk, place);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes a chunk out; since when it was in.
    pub fn remove(&mut self, chunk: ChunkId) -> Option<Duration> {
        let since = self.unlink(chunk)?;
        self.setbacks.remove(&chunk);
        Some(since)
    }

    fn unlink(&mut self, chunk: ChunkId) -> Option<Duration> {
        let place = self.chunks.remove(&chunk)?;
        self.order.remove(&(place.readable, place.since, chunk));
        self.missing -= usize::from(place.readable == 0);
        self.bytes = self.bytes.saturating_sub(place.bytes);
        Some(place.since)
    }

    /// Leaves a chunk alone for a while, longer each time: it could not be repaired, by the
    /// fault of `node` if one is named.
    pub fn set_back(&mut self, chunk: ChunkId, node: Option<NodeId>, now: Duration) {
        if !self.chunks.contains_key(&chunk) {
            return;
        }
        let setback = self.setbacks.entry(chunk).or_default();
        setback.wait.grow(now, (PAUSE_MIN, PAUSE_MAX));
        match node {
            Some(node) if setback.nodes.len() < SETBACK_NODES_MAX => setback.nodes.push(node),
            // Nobody is avoided for ever: when nobody else can, they may.
            Some(_) | None => setback.nodes.clear(),
        }
    }

    /// Leaves no chunk alone any longer: there is a new place for copies.
    pub fn retry_all(&mut self) {
        self.setbacks.clear();
    }

    /// Nodes that could not make a copy of a chunk, lately.
    pub fn avoided(&self, chunk: ChunkId) -> &[NodeId] {
        self.setbacks
            .get(&chunk)
            .map_or(&[], |setback| &setback.nodes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// How many have a copy that can be read, or can be made.
    pub fn repairable(&self) -> usize {
        self.chunks.len() - self.missing
    }

    /// Bytes of the copies that they lack.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many chunks are to be repaired before this one, and how long it is left alone; none if
    /// it lacks nothing.
    pub fn place(&self, chunk: ChunkId, now: Duration) -> Option<(usize, Duration)> {
        let place = self.chunks.get(&chunk)?;
        let key = (place.readable, place.since, chunk);
        let setback = self.setbacks.get(&chunk);
        let again = setback.map_or(Duration::ZERO, |setback| setback.wait.left(now));
        Some((self.order.range(..key).count(), again))
    }

    /// Whether some that can be repaired found no room, since it was made up for.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether some found no room, and now there is some; asked again, no more.
    pub fn has_room_again(&mut self) -> bool {
        self.repairable() <= self.room / 2 && std::mem::take(&mut self.overflowed)
    }

    /// Those of which no copy can be read.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The chunks to be tried now, most endangered first, beginning with those of which a copy
    /// is left.
    pub fn first(&self, limit: usize, now: Duration) -> Vec<ChunkId> {
        let start = (1, Duration::ZERO, ChunkId(0));
        let waits =
            |chunk| matches!(self.setbacks.get(&chunk), Some(s) if !s.wait.left(now).is_zero());
        let able = self.order.range(start..).map(|&(_, _, chunk)| chunk);
        able.filter(|&chunk| !waits(chunk)).take(limit).collect()
    }
}

/// A copy to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCopy {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Who makes it.
    pub to: NodeId,
    /// The intended replica it stands in for afterwards; none if it is one more, or the same.
    pub replaces: Option<NodeId>,
    /// Who has it, best choice first.
    pub sources: Vec<NodeId>,
    /// What it is made from if nobody has it.
    pub recipe: Option<Recipe>,
}

impl PlannedCopy {
    /// The move of a replica that is good where it is; `good` are all that are.
    pub(super) fn moving(
        view: &ClusterView,
        (chunk, intended): (ChunkId, &Intended),
        (from, to): (NodeId, NodeId),
        good: Vec<NodeId>,
    ) -> PlannedCopy {
        let mut sources = good;
        view.sort_for_reading(chunk, &mut sources);
        PlannedCopy {
            chunk,
            length: intended.length,
            checksum: intended.checksum,
            to,
            replaces: Some(from),
            sources,
            recipe: None,
        }
    }

    /// The nodes that are asked first.
    pub(super) fn helpers(&self) -> Vec<NodeId> {
        match &self.recipe {
            None => self.sources.first().copied().into_iter().collect(),
            Some(recipe) => {
                let parts = recipe.parts.iter().take(recipe.shape.data());
                parts
                    .filter_map(|part| part.nodes.first().copied())
                    .collect()
            }
        }
    }
}

/// Plans the next copy of a chunk, if it wants one.
///
/// `avoid` are nodes that failed to make it before.
///
/// # Errors
/// There is no node to put it on.
pub fn plan_copy(
    view: &ClusterView,
    chunk: ChunkId,
    intended: &Intended,
    avoid: &[NodeId],
    random: &mut dyn FnMut(u64) -> u64,
) -> Result<Option<PlannedCopy>, PlacementError> {
    let found = assess(view, chunk, intended);
    if !found.wants_repair() {
        return Ok(None);
    }
    let mut sources: Vec<NodeId> = found.good.iter().chain(&found.leaving).copied().collect();
    view.sort_for_reading(chunk, &mut sources);
    sources.extend(found.stray.iter().chain(&found.failing));
    sources.extend(&found.damaged);
    let stripe = intended.stripe.as_ref().filter(|_| found.whole() == 0);
    let recipe = stripe
        .zip(found.remains.as_ref())
        .and_then(|(stripe, remains)| remains.recipe(chunk, stripe));
    let neighbours: &[NodeId] = found.remains.as_ref().map_or(&[], |r| &r.neighbours);
    let plan = |to, replaces| PlannedCopy {
        chunk,
        length: intended.length,
        checksum: intended.checksum,
        to,
        replaces,
        sources,
        recipe,
    };
    let able = |node: &&NodeId| {
        !avoid.contains(node)
            && view
                .node(**node)
                .is_some_and(|node| node.takes_replicas() && node.available() >= intended.length)
    };
    if let Some(&back) = found.faulty.iter().find(able) {
        return Ok(Some(plan(back, None)));
    }
    let lost = found.dead.iter().chain(&found.faulty).chain(&found.leaving);
    let replaces = lost.copied().next();
    let apart = |node: &&NodeId| !neighbours.contains(node) && able(node);
    if let Some(&stray) = found.stray.iter().find(apart) {
        // It has one already: making it again costs a look at it.
        return Ok(Some(plan(stray, replaces)));
    }
    let elsewhere = intended.replicas.iter().chain(avoid).chain(neighbours);
    let elsewhere: Vec<NodeId> = elsewhere.copied().collect();
    let beside: Vec<NodeId> = found.good.iter().chain(neighbours).copied().collect();
    let wish = Wish {
        replicas: 1,
        replicas_min: 1,
        bytes: intended.length,
        beside: &beside,
        avoid: &elsewhere,
    };
    let to = placement::place(view, wish, random)?;
    Ok(to.first().map(|&to| plan(to, replaces)))
}

/// Whether the budget allows a copy.
pub fn affordable(budget: &RepairBudget, tasks: &Tasks, copy: &PlannedCopy) -> bool {
    let fits = |copies: usize, bytes: u64, budget: u64| {
        copies == 0 || bytes.saturating_add(copy.length) <= budget
    };
    let has_time = |node| {
        let (copies, bytes) = tasks.copies_at(node);
        copies < budget.copies_per_node && fits(copies, bytes, budget.bytes_per_node)
    };
    tasks.copies() < budget.copies
        && fits(tasks.copies(), tasks.bytes(), budget.bytes)
        && has_time(copy.to)
        && copy.helpers().into_iter().all(has_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::planners::rebuild::tests::stripe;
    use crate::master::planners::report::{self, Finding};
    use crate::master::tasks::Purpose;
    use crate::master::view::tests::{heartbeat, row, view};
    use crate::master::view::{Fault, NodeRow};
    use crate::proto::cluster::{Heartbeat, Task};
    use crate::types::ReplicationTarget;

    const C: ChunkId = ChunkId(1);

    fn intended(nodes: &[u32]) -> Intended {
        Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(3),
            replicas: nodes.iter().copied().map(NodeId).collect(),
            stripe: None,
        }
    }

    fn plan(view: &ClusterView, nodes: &[u32]) -> Option<PlannedCopy> {
        plan_copy(view, C, &intended(nodes), &[], &mut |_| 0).unwrap_or(None)
    }

    #[test]
    fn a_full_queue_has_the_most_endangered_and_says_that_it_lacks_some() {
        let mut queue = Endangered::with_room(2);
        let now = Duration::from_secs;
        for chunk in 1..=3 {
            queue.update(ChunkId(chunk), 2, 10, now(chunk));
            queue.update(ChunkId(100 + chunk), 0, 10, now(chunk));
        }
        assert_eq!(queue.first(9, now(9)), [1, 2].map(ChunkId));
        assert_eq!((queue.repairable(), queue.missing()), (2, 2));
        queue.update(ChunkId(4), 1, 10, now(4));
        assert_eq!(queue.first(9, now(9)), [4, 1].map(ChunkId));
        // What it has changes its place, and takes none of others.
        queue.update(ChunkId(1), 1, 10, now(5));
        assert_eq!(queue.first(9, now(9)), [1, 4].map(ChunkId));
        assert_eq!(queue.bytes(), 40);

        assert!(queue.has_overflowed() && !queue.has_room_again());
        queue.remove(ChunkId(1));
        assert!(queue.has_room_again() && !queue.has_overflowed());
        assert!(!queue.has_room_again());
    }

    #[test]
    fn a_healthy_chunk_is_left_alone() {
        assert_eq!(plan(&view(4), &[1, 2, 3]), None);
    }

    #[test]
    fn a_suspect_node_still_counts_as_a_copy() {
        let mut view = view(4);
        view.set_liveness(NodeId(1), Liveness::Suspect);
        assert_eq!(plan(&view, &[1, 2, 3]), None);
    }

    #[test]
    fn the_replica_of_a_dead_node_is_replaced_elsewhere() {
        let mut view = view(4);
        view.set_liveness(NodeId(2), Liveness::Dead);
        let copy = plan(&view, &[1, 2, 3]);
        let copy = copy
            .as_ref()
            .map(|c| (c.to, c.replaces, c.sources.as_slice()));
        let sources = [NodeId(1), NodeId(3)];
        assert_eq!(copy, Some((NodeId(4), Some(NodeId(2)), &sources[..])));
    }

    #[test]
    fn a_corrupt_replica_is_made_again_where_it_was() {
        let mut view = view(4);
        view.add_fault(NodeId(2), C, Fault::Corrupt);
        let copy = plan(&view, &[1, 2, 3]);
        assert_eq!(
            copy.map(|copy| (copy.to, copy.replaces)),
            Some((NodeId(2), None))
        );
    }

    #[test]
    fn corrupt_replicas_are_the_last_sources_and_enough_if_there_are_two() {
        let mut view = view(4);
        view.add_fault(NodeId(2), C, Fault::Corrupt);
        let sources = |view: &ClusterView, nodes| plan(view, nodes).map(|copy| copy.sources);
        assert_eq!(sources(&view, &[2]), None);
        assert_eq!(sources(&view, &[2, 3]), Some([3, 2].map(NodeId).to_vec()));
        view.add_fault(NodeId(3), C, Fault::Corrupt);
        assert_eq!(sources(&view, &[2, 3]), Some([2, 3].map(NodeId).to_vec()));
    }

    #[test]
    fn a_node_has_many_small_copies_under_way_or_a_few_large_ones() {
        let budget = RepairBudget::DEFAULT;
        let under_way = |length| {
            let mut tasks = Tasks::default();
            for chunk in (1..).map(ChunkId) {
                let mut copy = plan(&view(4), &[1, 2]).unwrap();
                (copy.chunk, copy.length) = (chunk, length);
                if !affordable(&budget, &tasks, &copy) {
                    break;
                }
                let task = Task::Copy {
                    chunk,
                    length,
                    checksum: 7,
                    sources: Vec::new(),
                };
                let lacking = Purpose::Repair { replaces: None };
                assert!(tasks.start(copy.to, task, lacking, Duration::ZERO));
            }
            tasks.copies()
        };
        assert_eq!(under_way(64 << 10), 48);
        assert_eq!(under_way(64 << 20), 4);
        assert_eq!(under_way(1 << 30), 1);
    }

    #[test]
    fn a_node_that_failed_to_make_the_copy_is_replaced() {
        let mut view = view(4);
        view.add_fault(NodeId(2), C, Fault::Corrupt);
        let copy = plan_copy(&view, C, &intended(&[1, 2, 3]), &[NodeId(2)], &mut |_| 0);
        let copy = copy.unwrap_or(None).map(|copy| (copy.to, copy.replaces));
        assert_eq!(copy, Some((NodeId(4), Some(NodeId(2)))));
    }

    #[test]
    fn a_chunk_committed_with_fewer_copies_gets_one_more() {
        let copy = plan(&view(3), &[1, 2]);
        assert_eq!(
            copy.map(|copy| (copy.to, copy.replaces)),
            Some((NodeId(3), None))
        );
    }

    #[test]
    fn a_stray_copy_takes_the_place_of_a_lost_one() {
        let mut view = view(6);
        view.set_liveness(NodeId(2), Liveness::Dead);
        view.add_surplus(NodeId(6), C);
        let copy = plan(&view, &[1, 2, 3]);
        assert_eq!(
            copy.map(|copy| (copy.to, copy.replaces)),
            Some((NodeId(6), Some(NodeId(2))))
        );
    }

    #[test]
    fn a_stray_copy_is_the_source_when_all_others_are_lost() {
        let mut view = view(2);
        view.set_liveness(NodeId(1), Liveness::Dead);
        view.add_surplus(NodeId(2), C);
        let copy = plan_copy(&view, C, &intended(&[1]), &[NodeId(2)], &mut |_| 0);
        assert!(matches!(copy, Err(PlacementError::TooFewNodes { .. })));
        let copy = plan(&view, &[1]);
        assert_eq!(copy.map(|copy| copy.sources), Some(vec![NodeId(2)]));
    }

    #[test]
    fn a_node_whose_directory_failed_is_the_last_source() {
        let mut view = view(4);
        for node in [1, 2] {
            view.set_liveness(NodeId(node), Liveness::Dead);
        }
        view.heard(&Heartbeat {
            failed: Some("EIO".to_owned()),
            volumes: Vec::new(),
            peers: 0,
            down: Vec::new(),
            ..heartbeat(1)
        });
        let sources = |nodes| plan(&view, nodes).map(|copy| (copy.to, copy.sources));
        let both = [NodeId(3), NodeId(1)].to_vec();
        assert_eq!(sources(&[1, 2, 3]), Some((NodeId(4), both)));
        let nodes = intended(&[1, 2]);
        assert_eq!(assess(&view, C, &nodes).readable(), 1);
        assert_eq!(sources(&[2]), None);
    }

    #[test]
    fn a_draining_node_is_a_source_but_no_copy() {
        let mut view = view(4);
        view.know(NodeRow {
            admin: AdminState::Draining,
            ..row(1)
        });
        let copy = plan(&view, &[1, 2, 3]);
        let copy = copy.map(|copy| (copy.to, copy.replaces, copy.sources.len()));
        assert_eq!(copy, Some((NodeId(4), Some(NodeId(1)), 3)));
    }

    #[test]
    fn a_node_in_maintenance_is_waited_for() {
        let mut view = view(4);
        view.know(NodeRow {
            admin: AdminState::Maintenance,
            ..row(1)
        });
        view.set_liveness(NodeId(1), Liveness::Dead);
        assert_eq!(plan(&view, &[1, 2, 3]), None);
    }

    #[test]
    fn a_chunk_without_a_readable_copy_waits_and_is_counted_as_missing() {
        let mut view = view(3);
        view.set_liveness(NodeId(1), Liveness::Dead);
        assert_eq!(plan(&view, &[1]), None);
        let mut queue = Endangered::default();
        queue.update(C, 0, 10, Duration::ZERO);
        assert_eq!(
            (queue.missing(), queue.first(10, Duration::ZERO)),
            (1, vec![])
        );
    }

    fn member(nodes: [u32; 4]) -> Intended {
        Intended {
            target: ReplicationTarget(1),
            stripe: Some(stripe(nodes).into()),
            ..intended(nodes.get(..1).filter(|n| **n != [0]).unwrap_or_default())
        }
    }

    fn plan_member(view: &ClusterView, nodes: [u32; 4]) -> Option<PlannedCopy> {
        plan_copy(view, C, &member(nodes), &[], &mut |_| 0).unwrap_or(None)
    }

    #[test]
    fn a_lost_member_is_made_from_others_on_a_node_without_one() {
        let mut view = view(6);
        assert_eq!(plan_member(&view, [1, 2, 3, 4]), None);
        view.set_liveness(NodeId(1), Liveness::Dead);
        view.set_liveness(NodeId(5), Liveness::Suspect);
        let copy = plan_member(&view, [1, 2, 3, 4]);
        let copy = copy.map(|c| (c.to, c.replaces, c.helpers(), c.recipe.map(|r| r.index)));
        let helpers = [2, 3].map(NodeId).to_vec();
        assert_eq!(copy, Some((NodeId(6), Some(NodeId(1)), helpers, Some(0))));
        let copy = plan_member(&view, [0, 2, 3, 4]).map(|copy| (copy.to, copy.replaces));
        assert_eq!(copy, Some((NodeId(6), None)));
    }

    #[test]
    fn a_member_whose_others_are_everywhere_waits_for_a_node() {
        let mut view = view(4);
        view.set_liveness(NodeId(1), Liveness::Dead);
        let copy = plan_copy(&view, C, &member([1, 2, 3, 4]), &[], &mut |_| 0);
        assert!(matches!(copy, Err(PlacementError::TooFewNodes { .. })));
    }

    #[test]
    fn a_member_that_can_be_read_is_copied_and_away_from_the_others() {
        let mut view = view(5);
        view.know(NodeRow {
            admin: AdminState::Draining,
            ..row(1)
        });
        let copy = plan_member(&view, [1, 2, 3, 4]);
        let copy = copy.map(|copy| (copy.to, copy.sources, copy.recipe));
        assert_eq!(copy, Some((NodeId(5), vec![NodeId(1)], None)));
    }

    #[test]
    fn a_corrupt_member_is_made_again_where_it_was() {
        let mut view = view(4);
        view.add_fault(NodeId(1), C, Fault::Corrupt);
        let copy = plan_member(&view, [1, 2, 3, 4]);
        let copy = copy.map(|copy| (copy.to, copy.replaces, copy.recipe.is_some()));
        assert_eq!(copy, Some((NodeId(1), None, true)));
    }

    #[test]
    fn a_corrupt_copy_beyond_the_intended_is_no_reason_not_to_make_a_lost_member_again() {
        let mut view = view(6);
        view.set_liveness(NodeId(1), Liveness::Dead);
        report::note(&mut view, NodeId(5), C, Finding::CorruptSurplus);
        let copy = plan_member(&view, [1, 2, 3, 4]).map(|copy| copy.recipe.is_some());
        assert_eq!(copy, Some(true));
        // Of copies it is the last source: some of its blocks may be right.
        let planned = plan_copy(&view, C, &intended(&[1, 2]), &[], &mut |_| 0);
        let sources = planned.unwrap().map(|copy| copy.sources);
        assert_eq!(sources, Some([2, 5].map(NodeId).to_vec()));
    }

    #[test]
    fn the_more_members_are_lost_the_more_endangered_is_each() {
        let mut view = view(6);
        let readable = |view: &ClusterView| {
            let found = assess(view, C, &member([1, 2, 3, 4]));
            (found.readable(), found.wants_repair())
        };
        view.set_liveness(NodeId(1), Liveness::Dead);
        assert_eq!(readable(&view), (2, true));
        view.set_liveness(NodeId(2), Liveness::Dead);
        assert_eq!(readable(&view), (1, true));
        view.set_liveness(NodeId(3), Liveness::Dead);
        assert_eq!(readable(&view), (0, false));
    }

    #[test]
    fn the_fewest_copies_come_first_and_then_the_oldest() {
        let mut queue = Endangered::default();
        queue.update(ChunkId(1), 2, 10, Duration::from_secs(1));
        queue.update(ChunkId(2), 1, 10, Duration::from_secs(3));
        queue.update(ChunkId(3), 1, 10, Duration::from_secs(2));
        queue.update(ChunkId(1), 2, 10, Duration::from_secs(9));
        queue.update(ChunkId(4), 2, 10, Duration::from_secs(5));
        assert_eq!(queue.first(9, Duration::ZERO), [3, 2, 1, 4].map(ChunkId));
    }

    #[test]
    fn a_chunk_that_could_not_be_repaired_is_left_alone_longer_each_time() {
        let mut queue = Endangered::default();
        queue.update(C, 1, 10, Duration::ZERO);
        queue.set_back(C, Some(NodeId(4)), Duration::ZERO);
        assert_eq!(queue.first(9, PAUSE_MIN / 2), []);
        assert_eq!(queue.first(9, PAUSE_MIN), [C]);
        assert_eq!(queue.avoided(C), [NodeId(4)]);
        queue.set_back(C, None, PAUSE_MIN);
        assert_eq!(queue.first(9, PAUSE_MIN * 2), []);
        assert_eq!(queue.avoided(C), []);
        queue.remove(C);
        queue.update(C, 1, 10, Duration::ZERO);
        assert_eq!(queue.first(9, Duration::ZERO), [C]);
    }
}
