//! Whatever the leader proposes, and whenever: no chunk of a file loses its last good copy, and no
//! two members of a stripe come to one data node.
//!
//! A small world keeps the truth, which data node has a good copy of which chunk. Nodes come and
//! go, are emptied and removed with all that they have, copies rot as long as another good one is
//! left, and a careless leader proposes at random, knowing only what the nodes that are up have
//! confirmed. Files are removed for good or into the trash, which expires. Copies are deleted when
//! the state says they are due.

use std::collections::BTreeSet;
use std::time::Duration;

use dfs_raft::env::{Random, SeededRandom};

use super::fixture::{ATTR, Machine, at, serial};
use crate::meta::command::ReplicaDrop;
use crate::meta::{Chunk, Command, Reply, query};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::limits::RECLAIM_GRACE;
use crate::types::stripe::Code;
use crate::types::{AdminState, Change, ChunkId, NewChunk, NewStripe, NodeId, Permit, StripeShape};

const NODES: u32 = 8;
const KEPT: u32 = 5;

struct World {
    random: SeededRandom,
    machine: Machine,
    /// The good copies there are.
    good: BTreeSet<(ChunkId, NodeId)>,
    up: BTreeSet<NodeId>,
    next_chunk: u64,
    chunks_end: u64,
    deleted: usize,
    /// Nodes that were removed.
    removed: usize,
    /// Members of stripes that were not taken to where another is.
    apart: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut machine = Machine::lenient();
        let up = (1..=NODES)
            .map(|key| machine.register(u128::from(key)))
            .collect();
        World {
            random: SeededRandom::new(seed),
            machine,
            good: BTreeSet::new(),
            up,
            next_chunk: 1,
            chunks_end: 1,
            deleted: 0,
            removed: 0,
            apart: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn node(&mut self) -> NodeId {
        NodeId(1 + self.below(NODES as usize) as u32)
    }

    fn chunks(&self) -> Vec<(ChunkId, Chunk)> {
        query::chunks_page(&self.machine.view(), None, 1000).unwrap()
    }

    fn any_chunk(&mut self) -> Option<(ChunkId, Chunk)> {
        let chunks = self.chunks();
        let pick = self.below(chunks.len().max(1));
        chunks.into_iter().nth(pick)
    }

    fn confirmed(&self, chunk: ChunkId) -> Vec<NodeId> {
        self.up
            .iter()
            .copied()
            .filter(|node| self.good.contains(&(chunk, *node)))
            .collect()
    }

    fn client(&mut self, change: Change) {
        let client = self.machine.open_session();
        // Refusals are fine: names are taken or gone.
        let _ = self.machine.request(serial(client, 1), change);
    }

    fn new_chunk(&mut self) -> NewChunk {
        if self.next_chunk == self.chunks_end {
            match self.machine.apply(Command::ReserveChunkIds { count: 20 }) {
                Reply::ChunkIds(Ok(ids)) => {
                    (self.next_chunk, self.chunks_end) = (ids.start.0, ids.end.0);
                }
                other => panic!("{other:?}"),
            }
        }
        let chunk = ChunkId(self.next_chunk);
        self.next_chunk += 1;
        let count = 1 + self.below(3);
        let leaving = self.leaving();
        let mut replicas: BTreeSet<_> = (0..count).map(|_| self.node()).collect();
        replicas.retain(|node| Some(*node) != leaving);
        let replicas: Vec<_> = replicas.into_iter().collect();
        self.good.extend(replicas.iter().map(|node| (chunk, *node)));
        NewChunk {
            permit: Permit::default(),
            chunk,
            length: 10,
            checksum: 0,
            replicas,
        }
    }

    fn put(&mut self) {
        let new = self.new_chunk();
        let target = CommitTarget::New {
            at: at(&format!("f{}", self.below(12))),
            attr: ATTR,
            replace: true,
        };
        let commit = Commit {
            target,
            offset: WriteOffset::At(0),
            pieces: vec![Piece::Chunk {
                chunk: new.chunk,
                offset: 0,
                length: 10,
            }],
            chunks: vec![new],
            revision: None,
            stripes: Vec::new(),
        };
        self.client(Change::Commit(commit));
    }

    /// A file that is a stripe of 2+1: each member has one copy.
    fn put_stripe(&mut self) {
        let first = self.node().0;
        let leaving = self.leaving();
        let nodes = (0..NODES).map(|index| NodeId(1 + (first + index) % NODES));
        let nodes = nodes.filter(|node| Some(*node) != leaving);
        let nodes: Vec<NodeId> = nodes.take(3).collect();
        let chunks: Vec<NewChunk> = nodes
            .into_iter()
            .map(|node| {
                let new = self.new_chunk();
                self.good.retain(|(chunk, _)| *chunk != new.chunk);
                self.good.insert((new.chunk, node));
                NewChunk {
                    length: 64,
                    replicas: vec![node],
                    ..new
                }
            })
            .collect();
        let piece = |new: &NewChunk| Piece::Chunk {
            chunk: new.chunk,
            offset: 0,
            length: new.length,
        };
        let commit = Commit {
            target: CommitTarget::New {
                at: at(&format!("f{}", self.below(12))),
                attr: ATTR,
                replace: true,
            },
            offset: WriteOffset::At(0),
            pieces: chunks.iter().take(2).map(piece).collect(),
            revision: None,
            stripes: vec![NewStripe {
                code: Code::Leopard16,
                shape: StripeShape { data: 2, parity: 1 },
                shard_length: 64,
                members: chunks.iter().map(|new| new.chunk).collect(),
            }],
            chunks,
        };
        self.client(Change::Commit(commit));
    }

    fn remove(&mut self) {
        let at = at(&format!("f{}", self.below(12)));
        let what = Removal::File;
        let skip_trash = self.below(3) > 0;
        self.client(Change::Remove {
            at,
            what,
            skip_trash,
        });
    }

    /// A copy rots, unless it is the last of a chunk that a file has.
    fn rot(&mut self) {
        let pick = self.below(self.good.len().max(1));
        let Some((chunk, node)) = self.good.iter().nth(pick).copied() else {
            return;
        };
        let others = self
            .good
            .iter()
            .filter(|(c, n)| *c == chunk && *n != node)
            .count();
        let live = query::chunk(&self.machine.view(), chunk).unwrap().is_some();
        if others > 0 || !live {
            self.good.remove(&(chunk, node));
        }
    }

    fn replace(&mut self) {
        let Some((chunk, row)) = self.any_chunk() else {
            return;
        };
        let add = self.node();
        if self.confirmed(chunk).is_empty() || !self.up.contains(&add) {
            return;
        }
        self.good.insert((chunk, add));
        let pick = self.below(row.replicas.len() + 1);
        let remove = row.replicas.get(pick).copied();
        let beside = row.stripe.is_some_and(|own| {
            self.chunks().iter().any(|(other, row)| {
                let is_of = row.stripe.is_some_and(|m| m.stripe == own.stripe);
                is_of && *other != chunk && row.replicas.contains(&add)
            })
        });
        let replaced = self
            .machine
            .apply(Command::ReplaceReplica { chunk, remove, add });
        if beside {
            assert!(matches!(replaced, Reply::Replaced(Err(_))), "{replaced:?}");
            self.apart += 1;
        }
    }

    fn adopt_or_drop(&mut self) {
        let Some((chunk, _)) = self.any_chunk() else {
            return;
        };
        let (node, confirmed) = (self.node(), self.confirmed(chunk));
        if self.below(2) == 0 {
            if confirmed.contains(&node) {
                self.machine.apply(Command::AdoptReplicas {
                    node,
                    chunks: vec![chunk],
                });
            }
            return;
        }
        let drops = vec![ReplicaDrop { chunk, confirmed }];
        self.machine.apply(Command::DropReplicas { node, drops });
    }

    fn drop_orphans(&mut self) {
        let node = self.node();
        let held = self
            .good
            .iter()
            .filter(|(_, n)| *n == node)
            .map(|(chunk, _)| *chunk);
        let chunks = held.collect();
        self.machine.apply(Command::DropOrphans { node, chunks });
    }

    /// The leader orders what is due; of live chunks only what enough confirmed others make
    /// superfluous.
    fn delete(&mut self) {
        let node = self.node();
        if !self.up.contains(&node) {
            return;
        }
        let view = self.machine.view();
        let mut chunks = Vec::new();
        for due in query::reclaim_due(&view, node, None, self.machine.now, 100).unwrap() {
            let wanted = query::chunk(&view, due.chunk).unwrap().is_some_and(|row| {
                let confirmed = self.confirmed(due.chunk);
                let sure = row
                    .replicas
                    .iter()
                    .filter(|n| confirmed.contains(n))
                    .count();
                sure < usize::from(row.target.0)
            });
            if !wanted {
                self.good.remove(&(due.chunk, node));
                chunks.push(due.chunk);
            }
        }
        self.deleted += chunks.len();
        self.machine.apply(Command::Reclaimed { node, chunks });
    }

    /// Someone decides about a node, whatever it is good for; one that is removed is gone with all
    /// that it has. Enough stay for the others to go on.
    fn decide(&mut self) {
        let states = [
            AdminState::Draining,
            AdminState::Drained,
            AdminState::Removed,
            AdminState::Removed,
            AdminState::Maintenance,
            AdminState::InService,
        ];
        let node = match self.below(4) {
            0 => self.node(),
            _ => self.leaving().unwrap_or(NodeId(1)),
        };
        let pick = self.below(states.len());
        let state = states.get(pick).copied().unwrap_or_default();
        if state == AdminState::Removed && self.removed >= (NODES - KEPT) as usize {
            return;
        }
        let decided = self.machine.apply(Command::SetAdminState { node, state });
        if state == AdminState::Removed && decided == Reply::AdminState(Ok(())) {
            self.good.retain(|(_, holder)| *holder != node);
            self.up.remove(&node);
            self.removed += 1;
            self.machine.housekeep();
        }
    }

    /// The leader moves one replica off a node that is being emptied.
    fn empty(&mut self) {
        let Some(node) = self.leaving() else {
            return;
        };
        for chunk in query::chunks_of_node(&self.machine.view(), node, None, 5).unwrap() {
            let add = self.node();
            if add == node || self.confirmed(chunk).is_empty() || !self.up.contains(&add) {
                continue;
            }
            let remove = Some(node);
            self.good.insert((chunk, add));
            self.machine
                .apply(Command::ReplaceReplica { chunk, remove, add });
        }
    }

    fn leaving(&self) -> Option<NodeId> {
        let nodes = query::nodes(&self.machine.view()).unwrap().into_iter();
        let leaves = |row: &AdminState| matches!(row, AdminState::Draining | AdminState::Drained);
        let mut leaving = nodes.filter(|(_, row)| leaves(&row.admin));
        leaving.next().map(|(node, _)| node)
    }

    fn step(&mut self) {
        match self.below(24) {
            0 | 1 => self.put(),
            2 => self.put_stripe(),
            3 => self.remove(),
            // Written and never committed.
            4 => drop(self.new_chunk()),
            5 | 6 => self.rot(),
            7..=9 => self.replace(),
            10..=13 => self.adopt_or_drop(),
            14 => self.drop_orphans(),
            15 | 16 => self.delete(),
            17 => {
                let node = self.node();
                let is_node = query::node(&self.machine.view(), node).unwrap();
                let removed = is_node.is_some_and(|row| row.admin == AdminState::Removed);
                if !self.up.remove(&node) && !removed {
                    self.up.insert(node);
                }
            }
            18 => self.machine.advance(RECLAIM_GRACE),
            19 => self.decide(),
            20..=22 => self.empty(),
            _ if self.below(10) == 0 => {
                self.machine.advance(Duration::from_secs(25 * 3600));
                self.machine.housekeep();
                self.next_chunk = self.chunks_end;
            }
            _ => {}
        }
    }
}

#[test]
fn no_chunk_of_a_file_ever_loses_its_last_good_copy() {
    let (mut removed, mut apart) = (0, 0);
    for seed in 1..=4 {
        let mut world = World::new(seed);
        for step in 0..1000 {
            world.step();
            for (chunk, _) in world.chunks() {
                let left = world.good.iter().any(|(c, _)| *c == chunk);
                assert!(
                    left,
                    "seed {seed} step {step}: no good copy of {chunk} is left"
                );
            }
        }
        world.machine.check();
        assert!(
            world.deleted > 10,
            "seed {seed}: only {} copies deleted",
            world.deleted
        );
        removed += world.removed;
        apart += world.apart;
    }
    assert!(removed > 1, "only {removed} nodes removed");
    assert!(apart > 10, "only {apart} members kept apart");
}
