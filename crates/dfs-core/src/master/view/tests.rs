#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use super::*;

/// A row of a node with a terabyte free, each in a rack of its own.
pub(crate) fn row(id: u32) -> NodeRow {
    NodeRow {
        node: NodeId(id),
        key: NodeKey(id.into()),
        address: format!("n{id}:1"),
        topology: Topology {
            rack: format!("r{id}"),
            ..Topology::default()
        },
        admin: AdminState::InService,
        epoch: NodeEpoch(1),
        space: Space {
            total: 1 << 40,
            used: 0,
            available: 1 << 40,
        },
        replicas: 0,
        bytes: 0,
        rests_until: None,
    }
}

/// What such a node says.
pub(crate) fn heartbeat(id: u32) -> Heartbeat {
    let row = row(id);
    Heartbeat {
        node: row.node,
        epoch: row.epoch,
        space: row.space,
        replicas: 0,
        streams: 0,
        failed: None,
        volumes: Vec::new(),
        peers: 0,
        down: Vec::new(),
    }
}

/// A node says that it has all that it is meant to have.
pub(crate) fn report(view: &mut ClusterView, now: Duration, node: NodeId) {
    let part = view.begin_part(now, node, ChunkId(0), None);
    view.end_part(part.unwrap());
}

/// A view of nodes `1..=count`, all live, heard and reported.
pub(crate) fn view(count: u32) -> ClusterView {
    let mut view = ClusterView::default();
    for id in 1..=count {
        let row = row(id);
        view.know(row.clone());
        view.heard(&heartbeat(id));
        report(&mut view, Duration::ZERO, row.node);
    }
    view
}

#[test]
fn a_full_report_with_a_lost_part_is_asked_for_again() {
    let mut view = view(1);
    let n = NodeId(1);
    let part = view.begin_part(Duration::ZERO, n, ChunkId(0), Some(ChunkId(10)));
    view.end_part(part.unwrap());
    assert!(!view.confirmed(n, ChunkId(3)));
    assert_eq!(view.begin_part(Duration::ZERO, n, ChunkId(20), None), None);
    assert!(view.node(n).is_some_and(NodeView::wants_report));
}

#[test]
fn a_report_counts_once_all_that_it_says_was_taken_in() {
    let mut view = view(1);
    let n = NodeId(1);
    let begin = |view: &mut ClusterView| view.begin_part(Duration::ZERO, n, ChunkId(0), None);
    let told = |view: &ClusterView| view.node(n).is_some_and(NodeView::has_told);
    let first = begin(&mut view).unwrap();
    assert!(!told(&view));
    // It is sent again before the first was taken in.
    let second = begin(&mut view).unwrap();
    view.end_part(first);
    assert!(!told(&view));
    view.end_part(second);
    assert!(told(&view));
}

#[test]
fn nodes_that_are_dead_or_away_on_purpose_are_not_waited_for() {
    let awaited = |row: NodeRow, liveness: Liveness| {
        let mut view = ClusterView::default();
        let node = row.node;
        view.know(row);
        view.set_liveness(node, liveness);
        view.node(node).is_some_and(NodeView::is_awaited)
    };
    let rests = NodeRow {
        admin: AdminState::Maintenance,
        ..row(1)
    };
    assert!(awaited(row(1), Liveness::Live));
    assert!(awaited(row(1), Liveness::Suspect));
    assert!(!awaited(row(1), Liveness::Dead));
    assert!(!awaited(rests, Liveness::Live));
}

#[test]
fn a_part_replaces_what_was_known_of_its_range_alone() {
    let mut view = view(1);
    let n = NodeId(1);
    view.add_fault(n, ChunkId(5), Fault::Missing);
    view.add_fault(n, ChunkId(15), Fault::Corrupt);
    view.begin_part(Duration::ZERO, n, ChunkId(0), Some(ChunkId(10)));
    let faults: Vec<_> = view
        .node(n)
        .into_iter()
        .flat_map(NodeView::faults)
        .collect();
    assert_eq!(faults, [(ChunkId(15), Fault::Corrupt)]);
}

#[test]
fn a_new_incarnation_confirms_nothing_before_it_reports() {
    let mut view = view(1);
    let n = NodeId(1);
    assert!(view.confirmed(n, ChunkId(1)));
    view.know(NodeRow {
        epoch: NodeEpoch(2),
        ..row(1)
    });
    assert!(!view.confirmed(n, ChunkId(1)));
}

#[test]
fn a_row_from_before_a_registration_is_ignored() {
    let mut view = view(1);
    let new = NodeRow {
        epoch: NodeEpoch(2),
        ..row(1)
    };
    view.know(new.clone());
    view.know(row(1));
    assert_eq!(view.node(NodeId(1)).map(|node| &node.row), Some(&new));
}

#[test]
fn differences_are_bounded_and_the_rest_is_asked_for_later() {
    let mut view = view(1);
    let n = NodeId(1);
    for id in 0..=DIFFERENCES_MAX as u64 {
        view.add_surplus(n, ChunkId(id));
    }
    let kept = |view: &ClusterView| view.node(n).map_or(0, |node| node.surplus().count());
    assert_eq!(kept(&view), DIFFERENCES_MAX);
    assert!(!view.node(n).is_some_and(NodeView::wants_report));
    for id in 0..=DIFFERENCES_MAX as u64 / 2 {
        view.settle(n, ChunkId(id));
    }
    assert!(view.node(n).is_some_and(NodeView::wants_report));
}

#[test]
fn faults_are_kept_beside_any_number_of_surplus_copies_and_beyond_the_limit_nothing_is_sure() {
    let mut view = view(1);
    let n = NodeId(1);
    let all = (0..DIFFERENCES_MAX as u64).map(ChunkId);
    for chunk in all.clone() {
        view.add_surplus(n, chunk);
        view.add_orphan(n, chunk);
    }
    let (sure, beyond) = (ChunkId(u64::MAX), ChunkId(u64::MAX - 1));
    for chunk in all {
        view.add_fault(n, chunk, Fault::Missing);
        assert!(!view.confirmed(n, chunk));
    }
    assert!(view.confirmed(n, sure));
    view.add_fault(n, beyond, Fault::Missing);
    assert!(!view.confirmed(n, beyond));
    report(&mut view, Duration::ZERO, n);
    assert!(view.confirmed(n, sure));
}

#[test]
fn a_reader_is_sent_to_live_idle_nodes_with_right_replicas_first() {
    let mut view = view(4);
    view.set_liveness(NodeId(1), Liveness::Suspect);
    view.add_fault(NodeId(2), ChunkId(1), Fault::Corrupt);
    let mut replicas = [1, 2, 3, 4].map(NodeId);
    view.sort_for_reading(ChunkId(1), &mut replicas);
    assert_eq!(replicas, [3, 4, 1, 2].map(NodeId));
}
