//! Files of blocks, written and read.

use dfs_core::error::ErrorKind;

use super::blocks;
use super::own::Own;
use crate::history::{BLOCK_LEN, Op, Output};
use crate::model::Family;
use crate::workloads::Worker;
use crate::workloads::act::{Became, node};

/// Carries out a change of a worker's own files.
pub(super) async fn carry_out(worker: &mut Worker, op: Op, files: &mut Family) -> Became {
    let became = match op {
        Op::Put { .. }
        | Op::Append { .. }
        | Op::Overwrite { .. }
        | Op::Truncate { .. }
        | Op::Clone { .. }
        | Op::Concat { .. } => write(worker, op.clone()).await,
        _ => worker.attempt(op.clone()).await,
    };
    if let Became::Done(output) = &became {
        // What is wrong with it is for the judge to say.
        let _ = files.carry_out(&op, output.as_ref());
    }
    became
}

/// Removes all files for good, and all that is in the trash.
pub(super) async fn remove_all(worker: &mut Worker, mut own: Own) {
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

/// Writes, clones or concatenates.
pub(in crate::workloads) async fn write(worker: &mut Worker, op: Op) -> Became {
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
        Op::Clone { from, to, replace } => client.clone_file(from, to, replace).await.map(gave),
        Op::Concat { to, from } => client.concat(to, [from]).await.map(gave),
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
pub(super) async fn read(worker: &mut Worker, path: String) -> bool {
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
