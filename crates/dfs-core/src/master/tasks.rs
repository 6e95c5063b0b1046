//! What data nodes have been told to do, until they say how it ended.
//!
//! A task is handed out with every heartbeat until it is finished, so neither a lost reply nor a
//! restart of the node loses it. It ends by itself after a deadline; then the planners decide
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::meta::command::Replaced;
use crate::proto::cluster::Task;
use crate::types::{ChunkId, InodeId, NodeId};

/// Most tasks in one reply to a heartbeat.
pub const TASKS_PER_HEARTBEAT_MAX: usize = 64;
/// A task not finished after this long is given up.
pub const TASK_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Why a task was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A copy that lacks; it stands in for another node's replica, or for none.
    Repair {
        /// Whose.
        replaces: Option<NodeId>,
    },
    /// A copy that takes the place of a good replica, so that nodes are equally full.
    Move {
        /// Whose.
        from: NodeId,
    },
    /// A person wants it.
    Asked,
    /// Someone doubts a replica, or it is a witness for another's deletion.
    Doubt,
    /// The map has given them up.
    Reclaim {
        /// Those of chunks that files still have.
        live: BTreeSet<ChunkId>,
    },
    /// Bytes of a file are to be kept otherwise.
    Rewrite {
        /// Which file.
        inode: InodeId,
        /// What the map says of them.
        replaced: Vec<Replaced>,
    },
}

/// What makes two tasks of a node the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TaskKey {
    Delete,
    Rewrite,
    Copy(ChunkId),
    Verify(ChunkId),
    Scrub,
}

impl TaskKey {
    fn of(task: &Task) -> TaskKey {
        match task {
            Task::Copy { chunk, .. } | Task::Rebuild { chunk, .. } => TaskKey::Copy(*chunk),
            Task::Delete { .. } => TaskKey::Delete,
            Task::Rewrite { .. } => TaskKey::Rewrite,
            Task::Verify { chunk } => TaskKey::Verify(*chunk),
            Task::Scrub => TaskKey::Scrub,
        }
    }
}

/// A task that has not ended.
#[derive(Debug, Clone)]
pub struct Running {
    /// The task.
    pub task: Task,
    /// Why.
    pub purpose: Purpose,
    since: Duration,
}

/// The tasks of all nodes.
#[derive(Debug, Default)]
pub struct Tasks {
    running: BTreeMap<(NodeId, TaskKey), Running>,
    /// Who copies which chunk, and its length.
    copies: BTreeMap<ChunkId, (NodeId, u64)>,
    /// Copies made and served and their bytes, by node.
    busy: BTreeMap<NodeId, (usize, u64)>,
    bytes: u64,
}

impl Tasks {
    /// Gives a node a task. One it has already, or a second copy of a chunk, is not given.
    pub fn start(&mut self, node: NodeId, task: Task, purpose: Purpose, now: Duration) -> bool {
        let key = TaskKey::of(&task);
        if self.running.contains_key(&(node, key)) {
            return false;
        }
        if let Some((chunk, length)) = made_by(&task) {
            if self.copies.contains_key(&chunk) {
                return false;
            }
            self.copies.insert(chunk, (node, length));
            self.bytes = self.bytes.saturating_add(length);
            for node in taking_part(node, &task) {
                let (copies, bytes) = self.busy.entry(node).or_default();
                *copies += 1;
                *bytes = bytes.saturating_add(length);
            }
        }
        let running = Running {
            task,
            purpose,
            since: now,
        };
        self.running.insert((node, key), running);
        true
    }

    /// Ends a task; none if it is not running, or was another.
    pub fn finish(&mut self, node: NodeId, task: &Task) -> Option<Running> {
        let key = (node, TaskKey::of(task));
        if self.running.get(&key)?.task != *task {
            return None;
        }
        self.end(key)
    }

    fn end(&mut self, key: (NodeId, TaskKey)) -> Option<Running> {
        let running = self.running.remove(&key)?;
        if let Some((chunk, length)) = made_by(&running.task) {
            self.copies.remove(&chunk);
            self.bytes = self.bytes.saturating_sub(length);
            for node in taking_part(key.0, &running.task) {
                if let Some((copies, bytes)) = self.busy.get_mut(&node) {
                    *copies = copies.saturating_sub(1);
                    *bytes = bytes.saturating_sub(length);
                }
            }
        }
        Some(running)
    }

    /// What to tell a node now.
    pub fn of_node(&self, node: NodeId) -> Vec<Task> {
        let all = (node, TaskKey::Delete)..=(node, TaskKey::Scrub);
        self.running
            .range(all)
            .take(TASKS_PER_HEARTBEAT_MAX)
            .map(|(_, running)| running.task.clone())
            .collect()
    }

    /// Ends all tasks of a node, which is dead or removed, and gives them back.
    pub fn forget_node(&mut self, node: NodeId) -> Vec<Running> {
        let keys: Vec<_> = self.running.keys().copied().collect();
        let keys = keys.into_iter().filter(|key| key.0 == node);
        keys.filter_map(|key| self.end(key)).collect()
    }

    /// Ends the tasks that took too long and gives them back.
    pub fn expire(&mut self, now: Duration) -> Vec<(NodeId, Running)> {
        let late: Vec<_> = self
            .running
            .iter()
            .filter(|(_, running)| now.saturating_sub(running.since) >= TASK_TIMEOUT)
            .map(|(&key, _)| key)
            .collect();
        late.into_iter()
            .filter_map(|key| Some((key.0, self.end(key)?)))
            .collect()
    }

    /// Ends the copy of a chunk that is no longer needed.
    pub fn cancel_copy(&mut self, chunk: ChunkId) {
        if let Some(&(node, _)) = self.copies.get(&chunk) {
            self.end((node, TaskKey::Copy(chunk)));
        }
    }

    /// Ends the deletion of a node: not all of it is wanted any more.
    pub fn cancel_deletion(&mut self, node: NodeId) {
        self.end((node, TaskKey::Delete));
    }

    /// The replicas being deleted now of chunks that files still have.
    pub fn deletions_of_live(&self) -> impl Iterator<Item = (NodeId, ChunkId)> {
        self.running.iter().flat_map(|(&(node, _), running)| {
            let live = match &running.purpose {
                Purpose::Reclaim { live } => Some(live),
                Purpose::Repair { .. }
                | Purpose::Move { .. }
                | Purpose::Asked
                | Purpose::Doubt
                | Purpose::Rewrite { .. } => None,
            };
            live.into_iter().flatten().map(move |&chunk| (node, chunk))
        })
    }

    /// Replicas on their way: from which node, to which, and their bytes.
    pub fn moves(&self) -> impl Iterator<Item = (NodeId, NodeId, u64)> {
        self.running.iter().filter_map(|(&(to, _), running)| {
            match (&running.purpose, &running.task) {
                (Purpose::Move { from }, Task::Copy { length, .. }) => Some((*from, to, *length)),
                _ => None,
            }
        })
    }

    /// The node whose replica of a chunk is on its way to another.
    pub fn moving_from(&self, chunk: ChunkId) -> Option<NodeId> {
        let (node, _) = self.copies.get(&chunk)?;
        match self.running.get(&(*node, TaskKey::Copy(chunk)))?.purpose {
            Purpose::Move { from } => Some(from),
            Purpose::Repair { .. }
            | Purpose::Asked
            | Purpose::Doubt
            | Purpose::Reclaim { .. }
            | Purpose::Rewrite { .. } => None,
        }
    }

    /// Chunks being copied now.
    pub fn copied_chunks(&self) -> impl Iterator<Item = ChunkId> {
        self.copies.keys().copied()
    }

    /// Who makes a copy of a chunk now.
    pub fn copier(&self, chunk: ChunkId) -> Option<NodeId> {
        self.copies.get(&chunk).map(|(node, _)| *node)
    }

    /// Whether a chunk is being copied.
    pub fn is_copying(&self, chunk: ChunkId) -> bool {
        self.copies.contains_key(&chunk)
    }

    /// Whether a node has been asked to read a replica through.
    pub fn is_verifying(&self, node: NodeId, chunk: ChunkId) -> bool {
        self.running.contains_key(&(node, TaskKey::Verify(chunk)))
    }

    /// Whether a node has a deletion under way.
    pub fn is_deleting(&self, node: NodeId) -> bool {
        self.running.contains_key(&(node, TaskKey::Delete))
    }

    /// Whether a node rewrites something.
    pub fn is_rewriting(&self, node: NodeId) -> bool {
        self.running.contains_key(&(node, TaskKey::Rewrite))
    }

    /// The files of which bytes are being rewritten, one for each rewrite.
    pub fn rewritten(&self) -> impl Iterator<Item = InodeId> {
        let purposes = self.running.values().map(|running| &running.purpose);
        purposes.filter_map(|purpose| match purpose {
            Purpose::Rewrite { inode, .. } => Some(*inode),
            Purpose::Repair { .. }
            | Purpose::Move { .. }
            | Purpose::Asked
            | Purpose::Doubt
            | Purpose::Reclaim { .. } => None,
        })
    }

    /// Copies under way.
    pub fn copies(&self) -> usize {
        self.copies.len()
    }

    /// Bytes of copies under way.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies a node makes or serves now, and their bytes.
    pub fn copies_at(&self, node: NodeId) -> (usize, u64) {
        self.busy.get(&node).copied().unwrap_or_default()
    }
}

/// The chunk that a task makes a replica of, and its bytes.
pub(crate) fn made_by(task: &Task) -> Option<(ChunkId, u64)> {
    match task {
        Task::Copy { chunk, length, .. } | Task::Rebuild { chunk, length, .. } => {
            Some((*chunk, *length))
        }
        Task::Delete { .. } | Task::Verify { .. } | Task::Scrub | Task::Rewrite { .. } => None,
    }
}

/// The node that makes a replica and those it turns to first.
fn taking_part(node: NodeId, task: &Task) -> Vec<NodeId> {
    let mut nodes = vec![node];
    match task {
        Task::Copy { sources, .. } => nodes.extend(sources.first().map(|source| source.node)),
        Task::Rebuild { shape, sources, .. } => {
            let first = sources.iter().take(shape.data());
            nodes.extend(first.filter_map(|source| source.nodes.first().map(|n| n.node)));
        }
        Task::Delete { .. } | Task::Verify { .. } | Task::Scrub | Task::Rewrite { .. } => {}
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::metadata::NodeAddress;
    use crate::types::NodeKey;

    const N: NodeId = NodeId(1);
    const REPAIR: Purpose = Purpose::Repair { replaces: None };

    fn copy(chunk: u64) -> Task {
        Task::Copy {
            chunk: ChunkId(chunk),
            length: 10,
            checksum: 0,
            sources: vec![NodeAddress {
                node: NodeId(2),
                key: NodeKey(0),
                address: String::new(),
            }],
        }
    }

    #[test]
    fn a_task_is_handed_out_until_it_is_finished() {
        let mut tasks = Tasks::default();
        assert!(tasks.start(N, copy(1), REPAIR, Duration::ZERO));
        assert_eq!(tasks.of_node(N), [copy(1)]);
        assert_eq!(tasks.of_node(N), [copy(1)]);
        assert!(tasks.finish(N, &copy(1)).is_some());
        assert_eq!(tasks.of_node(N), []);
        assert!(tasks.finish(N, &copy(1)).is_none());
    }

    #[test]
    fn a_chunk_is_copied_once_at_a_time() {
        let mut tasks = Tasks::default();
        tasks.start(N, copy(1), REPAIR, Duration::ZERO);
        assert!(!tasks.start(NodeId(3), copy(1), REPAIR, Duration::ZERO));
        assert_eq!((tasks.copies(), tasks.bytes()), (1, 10));
    }

    #[test]
    fn both_ends_of_a_copy_are_busy_until_it_ends() {
        let mut tasks = Tasks::default();
        tasks.start(N, copy(1), REPAIR, Duration::ZERO);
        let (one, none) = ((1, 10), (0, 0));
        let busy = |tasks: &Tasks| [1, 2, 3].map(|n| tasks.copies_at(NodeId(n)));
        assert_eq!(busy(&tasks), [one, one, none]);
        tasks.forget_node(N);
        assert_eq!(busy(&tasks), [none; 3]);
        assert_eq!((tasks.copies(), tasks.bytes()), (0, 0));
    }

    #[test]
    fn a_task_that_takes_too_long_is_given_up() {
        let mut tasks = Tasks::default();
        tasks.start(N, copy(1), REPAIR, Duration::ZERO);
        assert_eq!(tasks.expire(TASK_TIMEOUT / 2).len(), 0);
        assert_eq!(tasks.expire(TASK_TIMEOUT).len(), 1);
        assert!(!tasks.is_copying(ChunkId(1)));
    }
}
