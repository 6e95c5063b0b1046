//! Random commands, carried out by the state machine and by a file system as simple as can be:
//! same answers, same trees, same bytes. A second machine gets the same log in other batches and
//! must have the same digest; requests are repeated and must change nothing.

mod compare;
mod tree;

use std::time::Duration;

use bytes::Bytes;
use dfs_raft::env::{Random, SeededRandom};

use self::tree::{Item, Tree, Where};
use super::fixture::{ATTR, Machine, register};
use crate::meta::{Command, Reply};
use crate::types::change::{Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::{
    Change, ChunkId, ClientId, DfsPath, InodeId, Location, Name, NewChunk, NodeId, Outcome,
    PolicyChange, RefusalKind, RequestId, Timestamp, TrashId,
};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TARGETS: [&str; 9] = [
    "a", "b", "a/b", "../a", "/a", "/b/c/", "./c/../b", "../../d", "c/./a",
];

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
    /// How many changes were carried out, and refused.
    counts: (usize, usize),
}

/// What a change is expected to give: the inode it is about.
type Expected = Result<Option<u64>, RefusalKind>;

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
        let Reply::Session(client) = self.apply(Command::OpenSession) else {
            panic!()
        };
        self.client = client;
        self.sequence = 0;
        self.past.clear();
    }

    /// Sends a request with the next id; if it must wait for housekeeping, once more after that.
    fn request(&mut self, change: Change) -> Outcome {
        self.sequence += 1;
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
            request,
            change: change.clone(),
        }) {
            Reply::Client(outcome) => outcome,
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

    fn any_inode(&mut self) -> u64 {
        let index = self.below(self.tree.items.len() as u64) as usize;
        *self.tree.items.keys().nth(index).unwrap()
    }

    /// Mostly a name in a directory that exists, seen from the root or from there.
    fn place(&mut self) -> Where {
        if self.chance(20) {
            let base = if self.chance(50) { 1 } else { self.any_inode() };
            let depth = self.below(4);
            let names = (0..depth).map(|_| self.any_name()).collect();
            return Where { base, names };
        }
        let (dir, path) = self.tree.directory(self.random.below(1 << 32));
        let mut at = Where {
            base: dir,
            names: Vec::new(),
        };
        if let Some(path) = path.filter(|_| self.chance(70)) {
            at = Where {
                base: 1,
                names: path,
            };
        }
        let taken = self.tree.names(dir);
        match taken.get(self.below(taken.len().max(1) as u64) as usize) {
            Some(name) if self.chance(60) => at.names.push(name.clone()),
            _ => at.names.push(self.any_name()),
        }
        at
    }

    fn any_name(&mut self) -> String {
        NAMES[self.below(NAMES.len() as u64) as usize].to_owned()
    }

    fn new_chunk(&mut self, length: u64) -> NewChunk {
        if self.chunk == self.chunks_end {
            match self.apply(Command::ReserveChunkIds { count: 50 }) {
                Reply::ChunkIds(Ok(ids)) => {
                    (self.chunk, self.chunks_end) = (ids.start.0, ids.end.0)
                }
                other => panic!("{other:?}"),
            }
        }
        self.chunk += 1;
        let first = self.below(3) as u32;
        let count = 1 + self.below(3) as u32;
        let replicas = (0..count)
            .map(|index| NodeId(1 + (first + index) % 3))
            .collect();
        NewChunk {
            chunk: ChunkId(self.chunk - 1),
            length,
            checksum: 7,
            replicas,
        }
    }

    fn pieces(&mut self) -> (Vec<Piece>, Vec<NewChunk>) {
        let (mut pieces, mut chunks) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.below(3) {
            let length = 1 + self.below(24);
            match self.below(6) {
                0 | 1 => {
                    let byte = b'a' + self.below(26) as u8;
                    pieces.push(Piece::Inline(Bytes::from(vec![byte; length as usize])));
                }
                2 if self.chunk > 1 => {
                    let chunk = ChunkId(1 + self.below(self.chunk - 1));
                    pieces.push(Piece::Chunk {
                        chunk,
                        offset: 0,
                        length: 1,
                    });
                }
                _ => {
                    let new = self.new_chunk(length);
                    let offset = self.below(length);
                    let piece = Piece::Chunk {
                        chunk: new.chunk,
                        offset,
                        length: length - offset,
                    };
                    pieces.push(piece);
                    chunks.push(new);
                }
            }
        }
        (pieces, chunks)
    }

    fn commit(
        &mut self,
        target: CommitTarget,
        offset: WriteOffset,
    ) -> (Change, Vec<Piece>, Vec<ChunkId>) {
        let (pieces, chunks) = self.pieces();
        let new = chunks.iter().map(|chunk| chunk.chunk).collect();
        let commit = Commit {
            target,
            offset,
            pieces: pieces.clone(),
            chunks,
            revision: None,
        };
        (Change::Commit(commit), pieces, new)
    }

    /// One random change, on both sides.
    fn change(&mut self) {
        let (change, expected) = match self.below(24) {
            0..=9 => self.contents(),
            10..=12 => self.removal(),
            13 | 14 => self.uploads(),
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

    fn names(&mut self) -> (Change, Expected) {
        let place = self.place();
        let (at, attr) = (location(&place), ATTR);
        match self.below(9) {
            0 | 1 => {
                let made = self.tree.make_directory(&place);
                (
                    Change::MakeDirectory {
                        at,
                        attr,
                        parents: false,
                    },
                    made.map(Some),
                )
            }
            2 => {
                let made = self.tree.make_directories(&place);
                (
                    Change::MakeDirectory {
                        at,
                        attr,
                        parents: true,
                    },
                    made.map(Some),
                )
            }
            3 => {
                let exclusive = self.chance(50);
                let made = self.tree.create(&place, exclusive);
                (
                    Change::Create {
                        at,
                        attr,
                        exclusive,
                    },
                    made.map(Some),
                )
            }
            4 => {
                let target = TARGETS[self.below(TARGETS.len() as u64) as usize];
                let made = self.tree.symlink(&place, target);
                (
                    Change::Symlink {
                        at,
                        target: target.to_owned(),
                        attr,
                    },
                    made.map(Some),
                )
            }
            5 => {
                let from = self.place();
                let made = self.tree.link(&from, &place);
                (
                    Change::Link {
                        from: location(&from),
                        at,
                    },
                    made.map(Some),
                )
            }
            _ => {
                let (from, replace) = (self.place(), self.chance(70));
                let moved = self.tree.rename(&from, &place, replace);
                (
                    Change::Rename {
                        from: location(&from),
                        to: at,
                        replace,
                    },
                    moved.map(Some),
                )
            }
        }
    }

    fn removal(&mut self) -> (Change, Expected) {
        let place = self.place();
        let trash = 1 + self.below(self.tree.trash.keys().max().map_or(1, |last| last + 1));
        match self.below(6) {
            0 | 1 => {
                let to = self.chance(50).then_some(place);
                let restored = self.tree.restore(trash, to.as_ref());
                let to = to.as_ref().map(location);
                (
                    Change::Restore {
                        trash: TrashId(trash),
                        to,
                    },
                    restored.map(Some),
                )
            }
            2 => {
                let dropped = self.tree.drop_trash(trash);
                (
                    Change::DropTrash {
                        trash: TrashId(trash),
                    },
                    dropped.map(|()| None),
                )
            }
            _ => {
                let what = match self.below(4) {
                    0 => Removal::Tree,
                    1 => Removal::EmptyDirectory,
                    _ => Removal::File,
                };
                let (skip_trash, now) = (self.chance(50), self.machine.now);
                let removed = self.tree.remove(&place, what, skip_trash, now);
                let at = location(&place);
                (
                    Change::Remove {
                        at,
                        what,
                        skip_trash,
                    },
                    removed.map(|()| None),
                )
            }
        }
    }

    fn contents(&mut self) -> (Change, Expected) {
        let place = self.place();
        let at = location(&place);
        match self.below(5) {
            0 => {
                let size = self.below(160);
                let cut = self.tree.truncate(&place, size);
                (Change::Truncate { at, size }, cut.map(Some))
            }
            1 => {
                let replace = self.chance(80);
                let target = CommitTarget::New {
                    at,
                    attr: ATTR,
                    replace,
                };
                let (change, pieces, new) = self.commit(target, WriteOffset::At(0));
                (
                    change,
                    self.tree.put(&place, replace, &pieces, &new).map(Some),
                )
            }
            2 => {
                let (change, pieces, new) = self.commit(CommitTarget::File(at), WriteOffset::End);
                (
                    change,
                    self.tree.write_file(&place, None, &pieces, &new).map(Some),
                )
            }
            _ => {
                let offset = self.below(160);
                let target = CommitTarget::File(at);
                let (change, pieces, new) = self.commit(target, WriteOffset::At(offset));
                (
                    change,
                    self.tree
                        .write_file(&place, Some(offset), &pieces, &new)
                        .map(Some),
                )
            }
        }
    }

    fn uploads(&mut self) -> (Change, Expected) {
        let place = self.place();
        let at = location(&place);
        let known = self.tree.uploads.last().copied();
        let upload = known.unwrap_or(self.any_inode());
        match self.below(5) {
            0 => {
                let begun = self.tree.begin_upload(&place);
                (Change::BeginUpload { at, attr: ATTR }, begun.map(Some))
            }
            1 => {
                let abandoned = self.tree.abandon(upload);
                (
                    Change::AbandonUpload {
                        upload: InodeId(upload),
                    },
                    abandoned.map(|()| None),
                )
            }
            2 => {
                let upload = InodeId(upload);
                let replace = self.chance(80);
                let target = CommitTarget::Publish {
                    upload,
                    at,
                    replace,
                };
                let offset = WriteOffset::End;
                let (pieces, chunks) = (Vec::new(), Vec::new());
                let commit = Commit {
                    target,
                    offset,
                    pieces,
                    chunks,
                    revision: None,
                };
                let published = self.tree.publish(upload.0, &place, replace);
                (Change::Commit(commit), published.map(Some))
            }
            _ => {
                let target = CommitTarget::Upload(InodeId(upload));
                let (change, pieces, new) = self.commit(target, WriteOffset::End);
                (change, self.tree.upload(upload, &pieces, &new).map(Some))
            }
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
    }
}

fn location(place: &Where) -> Location {
    let names = place
        .names
        .iter()
        .map(|name| Name::new(name.clone()).unwrap())
        .collect();
    Location {
        base: InodeId(place.base),
        path: DfsPath::from_names(names).unwrap(),
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
            _ => driver.change(),
        }
        if step % 250 == 249 {
            driver.compare();
        }
    }
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
