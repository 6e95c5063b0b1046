//! Random commands, carried out by the state machine and by a file system as simple as can be:
//! same answers, same trees, same bytes. A second machine gets the same log in other batches and
//! must have the same digest; requests are repeated and must change nothing.

mod attributes;
mod changes;
mod compare;
mod contents;
mod tree;
mod views;

use std::time::Duration;

use dfs_raft::env::{Random, SeededRandom};
use dfs_raft::state::ReadState;

use self::tree::{Item, Tree, Where};
use self::views::View;
use super::fixture::{Machine, register};
use crate::meta::tables::PURGE;
use crate::meta::{Command, Reply};
use crate::types::{
    Caller, Change, ClientId, InodeId, Location, Outcome, PolicyChange, RefusalKind, RequestId,
    Timestamp,
};

/// What a change is expected to give: the inode it is about.
type Expected = Result<Option<u64>, RefusalKind>;

struct Driver {
    random: SeededRandom,
    tree: Tree,
    machine: Machine,
    twin: Machine,
    /// What the machine has applied and its twin has not.
    log: Vec<(Timestamp, Command)>,
    client: ClientId,
    sequence: u64,
    chunk: u64,
    chunks_end: u64,
    past: Vec<(RequestId, Change, Outcome)>,
    /// Snapshots, with all that was there then.
    views: Vec<View>,
    /// How many changes were carried out, and refused.
    counts: (usize, usize),
}

impl Driver {
    fn new(seed: u64) -> Driver {
        let mut driver = Driver {
            random: SeededRandom::new(seed),
            tree: Tree::new(),
            machine: Machine::new(),
            twin: Machine::new(),
            log: Vec::new(),
            client: ClientId(0),
            sequence: 0,
            chunk: 1,
            chunks_end: 1,
            past: Vec::new(),
            views: Vec::new(),
            counts: (0, 0),
        };
        for key in 1..=3 {
            driver.apply(register(key));
        }
        driver.open_session();
        let change = PolicyChange {
            inline_max: Some(64),
            ..PolicyChange::default()
        };
        let root = Where {
            base: InodeId::ROOT.0,
            names: Vec::new(),
        };
        driver.tree.set_policy(&root, &change).unwrap();
        let at = Location::from(InodeId::ROOT);
        driver.request(Change::SetPolicy { at, change }).unwrap();
        driver
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn apply(&mut self, command: Command) -> Reply {
        self.log.push((self.machine.now, command.clone()));
        self.machine.apply(command)
    }

    fn open_session(&mut self) {
        let Reply::Session(Ok(client)) = self.apply(Command::OpenSession {
            caller: Caller::System,
        }) else {
            panic!()
        };
        self.client = client;
        self.sequence = 0;
        self.past.clear();
    }

    /// Sends a request with the next id; if it must wait for housekeeping, once more after that.
    fn request(&mut self, change: Change) -> Outcome {
        self.sequence += 1;
        let purge = self.machine.view().scan(PURGE, ..).unwrap().next();
        if matches!(change, Change::Concat { .. }) && purge.is_some() {
            // Names count until they have been purged.
            self.housekeep();
        }
        // Some answers are still under way, at most as many as may be repeated below.
        let answered_below = self.sequence.saturating_sub(8).max(1);
        let request = RequestId {
            client: self.client,
            sequence: self.sequence,
            answered_below,
        };
        let mut outcome = self.send(request, &change);
        if matches!(&outcome, Err(refusal) if refusal.kind == RefusalKind::Busy) {
            self.housekeep();
            outcome = self.send(request, &change);
        }
        self.past.push((request, change, outcome.clone()));
        if self.past.len() > 8 {
            drop(self.past.remove(0));
        }
        outcome
    }

    fn send(&mut self, request: RequestId, change: &Change) -> Outcome {
        match self.apply(Command::Client {
            caller: Caller::System,
            request,
            change: change.clone(),
        }) {
            Reply::Client { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn housekeep(&mut self) {
        self.tree.expire(self.machine.now);
        while let Reply::Housekeeping { more: true } = self.apply(Command::Housekeeping) {}
    }

    fn repeat(&mut self) {
        let index = self.below(self.past.len().max(1) as u64) as usize;
        if let Some((request, change, first)) = self.past.get(index).cloned() {
            assert_eq!(self.send(request, &change), first, "{request} {change:?}");
        }
    }

    /// Hours pass, nothing is heard of the session, and its uploads go.
    fn silence(&mut self) {
        self.machine
            .advance(Duration::from_secs(3600 * (2 + self.random.below(12))));
        let request = RequestId {
            client: self.client,
            sequence: 1 << 40,
            answered_below: 1,
        };
        let refused = self.send(request, &Change::CloseSession).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::SessionExpired);
        for upload in std::mem::take(&mut self.tree.uploads) {
            self.tree.items.remove(&upload);
        }
        self.housekeep();
        self.open_session();
        self.chunks_end = self.chunk;
    }

    /// One random change, on both sides.
    fn change(&mut self) {
        let (change, expected) = match self.below(29) {
            0..=9 => self.contents(),
            10..=12 => self.removal(),
            13 | 14 => self.uploads(),
            15 | 16 => self.attributes(),
            17..=19 => self.sharing(),
            _ => self.names(),
        };
        let shown = format!("{change:?}");
        let outcome = self.request(change);
        match (&outcome, &expected) {
            (Ok(changed), Ok(inode)) => {
                let found = changed.attr.as_ref().map(|attr| attr.inode.0);
                if inode.is_some() {
                    assert_eq!(found, *inode, "{shown}");
                }
                self.counts.0 += 1;
            }
            (Err(refusal), Err(kind)) => {
                assert_eq!(refusal.kind, *kind, "{shown}");
                self.counts.1 += 1;
            }
            _ => panic!("{outcome:?} instead of {expected:?}: {shown}"),
        }
    }

    /// The twin catches up, in batches of other sizes, and must hold the same rows.
    fn compare(&mut self) {
        self.housekeep();
        let mut log = std::mem::take(&mut self.log);
        while !log.is_empty() {
            let rest = log.split_off(log.len().min(1 + self.below(40) as usize));
            self.twin.apply_batch(std::mem::replace(&mut log, rest));
        }
        assert_eq!(self.machine.digest(), self.twin.digest());
        self.machine.check();
        compare::compare(&self.tree, &self.machine.view());
        for view in &self.views {
            compare::compare_view(view, &self.machine.view());
        }
    }
}

/// Prints its seed when a run fails.
struct Seed(u64);

impl Drop for Seed {
    #[allow(clippy::print_stderr, reason = "a failed run is repeated by its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

fn run(seed: u64, steps: usize) {
    let shown = Seed(seed);
    let mut driver = Driver::new(seed);
    for step in 0..steps {
        match driver.below(100) {
            0..=4 => driver.repeat(),
            5..=8 => {
                driver.machine.advance(Duration::from_secs(60));
            }
            9 if driver.chance(20) => driver.silence(),
            10 | 11 => driver.snapshot(),
            _ => driver.change(),
        }
        if step % 250 == 249 {
            driver.compare();
        }
    }
    driver.compare();
    driver.remove_all_snapshots();
    driver.compare();
    let (done, refused) = driver.counts;
    assert!(
        done * 6 > steps && refused * 8 > steps,
        "{done} done, {refused} refused"
    );
    assert!(
        driver
            .tree
            .items
            .values()
            .any(|item| matches!(item, Item::File(_)))
    );
    drop(shown);
}

#[test]
fn random_changes_give_what_a_plain_file_system_gives() {
    let (seeds, steps) = if cfg!(debug_assertions) {
        (6, 1000)
    } else {
        (60, 3000)
    };
    for seed in 1..=seeds {
        run(seed, steps);
    }
}
