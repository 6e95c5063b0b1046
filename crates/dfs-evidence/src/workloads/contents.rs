//! Contents: files of blocks that tell what they are, through the interface of programs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::{ErrorKind, Result};
use dfs_core::types::PolicyChange;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::blocks::{self, BLOCK_LEN};
use super::judged::{chosen, is_in};
use super::{Worker, Workload};
use crate::checkers::contents;
use crate::history::{Event, Op, Output};

const ROOT: &str = "/contents";
/// The one file that all append to.
const LOG: &str = "/contents/log";
/// Its number: that of no other file.
const LOG_FILE: u64 = 0;

/// Each worker writes files of its own; all read all files, and append to one in common.
///
/// After a write of which nobody knows whether it was done, its file is left as it is: so what a
/// file may hold is always one of two.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Longest file, in blocks of 4 KiB; chunks are of 16.
    pub blocks: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
    files: Arc<Mutex<Vec<u64>>>,
}

impl Default for Contents {
    fn default() -> Contents {
        Contents {
            blocks: 50,
            pause: Duration::from_millis(30),
            files: Arc::default(),
        }
    }
}

/// A file that this worker writes.
#[derive(Debug, Clone, Copy)]
struct Own {
    file: u64,
    /// In blocks; nothing before it is made.
    length: Option<u64>,
}

impl Contents {
    fn files(&self) -> MutexGuard<'_, Vec<u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_file(&self, worker: &mut Worker) -> Own {
        let file = worker.unique();
        self.files().push(file);
        Own { file, length: None }
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
    fn write(&self, worker: &mut Worker, own: Own) -> Op {
        let (file, version, path) = (own.file, worker.unique(), path(own.file));
        let (blocks, choice) = (self.some(worker), worker.random.random_range(0..100));
        let put = Op::Put {
            path: path.clone(),
            file,
            version,
            blocks,
        };
        let Some(length) = own.length else {
            return put;
        };
        match choice {
            0..15 => put,
            15..40 if length + blocks <= self.blocks => Op::Append {
                path,
                file,
                version,
                blocks,
            },
            40..60 => Op::Truncate {
                path,
                file,
                version,
                blocks: worker.random.random_range(0..=self.blocks),
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

    /// One step of a worker; the file it goes on with.
    async fn step(&self, worker: &mut Worker, own: Own) -> Own {
        match worker.random.random_range(0..100) {
            0..45 => {
                let op = self.write(worker, own);
                match write(worker, op.clone()).await {
                    // A file grown long has had its time, and one whose contents are unknown.
                    Wrote::Unknown => self.new_file(worker),
                    Wrote::Nothing => own,
                    Wrote::Done if worker.chance(5) => self.new_file(worker),
                    Wrote::Done => Own {
                        length: Some(length_after(&op, own.length.unwrap_or(0))),
                        ..own
                    },
                }
            }
            45..55 => {
                let append = Op::Append {
                    path: LOG.to_owned(),
                    file: LOG_FILE,
                    version: worker.unique(),
                    blocks: worker.random.random_range(1..=2),
                };
                write(worker, append).await;
                own
            }
            55..60 => {
                read(worker, LOG.to_owned()).await;
                own
            }
            _ => {
                let any = self.files().choose(&mut worker.random).copied();
                read(worker, path(any.unwrap_or(own.file))).await;
                own
            }
        }
    }
}

impl Workload for Contents {
    fn name(&self) -> &'static str {
        "contents"
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            client.create_dir_all(ROOT).await?;
            let small = PolicyChange {
                chunk_size: Some(CHUNK_SIZE_MIN),
                ..PolicyChange::default()
            };
            client.set_policy(ROOT, small).await?;
            client.create_file(LOG, false).await.map(drop)
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let mut own = this.new_file(&mut worker);
            while !worker.is_stopped() {
                own = this.step(&mut worker, own).await;
                worker.pause(this.pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let known = self.files().clone();
        Box::pin(async move {
            let listed = worker.list_all(ROOT).await.unwrap_or_default();
            let mut paths: Vec<String> = known.into_iter().map(path).collect();
            paths.extend(listed.into_iter().map(|(name, _)| format!("{ROOT}/{name}")));
            paths.sort();
            paths.dedup();
            for path in paths {
                read(&mut worker, path).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        match chosen(history, |op| is_in(ROOT, op)) {
            Ok(operations) => contents::complaints(ROOT, &|path| path == LOG, &operations),
            Err(unsound) => unsound,
        }
    }
}

/// What became of a write.
enum Wrote {
    Done,
    Nothing,
    Unknown,
}

async fn write(worker: &mut Worker, op: Op) -> Wrote {
    let pending = worker.invoke(op.clone());
    let client = &worker.client;
    let offset = |block: u64| block * BLOCK_LEN as u64;
    let written = match op {
        Op::Put {
            path,
            file,
            version,
            blocks,
        } => {
            let bytes = blocks::write(file, version, 0, blocks);
            client.write(path, bytes).await.map(|_| None)
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
            let written = client.write_at(path, offset(first), bytes).await;
            written.map(|_| None)
        }
        Op::Truncate { path, blocks, .. } => {
            let cut = client.truncate(path, offset(blocks)).await;
            cut.map(|_| None)
        }
        _ => Ok(None),
    };
    match written {
        Ok(output) => {
            pending.ok(output, None);
            Wrote::Done
        }
        Err(error) => match worker.failed(pending, &error, false) {
            true => Wrote::Nothing,
            false => Wrote::Unknown,
        },
    }
}

async fn read(worker: &mut Worker, path: String) {
    let pending = worker.invoke(Op::ReadBlocks { path: path.clone() });
    match worker.client.read(path).await {
        Ok(bytes) => pending.ok(Some(Output::Blocks(blocks::read(&bytes))), None),
        // Done, and there was no file.
        Err(error) if error.kind() == ErrorKind::NotFound => pending.ok(None, None),
        Err(error) => {
            worker.failed(pending, &error, true);
        }
    }
}

fn path(file: u64) -> String {
    format!("{ROOT}/f{file}")
}

fn length_after(op: &Op, length: u64) -> u64 {
    match op {
        Op::Put { blocks, .. } | Op::Truncate { blocks, .. } => *blocks,
        Op::Append { blocks, .. } => length + blocks,
        Op::Overwrite { first, blocks, .. } => length.max(first + blocks),
        _ => length,
    }
}
