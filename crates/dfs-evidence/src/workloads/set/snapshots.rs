//! Snapshots: files are made, grow and go in a directory, while snapshots of it are made.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use dfs_core::types::PolicyChange;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::checkers::set::snapshots;
use crate::history::{Event, Op, Output};
use crate::workloads::act::Became;
use crate::workloads::contents::blocks;
use crate::workloads::contents::files::write;
use crate::workloads::{TRASH_FOR_LONG, Worker, Workload, judged};

/// Where snapshots are made and looked at.
pub(in crate::workloads) const ROOT: &str = "/snapshots";

/// Snapshots that a worker keeps.
const KEPT_MAX: usize = 4;
/// Files that a worker keeps.
const FILES_MAX: usize = 12;

/// Each worker makes files of unique names in one directory, writes to its own and removes them;
/// and makes snapshots, which it looks at again and again, and removes.
///
/// After a change of which nobody knows whether it was made, its file is left as it is.
#[derive(Debug, Clone)]
pub struct Snapshots {
    /// Longest part of a file, in blocks of 4 KiB; chunks are of 16.
    pub blocks: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots {
            blocks: 20,
            pause: Duration::from_millis(25),
        }
    }
}

/// What a worker has made.
#[derive(Default)]
struct Own {
    /// Its files, with their numbers and lengths in blocks.
    files: Vec<(String, u64, u64)>,
    snapshots: Vec<String>,
}

impl Snapshots {
    async fn step(&self, worker: &mut Worker, own: &mut Own) {
        match worker.random.random_range(0..100) {
            0..30 => self.put(worker, own).await,
            30..47 => self.change(worker, own).await,
            47..60 => remove(worker, own).await,
            60..68 => take(worker, own).await,
            68..72 => drop_one(worker, own).await,
            _ => look(worker, own).await,
        }
    }

    fn some(&self, worker: &mut Worker) -> u64 {
        match worker.chance(30) {
            true => 1,
            false => worker.random.random_range(1..=self.blocks.max(1)),
        }
    }

    async fn put(&self, worker: &mut Worker, own: &mut Own) {
        if own.files.len() >= FILES_MAX {
            return remove(worker, own).await;
        }
        let (file, blocks) = (worker.unique(), self.some(worker));
        let path = format!("{ROOT}/f{file}");
        let put = Op::Put {
            path: path.clone(),
            file,
            version: file,
            blocks,
        };
        if let Became::Done(_) = write(worker, put).await {
            own.files.push((path, file, blocks));
        }
    }

    async fn change(&self, worker: &mut Worker, own: &mut Own) {
        if own.files.is_empty() {
            return;
        }
        let index = worker.random.random_range(0..own.files.len());
        let (path, file, length) = own.files.swap_remove(index);
        let (version, blocks) = (worker.unique(), self.some(worker));
        let at = path.clone();
        let (op, after) = match worker.random.random_range(0..100) {
            0..40 => {
                let append = Op::Append {
                    path,
                    file,
                    version,
                    blocks,
                };
                (append, length + blocks)
            }
            40..75 => {
                let first = worker.random.random_range(0..=length);
                let over = Op::Overwrite {
                    path,
                    file,
                    version,
                    first,
                    blocks,
                };
                (over, length.max(first + blocks))
            }
            _ => {
                let blocks = worker.random.random_range(0..=length);
                let cut = Op::Truncate {
                    path,
                    file,
                    version,
                    blocks,
                };
                (cut, blocks)
            }
        };
        match write(worker, op).await {
            Became::Done(_) => own.files.push((at, file, after)),
            Became::Nothing => own.files.push((at, file, length)),
            Became::Unknown => {}
        }
    }
}

async fn remove(worker: &mut Worker, own: &mut Own) {
    if own.files.is_empty() {
        return;
    }
    let index = worker.random.random_range(0..own.files.len());
    let (path, file, length) = own.files.swap_remove(index);
    let (skip_trash, kept) = (worker.chance(70), (path.clone(), file, length));
    let removed = worker.attempt(Op::Unlink { path, skip_trash }).await;
    if matches!(removed, Became::Nothing) {
        own.files.push(kept);
    }
}

async fn take(worker: &mut Worker, own: &mut Own) {
    if own.snapshots.len() >= KEPT_MAX {
        return drop_one(worker, own).await;
    }
    let name = format!("s{}", worker.unique());
    let path = ROOT.to_owned();
    let op = Op::TakeSnapshot {
        path,
        name: name.clone(),
    };
    if !matches!(worker.attempt(op).await, Became::Nothing) {
        own.snapshots.push(name);
    }
}

async fn drop_one(worker: &mut Worker, own: &mut Own) {
    if own.snapshots.is_empty() {
        return;
    }
    let index = worker.random.random_range(0..own.snapshots.len());
    let name = own.snapshots.swap_remove(index);
    let path = ROOT.to_owned();
    worker.perform(Op::DropSnapshot { path, name }).await;
}

/// Looks at a snapshot, and reads one of the files in it.
async fn look(worker: &mut Worker, own: &Own) {
    if let Some(name) = own.snapshots.choose(&mut worker.random).cloned() {
        look_at(worker, name).await;
    }
}

async fn look_at(worker: &mut Worker, name: String) {
    let path = ROOT.to_owned();
    let see = Op::SeeSnapshot {
        path,
        name: name.clone(),
    };
    let Some(Output::Names(names)) = worker.perform(see).await else {
        return;
    };
    if let Some((file, _)) = names.choose(&mut worker.random).cloned() {
        let path = format!("{ROOT}/{file}");
        let pending = worker.invoke(Op::ReadSnapshot {
            path,
            name: name.clone(),
        });
        let path = format!("{ROOT}/.snapshots/{name}/{file}");
        match worker.client.read(path).await {
            Ok(bytes) => pending.ok(Some(Output::Blocks(blocks::read(&bytes))), None),
            Err(error) => drop(worker.failed(pending, &error, true)),
        }
    }
}

impl Workload for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["N1"]
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
            client.prepare_snapshots(ROOT).await
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let mut own = Own::default();
            while !worker.is_stopped() {
                this.step(&mut worker, &mut own).await;
                worker.pause(this.pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            worker.list_all(ROOT).await;
            let kept = worker.client.snapshots(ROOT).await.unwrap_or_default();
            for snapshot in kept {
                look_at(&mut worker, snapshot.name.to_string()).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let mut found = match judged::chosen(history, |op| judged::is_in(ROOT, op)) {
            Ok(operations) => snapshots::complaints(ROOT, &operations),
            Err(unsound) => unsound,
        };
        found.extend(judged::last_look(ROOT, history));
        found
    }
}
