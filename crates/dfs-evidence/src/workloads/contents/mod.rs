//! Contents: files of blocks that tell what they are, through the interface of programs.
//!
//! One workload keeps them in copies; another, which does the same, in stripes and in bytes that
//! come into stripes later.

pub(super) mod blocks;
pub(super) mod files;
mod own;
mod places;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::IteratorRandom;

use super::act::Became;
use super::judged::{self, chosen, is_in};
use super::{Worker, Workload};
use crate::checkers::contents;
use crate::history::{Event, Op};
use crate::model::Family;
use files::{carry_out, read, remove_all, write};
use own::Own;
use places::{CODED, PLAIN, Places, family_of};

/// The number of the file that all append to: that of no other file.
const LOG_FILE: u64 = 0;
/// How often each file is read at the end. The order of its replicas is the same each time: others
/// than the first have a turn only where that one is slow.
const LAST_READS: usize = 3;
/// Families that were begun last; half of all reads are of these.
const YOUNG: usize = 6;
/// Many short appends: enough to be worth rewriting.
const APPENDS: u64 = 18;

/// Each worker has files of its own, a family: a few paths between which it links, clones, moves,
/// removes and restores files, and at which it writes. All read all files, and append to one in
/// common.
///
/// After a change of which nobody knows whether it was made, its family is left as it is: so what
/// there may be is always one of two.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Longest file, in blocks of 4 KiB; chunks are of 16.
    pub blocks: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
    places: Places,
    families: Arc<Mutex<Vec<u64>>>,
}

impl Default for Contents {
    fn default() -> Contents {
        Contents {
            blocks: 50,
            pause: Duration::from_millis(30),
            places: PLAIN,
            families: Arc::default(),
        }
    }
}

impl Contents {
    /// The same with files that are in stripes, at once or when nobody has changed them for a
    /// moment. It takes three data nodes.
    pub fn coded() -> Contents {
        Contents {
            blocks: 80,
            places: CODED,
            ..Contents::default()
        }
    }

    fn families(&self) -> MutexGuard<'_, Vec<u64>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_family(&self, worker: &mut Worker) -> Own {
        let family = worker.unique();
        self.families().push(family);
        Own {
            places: self.places,
            family,
            files: Family::default(),
        }
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

    /// A change of the worker's own files; those it goes on with.
    async fn change(&self, worker: &mut Worker, mut own: Own) -> Own {
        let of_names = match worker.chance(40) {
            true => own.change_of_names(worker),
            false => None,
        };
        let op = match of_names {
            Some(op) => op,
            None if worker.chance(5) => return self.append_often(worker, own).await,
            None => {
                let blocks = self.some(worker);
                own.write(worker, blocks, self.blocks)
            }
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

    /// Appends little many times to one of the worker's own files.
    async fn append_often(&self, worker: &mut Worker, mut own: Own) -> Own {
        let Some(path) = own.path_that(worker, true) else {
            return own;
        };
        for _ in 0..APPENDS {
            let append = Op::Append {
                path: path.clone(),
                file: own.family,
                version: worker.unique(),
                blocks: worker.random.random_range(1..=2),
            };
            if worker.is_stopped() {
                break;
            }
            if let Became::Unknown = carry_out(worker, append, &mut own.files).await {
                return self.new_family(worker);
            }
        }
        own
    }

    /// One step of a worker; the files it goes on with.
    async fn step(&self, worker: &mut Worker, own: Own) -> Own {
        match worker.random.random_range(0..100) {
            0..45 => return self.change(worker, own).await,
            45..55 => {
                let append = Op::Append {
                    path: self.places.log.to_owned(),
                    file: LOG_FILE,
                    version: worker.unique(),
                    blocks: worker.random.random_range(1..=2),
                };
                write(worker, append).await;
            }
            55..60 => drop(self.read(worker, self.places.log.to_owned()).await),
            60..61 => self.look_around(worker).await,
            _ => {
                let path = self.any(worker);
                self.read(worker, path).await;
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
        self.places.any_path(worker, any.unwrap_or_default())
    }

    /// Learns what files there are: workers of other programs have some, too.
    async fn look_around(&self, worker: &mut Worker) {
        for directory in self.places.directories {
            let listed = worker.list_all(directory).await.unwrap_or_default();
            let mut families = self.families();
            for family in listed.iter().filter_map(|(name, _)| family_of(name)) {
                if !families.contains(&family) {
                    families.push(family);
                }
            }
        }
    }

    /// Reads a file; whether there is anything to read once more.
    async fn read(&self, worker: &mut Worker, path: String) -> bool {
        let there_is = read(worker, path).await;
        worker.note_decoded(self.places.root);
        there_is
    }
}

impl Workload for Contents {
    fn name(&self) -> &'static str {
        self.places.name
    }

    fn promises(&self) -> &'static [&'static str] {
        &["D1", "D3", "D4", "D8", "M1", "M5"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let nodes = client.nodes().await?.len();
            for directory in self.places.directories.iter().copied() {
                client.create_dir_all(directory).await?;
                let policy = Places::policy(directory, nodes);
                client.set_policy(directory, policy).await?;
            }
            client.create_file(self.places.log, false).await.map(drop)
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
            worker.begin_last_look(this.places.root);
            this.look_around(&mut worker).await;
            let families = this.families().clone();
            let all = families.into_iter().flat_map(|f| this.places.paths(f));
            for path in all.chain([this.places.log.to_owned()]) {
                for _ in 0..LAST_READS {
                    if !this.read(&mut worker, path.clone()).await {
                        break;
                    }
                }
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let Places {
            root,
            directories,
            log,
            ..
        } = self.places;
        let files = contents::Files {
            root,
            directories,
            log,
        };
        let mut found = match chosen(history, |op| is_in(root, op)) {
            Ok(operations) => files.complaints(&operations),
            Err(unsound) => unsound,
        };
        found.extend(judged::last_look(root, history));
        found
    }
}
