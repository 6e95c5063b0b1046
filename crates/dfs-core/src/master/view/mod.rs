//! The leader's picture of the data nodes: what the map says of them and what they said.
//!
//! All of it is soft: it is dropped with leadership and rebuilt from heartbeats and reports.
//! Memory does not grow with the number of chunks: a report is compared with the map as it
//! arrives and only *differences* are kept, each kind up to a limit for a node. What is beyond
//! the limit is found again by the full report that is asked for once there is room.
//!
//! An intended replica is **confirmed** when its node has reported in full to this leader in its
//! present incarnation, is not dead, and the replica is not among the differences, of which none
//! were beyond the limit. That is good
//! enough to choose sources and to count copies. It is not good enough to delete: a surplus copy
//! goes only after the others were read through (see `planners::surplus`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::proto::cluster::Heartbeat;
use crate::proto::metadata::{Liveness, NodeAddress};
use crate::proto::peers::PeerList;
use crate::types::topology::{AdminState, Space, Topology};
use crate::types::{ChunkId, NodeEpoch, NodeId, NodeKey, Timestamp, Volume};

/// Most differences of one kind kept for a node.
pub const DIFFERENCES_MAX: usize = 65_536;

/// What is wrong with an intended replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its node does not have it.
    Missing,
    /// It fails its checksums, at least in part.
    Corrupt,
}

/// How far a node has told what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Nothing yet, or a part was lost: a full report is wanted.
    No,
    /// All parts below this id; none yet if it is zero.
    Below(ChunkId),
    /// All.
    Full,
}

/// A part of a full report that is being taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    node: NodeId,
    /// Its turn among the parts of its node.
    turn: u64,
    from: ChunkId,
    until: Option<ChunkId>,
}

/// What the map says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Which.
    pub node: NodeId,
    /// What its directory is stamped with.
    pub key: NodeKey,
    /// `host:port`.
    pub address: String,
    /// Its failure domains.
    pub topology: Topology,
    /// What people decided.
    pub admin: AdminState,
    /// Its incarnation.
    pub epoch: NodeEpoch,
    /// Room when it registered.
    pub space: Space,
    /// Replicas it is meant to have.
    pub replicas: u64,
    /// The sum of their lengths.
    pub bytes: u64,
    /// If it rests: when that ends by itself.
    pub rests_until: Option<Timestamp>,
}

/// A node as the leader sees it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// What the map says.
    pub row: NodeRow,
    /// What heartbeats say.
    pub liveness: Liveness,
    /// Whether this leader has heard a heartbeat of this incarnation.
    pub heard: bool,
    /// Room, by the last heartbeat.
    pub space: Space,
    /// Bytes granted to writers since the last heartbeat.
    pub pledged: u64,
    /// Streams it serves, by the last heartbeat.
    pub streams: u32,
    /// Why its directory failed.
    pub failed: Option<String>,
    /// Its disks, by the last heartbeat.
    pub volumes: Vec<Volume>,
    /// How far it has reported.
    pub reported: Reported,
    /// When its last part came.
    part_at: Duration,
    /// The turn of that part.
    turn: u64,
    faults: BTreeMap<ChunkId, Fault>,
    surplus: BTreeSet<ChunkId>,
    orphans: BTreeSet<ChunkId>,
    /// More is wrong than is kept.
    faults_overflowed: bool,
    /// More is there beyond what is wanted than is kept.
    overflowed: bool,
}

impl NodeView {
    fn new(row: NodeRow) -> NodeView {
        NodeView {
            space: row.space,
            row,
            liveness: Liveness::Live,
            heard: false,
            pledged: 0,
            streams: 0,
            failed: None,
            volumes: Vec::new(),
            reported: Reported::No,
            part_at: Duration::ZERO,
            turn: 0,
            faults: BTreeMap::new(),
            surplus: BTreeSet::new(),
            orphans: BTreeSet::new(),
            faults_overflowed: false,
            overflowed: false,
        }
    }

    /// What new chunks may still use.
    pub fn available(&self) -> u64 {
        self.space.available.saturating_sub(self.pledged)
    }

    /// Whether it may be given new replicas.
    pub fn takes_replicas(&self) -> bool {
        self.heard && self.liveness == Liveness::Live && self.row.admin == AdminState::InService
    }

    /// Whether it is given up because its directory failed, and yet is heard: it takes no writes
    /// and serves what it can read.
    pub fn serves_in_spite(&self) -> bool {
        self.heard && self.liveness == Liveness::Dead && self.failed.is_some()
    }

    /// Where it listens.
    pub fn address(&self) -> NodeAddress {
        NodeAddress {
            node: self.row.node,
            key: self.row.key,
            address: self.row.address.clone(),
        }
    }

    /// What is known to be wrong with its replica of a chunk.
    pub fn fault(&self, chunk: ChunkId) -> Option<Fault> {
        self.faults.get(&chunk).copied()
    }

    /// Chunks it has beyond what is wanted.
    pub fn surplus(&self) -> impl Iterator<Item = ChunkId> {
        self.surplus.iter().copied()
    }

    /// The same, from an id on.
    pub fn surplus_from(&self, from: ChunkId) -> impl Iterator<Item = ChunkId> {
        self.surplus.range(from..).copied()
    }

    /// Chunks it has that the map does not know.
    pub fn orphans(&self) -> impl Iterator<Item = ChunkId> {
        self.orphans.iter().copied()
    }

    /// Intended replicas that are not there or not right.
    pub fn faults(&self) -> impl Iterator<Item = (ChunkId, Fault)> {
        self.faults.iter().map(|(&chunk, &fault)| (chunk, fault))
    }

    /// Whether it has told all that it has, and what is wrong with it is kept.
    pub fn has_told(&self) -> bool {
        self.reported == Reported::Full && !self.faults_overflowed
    }

    /// Whether how chunks are depends on what it has yet to tell: it is not dead, and not away
    /// on purpose.
    pub fn is_awaited(&self) -> bool {
        let rests = self.row.admin == AdminState::Maintenance && !self.heard;
        self.liveness != Liveness::Dead && !rests && !self.has_told()
    }

    /// Whether a full report is to be asked for.
    pub fn wants_report(&self) -> bool {
        let room = self
            .faults
            .len()
            .max(self.surplus.len())
            .max(self.orphans.len());
        let overflowed = self.overflowed || self.faults_overflowed;
        self.reported == Reported::No
            || (overflowed && self.reported == Reported::Full && room < DIFFERENCES_MAX / 2)
    }
}

/// The leader's picture.
#[derive(Debug, Default)]
pub struct ClusterView {
    nodes: BTreeMap<NodeId, NodeView>,
    /// What data nodes are told of each other, once it was asked for.
    peers: Option<PeerList>,
}

impl ClusterView {
    /// A node.
    pub fn node(&self, node: NodeId) -> Option<&NodeView> {
        self.nodes.get(&node)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.values()
    }

    /// All nodes and where they are, as they are told of each other.
    pub fn peers(&mut self) -> &PeerList {
        let nodes = &self.nodes;
        self.peers
            .get_or_insert_with(|| PeerList::new(nodes.values().map(NodeView::address).collect()))
    }

    /// Takes in what the map says of a node. A new incarnation must report anew; what was wrong
    /// before is kept until that report covers it. What is older than what is known is ignored.
    pub fn know(&mut self, row: NodeRow) {
        let known = self.nodes.get(&row.node).map(|node| &node.row);
        if known.is_none_or(|known| (known.key, &known.address) != (row.key, &row.address)) {
            self.peers = None;
        }
        match self.nodes.get_mut(&row.node) {
            Some(node) if row.epoch < node.row.epoch => {}
            Some(node) => {
                if node.row.epoch != row.epoch {
                    node.reported = Reported::No;
                    node.heard = false;
                    node.failed = None;
                    node.space = row.space;
                }
                node.row = row;
            }
            None => {
                self.nodes.insert(row.node, NodeView::new(row));
            }
        }
    }

    /// Forgets a node: it is one no more.
    pub fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.peers = None;
    }

    /// Takes in a heartbeat of the present incarnation.
    pub fn heard(&mut self, heartbeat: &Heartbeat) {
        if let Some(node) = self.nodes.get_mut(&heartbeat.node) {
            node.heard = true;
            node.space = heartbeat.space;
            node.pledged = 0;
            node.streams = heartbeat.streams;
            node.failed.clone_from(&heartbeat.failed);
            node.volumes.clone_from(&heartbeat.volumes);
        }
    }

    /// Sets what heartbeats say of a node.
    pub fn set_liveness(&mut self, node: NodeId, liveness: Liveness) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.liveness = liveness;
        }
    }

    /// Counts `bytes` as used on a node until its next heartbeat tells.
    pub fn pledge(&mut self, node: NodeId, bytes: u64) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.pledged = node.pledged.saturating_add(bytes);
        }
    }

    /// Asks a node for a full report.
    pub fn want_report(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.reported = Reported::No;
        }
    }

    /// Begins a part of a full report: what was known of the range is forgotten. None if a part
    /// before it was lost; then the node is asked to begin again.
    pub fn begin_part(
        &mut self,
        now: Duration,
        node: NodeId,
        from: ChunkId,
        until: Option<ChunkId>,
    ) -> Option<Part> {
        let id = node;
        let node = self.nodes.get_mut(&id)?;
        if from == ChunkId(0) {
            (node.overflowed, node.faults_overflowed) = (false, false);
            node.reported = Reported::Below(from);
        } else if node.reported != Reported::Below(from) {
            node.reported = Reported::No;
            return None;
        }
        let covered = |chunk: &ChunkId| *chunk >= from && until.is_none_or(|until| *chunk < until);
        node.faults.retain(|chunk, _| !covered(chunk));
        node.surplus.retain(|chunk| !covered(chunk));
        node.orphans.retain(|chunk| !covered(chunk));
        node.part_at = now;
        node.turn += 1;
        Some(Part {
            node: id,
            turn: node.turn,
            from,
            until,
        })
    }

    /// Ends a part of a full report: all that is wrong in its range is noted. Nothing comes of it
    /// if another began meanwhile.
    pub fn end_part(&mut self, part: Part) {
        if let Some(node) = self.nodes.get_mut(&part.node)
            && (node.turn, node.reported) == (part.turn, Reported::Below(part.from))
        {
            node.reported = part.until.map_or(Reported::Full, Reported::Below);
        }
    }

    /// Notes that an intended replica is not there or not right.
    pub fn add_fault(&mut self, node: NodeId, chunk: ChunkId, fault: Fault) {
        if let Some(node) = self.nodes.get_mut(&node) {
            if node.faults.len() < DIFFERENCES_MAX || node.faults.contains_key(&chunk) {
                node.faults.insert(chunk, fault);
            } else {
                node.faults_overflowed = true;
            }
        }
    }

    /// Notes a replica beyond what is wanted.
    pub fn add_surplus(&mut self, node: NodeId, chunk: ChunkId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.overflowed |= !keep(&mut node.surplus, chunk);
        }
    }

    /// Notes a replica of a chunk that the map does not know.
    pub fn add_orphan(&mut self, node: NodeId, chunk: ChunkId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.overflowed |= !keep(&mut node.orphans, chunk);
        }
    }

    /// Forgets a replica that nobody wanted: it is deleted. If it is wanted by now, its node
    /// reports it missing.
    pub fn gone(&mut self, node: NodeId, chunk: ChunkId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            if node.surplus.remove(&chunk) {
                node.faults.remove(&chunk);
            }
            node.orphans.remove(&chunk);
        }
    }

    /// Forgets all differences about a chunk on a node: it is there and right, or gone.
    pub fn settle(&mut self, node: NodeId, chunk: ChunkId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.faults.remove(&chunk);
            node.surplus.remove(&chunk);
            node.orphans.remove(&chunk);
        }
    }

    /// Whether an intended replica is there as far as is known.
    pub fn confirmed(&self, node: NodeId, chunk: ChunkId) -> bool {
        self.nodes.get(&node).is_some_and(|node| {
            node.has_told() && node.liveness != Liveness::Dead && node.fault(chunk).is_none()
        })
    }

    /// Whether a node has a copy of a chunk beyond what is wanted.
    pub fn is_surplus(&self, node: NodeId, chunk: ChunkId) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|node| node.surplus.contains(&chunk))
    }

    /// Nodes with a copy of a chunk that they are not meant to have, right as far as is known.
    pub fn strays(&self, chunk: ChunkId) -> impl Iterator<Item = NodeId> {
        let right = move |node: &&NodeView| node.fault(chunk).is_none();
        self.beyond(chunk).filter(right).map(|node| node.row.node)
    }

    /// Nodes with such a copy that is corrupt; some of its blocks are right.
    pub fn damaged_strays(&self, chunk: ChunkId) -> impl Iterator<Item = NodeId> {
        let wrong = move |node: &&NodeView| node.fault(chunk).is_some();
        self.beyond(chunk).filter(wrong).map(|node| node.row.node)
    }

    fn beyond(&self, chunk: ChunkId) -> impl Iterator<Item = &NodeView> {
        let nodes = self.nodes.values();
        nodes.filter(move |node| node.liveness != Liveness::Dead && node.surplus.contains(&chunk))
    }

    /// Asks the nodes for a full report whose last part is older than `limit`.
    pub fn expire_reports(&mut self, now: Duration, limit: Duration) {
        for node in self.nodes.values_mut() {
            let late = now.saturating_sub(node.part_at) >= limit;
            if late && matches!(node.reported, Reported::Below(_)) {
                node.reported = Reported::No;
            }
        }
    }

    /// Sorts the replicas of a chunk so that a reader does well to begin with the first: nodes
    /// that are live before those that are not, right replicas before faulty ones, the least
    /// loaded first.
    pub fn sort_for_reading(&self, chunk: ChunkId, replicas: &mut [NodeId]) {
        replicas.sort_by_key(|&id| match self.nodes.get(&id) {
            Some(node) => (node.fault(chunk).is_some(), node.liveness, node.streams, id),
            None => (true, Liveness::Dead, 0, id),
        });
    }

    /// Room on all nodes that are not dead.
    pub fn space(&self) -> Space {
        let mut sum = Space::default();
        for node in self.nodes.values() {
            if node.liveness != Liveness::Dead {
                sum.total = sum.total.saturating_add(node.space.total);
                sum.used = sum.used.saturating_add(node.space.used);
                sum.available = sum.available.saturating_add(node.space.available);
            }
        }
        sum
    }
}

/// Adds a chunk to differences of one kind, if there is room.
fn keep(differences: &mut BTreeSet<ChunkId>, chunk: ChunkId) -> bool {
    if differences.len() < DIFFERENCES_MAX {
        differences.insert(chunk);
    }
    differences.contains(&chunk)
}

#[cfg(test)]
pub(crate) mod tests;
