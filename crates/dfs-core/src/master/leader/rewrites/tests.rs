//! What is rewritten, of files in a state machine in memory, by data nodes that do it at once or
//! never can.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use super::*;
use crate::env::SeededRandom;
use crate::master::view::tests::{heartbeat, report};
use crate::meta::tests::fixture::{ATTR, Machine, at, serial};
use crate::meta::{Command, Reply};
use crate::proto::cluster::TaskResult;
use crate::proto::metadata::Liveness;
use crate::types::change::{CloneTarget, Commit, CommitTarget, Removal, WriteOffset};
use crate::types::snapshot::SnapshotChange;
use crate::types::{
    Answer, ByteRange, Caller, Change, Name, Outcome, PolicyChange, Query, StripeShape,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const KIB: u64 = 1 << 10;

struct World {
    machine: Machine,
    leading: Leading,
    config: MasterConfig,
    next_chunk: u64,
    /// Files of which no data node can rewrite anything.
    bad: Vec<InodeId>,
    /// Files of which the map takes nothing.
    untaken: Vec<InodeId>,
    /// Whether data nodes do anything.
    works: bool,
    /// Tasks that ended well, and that did not.
    ended: (usize, usize),
}

impl World {
    fn new(config: MasterConfig) -> World {
        let mut machine = Machine::lenient();
        for key in 1..=4 {
            machine.register(key);
        }
        machine.apply(Command::ReserveChunkIds { count: 10_000 });
        let known = map::nodes(&machine.view()).unwrap();
        let mut leading = Leading::new(1, &config, known);
        for node in (1..=4).map(NodeId) {
            assert!(leading.heartbeat(&heartbeat(node.0)));
            report(&mut leading.view, Duration::ZERO, node);
        }
        World {
            machine,
            leading,
            config,
            next_chunk: 1,
            bad: Vec::new(),
            untaken: Vec::new(),
            works: true,
            ended: (0, 0),
        }
    }

    fn change(&mut self, change: Change) -> Outcome {
        let client = self.machine.open_session();
        self.machine.request(serial(client, 1), change)
    }

    /// Writes so many chunks of 64 KiB one after the other, each an extent; which file it is.
    fn put(&mut self, path: &str, chunks: usize) -> InodeId {
        self.write(path, 0, chunks)
    }

    fn write(&mut self, path: &str, mut offset: u64, chunks: usize) -> InodeId {
        let mut inode = InodeId(0);
        let exists = offset > 0;
        for index in 0..chunks {
            let chunk = ChunkId(self.next_chunk);
            self.next_chunk += 1;
            let length = 64 * KIB;
            let target = match exists || index > 0 {
                true => CommitTarget::File(at(path)),
                false => CommitTarget::New {
                    at: at(path),
                    attr: ATTR,
                    replace: true,
                },
            };
            let commit = Commit {
                target,
                offset: WriteOffset::At(offset),
                pieces: vec![Piece::Chunk {
                    chunk,
                    offset: 0,
                    length,
                }],
                chunks: vec![NewChunk {
                    permit: Permit::default(),
                    chunk,
                    length,
                    checksum: 7,
                    replicas: [1, 2, 3].map(NodeId).to_vec(),
                }],
                revision: None,
                stripes: Vec::new(),
            };
            offset += length;
            inode = self
                .change(Change::Commit(commit))
                .unwrap()
                .attr
                .unwrap()
                .inode;
        }
        inode
    }

    fn clone_file(&mut self, from: &str, to: &str) {
        let target = CloneTarget::New {
            at: at(to),
            attr: ATTR,
            replace: true,
        };
        let change = Change::Clone {
            from: at(from),
            to: target,
            revision: None,
        };
        self.change(change).unwrap();
    }

    fn snapshot(&mut self, change: SnapshotChange) {
        let at = InodeId::ROOT.into();
        self.change(Change::Snapshot { at, change }).unwrap();
        self.machine.housekeep();
    }

    fn remove(&mut self, path: &str) {
        let (at, what, skip_trash) = (at(path), Removal::File, true);
        let removal = Change::Remove {
            at,
            what,
            skip_trash,
        };
        self.change(removal).unwrap();
        self.machine.housekeep();
    }

    /// Lets `ec` files come into stripes of 2+1 after a day.
    fn code_later(&mut self) {
        let change = PolicyChange {
            ec: Some(StripeShape { data: 2, parity: 1 }),
            ec_after: Some(DAY),
            ..PolicyChange::default()
        };
        let at = InodeId::ROOT.into();
        self.change(Change::SetPolicy { at, change }).unwrap();
    }

    /// A tick of the leader; then all that was begun ends.
    fn tick(&mut self) {
        self.leading.advance(self.config.tick);
        for node in 1..=4 {
            assert!(self.leading.heartbeat(&heartbeat(node)));
        }
        if let Some(from) = self.leading.next_files() {
            let rows = self.config.rewrite.extents_per_tick;
            let page = read_page(&self.machine.view(), from, rows).unwrap();
            let random = SeededRandom::new(1);
            self.leading
                .plan_rewrites(&self.config, &page, self.machine.now, &random);
        }
        if std::mem::take(&mut self.leading.rewrites.ids_wanted) > 0 {
            let count = 1000;
            match self.machine.apply(Command::ReserveChunkIds { count }) {
                Reply::ChunkIds(Ok(ids)) => self.leading.ids.add(ids),
                other => panic!("{other:?}"),
            }
        }
        if self.works {
            self.work();
        }
    }

    fn work(&mut self) {
        for node in (1..=4).map(NodeId) {
            for task in self.leading.tasks.of_node(node) {
                let Task::Rewrite { inode, targets, .. } = &task else {
                    continue;
                };
                let (result, stored) = match self.bad.contains(inode) {
                    true => (Err("nobody can".to_owned()), Vec::new()),
                    false => (Ok(()), stored(&task, targets)),
                };
                match result.is_ok() {
                    true => self.ended.0 += 1,
                    false => self.ended.1 += 1,
                }
                let ended = TaskResult {
                    task,
                    result,
                    stored,
                };
                self.leading.finished(node, &ended, None);
            }
        }
        while let Some(rewrite) = self.leading.outbox.rewritten.pop_front() {
            let command = Command::Rewrite(rewrite.clone());
            let is_part = !self.untaken.contains(&rewrite.inode)
                && self.machine.apply(command) == Reply::Rewritten(Ok(()));
            self.leading.rewrite_recorded(&rewrite, is_part);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.leading.clock + time;
        while self.leading.clock < end {
            self.tick();
        }
        self.machine.check();
    }

    /// How many extents a file has, and how many of its chunks are members of stripes.
    fn shape(&self, path: &str) -> (usize, usize) {
        let query = Query::Layout {
            at: at(path),
            range: ByteRange::new(0, 1 << 40),
        };
        let view = self.machine.view();
        let caller = Caller::System;
        match query::answer(&view, caller, &query).unwrap().unwrap() {
            Answer::Layout(layout) => {
                let stripes = layout.stripes.iter();
                (
                    layout.extents.len(),
                    stripes.map(|stripe| stripe.shape.data()).sum(),
                )
            }
            other => panic!("{other:?}"),
        }
    }

    /// Bytes of all chunks but parity.
    fn chunk_bytes(&self) -> u64 {
        query::counters(&self.machine.view()).unwrap().chunk_bytes
    }
}

/// What a data node says that has done it.
fn stored(task: &Task, targets: &[RewriteTarget]) -> Vec<StoredChunk> {
    let Task::Rewrite {
        sources, stripe, ..
    } = task
    else {
        return Vec::new();
    };
    let length: u64 = sources.iter().map(|source| source.length).sum();
    let member = |index| match stripe {
        Some(plan) => plan.shape.member_length(index, plan.shard_length, length),
        None => Some(length),
    };
    let targets = targets.iter().enumerate();
    let stored = targets.map(|(index, target)| StoredChunk {
        chunk: target.chunk,
        length: member(index).unwrap(),
        checksum: 7,
        nodes: target.nodes.iter().map(|node| node.node).collect(),
    });
    stored.collect()
}

/// Nothing is too young to be rewritten.
fn config() -> MasterConfig {
    let mut config = MasterConfig::new("x");
    config.rewrite.compact_after = Duration::ZERO;
    config
}

#[test]
fn a_page_that_cuts_a_file_in_two_is_followed_by_one_that_has_its_end() {
    let page = |keys: &[(u64, u64)]| {
        let rows = keys
            .iter()
            .map(|(inode, offset)| ((InodeId(*inode), *offset), ()));
        next(&rows.collect::<Vec<_>>(), 4)
    };
    assert_eq!(page(&[(1, 0), (1, 9)]), None);
    assert_eq!(
        page(&[(1, 0), (2, 0), (2, 5), (2, 9)]),
        Some((InodeId(2), 0))
    );
    assert_eq!(
        page(&[(1, 0), (1, 5), (1, 9), (1, 12)]),
        Some((InodeId(1), 12))
    );
}

#[test]
fn a_file_that_shares_its_chunks_with_a_clone_is_put_together_when_that_is_gone() {
    let mut world = World::new(config());
    world.put("f", 20);
    world.clone_file("f", "g");
    let bytes = world.chunk_bytes();
    world.run_for(Duration::from_secs(60));
    assert_eq!([world.shape("f"), world.shape("g")], [(20, 0); 2]);
    assert_eq!(world.chunk_bytes(), bytes);
    world.remove("g");
    world.run_for(Duration::from_secs(60));
    assert_eq!((world.shape("f"), world.chunk_bytes()), ((1, 0), bytes));
}

#[test]
fn what_a_clone_wrote_itself_is_put_together_and_what_it_shares_is_not() {
    let mut world = World::new(config());
    world.put("f", 40);
    world.clone_file("f", "g");
    world.write("g", 64 * KIB, 20);
    world.run_for(Duration::from_secs(60));
    // What the clone has no more is the file's alone, too.
    assert_eq!([world.shape("f"), world.shape("g")], [(21, 0); 2]);
    assert_eq!(world.chunk_bytes(), 60 * 64 * KIB);
}

#[test]
fn a_file_that_a_snapshot_sees_is_put_together_when_that_is_gone() {
    let mut world = World::new(config());
    world.put("f", 20);
    let bytes = world.chunk_bytes();
    let name = Name::new("one").unwrap();
    world.snapshot(SnapshotChange::Prepare);
    world.snapshot(SnapshotChange::Create { name: name.clone() });
    world.run_for(Duration::from_secs(60));
    assert_eq!((world.shape("f"), world.chunk_bytes()), ((20, 0), bytes));

    // What it does not see is another matter, in this file or in a new one.
    world.write("f", 20 * 64 * KIB, 16);
    world.put("new", 20);
    world.run_for(Duration::from_secs(60));
    assert_eq!([world.shape("f"), world.shape("new")], [(21, 0), (1, 0)]);

    world.snapshot(SnapshotChange::Remove { name });
    world.write("f", 36 * 64 * KIB, 1);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.shape("f"), (1, 0));
}

#[test]
fn what_a_snapshot_sees_comes_into_stripes_and_what_a_clone_has_too_stays_in_copies() {
    let mut world = World::new(config());
    world.code_later();
    for path in ["seen", "shared"] {
        world.put(path, 4);
    }
    world.clone_file("shared", "clone");
    world.snapshot(SnapshotChange::Prepare);
    let name = Name::new("one").unwrap();
    world.snapshot(SnapshotChange::Create { name });
    world.machine.advance(DAY);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.shape("seen"), (2, 2));
    assert_eq!([world.shape("shared"), world.shape("clone")], [(4, 0); 2]);

    world.remove("clone");
    world.machine.advance(DAY);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.shape("shared"), (2, 2));
}

#[test]
fn a_member_of_a_stripe_of_which_a_clone_has_another_is_not_put_together() {
    let mut world = World::new(config());
    world.code_later();
    world.put("f", 40);
    world.config.rewrite.compact_after = DAY * 99;
    world.leading.rewrites.budget = world.config.rewrite;
    world.machine.advance(DAY);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.shape("f"), (2, 2));
    // Of each of the two the clone has the first byte.
    let view = world.machine.view();
    let page = read_page(&view, None, 100).unwrap();
    let others = page.parts.iter().flat_map(|part| &part.runs);
    assert!(
        others
            .into_iter()
            .all(|run| run.others == query::Others::Nobody)
    );
    world.clone_file("f", "g");
    world
        .change(Change::Truncate {
            at: at("g"),
            size: 1,
        })
        .unwrap();
    let page = read_page(&world.machine.view(), None, 100).unwrap();
    let others = page.parts.iter().flat_map(|part| &part.runs);
    let others: Vec<_> = others.map(|run| run.others).collect();
    assert_eq!(others, [query::Others::Files; 3]);
}

#[test]
fn files_that_nobody_can_rewrite_keep_no_others_waiting() {
    let mut config = config();
    config.rewrite.rewrites = 1;
    let mut world = World::new(config);
    for name in ["a", "b", "c"] {
        let bad = world.put(name, 20);
        world.bad.push(bad);
    }
    world.put("good", 20);
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.shape("good"), (1, 0));
    // At once, and after half a minute, a minute, two, four: each of them five times at most.
    let (done, failed) = world.ended;
    assert!(done == 1 && (12..=15).contains(&failed), "{done} {failed}");
    world.bad.clear();
    world.run_for(Duration::from_secs(600));
    assert_eq!(["a", "b", "c"].map(|name| world.shape(name)), [(1, 0); 3]);
}

#[test]
fn what_a_page_shows_beyond_what_may_be_under_way_has_its_turn_at_once() {
    let mut config = config();
    config.rewrite.rewrites = 2;
    let mut world = World::new(config.clone());
    for index in 0..12 {
        world.put(&format!("f{index}"), 16);
    }
    let ticks = world.config.tick * 8;
    assert!(ticks < config.pass_interval);
    world.run_for(ticks);
    assert_eq!(world.ended, (12, 0));
}

#[test]
fn what_had_no_place_is_looked_at_again_soon() {
    let mut world = World::new(config());
    world.put("f", 20);
    let set = |world: &mut World, liveness| {
        for node in (1..=3).map(NodeId) {
            world.leading.view.set_liveness(node, liveness);
        }
    };
    set(&mut world, Liveness::Suspect);
    world.run_for(Duration::from_secs(600));
    assert_eq!((world.shape("f"), world.ended), ((20, 0), (0, 0)));
    set(&mut world, Liveness::Live);
    world.run_for(world.config.rewrite.rests_for + world.config.pass_interval * 2);
    assert_eq!(world.shape("f"), (1, 0));
}

#[test]
fn nothing_is_begun_for_a_while_when_as_many_failed_in_a_row_as_may_be_under_way() {
    let mut config = config();
    config.rewrite.rewrites = 2;
    let mut world = World::new(config);
    for index in 0..6 {
        let bad = world.put(&format!("f{index}"), 16);
        world.bad.push(bad);
    }
    let rests_for = world.config.rewrite.rests_for;
    world.run_for(rests_for);
    assert_eq!(world.ended, (0, 2));
    world.run_for(rests_for);
    assert_eq!(world.ended, (0, 4));
    // One that does not fail among them is enough.
    world.bad.remove(4);
    world.run_for(rests_for);
    assert_eq!(world.ended.0, 1);
}

#[test]
fn what_the_map_did_not_take_is_left_alone_like_what_failed() {
    let mut world = World::new(config());
    let inode = world.put("f", 16);
    world.untaken.push(inode);
    world.run_for(Duration::from_secs(25));
    assert_eq!((world.shape("f"), world.ended), ((16, 0), (1, 0)));
    world.untaken.clear();
    world.run_for(Duration::from_secs(25));
    assert_eq!((world.shape("f"), world.ended), ((1, 0), (2, 0)));
}

#[test]
fn what_was_under_way_on_a_node_that_dies_is_left_alone_like_what_failed() {
    let mut world = World::new(config());
    world.put("f", 16);
    world.works = false;
    world.run_for(world.config.tick * 4);
    let workers = (1..=4).map(NodeId);
    let worker = workers
        .clone()
        .find(|node| world.leading.tasks.is_rewriting(*node));
    world.leading.forget_tasks(worker.unwrap());
    world.works = true;
    world.run_for(Duration::from_secs(25));
    assert_eq!(world.ended, (0, 0));
    world.run_for(Duration::from_secs(25));
    assert_eq!(world.ended, (1, 0));
}
