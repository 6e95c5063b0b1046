//! Contents: files of blocks that tell what they are, through the interface of programs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::{ErrorKind, Result};
use dfs_core::types::PolicyChange;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::{IndexedRandom, IteratorRandom};

use super::act::{Became, node};
use super::blocks;
use super::judged::{self, chosen, is_in};
use super::{TRASH_FOR_LONG, Worker, Workload};
use crate::checkers::contents;
use crate::history::{BLOCK_LEN, Block, Event, Op, Output};
use crate::model::Family;

const ROOT: &str = "/contents";
/// The one file that all append to.
const LOG: &str = "/contents/log";
/// Its number: that of no other file.
const LOG_FILE: u64 = 0;

/// Paths of a family, by what comes after its name.
const ENDINGS: [&str; 3] = ["", ".a", ".b"];
/// How often each file is read at the end. The order of its replicas is the same each time: others
/// than the first have a turn only where that one is slow.
const LAST_READS: usize = 3;
/// Families that were begun last; half of all reads are of these.
const YOUNG: usize = 6;

/// Each worker has files of its own, a family: a few paths between which it links, moves, removes
/// and restores files, and at which it writes. All read all files, and append to one in common.
///
/// After a change of which nobody knows whether it was made, its family is left as it is: so what
/// there may be is always one of two.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Longest file, in blocks of 4 KiB; chunks are of 16.
    pub blocks: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
    families: Arc<Mutex<Vec<u64>>>,
}

impl Default for Contents {
    fn default() -> Contents {
        Contents {
            blocks: 50,
            pause: Duration::from_millis(30),
            families: Arc::default(),
        }
    }
}

/// The files that this worker changes.
#[derive(Debug, Clone)]
struct Own {
    family: u64,
    files: Family,
}

impl Own {
    fn path(&self, worker: &mut Worker) -> String {
        any_path(worker, self.family)
    }

    /// A path at which there is a file, or is none.
    fn path_that(&self, worker: &mut Worker, is_taken: bool) -> Option<String> {
        let paths = paths(self.family);
        let some = paths.filter(|path| self.files.read(path).is_some() == is_taken);
        some.choose(&mut worker.random)
    }

    /// A change of names; none if there is nothing to do it to.
    fn change_of_names(&self, worker: &mut Worker) -> Option<Op> {
        let choice = worker.random.random_range(0..100);
        let trash = self.files.trash().choose(&mut worker.random);
        Some(match choice {
            0..25 => Op::Link {
                from: self.path_that(worker, true)?,
                to: self.path_that(worker, false)?,
            },
            25..55 => Op::Rename {
                from: self.path_that(worker, true)?,
                to: self.path(worker),
                replace: true,
            },
            55..80 => Op::Unlink {
                path: self.path_that(worker, true)?,
                skip_trash: worker.chance(50),
            },
            80..92 => Op::Restore {
                trash: trash?,
                to: Some(self.path_that(worker, false)?),
            },
            _ => Op::DropTrash {
                trash: trash?,
                path: self.path(worker),
            },
        })
    }
}

impl Contents {
    fn families(&self) -> MutexGuard<'_, Vec<u64>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_family(&self, worker: &mut Worker) -> Own {
        let family = worker.unique();
        self.families().push(family);
        let files = Family::default();
        Own { family, files }
    }

    /// Few blocks or many: in the metadata, in one chunk, in several.
    fn some(&self, worker: &mut Worker) -> u64 {
        let most = match worker.random.random_range(0..3) {
            0 => 1,
            1 => 15.min(self.blocks),
            _ => self.blocks,
        };
        worker.random.random_range(1..=most.max(1))
    }

    /// A write to a file of the worker's own.
    fn write(&self, worker: &mut Worker, own: &Own) -> Op {
        let (file, version) = (own.family, worker.unique());
        let (blocks, choice) = (self.some(worker), worker.random.random_range(0..100));
        let there = own.path_that(worker, true);
        // More often something new than something that replaces.
        let free = match worker.chance(60) {
            true => own.path_that(worker, false),
            false => None,
        };
        let (Some(path), 15..) = (there, choice) else {
            return Op::Put {
                path: free.unwrap_or_else(|| own.path(worker)),
                file,
                version,
                blocks,
            };
        };
        let length = own.files.read(&path).map_or(0, <[Block]>::len) as u64;
        match choice {
            ..40 if length + blocks <= self.blocks => Op::Append {
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
                    false => worker.random.random_range(0..=self.blocks),
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

    /// A change of the worker's own files; those it goes on with.
    async fn change(&self, worker: &mut Worker, mut own: Own) -> Own {
        let of_names = match worker.chance(35) {
            true => own.change_of_names(worker),
            false => None,
        };
        let op = match of_names {
            Some(op) => op,
            None => self.write(worker, &own),
        };
        match carry_out(worker, op, &mut own.files).await {
            // Files have had their time, and those of which nobody knows what they hold.
            Became::Unknown => self.new_family(worker),
            Became::Done(_) if worker.chance(4) => {
                if worker.chance(60) {
                    remove_all(worker, own).await;
                }
                self.new_family(worker)
            }
            Became::Done(_) | Became::Nothing => own,
        }
    }

    /// One step of a worker; the files it goes on with.
    async fn step(&self, worker: &mut Worker, own: Own) -> Own {
        match worker.random.random_range(0..100) {
            0..45 => return self.change(worker, own).await,
            45..55 => {
                let append = Op::Append {
                    path: LOG.to_owned(),
                    file: LOG_FILE,
                    version: worker.unique(),
                    blocks: worker.random.random_range(1..=2),
                };
                write(worker, append).await;
            }
            55..60 => drop(read(worker, LOG.to_owned()).await),
            60..61 => self.look_around(worker).await,
            _ => {
                let path = self.any(worker);
                read(worker, path).await;
            }
        }
        own
    }

    /// A path of any worker's files.
    fn any(&self, worker: &mut Worker) -> String {
        let least = match worker.chance(50) {
            true => self.families().len().saturating_sub(YOUNG),
            false => 0,
        };
        let any = self
            .families()
            .iter()
            .skip(least)
            .choose(&mut worker.random)
            .copied();
        any_path(worker, any.unwrap_or_default())
    }

    /// Learns what files there are: workers of other programs have some, too.
    async fn look_around(&self, worker: &mut Worker) {
        let listed = worker.list_all(ROOT).await.unwrap_or_default();
        let mut families = self.families();
        for family in listed.iter().filter_map(|(name, _)| family_of(name)) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
    }
}

impl Workload for Contents {
    fn name(&self) -> &'static str {
        "contents"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["D1", "D3", "D4", "D8", "M1", "M5"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            client.create_dir_all(ROOT).await?;
            let small = PolicyChange {
                chunk_size: Some(CHUNK_SIZE_MIN),
                trash: Some(TRASH_FOR_LONG),
                ..PolicyChange::default()
            };
            client.set_policy(ROOT, small).await?;
            client.create_file(LOG, false).await.map(drop)
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let mut own = this.new_family(&mut worker);
            while !worker.is_stopped() {
                own = this.step(&mut worker, own).await;
                worker.pause(this.pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            this.look_around(&mut worker).await;
            let families = this.families().clone();
            let all = families.into_iter().flat_map(paths);
            for path in all.chain([LOG.to_owned()]) {
                for _ in 0..LAST_READS {
                    if !read(&mut worker, path.clone()).await {
                        break;
                    }
                }
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let files = contents::Files {
            directory: ROOT,
            log: LOG,
        };
        let mut found = match chosen(history, |op| is_in(ROOT, op)) {
            Ok(operations) => files.complaints(&operations),
            Err(unsound) => unsound,
        };
        found.extend(judged::last_look(ROOT, history));
        found
    }
}

/// Carries out a change of a worker's own files.
async fn carry_out(worker: &mut Worker, op: Op, files: &mut Family) -> Became {
    let became = match op {
        Op::Put { .. } | Op::Append { .. } | Op::Overwrite { .. } | Op::Truncate { .. } => {
            write(worker, op.clone()).await
        }
        _ => worker.attempt(op.clone()).await,
    };
    if let Became::Done(output) = &became {
        // What is wrong with it is for the judge to say.
        let _ = files.carry_out(&op, output.as_ref());
    }
    became
}

/// Removes all files for good, and all that is in the trash.
async fn remove_all(worker: &mut Worker, mut own: Own) {
    while !worker.is_stopped() {
        let skip_trash = true;
        let path = own.files.paths().next().map(str::to_owned);
        let trash = own.files.trash().next();
        let op = match (path, trash) {
            (Some(path), _) => Op::Unlink { path, skip_trash },
            (None, Some(trash)) => Op::DropTrash {
                trash,
                path: own.path(worker),
            },
            (None, None) => return,
        };
        if matches!(carry_out(worker, op, &mut own.files).await, Became::Unknown) {
            return;
        }
    }
}

/// Writes blocks to a file.
pub(super) async fn write(worker: &mut Worker, op: Op) -> Became {
    let pending = worker.invoke(op.clone());
    let client = &worker.client;
    let offset = |block: u64| block * BLOCK_LEN as u64;
    let gave = |attr| Some(Output::Node(node(&attr)));
    let written = match op {
        Op::Put {
            path,
            file,
            version,
            blocks,
        } => {
            let bytes = blocks::write(file, version, 0, blocks);
            client.write(path, bytes).await.map(gave)
        }
        Op::Append {
            path,
            file,
            version,
            blocks,
        } => {
            let bytes = blocks::write(file, version, 0, blocks);
            let at = client.append(path, bytes).await;
            at.map(|at| Some(Output::Offset(at / offset(1))))
        }
        Op::Overwrite {
            path,
            file,
            version,
            first,
            blocks,
        } => {
            let bytes = blocks::write(file, version, first, blocks);
            client.write_at(path, offset(first), bytes).await.map(gave)
        }
        Op::Truncate { path, blocks, .. } => client.truncate(path, offset(blocks)).await.map(gave),
        _ => Ok(None),
    };
    match written {
        Ok(output) => {
            pending.ok(output.clone(), client.last_change());
            Became::Done(output)
        }
        Err(error) => worker.failed(pending, &error, false),
    }
}

/// Reads a file; whether there is anything to read once more.
async fn read(worker: &mut Worker, path: String) -> bool {
    let pending = worker.invoke(Op::ReadBlocks { path: path.clone() });
    match worker.client.read(path).await {
        Ok(bytes) => pending.ok(Some(Output::Blocks(blocks::read(&bytes))), None),
        // Done, and there was no file.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            pending.ok(None, None);
            return false;
        }
        Err(error) => drop(worker.failed(pending, &error, true)),
    }
    true
}

/// All paths of a family.
fn paths(family: u64) -> impl Iterator<Item = String> {
    ENDINGS
        .iter()
        .map(move |ending| format!("{ROOT}/f{family}{ending}"))
}

fn any_path(worker: &mut Worker, family: u64) -> String {
    let ending = ENDINGS.choose(&mut worker.random).unwrap_or(&"");
    format!("{ROOT}/f{family}{ending}")
}

/// The family of a name.
fn family_of(name: &str) -> Option<u64> {
    name.strip_prefix('f')?.split('.').next()?.parse().ok()
}
