//! Quarantine: what was found wrong is moved there, with the reason, and never deleted by us.

use std::path::Path;

use tracing::warn;

use super::Shared;
use super::error::{StoreError, is_shortage};
use super::index::Entry;
use super::layout::file_name;
use crate::env::{DiskFile, OpenMode};
use crate::types::ChunkId;

const PIECE_LEN: u64 = 64 * 1024;

/// Moves a file there, durably. The caller syncs the directory it was in. Blocks.
///
/// Returns its new name.
///
/// # Errors
/// [`StoreError::OutOfSpace`], [`StoreError::Failed`].
pub(super) fn move_file(shared: &Shared, path: &Path, reason: &str) -> Result<String, StoreError> {
    let name = new_name(shared, &file_name(path));
    let target = shared.paths.quarantine().join(&name);
    let renamed = shared.env.disk.rename(path, &target);
    renamed.map_err(|e| StoreError::from_write(&e, path))?;
    finish(shared, &name, reason)?;
    Ok(name)
}

/// Copies a record there, durably. Blocks.
///
/// # Errors
/// [`StoreError::Busy`], [`StoreError::OutOfSpace`], [`StoreError::Failed`].
pub(super) fn copy_record(
    shared: &Shared,
    chunk: ChunkId,
    entry: Entry,
    reason: &str,
) -> Result<String, StoreError> {
    let (source, base) = shared.locate(chunk, entry.place);
    let disk = &shared.env.disk;
    let name = new_name(shared, &format!("{:016x}.record", chunk.0));
    let target = shared.paths.quarantine().join(&name);
    let write = |e| StoreError::from_write(&e, &target);
    let open = |e| StoreError::from_open(&e, &target);
    let from = match disk.open(&source, OpenMode::Read) {
        Err(e) if is_shortage(&e) => return Err(StoreError::Busy(e.to_string())),
        opened => opened,
    };
    let copy = disk.open(&target, OpenMode::CreateNew).map_err(open)?;
    let mut reason = reason.to_owned();
    // A source that is gone leaves an empty file and the reason.
    if let Ok(file) = from {
        let copied = copy_range(&*file, &*copy, base, entry.stored_len(), &mut reason);
        if let Err(e) = copied {
            disk.remove_file(&target).map_err(write)?;
            return Err(write(e));
        }
    }
    copy.sync()
        .map_err(|e| StoreError::from_sync(&e, &target))?;
    finish(shared, &name, &reason)?;
    Ok(name)
}

/// Copies what can be read; what cannot is left zero and said in the reason.
fn copy_range(
    from: &dyn DiskFile,
    to: &dyn DiskFile,
    base: u64,
    length: u64,
    reason: &mut String,
) -> std::io::Result<()> {
    let mut done = 0;
    while done < length {
        let mut piece = vec![0; PIECE_LEN.min(length - done) as usize];
        if let Err(e) = from.read_at(&mut piece, base + done) {
            reason.push_str(&format!("; unreadable at {}: {e}", base + done));
            piece.fill(0);
        }
        to.write_at(&piece, done)?;
        done += piece.len() as u64;
    }
    Ok(())
}

fn new_name(shared: &Shared, name: &str) -> String {
    format!("{name}.{:016x}", shared.env.random.next_u64())
}

fn finish(shared: &Shared, name: &str, reason: &str) -> Result<(), StoreError> {
    warn!(name, reason, "put in quarantine");
    let directory = shared.paths.quarantine();
    let path = directory.join(format!("{name}.reason"));
    let disk = &shared.env.disk;
    let written = disk
        .open(&path, OpenMode::CreateNew)
        .and_then(|file| file.write_at(format!("{reason}\n").as_bytes(), 0));
    if let Err(e) = written {
        // The log has the reason as well; the evidence is what matters.
        warn!(name, error = %e, "the reason could not be written down");
    }
    disk.sync_directory(&directory)
        .map_err(|e| StoreError::from_sync(&e, &directory))
}
