//! Which nodes are told to delete what the map has given up.
//!
//! The decision is in the log already (a row of RECLAIM past its grace); this only cuts it into
//! tasks, one at a time for a node.

use std::collections::BTreeMap;

use crate::master::tasks::Tasks;
use crate::master::view::ClusterView;
use crate::proto::metadata::Liveness;
use crate::types::{ChunkId, NodeId};

/// Most chunks in one deletion.
pub const CHUNKS_PER_DELETE_MAX: usize = 512;

/// Cuts due rows into deletions for nodes that are live and have none under way.
pub fn plan(
    view: &ClusterView,
    tasks: &Tasks,
    due: impl IntoIterator<Item = (ChunkId, NodeId)>,
) -> BTreeMap<NodeId, Vec<ChunkId>> {
    let mut plan: BTreeMap<NodeId, Vec<ChunkId>> = BTreeMap::new();
    for (chunk, node) in due {
        let live = view
            .node(node)
            .is_some_and(|node| node.heard && node.liveness == Liveness::Live);
        if !live || tasks.is_deleting(node) {
            continue;
        }
        let chunks = plan.entry(node).or_default();
        if chunks.len() < CHUNKS_PER_DELETE_MAX {
            chunks.push(chunk);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::master::tasks::Purpose;
    use crate::master::view::tests::view;
    use crate::proto::cluster::Task;

    #[test]
    fn each_live_idle_node_gets_its_share() {
        let mut view = view(3);
        view.set_liveness(NodeId(2), Liveness::Suspect);
        let mut tasks = Tasks::default();
        let busy = Task::Delete {
            chunks: vec![ChunkId(9)],
        };
        let live = BTreeSet::new();
        tasks.start(NodeId(3), busy, Purpose::Reclaim { live }, Duration::ZERO);
        let due = (1..=3).map(|node| (ChunkId(1), NodeId(node)));
        assert_eq!(
            plan(&view, &tasks, due),
            BTreeMap::from([(NodeId(1), vec![ChunkId(1)])])
        );
    }

    #[test]
    fn one_deletion_is_bounded() {
        let due = (0..10_000).map(|id| (ChunkId(id), NodeId(1)));
        let plan = plan(&view(1), &Tasks::default(), due);
        assert_eq!(
            plan.get(&NodeId(1)).map(Vec::len),
            Some(CHUNKS_PER_DELETE_MAX)
        );
    }
}
