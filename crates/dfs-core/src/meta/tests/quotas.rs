//! Random changes of trees with quotas: what is used is what is there, and never more than may be.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_raft::env::{Random, SeededRandom};
use dfs_raft::state::ReadState;

use super::fixture::{ATTR, Machine, at, serial};
use crate::meta::Command;
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::{counting, quota, uses};
use crate::meta::namespace::inode;
use crate::meta::namespace::purge::Budget;
use crate::meta::namespace::resolve::existing;
use crate::meta::tables::{DIRENTS, QUOTAS};
use crate::types::change::{CloneTarget, Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::quota::{Limits, QuotaChange};
use crate::types::{
    Change, ClientId, FileKind, InodeId, Location, RefusalKind, RequestId, TrashId,
};

const DIRS: [&str; 6] = ["", "q", "q/r", "p", "q/r/s", "p/t"];
const NAMES: [&str; 4] = ["a", "b", "r", "t"];

struct World {
    random: SeededRandom,
    machine: Machine,
    client: ClientId,
    sequence: u64,
    /// Whether files get other names: then the sum of a tree is not what is counted for it.
    links: bool,
    /// How often each refusal came.
    refused: BTreeMap<RefusalKind, usize>,
    done: usize,
    /// Quotas that were set below what was there.
    forced: Vec<InodeId>,
}

impl World {
    fn new(seed: u64, links: bool) -> World {
        let mut machine = Machine::lenient();
        let client = machine.open_session();
        World {
            random: SeededRandom::new(seed),
            machine,
            client,
            sequence: 0,
            links,
            refused: BTreeMap::new(),
            done: 0,
            forced: Vec::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn dir(&mut self) -> &'static str {
        DIRS[self.below(DIRS.len() as u64) as usize]
    }

    fn name(&mut self) -> Location {
        let (dir, name) = (self.dir(), NAMES[self.below(NAMES.len() as u64) as usize]);
        at(format!("{dir}/{name}").trim_start_matches('/'))
    }

    fn piece(&mut self) -> Vec<Piece> {
        let length = 1 + self.below(60) as usize;
        vec![Piece::Inline(vec![b'x'; length].into())]
    }

    fn commit(&mut self, target: CommitTarget) -> Change {
        Change::Commit(Commit {
            target,
            offset: WriteOffset::End,
            pieces: self.piece(),
            chunks: Vec::new(),
            stripes: Vec::new(),
            revision: None,
        })
    }

    fn names(&mut self) -> Change {
        match self.below(9) {
            0 | 1 => Change::MakeDirectory {
                at: at(self.dir()),
                attr: ATTR,
                parents: true,
            },
            2..=5 => Change::Rename {
                from: self.name(),
                to: self.name(),
                replace: true,
            },
            6 if self.links => Change::Link {
                from: self.name(),
                at: self.name(),
            },
            6 => Change::Symlink {
                at: self.name(),
                target: "x".to_owned(),
                attr: ATTR,
            },
            7 => Change::Restore {
                trash: TrashId(1 + self.below(60)),
                to: Some(self.name()),
            },
            _ => Change::Remove {
                at: self.name(),
                what: Removal::Tree,
                skip_trash: self.below(2) == 0,
            },
        }
    }

    fn contents(&mut self) -> Change {
        match self.below(8) {
            0..=2 => {
                let target = CommitTarget::New {
                    at: self.name(),
                    attr: ATTR,
                    replace: true,
                };
                self.commit(target)
            }
            3 => {
                let target = CommitTarget::File(self.name());
                self.commit(target)
            }
            4 => Change::Truncate {
                at: self.name(),
                size: self.below(80),
            },
            5 => {
                let (from, at) = (self.name(), self.name());
                let (attr, replace) = (ATTR, true);
                let to = CloneTarget::New { at, attr, replace };
                let revision = None;
                Change::Clone { from, to, revision }
            }
            6 => Change::Concat {
                to: self.name(),
                from: vec![self.name()],
            },
            _ => Change::BeginUpload {
                at: self.name(),
                attr: ATTR,
            },
        }
    }

    fn quota(&mut self) -> Change {
        let at = at(self.dir());
        let limits = Limits {
            bytes: Some(self.below(600)),
            inodes: (self.below(2) == 0).then_some(self.below(16)),
        };
        let force = self.below(4) == 0;
        let change = match self.below(5) {
            0 => QuotaChange::Remove,
            _ => QuotaChange::Set { limits, force },
        };
        Change::Quota { at, change }
    }

    fn step(&mut self) {
        let change = match self.below(23) {
            0 => self.quota(),
            1..=10 => self.names(),
            11..=20 => self.contents(),
            _ => return self.others(),
        };
        self.sequence += 1;
        let request = serial(self.client, self.sequence);
        let (set, outcome) = (change.clone(), self.request(request, change));
        match outcome {
            Ok(inode) => {
                self.done += 1;
                if let (Change::Quota { .. }, Some(inode)) = (set, inode) {
                    // It may have been set by force, or have more in it when that is counted.
                    self.forced.push(inode);
                }
            }
            Err(kind) => *self.refused.entry(kind).or_default() += 1,
        }
    }

    fn request(
        &mut self,
        request: RequestId,
        change: Change,
    ) -> Result<Option<InodeId>, RefusalKind> {
        let outcome = self.machine.request(request, change);
        let inode = |changed: crate::types::Changed| changed.attr.map(|attr| attr.inode);
        outcome.map(inode).map_err(|refusal| refusal.kind)
    }

    /// A step of housekeeping, or time passes, or the session ends with its uploads.
    fn others(&mut self) {
        match self.below(8) {
            0 => {
                self.machine.advance(Duration::from_secs(7200));
                self.open_session();
            }
            1 => {
                self.close_session();
                self.open_session();
            }
            2 | 3 => self.begin_to_count(),
            4..=6 => {
                // Less than housekeeping would, so that much happens in between.
                let budget = &mut Budget::of(3);
                self.machine.edit(|state| counting::step(state, budget));
            }
            _ => drop(self.machine.apply(Command::Housekeeping)),
        }
    }

    fn close_session(&mut self) {
        self.sequence += 1;
        let request = serial(self.client, self.sequence);
        self.request(request, Change::CloseSession).unwrap();
    }

    fn open_session(&mut self) {
        self.client = self.machine.open_session();
        self.sequence = 0;
    }

    /// As a quota does that is set where much is.
    fn begin_to_count(&mut self) {
        let dir = at(self.dir());
        self.machine.edit(|state| {
            let found = existing(state, &Subject::system(), &dir, true);
            if let Ok((id, inode)) = found
                && inode.kind() == FileKind::Directory
                && uses::row(state, id)?.is_none()
            {
                quota::begin(state, id).unwrap();
            }
            Ok(())
        });
    }

    /// No quota is exceeded that was not when it was set.
    fn judge_limits(&mut self) {
        let view = self.machine.view();
        for row in view.scan(QUOTAS, ..).unwrap() {
            let (id, ()) = row.unwrap();
            let row = uses::row(&view, id).unwrap().unwrap();
            let over = |limit: Option<u64>, used| limit.is_some_and(|limit| used > limit);
            let (bytes, inodes) = (row.sum.bytes, row.sum.inodes);
            let is_over = over(row.limits.bytes, bytes) || over(row.limits.inodes, inodes);
            match is_over {
                true => assert!(self.forced.contains(&id), "{id}: {row:?}"),
                false if row.sum.pending == 0 => self.forced.retain(|forced| *forced != id),
                false => {}
            }
        }
    }

    /// Where all is counted and every file has one name, what a quota counts is the sum of the
    /// tree, and of uploads.
    fn judge_sums(&self) {
        let view = self.machine.view();
        for row in view.scan(QUOTAS, ..).unwrap() {
            let (id, ()) = row.unwrap();
            let row = uses::row(&view, id).unwrap().unwrap();
            let (mut bytes, mut inodes) = (0, 0);
            let mut todo = vec![id];
            while let Some(dir) = todo.pop() {
                for row in view.scan_prefix(DIRENTS, &dir).unwrap() {
                    let (_, entry) = row.unwrap();
                    let inode = inode::require(&view, entry.inode).unwrap();
                    inodes += 1;
                    bytes += inode.allocated();
                    if entry.kind == FileKind::Directory {
                        todo.push(entry.inode);
                    }
                }
            }
            assert_eq!((row.sum.bytes, row.sum.inodes), (bytes, inodes), "{id}");
        }
    }

    fn end(&mut self) {
        self.close_session();
        self.machine.advance(Duration::from_secs(7200));
        self.machine.housekeep();
        self.machine.check();
        if !self.links {
            self.judge_sums();
        }
    }
}

fn run(seed: u64, links: bool) -> [usize; 3] {
    let mut world = World::new(seed, links);
    for step in 0..1500 {
        world.step();
        world.judge_limits();
        if step % 10 == 0 {
            let violations = crate::meta::check(&world.machine.view()).unwrap();
            assert!(
                violations.is_empty(),
                "seed {seed} step {step}: {violations:#?}"
            );
        }
    }
    world.end();
    let refused = |kind| world.refused.get(&kind).copied().unwrap_or(0);
    let over = refused(RefusalKind::OverQuota);
    let other = refused(RefusalKind::OtherQuota);
    [world.done, over, other]
}

#[test]
fn what_is_used_is_what_is_there_and_never_more_than_may_be() {
    let seeds = if cfg!(debug_assertions) { 2 } else { 60 };
    let mut sums = [0; 3];
    for seed in 1..=seeds {
        for links in [false, true] {
            let counts = run(seed, links);
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
    }
    let [done, over, other] = sums.map(|sum| sum / seeds as usize);
    assert!(done > 600 && over > 50 && other > 2, "{sums:?}");
}
