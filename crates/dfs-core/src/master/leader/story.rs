//! What the leader can tell of chunks: how their replicas are, and what is being done for them.

use super::Leading;
use crate::master::view::{Fault, NodeView};
use crate::proto::metadata::{ChunkHealth, Liveness};
use crate::types::story::{ChunkStory, Doing, ReplicaState, ReplicaStory};
use crate::types::{AdminState, ChunkId, NodeId};

impl Leading {
    /// How all chunks are, of which there are so many.
    pub(crate) fn health(&self, total: u64) -> ChunkHealth {
        let empties = |node: &&NodeView| match node.row.admin {
            AdminState::Draining => true,
            AdminState::Maintenance => false,
            _ => node.liveness == Liveness::Dead,
        };
        let to_leave = self.view.nodes().filter(empties);
        let to_leave = to_leave
            .map(|node| node.row.bytes)
            .fold(0, u64::saturating_add);
        ChunkHealth {
            surveyed: self.has_surveyed(),
            total,
            under_replicated: self.endangered.repairable() as u64,
            missing: self.endangered.missing() as u64,
            repairing: self.tasks.copies() as u64,
            reclaiming: self.reclaiming,
            moving: self.tasks.moves().count() as u64,
            // What is known chunk by chunk may be a part of what is known node by node.
            repair_bytes: self.endangered.bytes().max(to_leave),
            repair_bytes_per_second: self.meter.bytes_per_second(self.clock),
        }
    }

    /// Adds to what the map says of a chunk what the leader sees of it.
    pub(crate) fn tell(&self, story: &mut ChunkStory) {
        self.tell_replicas(story.chunk, &mut story.replicas);
        let others = story
            .stripe
            .iter_mut()
            .flat_map(|stripe| &mut stripe.others);
        for member in others {
            self.tell_replicas(member.chunk, &mut member.replicas);
        }
        story.doing = self.doing(story);
    }

    fn tell_replicas(&self, chunk: ChunkId, replicas: &mut Vec<ReplicaStory>) {
        for replica in replicas.iter_mut() {
            replica.state = self.replica_state(chunk, replica.node);
        }
        let strays = self.view.strays(chunk).map(|node| ReplicaStory {
            node,
            state: ReplicaState::Stray,
        });
        replicas.extend(strays);
    }

    fn replica_state(&self, chunk: ChunkId, node: NodeId) -> ReplicaState {
        let Some(node) = self.view.node(node) else {
            return ReplicaState::Dead;
        };
        match (node.liveness, node.row.admin, node.fault(chunk)) {
            (Liveness::Dead, AdminState::Maintenance, _) if node.failed.is_none() => {
                ReplicaState::Resting
            }
            (Liveness::Dead, ..) => ReplicaState::Dead,
            (_, _, Some(Fault::Missing)) => ReplicaState::Missing,
            (_, _, Some(Fault::Corrupt)) => ReplicaState::Corrupt,
            (_, AdminState::Draining | AdminState::Drained, None) => ReplicaState::Leaving,
            _ if !node.has_told() => ReplicaState::Unconfirmed,
            (Liveness::Suspect, ..) => ReplicaState::Suspect,
            (Liveness::Live, ..) => ReplicaState::Good,
        }
    }

    fn doing(&self, story: &ChunkStory) -> Doing {
        let id = story.chunk;
        if let Some(to) = self.tasks.copier(id) {
            return match self.tasks.moving_from(id) {
                Some(from) => Doing::Moving { from, to },
                None => Doing::Copying { to },
            };
        }
        if self.outbox.made.contains_key(&id) {
            return Doing::Recording;
        }
        match self.endangered.place(id, self.clock) {
            Some((ahead, again)) => Doing::Waiting {
                ahead: ahead as u64,
                again,
            },
            None => Doing::Nothing,
        }
    }
}
