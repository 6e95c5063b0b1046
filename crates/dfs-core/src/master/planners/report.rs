//! What a report means: each replica a node has, or lacks, against what the map intends.
//!
//! ```text
//! map says        node says     finding
//! intended        right         Fine
//! intended        absent        Fault(Missing)      repaired
//! intended        wrong bytes   Fault(Corrupt)      repaired
//! not for it      right         Adopt, if the map names too few and the node has no other member
//!                               of its stripe; else Surplus, which repair may use in the place of
//!                               a lost one, else deleted slowly
//! not for it      wrong bytes   CorruptSurplus      deleted as slowly: some blocks are right
//! no such chunk   anything      Orphan              deleted if its range has expired
//! ```
//!
//! Nothing here deletes: findings are material for planners, and those propose commands that
//! check again when applied.

use std::time::Duration;

use super::Intended;
use crate::master::view::{ClusterView, Fault, NodeView};
use crate::proto::cluster::ReplicaSummary;
use crate::types::limits::GRANT_TTL;
use crate::types::{ChunkId, NodeEpoch, NodeId, VolumeId};

/// What is to be thought of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is where it should be, and right.
    Fine,
    /// It should be there and right, and is not.
    Fault(Fault),
    /// It should not be there, but the map names too few: it becomes one of the intended.
    Adopt,
    /// It should not be there.
    Surplus,
    /// It should not be there, and is not right.
    CorruptSurplus,
    /// The map knows no such chunk.
    Orphan,
    /// Nothing follows.
    Nothing,
}

/// Judges a replica that `node` has.
pub fn present(node: NodeId, replica: ReplicaSummary, chunk: Option<&Intended>) -> Finding {
    let Some(chunk) = chunk else {
        return Finding::Orphan;
    };
    let right = (replica.length, replica.checksum) == (chunk.length, chunk.checksum);
    if chunk.replicas.contains(&node) {
        return if right {
            Finding::Fine
        } else {
            Finding::Fault(Fault::Corrupt)
        };
    }
    // Where another member of its stripe is it cannot stay.
    let few = chunk.replicas.len() < usize::from(chunk.target.0);
    if right && few && !chunk.company().contains(&node) {
        Finding::Adopt
    } else {
        Finding::Surplus
    }
}

/// Judges a replica that `node` does not have, or that it has with wrong bytes.
pub fn lost(node: NodeId, fault: Fault, chunk: Option<&Intended>) -> Finding {
    match (chunk, fault) {
        (Some(chunk), fault) if chunk.replicas.contains(&node) => Finding::Fault(fault),
        (_, Fault::Missing) => Finding::Nothing,
        // It is there, and takes room.
        (Some(_), Fault::Corrupt) => Finding::CorruptSurplus,
        (None, Fault::Corrupt) => Finding::Orphan,
    }
}

/// Keeps a finding in the view. [`Finding::Adopt`] is for the caller to propose.
pub fn note(view: &mut ClusterView, node: NodeId, chunk: ChunkId, finding: Finding) {
    view.settle(node, chunk);
    match finding {
        Finding::Fine | Finding::Adopt | Finding::Nothing => {}
        Finding::Fault(fault) => view.add_fault(node, chunk, fault),
        Finding::Surplus => view.add_surplus(node, chunk),
        Finding::CorruptSurplus => {
            view.add_surplus(node, chunk);
            view.add_fault(node, chunk, Fault::Corrupt);
        }
        Finding::Orphan => view.add_orphan(node, chunk),
    }
}

/// How long after a node started, or lost a volume, it is asked for all that it has once more.
///
/// What it lost is in what it says then, but for chunks that clients have written and not
/// committed: of those the map knows nothing yet. Most commit within minutes, and none after its
/// grant has expired.
const ONCE_MORE: [Duration; 2] = [Duration::from_secs(6 * 60), GRANT_TTL];

/// What a node can have lost replicas with: its incarnation, and the volumes out of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(NodeEpoch, Vec<VolumeId>);

impl Shape {
    /// That of a node by its last heartbeat.
    pub fn of(node: &NodeView) -> Shape {
        let failed = node.volumes.iter().filter(|volume| volume.failed.is_some());
        Shape(node.row.epoch, failed.map(|volume| volume.id).collect())
    }
}

/// When a node was asked for all that it has because time had passed.
#[derive(Debug, Default)]
pub struct Asked {
    at: Duration,
    /// How it is, and since when.
    shape: Option<(Shape, Duration)>,
}

impl Asked {
    /// Whether it is to be asked now; then it was.
    pub fn is_due(&mut self, shape: Shape, interval: Duration, now: Duration) -> bool {
        let since = match &self.shape {
            None => {
                self.at = now;
                now
            }
            Some((known, since)) if *known == shape => *since,
            Some(_) => now,
        };
        self.shape = Some((shape, since));
        let passed = |due: Duration| self.at < due && due <= now;
        let is_due = passed(self.at.saturating_add(interval))
            || ONCE_MORE
                .iter()
                .any(|after| passed(since.saturating_add(*after)));
        if is_due {
            self.at = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::planners::rebuild::tests::stripe;
    use crate::master::view::tests::view;
    use crate::types::ReplicationTarget;

    const C: ChunkId = ChunkId(1);
    const RIGHT: ReplicaSummary = ReplicaSummary {
        chunk: C,
        length: 10,
        checksum: 7,
    };

    fn intended(nodes: &[u32]) -> Intended {
        Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(3),
            replicas: nodes.iter().copied().map(NodeId).collect(),
            stripe: None,
        }
    }

    #[test]
    fn a_replica_where_it_should_be_is_fine_only_with_the_right_bytes() {
        let chunk = intended(&[1, 2, 3]);
        let wrong = ReplicaSummary {
            checksum: 8,
            ..RIGHT
        };
        assert_eq!(present(NodeId(1), RIGHT, Some(&chunk)), Finding::Fine);
        assert_eq!(
            present(NodeId(1), wrong, Some(&chunk)),
            Finding::Fault(Fault::Corrupt)
        );
    }

    #[test]
    fn a_stray_replica_is_adopted_while_the_map_names_too_few_and_is_surplus_otherwise() {
        let judge = |nodes| present(NodeId(4), RIGHT, Some(&intended(nodes)));
        assert_eq!(judge(&[1, 2]), Finding::Adopt);
        assert_eq!(judge(&[1, 2, 3]), Finding::Surplus);
    }

    #[test]
    fn a_stray_member_is_adopted_where_no_other_of_its_stripe_is() {
        let lacking = Intended {
            target: ReplicationTarget(1),
            stripe: Some(stripe([0, 2, 3, 4]).into()),
            ..intended(&[])
        };
        let judge = |node| present(NodeId(node), RIGHT, Some(&lacking));
        assert_eq!([2, 5].map(judge), [Finding::Surplus, Finding::Adopt]);
    }

    #[test]
    fn a_stray_replica_with_wrong_bytes_is_never_adopted() {
        let wrong = ReplicaSummary { length: 9, ..RIGHT };
        let found = present(NodeId(4), wrong, Some(&intended(&[1])));
        assert_eq!(found, Finding::Surplus);
    }

    #[test]
    fn a_replica_of_a_chunk_the_map_does_not_know_is_an_orphan() {
        assert_eq!(present(NodeId(1), RIGHT, None), Finding::Orphan);
    }

    #[test]
    fn losing_a_replica_that_was_not_wanted_means_nothing() {
        let chunk = intended(&[1]);
        assert_eq!(
            lost(NodeId(2), Fault::Missing, Some(&chunk)),
            Finding::Nothing
        );
        assert_eq!(
            lost(NodeId(1), Fault::Missing, Some(&chunk)),
            Finding::Fault(Fault::Missing)
        );
    }

    #[test]
    fn a_corrupt_replica_that_is_not_wanted_is_not_forgotten() {
        let chunk = intended(&[1]);
        let found = |chunk| lost(NodeId(2), Fault::Corrupt, chunk);
        assert_eq!(found(Some(&chunk)), Finding::CorruptSurplus);
        assert_eq!(found(None), Finding::Orphan);
        // A report says of it that it is there, and that it is corrupt.
        let mut view = view(2);
        note(
            &mut view,
            NodeId(2),
            C,
            present(NodeId(2), RIGHT, Some(&chunk)),
        );
        note(&mut view, NodeId(2), C, found(Some(&chunk)));
        assert!(view.is_surplus(NodeId(2), C));
        // But nobody counts on it.
        assert_eq!(view.strays(C).count(), 0);
    }

    #[test]
    fn good_news_clears_a_fault() {
        let mut view = view(1);
        note(&mut view, NodeId(1), C, Finding::Fault(Fault::Missing));
        assert!(!view.confirmed(NodeId(1), C));
        note(&mut view, NodeId(1), C, Finding::Fine);
        assert!(view.confirmed(NodeId(1), C));
    }

    #[test]
    fn a_node_is_asked_again_when_what_was_under_way_when_it_lost_something_is_committed() {
        let minutes = |n| Duration::from_secs(60 * n);
        let mut asked = Asked::default();
        let due: Vec<u64> = (0..1500)
            .filter(|&minute| {
                let failed = (minute >= 600).then_some(VolumeId(2));
                let shape = Shape(NodeEpoch(1), failed.into_iter().collect());
                asked.is_due(shape, minutes(360), minutes(minute))
            })
            .collect();
        assert_eq!(due, [6, 60, 420, 606, 660, 1020, 1380]);
    }
}
