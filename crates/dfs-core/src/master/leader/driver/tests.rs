//! The loop of a leader, without its sockets: the state is a machine in memory, and data nodes
//! do at once what they are told.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use super::*;
use crate::env::SeededRandom;
use crate::master::leader::Made;
use crate::master::planners::repair::Endangered;
use crate::master::planners::report::Finding;
use crate::master::view::Fault;
use crate::master::view::tests::{heartbeat, report};
use crate::meta::Reply;
use crate::meta::command::ReplicaDrop;
use crate::meta::query;
use crate::meta::tests::fixture::{ATTR, Machine, at, serial};
use crate::proto::cluster::{Heartbeat, TaskResult};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::limits::RECLAIM_GRACE;
use crate::types::node::MemberChange;
use crate::types::stripe::{Code, StripeShape};
use crate::types::topology::Topology;
use crate::types::{AdminState, Change, NewChunk, NewStripe, NodeKey, Permit, Space};

const C: ChunkId = ChunkId(1);

struct World {
    machine: Machine,
    leading: Leading,
    config: MasterConfig,
    /// Nodes that say nothing.
    silent: BTreeSet<NodeId>,
    /// Copies that were not recorded.
    refused: usize,
}

impl World {
    /// Data nodes that have reported, and chunks that files have on the first three.
    fn new(nodes: u32, chunks: u64) -> World {
        let mut world = World::unreported(nodes, chunks);
        for node in 1..=nodes {
            world.report(node);
        }
        world
    }

    /// The same just after an election: the data nodes have yet to report.
    fn unreported(nodes: u32, chunks: u64) -> World {
        World::standing(&vec![""; nodes as usize], chunks)
    }

    /// The same with data nodes that stand in these racks.
    fn standing(racks: &[&str], chunks: u64) -> World {
        let mut machine = Machine::lenient();
        for (key, rack) in (1..).zip(racks) {
            let rack = (*rack).to_owned();
            machine.apply(Command::RegisterNode {
                key: NodeKey(key),
                node: None,
                address: format!("node{key}:1"),
                topology: Topology {
                    rack,
                    ..Topology::default()
                },
                space: Space::default(),
            });
        }
        machine.apply(Command::ReserveChunkIds { count: 10_000 });
        for chunk in 1..=chunks {
            put(&mut machine, ChunkId(chunk));
        }
        let config = MasterConfig::new("x");
        let known = map::nodes(&machine.view()).unwrap();
        let mut world = World {
            leading: Leading::new(1, &config, known),
            machine,
            config,
            silent: BTreeSet::new(),
            refused: 0,
        };
        world.heartbeats();
        world
    }

    fn report(&mut self, node: u32) {
        report(&mut self.leading.view, self.leading.clock, NodeId(node));
    }

    fn heartbeats(&mut self) {
        for row in map::nodes(&self.machine.view()).unwrap() {
            if !self.silent.contains(&row.node) {
                assert!(self.leading.heartbeat(&heartbeat(row.node.0)));
            }
        }
    }

    fn die(&mut self, node: u32) {
        self.silent.insert(NodeId(node));
        for _ in 0..self.config.liveness.dead_after.as_secs() {
            self.leading.advance(Duration::from_secs(1));
            self.heartbeats();
        }
    }

    fn come_back(&mut self, node: u32, chunk: ChunkId) {
        self.silent.remove(&NodeId(node));
        self.heartbeats();
        self.report(node);
        self.leading.note(NodeId(node), chunk, Finding::Surplus);
    }

    fn tick(&mut self) {
        self.leading.advance(self.config.tick);
        self.leading
            .rates
            .pass(self.config.tick, &self.config.repair);
        let question = ask(&mut self.leading, &self.config);
        let view = self.machine.view();
        let answers = map::look_up(&view, self.machine.now, question).unwrap();
        let random = SeededRandom::new(1);
        decide(&mut self.leading, &self.config, answers, &random);
        for node in std::mem::take(&mut self.leading.outbox.drained) {
            let state = AdminState::Drained;
            let drained = self.machine.apply(Command::SetAdminState { node, state });
            assert_eq!(drained, Reply::AdminState(Ok(())));
        }
        let surplus = std::mem::take(&mut self.leading.outbox.surplus);
        for ((node, chunk), confirmed) in surplus {
            let drops = vec![ReplicaDrop { chunk, confirmed }];
            self.machine.apply(Command::DropReplicas { node, drops });
        }
    }

    /// Every node that speaks has done what it was told, but for deletions.
    fn work(&mut self) {
        for node in (1..=9).map(NodeId).filter(|n| !self.silent.contains(n)) {
            for task in self.leading.tasks.of_node(node) {
                let (Task::Copy { chunk, .. }
                | Task::Rebuild { chunk, .. }
                | Task::Verify { chunk }) = task
                else {
                    continue;
                };
                let row = map::chunk(&self.machine.view(), chunk).unwrap();
                let result = Ok(());
                let ended = TaskResult {
                    task,
                    result,
                    stored: Vec::new(),
                };
                self.leading.finished(node, &ended, row.as_ref());
            }
        }
        let made = std::mem::take(&mut self.leading.outbox.made);
        for (chunk, made) in made {
            let (remove, add) = (made.replaces, made.by);
            let command = Command::ReplaceReplica { chunk, remove, add };
            match self.machine.apply(command) {
                Reply::Replaced(Ok(())) => self.leading.replaced(chunk, add, remove),
                Reply::Replaced(Err(_)) => {
                    self.refused += 1;
                    self.leading.not_replaced(chunk, add);
                }
                other => panic!("{other:?}"),
            }
            self.leading.hint(chunk);
        }
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
            self.work();
        }
    }

    fn holders(&self, chunk: ChunkId) -> Vec<NodeId> {
        let row = query::chunk(&self.machine.view(), chunk).unwrap().unwrap();
        let mut replicas = row.replicas;
        replicas.sort_unstable();
        replicas
    }

    fn is_queued(&self, chunk: ChunkId, node: u32) -> bool {
        query::is_reclaimed(&self.machine.view(), chunk, NodeId(node)).unwrap()
    }

    fn decide(&mut self, node: u32, state: AdminState) {
        let node = NodeId(node);
        let decided = self.machine.apply(Command::SetAdminState { node, state });
        assert_eq!(decided, Reply::AdminState(Ok(())));
    }

    fn state_of(&self, node: u32) -> AdminState {
        let row = query::node(&self.machine.view(), NodeId(node)).unwrap();
        row.unwrap().admin
    }

    /// As after an election: another leader knows what the map says, and reports come.
    fn elect(&mut self) {
        let known = map::nodes(&self.machine.view()).unwrap();
        self.leading = Leading::new(2, &self.config, known);
        self.heartbeats();
        for row in map::nodes(&self.machine.view()).unwrap() {
            if !self.silent.contains(&row.node) {
                self.report(row.node.0);
            }
        }
    }

    fn give_up(&mut self, chunk: ChunkId, node: u32) {
        let confirmed = [1, 2, 3].map(NodeId).to_vec();
        let drops = vec![ReplicaDrop { chunk, confirmed }];
        let node = NodeId(node);
        self.machine.apply(Command::DropReplicas { node, drops });
        assert!(query::is_reclaimed(&self.machine.view(), chunk, node).unwrap());
    }

    fn deletions(&self, node: u32) -> Vec<ChunkId> {
        let tasks = self.leading.tasks.of_node(NodeId(node)).into_iter();
        tasks
            .flat_map(|task| match task {
                Task::Delete { chunks } => chunks,
                _ => Vec::new(),
            })
            .collect()
    }
}

/// A file of one chunk, named as it, on the first three nodes.
fn put(machine: &mut Machine, chunk: ChunkId) {
    let client = machine.open_session();
    let commit = Commit {
        target: CommitTarget::New {
            at: at(&chunk.to_string()),
            attr: ATTR,
            replace: false,
        },
        offset: WriteOffset::At(0),
        pieces: vec![Piece::Chunk {
            chunk,
            offset: 0,
            length: 10,
        }],
        chunks: vec![NewChunk {
            permit: Permit::default(),
            chunk,
            length: 10,
            checksum: 7,
            replicas: [1, 2, 3].map(NodeId).to_vec(),
        }],
        revision: None,
        stripes: Vec::new(),
    };
    let put = machine.request(serial(client, 1), Change::Commit(commit));
    assert!(put.is_ok(), "{put:?}");
}

fn remove(machine: &mut Machine, chunk: ChunkId) {
    let client = machine.open_session();
    let removal = Change::Remove {
        at: at(&chunk.to_string()),
        what: Removal::File,
        skip_trash: true,
    };
    let removed = machine.request(serial(client, 1), removal);
    assert!(removed.is_ok(), "{removed:?}");
    machine.housekeep();
}

#[test]
fn a_copy_that_waits_for_its_deletion_is_taken_back_when_another_is_lost_for_good() {
    let mut world = World::new(4, 1);
    world.die(1);
    world.ticks(3);
    assert_eq!(world.holders(C), [2, 3, 4].map(NodeId));
    world.come_back(1, C);
    world.ticks(3);
    assert!(world.is_queued(C, 1));
    world.die(2);
    world.ticks(3);
    assert_eq!(world.holders(C), [1, 3, 4].map(NodeId));
    assert!(!world.is_queued(C, 1));
    world.machine.check();
}

#[test]
fn a_copy_that_comes_back_is_not_given_up_before_the_others_were_read() {
    let mut world = World::new(4, 1);
    world.die(1);
    world.ticks(3);
    world.come_back(1, C);
    assert!(!world.is_queued(C, 1));
    world.tick();
    assert!(!world.is_queued(C, 1));
}

#[test]
fn a_deletion_in_hand_is_taken_back_when_another_copy_is_lost() {
    let mut world = World::new(4, 1);
    world.give_up(C, 4);
    world.machine.advance(RECLAIM_GRACE);
    world.ticks(3);
    assert_eq!(world.deletions(4), [C]);
    world
        .leading
        .note(NodeId(1), C, Finding::Fault(Fault::Corrupt));
    world.tick();
    assert_eq!(world.deletions(4), []);
}

#[test]
fn replicas_of_dead_chunks_go_though_many_of_live_ones_wait_before_them() {
    const LIVE: u64 = CHUNKS_PER_DELETE_MAX as u64;
    let mut world = World::new(4, LIVE + 1);
    for chunk in 1..=LIVE {
        world.give_up(ChunkId(chunk), 4);
    }
    world.machine.advance(RECLAIM_GRACE);
    let dead = ChunkId(LIVE + 1);
    world.give_up(dead, 4);
    remove(&mut world.machine, dead);
    world.machine.advance(RECLAIM_GRACE);
    // Nobody is read through, so no live one may go.
    world.silent.extend([1, 2, 3].map(NodeId));
    for _ in 0..3 {
        world.tick();
    }
    assert_eq!(world.deletions(4), [dead]);
}

#[test]
fn surplus_copies_get_their_turn_behind_those_that_are_given_up_already() {
    let many = 2 * SURPLUS_PER_TICK as u64;
    let mut world = World::new(4, many + 1);
    for chunk in 1..=many {
        world
            .leading
            .note(NodeId(4), ChunkId(chunk), Finding::Surplus);
        world.give_up(ChunkId(chunk), 4);
    }
    let last = ChunkId(many + 1);
    world.leading.note(NodeId(4), last, Finding::Surplus);
    world.ticks(4);
    assert!(world.is_queued(last, 4));
}

#[test]
fn a_survey_ends_with_the_pass_that_begins_after_every_node_has_reported() {
    let mut world = World::unreported(3, 5);
    world.config.pass_rows_per_tick = 2;
    world.report(1);
    world.report(2);
    world.ticks(20);
    assert!(!world.leading.has_surveyed());
    world.report(3);
    // Told of by hints that were too many: only the pass finds it.
    let fault = Finding::Fault(Fault::Missing);
    world.leading.note(NodeId(3), C, fault);
    world.leading.hints.clear();

    while !world.leading.has_surveyed() {
        world.tick();
    }

    assert_eq!(world.leading.endangered.len(), 1);
}

#[test]
fn a_survey_begins_anew_when_a_pass_was_under_way_before_the_last_report() {
    let mut world = World::unreported(3, 5);
    world.config.pass_rows_per_tick = 2;
    world.tick();
    assert!(world.leading.searches.pass.is_some());
    for node in 1..=3 {
        world.report(node);
    }
    world.tick();
    assert_eq!(world.leading.searches.pass, None);
    world.ticks(2);
    assert!(!world.leading.has_surveyed());
    world.tick();
    assert!(world.leading.has_surveyed());
}

#[test]
fn chunks_that_nobody_can_repair_and_a_full_queue_keep_no_other_from_being_repaired() {
    let mut world = World::new(4, 20);
    world.leading.endangered = Endangered::with_room(2);
    for (chunk, node) in (1..=10).flat_map(|chunk| (1..=3).map(move |node| (chunk, node))) {
        let fault = Finding::Fault(Fault::Missing);
        world.leading.note(NodeId(node), ChunkId(chunk), fault);
    }
    world.ticks(5);
    world.die(3);

    world.ticks(50);

    for chunk in 11..=20 {
        let holders = world.holders(ChunkId(chunk));
        assert_eq!(holders, [1, 2, 4].map(NodeId), "c{chunk}");
    }
    assert!(world.leading.has_surveyed());
    assert_eq!(world.leading.endangered.repairable(), 0);
    assert_eq!(world.leading.endangered.missing(), 2);
}

#[test]
fn a_node_that_never_comes_back_keeps_no_survey_from_ending() {
    let mut world = World::unreported(3, 1);
    world.report(1);
    world.report(2);
    world.ticks(3);
    assert!(!world.leading.has_surveyed());
    world.die(3);
    world.ticks(3);
    assert!(world.leading.has_surveyed());
    assert_eq!(world.leading.endangered.len(), 1);
}

#[test]
fn a_survey_that_has_ended_stays_so_whoever_comes_later() {
    let mut world = World::new(3, 1);
    world.ticks(3);
    world.machine.register(4);
    world.ticks(3);
    assert!(world.leading.has_surveyed());
}

#[test]
fn a_node_is_drained_when_all_that_it_had_is_elsewhere_whoever_leads() {
    let mut world = World::new(4, 3);
    world.decide(1, AdminState::Draining);
    world.tick();
    world.elect();
    world.ticks(5);
    for chunk in 1..=3 {
        assert_eq!(world.holders(ChunkId(chunk)), [2, 3, 4].map(NodeId));
    }
    assert_eq!(world.state_of(1), AdminState::Drained);
    world.machine.check();
}

#[test]
fn a_node_is_not_drained_while_nothing_can_take_what_it_has() {
    let mut world = World::new(4, 3);
    world.decide(1, AdminState::Draining);
    world.die(4);
    world.ticks(5);
    assert_eq!(world.holders(C), [1, 2, 3].map(NodeId));
    assert_eq!(world.state_of(1), AdminState::Draining);
    world.come_back(4, ChunkId(999));
    world.ticks(5);
    assert_eq!(world.state_of(1), AdminState::Drained);
}

#[test]
fn a_removed_node_is_forgotten() {
    let mut world = World::new(4, 0);
    world.decide(1, AdminState::Draining);
    world.ticks(1);
    world.decide(1, AdminState::Removed);
    world.tick();
    assert!(world.leading.view.node(NodeId(1)).is_none());
    assert!(!world.leading.heartbeat(&heartbeat(1)));
    world.tick();
    assert!(world.leading.view.node(NodeId(1)).is_none());
}

#[test]
fn replicas_move_off_a_node_that_is_too_full_and_the_copies_left_there_are_surplus() {
    let mut world = World::new(4, 30);
    let room = Space {
        total: 400,
        used: 0,
        available: 400,
    };
    let beat = |world: &mut World| {
        for node in 1..=4 {
            let space = room;
            assert!(world.leading.heartbeat(&Heartbeat {
                space,
                ..heartbeat(node)
            }));
        }
    };
    for _ in 0..60 {
        beat(&mut world);
        world.ticks(1);
    }
    // 900 bytes on four nodes: 225 each, and up to five percent of 400 more or less.
    let bytes = |node| {
        query::node_load(&world.machine.view(), NodeId(node))
            .unwrap()
            .bytes
    };
    let loads = [1, 2, 3, 4].map(bytes);
    assert!(
        loads.iter().all(|load| (205..=245).contains(load)),
        "{loads:?}"
    );
    world.machine.check();
}

#[test]
fn replicas_that_share_a_rack_move_apart_once_another_rack_is_there() {
    let mut world = World::standing(&["a", "a", "a", "b"], 1);
    world.elect();
    world.ticks(5);
    assert!(
        world.holders(C).contains(&NodeId(4)),
        "{:?}",
        world.holders(C)
    );
}

/// A file that is a stripe of 2+2: these chunks on n1 to n4.
fn put_stripe(machine: &mut Machine, members: [u64; 4]) {
    let client = machine.open_session();
    let chunks: Vec<NewChunk> = (1..)
        .zip(members)
        .map(|(node, id)| NewChunk {
            permit: Permit::default(),
            chunk: ChunkId(id),
            length: 128,
            checksum: 0,
            replicas: vec![NodeId(node)],
        })
        .collect();
    let piece = |new: &NewChunk| Piece::Chunk {
        chunk: new.chunk,
        offset: 0,
        length: new.length,
    };
    let commit = Commit {
        target: CommitTarget::New {
            at: at(&format!("striped{}", members[0])),
            attr: ATTR,
            replace: true,
        },
        offset: WriteOffset::At(0),
        pieces: chunks.iter().take(2).map(piece).collect(),
        revision: None,
        stripes: vec![NewStripe {
            code: Code::Leopard16,
            shape: StripeShape { data: 2, parity: 2 },
            shard_length: 128,
            members: chunks.iter().map(|new| new.chunk).collect(),
        }],
        chunks,
    };
    machine
        .request(serial(client, 1), Change::Commit(commit))
        .unwrap();
}

#[test]
fn members_of_a_stripe_that_are_lost_together_are_made_again_apart() {
    let mut world = World::new(5, 0);
    let members = [1, 2, 3, 4];
    put_stripe(&mut world.machine, members);
    for node in 1..=5 {
        world.report(node);
    }
    // One node is left that has none of it: it takes one of the two, not both.
    world.die(1);
    world.die(2);
    for _ in 0..20 {
        world.tick();
        world.tick();
        world.tick();
        world.work();
    }
    let lost = [1, 2].map(|id| world.holders(ChunkId(id)));
    let mut came = lost.concat();
    came.sort_unstable();
    assert!(
        came == [1, 5].map(NodeId) || came == [2, 5].map(NodeId),
        "{lost:?}"
    );
}

#[test]
fn a_member_that_was_made_beside_another_is_given_up_and_made_elsewhere() {
    let mut world = World::new(5, 0);
    put_stripe(&mut world.machine, [1, 2, 3, 4]);
    for node in 1..=5 {
        world.report(node);
    }
    world.die(1);
    // As a leader would do that knows no better.
    let made = Made {
        by: NodeId(2),
        replaces: Some(NodeId(1)),
    };
    world.leading.outbox.made.insert(C, made);
    world.work();
    assert_eq!((world.refused, world.holders(C)), (1, vec![NodeId(1)]));

    for _ in 0..30 {
        world.heartbeats();
        world.ticks(1);
    }

    assert_eq!((world.refused, world.holders(C)), (1, vec![NodeId(5)]));
    assert!(world.is_queued(C, 2), "what is on n2 is surplus");
    world.machine.check();
}

#[test]
fn what_a_node_held_that_does_not_come_back_from_its_rest_is_repaired() {
    let mut world = World::new(4, 10);
    let node = NodeId(1);
    let rest = MemberChange::Decide {
        node,
        state: AdminState::Maintenance,
        plan: None,
        rest: Some(Duration::from_secs(3600)),
    };
    let client = world.machine.open_session();
    let asked = world
        .machine
        .request(serial(client, 1), Change::Member(rest));
    asked.unwrap();
    world.die(1);
    for _ in 0..60 {
        world.heartbeats();
        world.ticks(1);
    }
    assert!(world.holders(C).contains(&node), "it is away on purpose");
    world.machine.advance(Duration::from_secs(3601));
    world.machine.housekeep();
    assert_eq!(world.state_of(1), AdminState::InService);
    for _ in 0..60 {
        world.heartbeats();
        world.ticks(1);
    }
    assert!(!world.holders(C).contains(&node));
}
