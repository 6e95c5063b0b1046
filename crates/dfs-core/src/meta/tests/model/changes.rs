//! Random changes, each with what the plain file system makes of it.
#![allow(clippy::too_many_lines, reason = "one table of cases")]

use bytes::Bytes;
use dfs_raft::env::Random;

use super::tree::Where;
use super::{Driver, Expected};
use crate::meta::tests::fixture::ATTR;
use crate::meta::{Command, Reply};
use crate::types::change::{CloneTarget, Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::stripe::Code;
use crate::types::{
    Change, ChunkId, DfsPath, InodeId, Location, Name, NewChunk, NewStripe, NodeId, Permit,
    StripeShape, TrashId,
};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TARGETS: [&str; 9] = [
    "a", "b", "a/b", "../a", "/a", "/b/c/", "./c/../b", "../../d", "c/./a",
];

impl Driver {
    fn any_inode(&mut self) -> u64 {
        let index = self.below(self.tree.items.len() as u64) as usize;
        *self.tree.items.keys().nth(index).unwrap()
    }

    /// Mostly a name in a directory that exists, seen from the root or from there.
    pub(super) fn place(&mut self) -> Where {
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

    /// Mostly the name of a file, in its directory.
    fn file(&mut self) -> Where {
        let names = self.tree.file_names();
        match names.get(self.below(names.len().max(1) as u64) as usize) {
            Some((dir, name)) if self.chance(90) => Where {
                base: *dir,
                names: vec![name.clone()],
            },
            _ => self.place(),
        }
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
        let count = match self.chance(5) {
            true => 1,
            false => 2 + self.below(2) as u32,
        };
        let replicas = (0..count)
            .map(|index| NodeId(1 + (first + index) % 3))
            .collect();
        NewChunk {
            permit: Permit::default(),
            chunk: ChunkId(self.chunk - 1),
            length,
            checksum: 7,
            replicas,
        }
    }

    /// A stripe of 2+1, mostly of short chunks.
    fn new_stripe(&mut self) -> (Vec<NewChunk>, NewStripe) {
        let lengths = [64, 1 + self.below(64), 64];
        let mut chunks: Vec<NewChunk> = lengths.map(|length| self.new_chunk(length)).to_vec();
        let first = self.below(3) as u32;
        for (index, new) in (0..).zip(&mut chunks) {
            new.replicas = vec![NodeId(1 + (first + index) % 3)];
        }
        let members: Vec<ChunkId> = chunks.iter().map(|new| new.chunk).collect();
        for member in &members {
            self.tree.stripes.insert(*member, members.clone());
        }
        let stripe = NewStripe {
            code: Code::Leopard16,
            shape: StripeShape { data: 2, parity: 1 },
            shard_length: 64,
            members,
        };
        (chunks, stripe)
    }

    fn pieces(&mut self) -> (Vec<Piece>, Vec<NewChunk>, Vec<NewStripe>) {
        let (mut pieces, mut chunks, mut stripes) = (Vec::new(), Vec::new(), Vec::new());
        if self.chance(20) {
            let (new, stripe) = self.new_stripe();
            pieces.extend(new.iter().take(2).map(|new| Piece::Chunk {
                chunk: new.chunk,
                offset: 0,
                length: new.length,
            }));
            chunks.extend(new);
            stripes.push(stripe);
        }
        for _ in 0..1 + self.below(3) {
            let length = 1 + self.below(24);
            match self.below(6) {
                0 | 1 => {
                    let byte = b'a' + self.below(26) as u8;
                    pieces.push(Piece::Inline(Bytes::from(vec![byte; length as usize])));
                }
                2 if self.chunk > 1 => {
                    let chunk = ChunkId(1 + self.below(self.chunk - 1));
                    let parity = stripes.iter().filter_map(|new| new.members.last());
                    if parity.into_iter().any(|parity| *parity == chunk) {
                        // That makes no sense, whatever the state is.
                        continue;
                    }
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
        (pieces, chunks, stripes)
    }

    fn commit(
        &mut self,
        target: CommitTarget,
        offset: WriteOffset,
    ) -> (Change, Vec<Piece>, Vec<NewChunk>) {
        let (pieces, chunks, stripes) = self.pieces();
        let new = chunks.clone();
        let commit = Commit {
            target,
            offset,
            pieces: pieces.clone(),
            chunks,
            revision: None,
            stripes,
        };
        (Change::Commit(commit), pieces, new)
    }

    pub(super) fn names(&mut self) -> (Change, Expected) {
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

    pub(super) fn removal(&mut self) -> (Change, Expected) {
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

    pub(super) fn contents(&mut self) -> (Change, Expected) {
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

    /// Files of the bytes of others.
    pub(super) fn sharing(&mut self) -> (Change, Expected) {
        let (from, to) = (self.file(), self.place());
        if self.chance(50) {
            let replace = self.chance(80);
            let cloned = self.tree.clone_file(&from, &to, replace);
            let target = CloneTarget::New {
                at: location(&to),
                attr: ATTR,
                replace,
            };
            let change = Change::Clone {
                from: location(&from),
                to: target,
                revision: None,
            };
            return (change, cloned.map(Some));
        }
        let to = self.file();
        let more = self.below(3);
        let from: Vec<_> = [from]
            .into_iter()
            .chain((0..more).map(|_| self.file()))
            .collect();
        let joined = self.tree.concat(&to, &from);
        let change = Change::Concat {
            to: location(&to),
            from: from.iter().map(location).collect(),
        };
        (change, joined.map(Some))
    }

    pub(super) fn uploads(&mut self) -> (Change, Expected) {
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
                    stripes: Vec::new(),
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
}

pub(super) fn location(place: &Where) -> Location {
    let names = place
        .names
        .iter()
        .map(|name| Name::new(name.clone()).unwrap())
        .collect();
    Location {
        handle: None,
        base: InodeId(place.base),
        path: DfsPath::from_names(names).unwrap(),
    }
}
