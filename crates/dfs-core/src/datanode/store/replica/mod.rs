//! Reading replicas. Writing them is in [`writer`].

mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use writer::ReplicaWriter;

use super::Shared;
use super::error::{StoreError, is_shortage};
use super::index::{Entry, Place};
use super::layout::{RecordState, ReplicaHeader, header_len};
use crate::env::{DiskFile, OpenMode};
use crate::types::checksum::verify_blocks;
use crate::types::limits::{BLOCK_LEN, FRAME_PAYLOAD_MAX};
use crate::types::{ByteRange, ChunkId};

/// A replica as its store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaSummary {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
}

/// Whole blocks of a replica, with the checksums that were given when they were written.
///
/// The store has not compared them: whoever uses the bytes does, at the end of their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRun {
    /// Where in the chunk the first block begins.
    pub offset: u64,
    /// The bytes of the blocks; only the chunk's last block is short.
    pub bytes: Bytes,
    /// The CRC-32C of each block.
    pub crcs: Vec<u32>,
}

/// An open replica. It stays readable while it is open, unless it is deleted.
pub struct ReplicaReader {
    shared: Arc<Shared>,
    chunk: ChunkId,
    opened: Arc<Opened>,
}

impl ReplicaReader {
    pub(super) fn new(shared: Arc<Shared>, chunk: ChunkId, opened: Opened) -> ReplicaReader {
        ReplicaReader {
            shared,
            chunk,
            opened: Arc::new(opened),
        }
    }

    /// Which chunk.
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.opened.entry.length
    }

    /// CRC-32C of all its bytes.
    pub fn checksum(&self) -> u32 {
        self.opened.entry.checksum
    }

    /// Reads the blocks that have bytes of `range`, at most 1 MiB of them: compare where the run
    /// ends with where the range does, and ask again from there.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the range is empty or not within the chunk,
    /// [`StoreError::NotFound`] if the replica was deleted meanwhile, [`StoreError::Corrupt`] if
    /// the file is too short or the disk cannot read it.
    pub async fn read(&self, range: ByteRange) -> Result<BlockRun, StoreError> {
        if range.length == 0 || range.end() > self.length() {
            return Err(StoreError::Invalid(format!(
                "{}: {range} is not within its {} bytes",
                self.chunk,
                self.length()
            )));
        }
        let (shared, opened, chunk) = (self.shared.clone(), self.opened.clone(), self.chunk);
        self.shared
            .env
            .run_blocking(move || opened.read(&shared, chunk, range))
            .await
    }

    /// Reads the replica through and compares every block with its checksum.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first bad block, or as [`ReplicaReader::read`].
    pub async fn verify(&self) -> Result<(), StoreError> {
        let mut offset = 0;
        while offset < self.length() {
            // A piece at a time, so that it holds no thread for long.
            offset = self.verify_run(offset).await?;
        }
        Ok(())
    }

    /// Reads some blocks from `offset` on, from the disk itself where the system can, compares
    /// them with their checksums, and says where the next ones begin.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first bad block, or as [`ReplicaReader::read`].
    pub async fn verify_run(&self, offset: u64) -> Result<u64, StoreError> {
        let (shared, opened) = (self.shared.clone(), self.opened.clone());
        let chunk = self.chunk;
        let run = move || opened.verify_run(&shared, chunk, offset);
        self.shared.env.run_blocking(run).await
    }
}

impl fmt::Debug for ReplicaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaReader({}, {:?})", self.chunk, self.opened.path)
    }
}

/// Why a file could not be opened, if that says nothing of the file itself.
fn unopened(shared: &Shared, error: &io::Error) -> Option<StoreError> {
    if is_shortage(error) {
        return Some(StoreError::Busy(error.to_string()));
    }
    let (disk, stamp) = (&shared.env.disk, shared.paths.stamp());
    if error.kind() == io::ErrorKind::NotFound && !disk.exists(&stamp).unwrap_or(true) {
        // All of it is gone, not one replica: the disk is no longer mounted.
        let reason = format!(
            "{}: the stamp is gone; is the disk mounted?",
            stamp.display()
        );
        return Some(shared.condition.note(StoreError::Failed(reason)));
    }
    None
}

/// A replica whose header was found right.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) entry: Entry,
    pub(super) path: PathBuf,
    file: Arc<dyn DiskFile>,
    crcs: Vec<u32>,
    /// Where the data begins in the file.
    start: u64,
}

impl Opened {
    /// Opens what the index says is there and compares it with the index. Blocks.
    pub(super) fn open(
        shared: &Shared,
        chunk: ChunkId,
        entry: Entry,
    ) -> Result<Opened, StoreError> {
        let (path, base) = shared.locate(chunk, entry.place);
        let corrupt = |what: &dyn fmt::Display| {
            StoreError::corrupt(chunk, format!("{} at {base}: {what}", path.display()))
        };
        let file = shared.env.disk.open(&path, OpenMode::Read).map_err(|e| {
            match unopened(shared, &e) {
                Some(not_the_replica) => not_the_replica,
                None => {
                    shared.condition.unreadable(chunk, &e);
                    corrupt(&e)
                }
            }
        })?;
        let (header, crcs) = read_header(&*file, base).map_err(|e| {
            if let Err(e) = file.read_at(&mut [0], base) {
                shared.condition.unreadable(chunk, &e);
            }
            corrupt(&e)
        })?;
        if header.state == RecordState::Deleted {
            return Err(StoreError::NotFound(chunk));
        }
        let (length, checksum) = (header.length, header.checksum);
        let offset = header.data_offset;
        if header.chunk != chunk
            || (length, checksum, offset) != (entry.length, entry.checksum, entry.data_offset)
        {
            return Err(corrupt(&"its header is not what the index says"));
        }
        let start = base + u64::from(offset);
        let end = file.len().map_err(|e| corrupt(&e))?;
        let wrong = match entry.place {
            Place::Large => end != start + length,
            Place::Small { .. } => end < start + length,
        };
        if wrong {
            return Err(corrupt(&format!("the file has {end} bytes")));
        }
        Ok(Opened {
            entry,
            path,
            file,
            crcs,
            start,
        })
    }

    /// Reads whole blocks of an open store. Blocks.
    fn read(
        &self,
        shared: &Shared,
        chunk: ChunkId,
        range: ByteRange,
    ) -> Result<BlockRun, StoreError> {
        let run = self.read_at_rest(shared, chunk, range);
        // A deletion takes the index row away before it makes a hole of the bytes, and a file is
        // readable while it is open even if it is gone.
        if shared.index.get(chunk)? != Some(self.entry) {
            return Err(StoreError::NotFound(chunk));
        }
        run
    }

    /// Reads whole blocks while nothing else goes on. Blocks.
    fn read_at_rest(
        &self,
        shared: &Shared,
        chunk: ChunkId,
        range: ByteRange,
    ) -> Result<BlockRun, StoreError> {
        let block_len = BLOCK_LEN as u64;
        let first = range.offset / block_len;
        let offset = first * block_len;
        let end = range
            .end()
            .next_multiple_of(block_len)
            .min(offset + FRAME_PAYLOAD_MAX as u64)
            .min(self.entry.length);
        let mut bytes = vec![0; (end - offset) as usize];
        let read = self.file.read_at(&mut bytes, self.start + offset);
        read.map_err(|e| {
            shared.condition.unreadable(chunk, &e);
            StoreError::Corrupt {
                chunk,
                block: Some(first),
                reason: format!("{}: {e}", self.path.display()),
            }
        })?;
        let crcs = self.crcs.iter().skip(first as usize);
        let crcs = crcs
            .take(bytes.len().div_ceil(BLOCK_LEN))
            .copied()
            .collect();
        Ok(BlockRun {
            offset,
            bytes: bytes.into(),
            crcs,
        })
    }

    /// Verifies some blocks from `offset` on and says where the next ones begin. Blocks.
    pub(super) fn verify_run(
        &self,
        shared: &Shared,
        chunk: ChunkId,
        offset: u64,
    ) -> Result<u64, StoreError> {
        let rest = self.rest(offset);
        let length = rest.length.min(FRAME_PAYLOAD_MAX as u64);
        self.file.forget_cached(self.start + offset, length);
        let run = self.read(shared, chunk, rest)?;
        self.compare(chunk, &run)
    }

    /// Reads every block, while nothing else goes on, and compares it with its checksum. Blocks.
    pub(super) fn verify_at_rest(&self, shared: &Shared, chunk: ChunkId) -> Result<(), StoreError> {
        let mut offset = 0;
        while offset < self.entry.length {
            let run = self.read_at_rest(shared, chunk, self.rest(offset))?;
            offset = self.compare(chunk, &run)?;
        }
        Ok(())
    }

    fn rest(&self, offset: u64) -> ByteRange {
        ByteRange::new(offset, self.entry.length - offset)
    }

    fn compare(&self, chunk: ChunkId, run: &BlockRun) -> Result<u64, StoreError> {
        verify_blocks(&run.bytes, &run.crcs).map_err(|index| StoreError::Corrupt {
            chunk,
            block: Some(run.offset / BLOCK_LEN as u64 + index as u64),
            reason: format!("{}: the block fails its checksum", self.path.display()),
        })?;
        Ok(run.offset + run.bytes.len() as u64)
    }
}

/// Reads a replica header and its block checksums.
///
/// # Errors
/// What is wrong with it, as text.
pub(super) fn read_header(
    file: &dyn DiskFile,
    base: u64,
) -> Result<(ReplicaHeader, Vec<u32>), String> {
    let length = file.len().map_err(|e| e.to_string())?;
    // One page holds the whole of it for chunks up to 63 MiB.
    let mut bytes = vec![0; length.saturating_sub(base).min(super::layout::PAGE_LEN) as usize];
    file.read_at(&mut bytes, base).map_err(|e| e.to_string())?;
    let header = ReplicaHeader::decode(&bytes, None).map_err(|e| e.to_string())?;
    let needed = header_len(u64::from(header.blocks));
    if needed > length.saturating_sub(base) {
        return Err("the header is cut off".into());
    }
    if needed > bytes.len() as u64 {
        bytes.resize(needed as usize, 0);
        file.read_at(&mut bytes, base).map_err(|e| e.to_string())?;
    }
    let crcs = bytes.get(super::layout::HEADER_LEN..).unwrap_or_default();
    let crcs = header.decode_crcs(crcs).map_err(|e| e.to_string())?;
    Ok((header, crcs))
}
