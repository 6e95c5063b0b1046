//! A small workload: each worker has files of its own, and what is read of a file is what was
//! last written, or what may have been.

use std::collections::BTreeMap;

use dfs_core::client::Client;
use dfs_core::error::{Error, ErrorKind, Result};
use dfs_evidence::history::{Block, Event, Kind, Op, Output};
use dfs_evidence::workloads::{Worker, Workload};
use futures::future::BoxFuture;
use rand::RngExt;

const BLOCK: usize = 4096;
const FILES: u64 = 4;

/// See the module.
pub struct Files;

impl Workload for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { client.create_dir_all("/files").await.map(|_| ()) })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while !worker.is_stopped() {
                let file = worker.number * FILES + worker.random.random_range(0..FILES);
                match worker.random.random_bool(0.5) {
                    true => put(&mut worker, file).await,
                    false => read(&mut worker, file).await,
                }
                let pause = std::time::Duration::from_millis(worker.random.random_range(0..50));
                tokio::time::sleep(pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for file in 0..64 {
                read(&mut worker, file).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        // Of each file: what may be there now.
        let mut possible: BTreeMap<String, Vec<Option<(u64, u64)>>> = BTreeMap::new();
        let mut found = Vec::new();
        for event in history {
            match (&event.op, event.kind) {
                (
                    Op::Put {
                        path,
                        version,
                        blocks,
                        ..
                    },
                    kind,
                ) => {
                    let now = possible.entry(path.clone()).or_insert_with(|| vec![None]);
                    let this = Some((*version, *blocks));
                    match kind {
                        Kind::Invoke => now.push(this),
                        Kind::Ok => *now = vec![this],
                        Kind::Fail => now.retain(|other| *other != this),
                        Kind::Info => {}
                    }
                }
                (Op::ReadBlocks { path }, Kind::Ok) => {
                    let none = vec![None];
                    let may = possible.get(path).unwrap_or(&none);
                    let seen = match &event.output {
                        Some(Output::Blocks(blocks)) => whole(blocks),
                        _ => None,
                    };
                    if !may.contains(&seen) {
                        found.push(format!("F1: {path} is {seen:?}, may be {may:?}"));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

fn whole(blocks: &[Block]) -> Option<(u64, u64)> {
    let Some(Block::Data { version, file, .. }) = blocks.first() else {
        return Some((u64::MAX, blocks.len() as u64));
    };
    let good = blocks.iter().enumerate().all(|(place, block)| {
        let expected = Block::Data {
            file: *file,
            version: *version,
            place: place as u64,
        };
        *block == expected
    });
    match good {
        true => Some((*version, blocks.len() as u64)),
        false => Some((u64::MAX, blocks.len() as u64)),
    }
}

async fn put(worker: &mut Worker, file: u64) {
    let version = worker.random.random::<u64>() >> 1;
    let blocks = worker.random.random_range(1..40);
    let path = format!("/files/{file}");
    let mut bytes = Vec::new();
    for place in 0..blocks {
        let mut block = [file, version, place].map(u64::to_le_bytes).concat();
        block.resize(BLOCK, 7);
        bytes.extend(block);
    }
    let op = Op::Put {
        path: path.clone(),
        file,
        version,
        blocks,
    };
    let pending = worker.invoke(op);
    match worker.client.write(&path, bytes).await {
        Ok(_) => pending.ok(None, None),
        Err(error) if error.is_outcome_unknown() => {
            pending.info(text(&error));
            worker.become_another();
        }
        Err(error) => pending.fail(text(&error), None),
    }
}

async fn read(worker: &mut Worker, file: u64) {
    let path = format!("/files/{file}");
    let pending = worker.invoke(Op::ReadBlocks { path: path.clone() });
    match worker.client.read(&path).await {
        Ok(bytes) => {
            let blocks = bytes.chunks(BLOCK).map(|block| {
                let word = |at: usize| {
                    let word = block.get(at * 8..at * 8 + 8)?.try_into().ok()?;
                    Some(u64::from_le_bytes(word))
                };
                match (word(0), word(1), word(2)) {
                    (Some(file), Some(version), Some(place)) => Block::Data {
                        file,
                        version,
                        place,
                    },
                    _ => Block::Bad,
                }
            });
            pending.ok(Some(Output::Blocks(blocks.collect())), None);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => pending.ok(None, None),
        Err(error) => pending.fail(text(&error), None),
    }
}

fn text(error: &Error) -> String {
    format!("{:?}: {error}", error.kind())
}
