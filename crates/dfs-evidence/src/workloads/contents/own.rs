//! What a worker does to files of its own.

use rand::RngExt;
use rand::seq::IteratorRandom;

use super::places::Places;
use crate::history::{Block, Op};
use crate::model::Family;
use crate::workloads::Worker;

/// The files that a worker changes.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) places: Places,
    pub(super) family: u64,
    pub(super) files: Family,
}

impl Own {
    pub(super) fn path(&self, worker: &mut Worker) -> String {
        self.places.any_path(worker, self.family)
    }

    /// A path at which there is a file, or is none.
    pub(super) fn path_that(&self, worker: &mut Worker, is_taken: bool) -> Option<String> {
        let paths = self.places.paths(self.family);
        let some = paths.filter(|path| self.files.read(path).is_some() == is_taken);
        some.choose(&mut worker.random)
    }

    /// How many blocks the file at a path has.
    pub(super) fn length(&self, path: &str) -> u64 {
        self.files.read(path).map_or(0, <[Block]>::len) as u64
    }

    /// A change of names; none if there is nothing to do it to.
    pub(super) fn change_of_names(&self, worker: &mut Worker) -> Option<Op> {
        let choice = worker.random.random_range(0..100);
        let trash = self.files.trash().choose(&mut worker.random);
        Some(match choice {
            0..18 => Op::Link {
                from: self.path_that(worker, true)?,
                to: self.path_that(worker, false)?,
            },
            18..38 => Op::Rename {
                from: self.path_that(worker, true)?,
                to: self.path(worker),
                replace: true,
            },
            38..55 => Op::Unlink {
                path: self.path_that(worker, true)?,
                skip_trash: worker.chance(50),
            },
            55..64 => Op::Restore {
                trash: trash?,
                to: Some(self.path_that(worker, false)?),
            },
            64..69 => Op::DropTrash {
                trash: trash?,
                path: self.path(worker),
            },
            69..88 => self.clone(worker)?,
            _ => self.concat(worker)?,
        })
    }

    /// To where there is none, or over another file.
    fn clone(&self, worker: &mut Worker) -> Option<Op> {
        let from = self.path_that(worker, true)?;
        let to = self.path(worker);
        let is_free = self.files.read(&to).is_none();
        let replace = !is_free || worker.chance(50);
        (is_free || !self.files.is_same(&from, &to)).then_some(Op::Clone { from, to, replace })
    }

    fn concat(&self, worker: &mut Worker) -> Option<Op> {
        let to = self.path_that(worker, true)?;
        let paths = self.places.paths(self.family);
        let may_go = |from: &String| {
            self.files.is_only_name(from) && !self.files.is_same(from, &to) && from != &to
        };
        let from = paths.filter(may_go).choose(&mut worker.random)?;
        let joins = self.places.joins(self.family);
        joins.then_some(Op::Concat { to, from })
    }

    /// A write of so many blocks, to a file that has at most `most` then.
    pub(super) fn write(&self, worker: &mut Worker, blocks: u64, most: u64) -> Op {
        let (file, version) = (self.family, worker.unique());
        let choice = worker.random.random_range(0..100);
        let there = self.path_that(worker, true);
        // More often something new than something that replaces.
        let free = match worker.chance(60) {
            true => self.path_that(worker, false),
            false => None,
        };
        let (Some(path), 15..) = (there, choice) else {
            return Op::Put {
                path: free.unwrap_or_else(|| self.path(worker)),
                file,
                version,
                blocks,
            };
        };
        let length = self.length(&path);
        match choice {
            ..40 if length + blocks <= most => Op::Append {
                path,
                file,
                version,
                blocks,
            },
            40..60 => Op::Truncate {
                path,
                file,
                version,
                blocks: match worker.chance(25) {
                    true => 0,
                    false => worker.random.random_range(0..=most),
                },
            },
            // A little beyond the end, too: what is between is a hole.
            _ => Op::Overwrite {
                path,
                file,
                version,
                first: worker.random.random_range(0..length + 3),
                blocks,
            },
        }
    }
}
