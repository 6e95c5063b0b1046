//! What can go wrong with a store: few kinds, each of which a caller answers differently.

use std::io;
use std::path::Path;

use crate::types::{ChunkId, VolumeId};

/// Why a store did not do it. Messages name the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no replica of this chunk here.
    #[error("no replica of {0} here")]
    NotFound(ChunkId),
    /// A replica of this chunk is here, with other bytes.
    #[error("a replica of {0} with other bytes is here")]
    Exists(ChunkId),
    /// The replica is not what was written: put it in quarantine, get a new one.
    #[error(
        "{chunk} is corrupt{}: {reason}",
        block.map(|b| format!(" in block {b}")).unwrap_or_default()
    )]
    Corrupt {
        /// Which chunk.
        chunk: ChunkId,
        /// The first bad block, or none if it is not in one.
        block: Option<u64>,
        /// What is wrong, and in which file.
        reason: String,
    },
    /// The disk is too full for this. Nothing was left behind.
    #[error("out of space: {0}")]
    OutOfSpace(String),
    /// This machine is short of file handles or memory. Nothing was changed, and nothing is wrong
    /// with the directory or a replica: later it may work.
    #[error("busy: {0}")]
    Busy(String),
    /// The directory has failed: it takes no writes any more, reads may still work.
    #[error("the store has failed: {0}")]
    Failed(String),
    /// The directory holds no store, and none may be made in it: a new directory, or a disk that
    /// is not mounted.
    #[error("{0}: there is no stamp of a data node here; is the disk mounted?")]
    Empty(String),
    /// A volume of the data node is not named, and nobody has said that it is gone for good.
    #[error("volume {volume} of this data node, last at {directory}, is not among its directories")]
    Missing {
        /// Which.
        volume: VolumeId,
        /// Where it was last.
        directory: String,
    },
    /// The request or the directory is not as it must be; the same again fails again.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// A replica that is not what was written, not in one block of it.
    pub(super) fn corrupt(chunk: ChunkId, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            chunk,
            block: None,
            reason: reason.into(),
        }
    }

    /// What a failed write means: a full disk refuses, everything else fails the directory.
    pub(super) fn from_write(error: &io::Error, path: &Path) -> StoreError {
        let message = format!("{}: {error}", path.display());
        if is_out_of_space(error) {
            StoreError::OutOfSpace(message)
        } else {
            StoreError::Failed(message)
        }
    }

    /// What it means that a file could not be opened to be written: as [`StoreError::from_write`],
    /// but for a shortage that is not the disk's.
    pub(super) fn from_open(error: &io::Error, path: &Path) -> StoreError {
        match is_shortage(error) {
            true => StoreError::Busy(format!("{}: {error}", path.display())),
            false => StoreError::from_write(error, path),
        }
    }

    /// What a failed sync means: nothing is known of what was written, whatever the reason.
    pub(super) fn from_sync(error: &io::Error, path: &Path) -> StoreError {
        StoreError::Failed(format!("sync {}: {error}", path.display()))
    }
}

/// Whether this machine was short of something, so that the file is not to blame.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::OutOfMemory
    )
}

/// Whether a disk was full, or a quota used up.
pub(super) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
