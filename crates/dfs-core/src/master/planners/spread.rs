//! Over how many failure domains the replicas of a chunk are spread, and which of them move so
//! that they share less fate: after a rack came back, or got its name.

use std::collections::BTreeSet;

use super::Intended;
use super::repair::{self, PlannedCopy};
use crate::master::view::ClusterView;
use crate::types::topology::Topology;
use crate::types::{ChunkId, NodeId};

/// A number of zones, racks and hosts.
pub type Spread = [usize; 3];

/// Over how many zones, racks and hosts these nodes are spread. Hosts without a name are each
/// their own.
pub fn spread(view: &ClusterView, nodes: impl Iterator<Item = NodeId>) -> Spread {
    let (mut zones, mut racks, mut hosts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for node in nodes.filter_map(|node| view.node(node)) {
        let Topology { zone, rack, host } = &node.row.topology;
        zones.insert(zone);
        racks.insert((zone, rack));
        let own = host.is_empty().then_some(node.row.node);
        hosts.insert((zone, rack, host, own));
    }
    [zones.len(), racks.len(), hosts.len()]
}

/// The same of all nodes that take replicas.
pub fn widest(view: &ClusterView) -> Spread {
    let nodes = view.nodes().filter(|node| node.takes_replicas());
    spread(view, nodes.map(|node| node.row.node))
}

/// Plans the move of a replica with which the others share more fate than they need to.
pub fn plan_move(
    view: &ClusterView,
    widest: Spread,
    chunk: ChunkId,
    intended: &Intended,
) -> Option<PlannedCopy> {
    let replicas = &intended.company();
    let before = spread(view, replicas.iter().copied());
    let may_be_wider = |(before, widest): (&usize, &usize)| before < widest.min(&replicas.len());
    if !before.iter().zip(&widest).any(may_be_wider) {
        return None;
    }
    let found = repair::assess(view, chunk, intended);
    if found.lacking > 0 {
        return None;
    }
    let takers = view.nodes().filter(|node| {
        node.takes_replicas()
            && node.available() >= intended.length
            && !replicas.contains(&node.row.node)
    });
    let moves = takers.flat_map(|to| found.good.iter().map(move |from| (to, *from)));
    let wider = moves.filter_map(|(to, from)| {
        let after = intended.company_after(from, to.row.node);
        let after = spread(view, after.into_iter());
        (after > before).then_some((after, to.available(), to.row.node, from))
    });
    let (_, _, to, from) = wider.max()?;
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
    use crate::master::planners::rebuild::tests::stripe;
    use crate::master::view::tests::{row, view};
    use crate::master::view::{Fault, NodeRow};
    use crate::types::ReplicationTarget;

    const C: ChunkId = ChunkId(1);

    /// Nodes that stand there: a zone and a rack each.
    fn standing(places: &[&str]) -> ClusterView {
        let mut view = view(places.len() as u32);
        for (id, place) in (1..).zip(places) {
            let (zone, rack) = place.split_once('/').unwrap();
            let topology = Topology {
                zone: zone.to_owned(),
                rack: rack.to_owned(),
                host: String::new(),
            };
            view.know(NodeRow {
                topology,
                ..row(id)
            });
        }
        view
    }

    fn planned(view: &ClusterView, replicas: &[u32]) -> Option<(u32, u32)> {
        let intended = Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(replicas.len() as u8),
            replicas: replicas.iter().copied().map(NodeId).collect(),
            stripe: None,
        };
        let copy = plan_move(view, widest(view), C, &intended)?;
        Some((copy.replaces?.0, copy.to.0))
    }

    #[test]
    fn replicas_move_to_where_they_share_less() {
        let view = standing(&["z/a", "z/a", "z/b", "z/b"]);
        assert!(matches!(planned(&view, &[1, 2]), Some((1 | 2, 3 | 4))));
        assert_eq!(planned(&view, &[1, 3]), None);
        assert_eq!(planned(&view, &[1]), None);
    }

    #[test]
    fn another_zone_is_worth_more_than_another_rack() {
        let view = standing(&["y/a", "y/b", "z/a", "y/c"]);
        assert_eq!(planned(&view, &[1, 2]).map(|(_, to)| to), Some(3));
        assert_eq!(planned(&view, &[1, 3]), None);
    }

    #[test]
    fn replicas_that_cannot_be_wider_apart_stay() {
        let view = standing(&["z/a", "z/a", "z/b", "z/b"]);
        assert_eq!(planned(&view, &[1, 2, 3]), None);
        assert_eq!(planned(&view, &[1, 2, 3, 4]), None);
    }

    #[test]
    fn what_lacks_copies_is_for_repair() {
        let mut view = standing(&["z/a", "z/a", "z/b", "z/b"]);
        view.add_fault(NodeId(1), C, Fault::Missing);
        assert_eq!(planned(&view, &[1, 2]), None);
    }

    #[test]
    fn members_of_a_stripe_that_came_to_one_node_part() {
        let view = standing(&["z/a", "z/b", "z/c", "z/d"]);
        let member = Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(1),
            replicas: vec![NodeId(1)],
            stripe: Some(stripe([1, 1, 2, 3]).into()),
        };
        let copy = plan_move(&view, widest(&view), C, &member).unwrap();
        assert_eq!((copy.replaces, copy.to), (Some(NodeId(1)), NodeId(4)));
    }
}
