//! Settings of a store: plain data, checked once.

use std::path::PathBuf;
use std::time::Duration;

use super::error::StoreError;
use crate::types::limits::{BLOCK_LEN, CHUNK_SIZE_MAX};
use crate::types::{NodeKey, VolumeId};

/// Settings of a [`ChunkStore`](super::ChunkStore). Lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The directory everything is in; nothing else may be in it.
    pub directory: PathBuf,
    /// Whether an empty or missing directory may be made a new store. Otherwise it is refused:
    /// a disk that is not mounted looks just like that.
    pub initialize: bool,
    /// What a new store is stamped with, and one that is there must be; by chance and the first
    /// volume, unless set.
    pub origin: Option<Origin>,
    /// Chunks up to this length are packed into segments, longer ones get a file each.
    pub small_chunk_max: u64,
    /// A segment that has grown to this length is sealed.
    pub segment_size: u64,
    /// What is kept free on the disk.
    pub reserve: Reserve,
    /// How many files may be synced at the same time.
    pub syncs_in_flight: usize,
    /// After this much was written to a file, a sync of it begins while more arrives.
    pub write_behind: u64,
    /// What the index may not have on disk: after a crash this much is found again by reading.
    pub index_lag: IndexLag,
    /// Memory for the pages of the index.
    pub index_cache: usize,
}

/// Which volume of which data node a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The data node's.
    pub key: NodeKey,
    /// Which of its volumes.
    pub volume: VolumeId,
}

/// Room on the disk that ordinary writes may not use: the larger of the two. A repair may dig
/// into half of it, and deletion always works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// In bytes.
    pub bytes: u64,
    /// In percent of the disk.
    pub percent: u8,
}

impl Reserve {
    /// What it comes to on a disk of this size.
    pub fn of(&self, total: u64) -> u64 {
        let share = u128::from(total) * u128::from(self.percent.min(100)) / 100;
        self.bytes.max(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// How far the index on disk may be behind the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLag {
    /// So many rows.
    pub rows: usize,
    /// So many bytes of packed chunks.
    pub bytes: u64,
    /// So long.
    pub time: Duration,
}

impl StoreConfig {
    /// Settings that suit a disk of its own in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig {
            directory: directory.into(),
            initialize: false,
            origin: None,
            small_chunk_max: 1 << 20,
            segment_size: 256 << 20,
            reserve: Reserve {
                bytes: 1 << 30,
                percent: 2,
            },
            syncs_in_flight: 8,
            write_behind: 16 << 20,
            index_lag: IndexLag {
                rows: 16 * 1024,
                bytes: 128 << 20,
                time: Duration::from_secs(1),
            },
            index_cache: 64 << 20,
        }
    }

    /// Checks that the settings make sense together.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] names what does not.
    pub fn validate(&self) -> Result<(), StoreError> {
        let refuse = |what: String| Err(StoreError::Invalid(what));
        if self.directory.as_os_str().is_empty() {
            return refuse("directory is empty".into());
        }
        if self.small_chunk_max > self.segment_size / 2 {
            return refuse(format!(
                "small_chunk_max {} is more than half of segment_size {}",
                self.small_chunk_max, self.segment_size
            ));
        }
        if self.segment_size > CHUNK_SIZE_MAX {
            return refuse(format!(
                "segment_size {} is above {CHUNK_SIZE_MAX}",
                self.segment_size
            ));
        }
        if self.reserve.percent > 90 {
            return refuse(format!(
                "reserve.percent {} is above 90",
                self.reserve.percent
            ));
        }
        if self.syncs_in_flight == 0 {
            return refuse("syncs_in_flight is 0".into());
        }
        if self.write_behind < BLOCK_LEN as u64 {
            return refuse(format!(
                "write_behind {} is below one block",
                self.write_behind
            ));
        }
        if self.index_lag.rows == 0 || self.index_lag.time.is_zero() {
            return refuse("index_lag.rows or index_lag.time is 0".into());
        }
        Ok(())
    }
}
