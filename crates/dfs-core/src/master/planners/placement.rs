//! Where new replicas go.
//!
//! Replica after replica, the nodes that share as little fate as possible with those chosen
//! before are the candidates: in whose zone there are the fewest, of these in whose rack, of
//! these in whose host. So replicas are spread evenly also where there are more of them than
//! zones, as members of stripes are. Of two candidates, drawn with chances proportional to their
//! free space, the less busy one is taken: two random choices keep the load even without everyone
//! rushing to the emptiest node.

use crate::master::view::{ClusterView, NodeView};
use crate::types::NodeId;
use crate::types::topology::Topology;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Replicas wanted.
    pub replicas: usize,
    /// Replicas it cannot do without.
    pub replicas_min: usize,
    /// Bytes of one.
    pub bytes: u64,
    /// Nodes that already have one, and with which the new ones should share no fate.
    pub beside: &'a [NodeId],
    /// Nodes not to use.
    pub avoid: &'a [NodeId],
}

/// Why nothing was placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Not enough nodes take new replicas.
    #[error("too few data nodes: {wanted} copies need as many, {live} of {known} take new ones")]
    TooFewNodes {
        /// Replicas it cannot do without.
        wanted: usize,
        /// Nodes that could take one.
        live: usize,
        /// All nodes.
        known: usize,
    },
    /// Enough nodes, but they are full.
    #[error("{wanted} copies of {bytes} bytes, {roomy} of {live} data nodes have room")]
    OutOfSpace {
        /// Replicas it cannot do without.
        wanted: usize,
        /// Bytes of one.
        bytes: u64,
        /// Nodes with room.
        roomy: usize,
        /// Nodes that take new replicas.
        live: usize,
    },
}

/// Chooses nodes, best spread first, at least `replicas_min` and at most `replicas`.
///
/// `random(bound)` draws a number below `bound`.
///
/// # Errors
/// Too few nodes, or too few with room.
pub fn place(
    view: &ClusterView,
    wish: Wish<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Result<Vec<NodeId>, PlacementError> {
    let wanted = wish.replicas_min.max(1);
    let live: Vec<&NodeView> = view
        .nodes()
        .filter(|node| node.takes_replicas())
        .filter(|node| !wish.avoid.contains(&node.row.node))
        .filter(|node| !wish.beside.contains(&node.row.node))
        .collect();
    if live.len() < wanted {
        return Err(PlacementError::TooFewNodes {
            wanted,
            live: live.len(),
            known: view.nodes().count(),
        });
    }
    // What was promised since a node's last word makes it the worse choice, not a full one: a
    // grant is for a whole chunk, and most files are smaller. The node itself knows best.
    let mut roomy: Vec<&NodeView> = live.clone();
    roomy.retain(|node| node.space.available >= wish.bytes);
    if roomy.len() < wanted {
        return Err(PlacementError::OutOfSpace {
            wanted,
            bytes: wish.bytes,
            roomy: roomy.len(),
            live: live.len(),
        });
    }
    let mut near: Vec<&Topology> = wish
        .beside
        .iter()
        .filter_map(|&node| view.node(node))
        .map(|node| &node.row.topology)
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < wish.replicas.max(wanted) {
        let Some(node) = choose(&roomy, &near, random) else {
            break;
        };
        chosen.push(node.row.node);
        near.push(&node.row.topology);
        roomy.retain(|other| other.row.node != node.row.node);
    }
    Ok(chosen)
}

fn choose<'a>(
    roomy: &[&'a NodeView],
    near: &[&Topology],
    random: &mut dyn FnMut(u64) -> u64,
) -> Option<&'a NodeView> {
    let fate = |node: &NodeView| shared_fate(&node.row.topology, near);
    let least = roomy.iter().map(|node| fate(node)).min()?;
    let apart: Vec<&NodeView> = roomy
        .iter()
        .copied()
        .filter(|node| fate(node) == least)
        .collect();
    let (a, b) = (draw(&apart, random)?, draw(&apart, random)?);
    Some(if busyness(b) < busyness(a) { b } else { a })
}

/// How many of others share the zone of a place, how many of these its rack, of these its host.
fn shared_fate(place: &Topology, others: &[&Topology]) -> (usize, usize, usize) {
    let in_zone = |other: &&&Topology| other.zone == place.zone;
    let in_rack = |other: &&&Topology| other.rack == place.rack;
    let on_host = |other: &&&Topology| other.host == place.host && !place.host.is_empty();
    let zone = others.iter().filter(in_zone);
    let rack = zone.clone().filter(in_rack);
    let host = rack.clone().filter(on_host);
    (zone.count(), rack.count(), host.count())
}

/// What makes a node the worse choice: bytes promised since its last word, then streams.
fn busyness(node: &NodeView) -> (u64, u32) {
    (node.pledged, node.streams)
}

/// One of `nodes`, with chances proportional to free space.
fn draw<'a>(nodes: &[&'a NodeView], random: &mut dyn FnMut(u64) -> u64) -> Option<&'a NodeView> {
    // In MiB, so that the sum of many large disks stays below the bound of `random`.
    let weight = |node: &NodeView| (node.available() >> 20).max(1);
    let sum = nodes.iter().map(|node| weight(node)).sum();
    let mut ticket = random(sum);
    for node in nodes {
        let weight = weight(node);
        if ticket < weight {
            return Some(node);
        }
        ticket -= weight;
    }
    nodes.last().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::env::{Random, SeededRandom};
    use crate::master::view::NodeRow;
    use crate::master::view::tests::{row, view};
    use crate::proto::cluster::Heartbeat;
    use crate::proto::metadata::Liveness;
    use crate::types::topology::{AdminState, Space};

    const WISH: Wish<'_> = Wish {
        replicas: 3,
        replicas_min: 2,
        bytes: 1 << 20,
        beside: &[],
        avoid: &[],
    };

    fn placed(view: &ClusterView, wish: Wish<'_>, seed: u64) -> BTreeSet<NodeId> {
        let random = SeededRandom::new(seed);
        place(view, wish, &mut |bound| random.below(bound))
            .unwrap_or_default()
            .into_iter()
            .collect()
    }

    fn heard(view: &mut ClusterView, node: u32, available: u64) {
        view.heard(&Heartbeat {
            node: NodeId(node),
            epoch: row(node).epoch,
            space: Space {
                total: 1 << 40,
                used: 0,
                available,
            },
            replicas: 0,
            streams: 0,
            failed: None,
            volumes: Vec::new(),
            peers: 0,
            down: Vec::new(),
        });
    }

    #[test]
    fn replicas_are_on_distinct_nodes() {
        for seed in 0..100 {
            assert_eq!(placed(&view(5), WISH, seed).len(), 3, "seed {seed}");
        }
    }

    #[test]
    fn replicas_spread_over_racks_before_hosts() {
        let mut view = view(6);
        for id in 1..=6 {
            let mut row = row(id);
            row.topology.rack = if id <= 4 { "a" } else { "b" }.to_owned();
            view.know(row);
        }
        for seed in 0..100 {
            let nodes = placed(&view, WISH, seed);
            let racks: BTreeSet<bool> = nodes.iter().map(|node| node.0 <= 4).collect();
            assert_eq!(racks.len(), 2, "seed {seed}: {nodes:?}");
        }
    }

    #[test]
    fn more_replicas_than_zones_are_spread_evenly() {
        let mut view = view(9);
        for id in 1..=9 {
            let mut row = row(id);
            row.topology.zone = format!("z{}", id % 3);
            view.know(row);
        }
        let wish = Wish {
            replicas: 6,
            replicas_min: 5,
            ..WISH
        };
        for seed in 0..100 {
            let nodes = placed(&view, wish, seed);
            let in_zone = |zone| nodes.iter().filter(|node| node.0 % 3 == zone).count();
            assert_eq!([0, 1, 2].map(in_zone), [2, 2, 2], "seed {seed}: {nodes:?}");
        }
    }

    #[test]
    fn two_nodes_of_one_host_are_used_together_only_if_there_is_no_other() {
        let mut view = view(4);
        for id in 1..=4 {
            let topology = Topology {
                host: if id <= 2 {
                    "h".into()
                } else {
                    format!("h{id}")
                },
                ..Topology::default()
            };
            view.know(NodeRow {
                topology,
                ..row(id)
            });
        }
        for seed in 0..100 {
            let nodes = placed(&view, WISH, seed);
            let both = nodes.contains(&NodeId(1)) && nodes.contains(&NodeId(2));
            assert!(!both, "seed {seed}: {nodes:?}");
        }
    }

    #[test]
    fn suspect_draining_and_avoided_nodes_get_nothing() {
        let mut view = view(5);
        view.set_liveness(NodeId(1), Liveness::Suspect);
        view.know(NodeRow {
            admin: AdminState::Draining,
            ..row(2)
        });
        let wish = Wish {
            avoid: &[NodeId(3)],
            ..WISH
        };
        assert_eq!(placed(&view, wish, 1), [4, 5].map(NodeId).into());
    }

    #[test]
    fn an_emptier_node_gets_more() {
        let mut view = view(2);
        heard(&mut view, 1, 10 << 30);
        heard(&mut view, 2, 90 << 30);
        let wish = Wish {
            replicas: 1,
            replicas_min: 1,
            ..WISH
        };
        let mut counts = BTreeMap::new();
        for seed in 0..1000 {
            for node in placed(&view, wish, seed) {
                *counts.entry(node).or_insert(0) += 1;
            }
        }
        let emptier = counts.get(&NodeId(2)).copied().unwrap_or(0);
        assert!((800..1000).contains(&emptier), "{counts:?}");
    }

    #[test]
    fn promises_make_a_node_the_worse_choice_and_not_a_full_one() {
        let mut view = view(4);
        for id in 1..=4 {
            heard(&mut view, id, 10 * WISH.bytes);
        }
        for id in 1..=3 {
            view.pledge(NodeId(id), 1000 * WISH.bytes);
        }
        let times = |node| {
            let seeds = 0..100;
            let chosen = seeds.filter(|&seed| placed(&view, WISH, seed).contains(&NodeId(node)));
            chosen.count()
        };
        assert_eq!(times(4), 100, "it has room that nobody was promised");
        assert!((1..=3).all(|node| times(node) > 0));
    }

    #[test]
    fn too_few_nodes_and_full_nodes_are_told_apart() {
        let mut rng = |_| 0;
        let error = place(&view(1), WISH, &mut rng).unwrap_err();
        assert_eq!(
            error.to_string(),
            "too few data nodes: 2 copies need as many, 1 of 1 take new ones"
        );
        let mut full = view(3);
        heard(&mut full, 1, 10);
        heard(&mut full, 2, 10);
        let error = place(&full, WISH, &mut rng).unwrap_err();
        assert!(matches!(
            error,
            PlacementError::OutOfSpace {
                roomy: 1,
                live: 3,
                ..
            }
        ));
    }
}
