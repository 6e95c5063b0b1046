//! Which replicas move so that data nodes are equally full.
//!
//! A node is as full as what it is *meant* to have is to what chunks may use there, so that a move
//! counts from its commit on and what is still to be deleted does not count. Replicas move from the
//! fullest node to the least full ones that can have them, as long as these stay below the common
//! measure, and as long as any node is fuller or emptier than that by more than a threshold. No
//! move makes the replicas of a
//! chunk share more fate than before, and nothing moves while anything lacks copies.
//!
//! A move is a copy, verified where it is made, that takes the place of the replica it is a copy
//! of by one commit. What it replaces is surplus then, and goes as all that is surplus: after the
//! others were read through.

use std::collections::BTreeMap;

use super::Intended;
use super::repair::{self, PlannedCopy};
use super::spread::spread;
use crate::master::tasks::Tasks;
use crate::master::view::{ClusterView, NodeView};
use crate::types::{ChunkId, NodeId};

/// How equal is equal enough, and how much may move at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceConfig {
    /// By how much of its room a node may be fuller or emptier than all together, in thousandths.
    pub threshold: u32,
    /// Moves under way.
    pub moves: usize,
    /// Chunks of a full node looked at in one tick.
    pub lookups_per_tick: usize,
}

impl BalanceConfig {
    /// Five percent, eight moves.
    pub const DEFAULT: BalanceConfig = BalanceConfig {
        threshold: 50,
        moves: 8,
        lookups_per_tick: 64,
    };

    fn threshold(&self) -> u64 {
        u64::from(self.threshold) * 1000
    }
}

/// Thousandths of a thousandth of what a node may hold: fine enough for one chunk of a large disk.
const FULL: u64 = 1_000_000;

/// How full the nodes are that take replicas, with what is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fullness {
    nodes: BTreeMap<NodeId, Use>,
    all: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Use {
    bytes: u64,
    room: u64,
}

impl Use {
    fn of(node: &NodeView) -> Use {
        Use {
            bytes: node.row.bytes,
            room: node.space.used.saturating_add(node.space.available),
        }
    }

    /// In parts of [`FULL`].
    fn full(self) -> u64 {
        let parts = u128::from(self.bytes) * u128::from(FULL);
        match self.room {
            0 => FULL,
            room => u64::try_from(parts / u128::from(room)).unwrap_or(u64::MAX),
        }
    }

    fn with(self, bytes: u64) -> Use {
        let bytes = self.bytes.saturating_add(bytes);
        Use { bytes, ..self }
    }

    fn without(self, bytes: u64) -> Use {
        let bytes = self.bytes.saturating_sub(bytes);
        Use { bytes, ..self }
    }
}

impl Fullness {
    /// Of the nodes as they are seen, and as moves under way will make them.
    pub fn of(view: &ClusterView, tasks: &Tasks) -> Fullness {
        let nodes = view.nodes().filter(|node| node.takes_replicas());
        let mut fullness = Fullness {
            nodes: nodes.map(|node| (node.row.node, Use::of(node))).collect(),
            all: Use::default(),
        };
        for (from, to, length) in tasks.moves() {
            fullness.moved(from, to, length);
        }
        for node in fullness.nodes.values() {
            fullness.all.bytes = fullness.all.bytes.saturating_add(node.bytes);
            fullness.all.room = fullness.all.room.saturating_add(node.room);
        }
        fullness
    }

    /// Counts a move as made.
    pub fn moved(&mut self, from: NodeId, to: NodeId, length: u64) {
        if let Some(node) = self.nodes.get_mut(&from) {
            *node = node.without(length);
        }
        if let Some(node) = self.nodes.get_mut(&to) {
            *node = node.with(length);
        }
    }

    /// The node to take from: the fullest, if it is too full, or if another is too empty.
    pub fn source(&self, config: &BalanceConfig) -> Option<NodeId> {
        let fullest = self
            .nodes
            .iter()
            .max_by_key(|(id, node)| (node.full(), **id));
        let (id, node) = fullest?;
        let gives = self.is_too_full(*node, config)
            || node.full() > self.all.full()
                && self
                    .nodes
                    .values()
                    .any(|node| self.is_too_empty(*node, config));
        gives.then_some(*id)
    }

    fn is_too_full(&self, node: Use, config: &BalanceConfig) -> bool {
        node.full() > self.all.full().saturating_add(config.threshold())
    }

    fn is_too_empty(&self, node: Use, config: &BalanceConfig) -> bool {
        node.full().saturating_add(config.threshold()) < self.all.full()
    }

    /// Nodes that stay below the common measure with so many bytes more, least full first. One
    /// that is not too full gives only to those that are too empty.
    fn takers(&self, from: NodeId, length: u64, config: &BalanceConfig) -> Vec<NodeId> {
        let from = self.nodes.get(&from).copied().unwrap_or_default();
        let from_full = self.is_too_full(from, config);
        let fits = |node: &Use| {
            let wanted = from_full || self.is_too_empty(*node, config);
            wanted && node.with(length).full() <= self.all.full()
        };
        let mut nodes: Vec<_> = self.nodes.iter().filter(|(_, node)| fits(node)).collect();
        nodes.sort_by_key(|(id, node)| (node.full(), **id));
        nodes.into_iter().map(|(id, _)| *id).collect()
    }
}

/// Plans the move of a replica away from a node, if another can have it instead.
pub fn plan_move(
    view: &ClusterView,
    (fullness, config): (&Fullness, &BalanceConfig),
    from: NodeId,
    chunk: ChunkId,
    intended: &Intended,
) -> Option<PlannedCopy> {
    let found = repair::assess(view, chunk, intended);
    if found.lacking > 0 || !found.good.contains(&from) {
        return None;
    }
    let company = intended.company();
    let before = spread(view, company.iter().copied());
    let keeps_apart = |to: NodeId| {
        let after = spread(view, intended.company_after(from, to).into_iter());
        after
            .iter()
            .zip(&before)
            .all(|(after, before)| after >= before)
    };
    let mut able = fullness.takers(from, intended.length, config).into_iter();
    let to = able.find(|to| {
        let has_room = view
            .node(*to)
            .is_some_and(|node| node.available() >= intended.length);
        has_room && !company.contains(to) && keeps_apart(*to)
    })?;
    Some(PlannedCopy::moving(
        view,
        (chunk, intended),
        (from, to),
        found.good,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::view::tests::{heartbeat, report, row};
    use crate::master::view::{Fault, NodeRow};
    use crate::proto::cluster::Heartbeat;
    use crate::types::ReplicationTarget;
    use crate::types::topology::{AdminState, Space, Topology};

    const C: ChunkId = ChunkId(1);
    const GIB: u64 = 1 << 30;

    /// Nodes with 100 GiB each that are meant to have so many; `racks` says where they stand.
    fn view(gib: &[u64], racks: &[&str]) -> ClusterView {
        let mut view = ClusterView::default();
        for (id, &gib) in (1..).zip(gib) {
            let rack = racks.get(id as usize - 1).unwrap_or(&"").to_string();
            let space = Space {
                total: 120 * GIB,
                used: 7 * GIB,
                available: 93 * GIB,
            };
            view.know(NodeRow {
                bytes: gib * GIB,
                topology: Topology {
                    rack,
                    ..Topology::default()
                },
                ..row(id)
            });
            view.heard(&Heartbeat {
                space,
                ..heartbeat(id)
            });
            report(&mut view, std::time::Duration::ZERO, NodeId(id));
        }
        view
    }

    fn source(view: &ClusterView) -> Option<NodeId> {
        Fullness::of(view, &Tasks::default()).source(&BalanceConfig::DEFAULT)
    }

    fn target(view: &ClusterView, replicas: &[u32], length: u64) -> Option<NodeId> {
        let intended = Intended {
            length,
            checksum: 7,
            target: ReplicationTarget(replicas.len() as u8),
            replicas: replicas.iter().copied().map(NodeId).collect(),
            stripe: None,
        };
        let fullness = Fullness::of(view, &Tasks::default());
        let balance = (&fullness, &BalanceConfig::DEFAULT);
        let planned = plan_move(view, balance, NodeId(1), C, &intended);
        planned.map(|copy| copy.to)
    }

    #[test]
    fn nothing_moves_while_nodes_are_about_as_full() {
        assert_eq!(source(&view(&[50, 48, 45], &[])), None);
        assert_eq!(source(&view(&[50], &[])), None);
        assert_eq!(source(&view(&[], &[])), None);
    }

    #[test]
    fn the_fullest_node_gives_to_the_emptiest() {
        let view = view(&[80, 60, 0, 10], &[]);
        assert_eq!(source(&view), Some(NodeId(1)));
        assert_eq!(target(&view, &[1], GIB), Some(NodeId(3)));
        assert_eq!(target(&view, &[1, 3], GIB), Some(NodeId(4)));
    }

    #[test]
    fn one_empty_node_among_many_is_filled_though_none_is_too_full() {
        let mut gib = [60; 30];
        gib[29] = 0;
        let view = view(&gib, &[]);
        assert_eq!(source(&view), Some(NodeId(29)));
        assert_eq!(target(&view, &[1], GIB), Some(NodeId(30)));
        gib[29] = 55;
        assert_eq!(source(&super::tests::view(&gib, &[])), None);
    }

    #[test]
    fn no_node_is_filled_above_the_measure_of_all() {
        assert_eq!(
            target(&view(&[80, 60, 0], &[]), &[1], 46 * GIB),
            Some(NodeId(3))
        );
        assert_eq!(target(&view(&[80, 60, 0], &[]), &[1], 47 * GIB), None);
    }

    #[test]
    fn what_is_on_its_way_counts_already() {
        let view = view(&[80, 60, 0], &[]);
        let mut fullness = Fullness::of(&view, &Tasks::default());
        fullness.moved(NodeId(1), NodeId(3), 30 * GIB);
        assert_eq!(fullness.source(&BalanceConfig::DEFAULT), Some(NodeId(2)));
        fullness.moved(NodeId(2), NodeId(3), 15 * GIB);
        assert_eq!(fullness.source(&BalanceConfig::DEFAULT), None);
    }

    #[test]
    fn replicas_do_not_come_to_share_a_rack() {
        let racks = ["a", "b", "b", "a"];
        let view = view(&[80, 60, 0, 10], &racks);
        assert_eq!(target(&view, &[1, 2], GIB), Some(NodeId(4)));
        assert_eq!(target(&view, &[1], GIB), Some(NodeId(3)));
    }

    #[test]
    fn what_lacks_copies_does_not_move() {
        let mut view = view(&[80, 60, 0], &[]);
        view.add_fault(NodeId(2), C, Fault::Corrupt);
        assert_eq!(target(&view, &[1, 2], GIB), None);
    }

    #[test]
    fn a_node_that_is_being_emptied_neither_counts_nor_takes() {
        let mut view = view(&[80, 60, 0, 0], &[]);
        let drains = NodeRow {
            admin: AdminState::Draining,
            ..view.node(NodeId(3)).unwrap().row.clone()
        };
        view.know(drains);
        assert_eq!(target(&view, &[1], GIB), Some(NodeId(4)));
    }
}
