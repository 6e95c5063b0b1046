//! Everything a store has on disk, drawn.
//!
//! ```text
//! <directory>/
//!   LOCK                        held while a process has the store open
//!   stamp                       whose directory this is (Stamp); written last, so its presence
//!                               says that all of the following exists
//!   volumes                     all volumes of the data node (Siblings), if it has several
//!   index.redb                  where each replica is; can be rebuilt from the rest
//!   incoming/<chunk>-<n>.part   large chunks being written; the header comes last, and without
//!                               it the file is removed at the next start
//!   chunks/<xx>/<chunk>.chunk   large chunks, complete and durable; <xx> is bits 8..16 of the id
//!   segments/<number>.seg       small chunks, packed
//!   quarantine/<name>           what recovery or a reader found wrong, never deleted by us
//!   quarantine/<name>.reason    why it is there, for people
//!   scrub                       how far replicas were read through (Scrubbed); may be lost
//!   papers, joining             not the store's: who the node is, or is about to be
//!   peers                       neither: other data nodes, and masters, as last heard of
//!   audit/                      neither: who was not let in
//! ```
//! `<chunk>` and `<number>` are 16 hexadecimal digits. Integers are little-endian.
//!
//! ```text
//! stamp     0 "DFSSTAMP" | 8 version u16 | 10 flags u16 (1: cluster, 2: node set) | 12 volume u32
//!           16 key u128 | 32 cluster u128 | 48 node u32 | 52 crc of 0..52
//!
//! volumes   0 "DFSVOLUM" | 8 version u16 | 10 count u16 | 12 zero u32
//!           16 generation u64 | 24 zero
//!           32 64 times: id u32, given up u16, length of the path u16, path | 16416 crc of all
//!
//! scrub     0 "DFSSCRUB" | 8 version u16 | 10 state u16 (1 reading, 2 between) | 12 zero u32
//!           16 begun u64 | 24 position u64 | 32 replicas u64 | 40 bytes u64
//!           48 steps of the former pass u16 | 50 of this pass u16 | 52 corrupt u16 | 54 zero u16
//!           56 the steps, each chunk u64, time u64 | the corrupt replicas, u64 each | zeroes
//!           2044 crc of 0..2044
//!
//! replica   0 "DFSCHUNK" | 8 version u16 | 10 state u16 (1 live, 2 deleted) | 12 data offset u32
//! header    16 chunk u64 | 24 length u64 | 32 salt u64 | 40 crc of all data | 44 blocks u32
//!           48 crc of the block checksums | 52 zero u64 | 60 crc of 0..60
//!           64 one crc per block of data
//!
//! chunk     0 replica header (salt 0) | data offset: the data, to the end of the file
//!
//! segment   0 "DFSSEGMT" | 8 version u16 | 10 zero u48 | 16 number u64 | 24 salt u64 | 32 zero
//!           60 crc of 0..60 | 4096 records, each at a multiple of 4096:
//!           0 replica header (the segment's salt) | data offset: the data | zeroes
//! ```
//! A record is found by its header alone. The salt is random and secret, so bytes of a user
//! that look like a record are none. A deleted record keeps its header, with the state changed
//! in place; its other pages become a hole. Neighbours deleted together become one record: the
//! first one's header says a length that spans them all, and all but its page become a hole.
//!
//! Index tables (redb), each value followed by the CRC-32C of key and value:
//!
//! ```text
//! REPLICAS  chunk u64 -> 0 version u8 | 1 kind u8 (1 large, 2 small) | 2 length u64
//!                        10 crc u32 | 14 segment u64 | 22 offset u64 | 30 data offset u32
//! DELETIONS (segment u64, offset u64) -> chunk u64   to be marked as deleted, not in REPLICAS
//! MARKS     "scanned" -> segment u64 | offset u64    records before it are in REPLICAS
//!           "clean"   -> u8                          1: closed, nothing written since
//! ```

use std::path::{Path, PathBuf};

use crate::types::ChunkId;
use crate::types::checksum::{block_count, combine_blocks, crc32c};

/// Directories of the node beside its store.
pub(super) const NEIGHBOUR_DIRECTORIES: &[&str] = &[crate::node::audit::DIRECTORY];
/// Files of the node beside its store.
pub(super) const NEIGHBOURS: &[&str] = &[
    "papers",
    "papers.new",
    "joining",
    "joining.new",
    "peers",
    "peers.new",
];

/// The version of all formats here.
pub(super) const VERSION: u16 = 1;
/// Records begin at multiples of this, and holes are made of it.
pub(super) const PAGE_LEN: u64 = 4096;
/// A replica header without the checksums of its blocks, and a segment header.
pub(super) const HEADER_LEN: usize = 64;
/// Directories below `chunks`.
pub(super) const FAN_OUT: u64 = 256;

pub(super) const CHUNK_MAGIC: &[u8; 8] = b"DFSCHUNK";
const SEGMENT_MAGIC: &[u8; 8] = b"DFSSEGMT";

/// The names in a store's directory.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) root: PathBuf,
}

impl Paths {
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    pub(super) fn stamp(&self) -> PathBuf {
        self.root.join("stamp")
    }

    pub(super) fn new_stamp(&self) -> PathBuf {
        self.root.join("stamp.new")
    }

    pub(super) fn siblings(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(super) fn new_siblings(&self) -> PathBuf {
        self.root.join("volumes.new")
    }

    pub(super) fn scrub(&self) -> PathBuf {
        self.root.join("scrub")
    }

    pub(super) fn new_scrub(&self) -> PathBuf {
        self.root.join("scrub.new")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.redb")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn fan_out(&self, directory: u64) -> PathBuf {
        self.chunks().join(format!("{directory:02x}"))
    }

    /// Chunks with neighbouring ids, which are often written together, share a directory and so
    /// its sync.
    pub(super) fn chunk_directory(&self, chunk: ChunkId) -> PathBuf {
        self.fan_out((chunk.0 >> 8) % FAN_OUT)
    }

    pub(super) fn chunk(&self, chunk: ChunkId) -> PathBuf {
        self.chunk_directory(chunk)
            .join(format!("{:016x}.chunk", chunk.0))
    }

    pub(super) fn part(&self, chunk: ChunkId, number: u64) -> PathBuf {
        self.incoming()
            .join(format!("{:016x}-{number}.part", chunk.0))
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.segments().join(format!("{number:016x}.seg"))
    }
}

/// The id in the name of a chunk file, or the number in that of a segment, if it is one.
pub(super) fn parse_name(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    // Only the one spelling that we write.
    (format!("{number:016x}") == digits).then_some(number)
}

/// Whether it is the name of a large chunk that is being written.
pub(super) fn is_part_name(name: &str) -> bool {
    let parts = name.strip_suffix(".part").and_then(|n| n.split_once('-'));
    parts.is_some_and(|(chunk, number)| {
        parse_name(chunk, "").is_some() && number.parse::<u64>().is_ok()
    })
}

/// The path without the part before the store, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Where the data of a replica with at most `blocks` blocks begins in a file of its own.
pub(super) fn data_offset_in_file(blocks: u64) -> u64 {
    header_len(blocks).next_multiple_of(PAGE_LEN)
}

/// The length of a replica header with the checksums of its blocks.
pub(super) fn header_len(blocks: u64) -> u64 {
    HEADER_LEN as u64 + 4 * blocks
}

/// Whether a record is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordState {
    Live,
    Deleted,
}

/// What is written before the data of every replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplicaHeader {
    pub(super) state: RecordState,
    pub(super) chunk: ChunkId,
    pub(super) length: u64,
    pub(super) checksum: u32,
    pub(super) salt: u64,
    pub(super) data_offset: u32,
    /// The checksum of `crcs`; they are not there when only the fixed part was read.
    pub(super) crcs_checksum: u32,
    pub(super) blocks: u32,
}

impl ReplicaHeader {
    /// The header of a live replica.
    pub(super) fn new(
        chunk: ChunkId,
        length: u64,
        crcs: &[u32],
        salt: u64,
        data_offset: u32,
    ) -> ReplicaHeader {
        ReplicaHeader {
            state: RecordState::Live,
            chunk,
            length,
            checksum: combine_blocks(crcs, length),
            salt,
            data_offset,
            crcs_checksum: crc32c(&encode_crcs(crcs)),
            blocks: crcs.len() as u32,
        }
    }

    /// The length of a record in a segment.
    pub(super) fn record_len(&self) -> u64 {
        (u64::from(self.data_offset) + self.length).next_multiple_of(PAGE_LEN)
    }

    /// Makes the record this long, over its neighbours. Only for one to be deleted: what its
    /// checksums say is of no use any more.
    pub(super) fn cover(&mut self, record_len: u64) {
        let data_offset = header_len(block_count(record_len));
        self.length = record_len.saturating_sub(data_offset);
        self.blocks = block_count(self.length) as u32;
        self.data_offset = data_offset as u32;
    }

    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let state: u16 = match self.state {
            RecordState::Live => 1,
            RecordState::Deleted => 2,
        };
        let mut out = Fixed::new(CHUNK_MAGIC);
        out.put(&state.to_le_bytes());
        out.put(&self.data_offset.to_le_bytes());
        out.put(&self.chunk.0.to_le_bytes());
        out.put(&self.length.to_le_bytes());
        out.put(&self.salt.to_le_bytes());
        out.put(&self.checksum.to_le_bytes());
        out.put(&self.blocks.to_le_bytes());
        out.put(&self.crcs_checksum.to_le_bytes());
        out.seal()
    }

    /// Reads the fixed part, which must have `salt` if there is one to compare.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8], salt: Option<u64>) -> Result<ReplicaHeader, FormatError> {
        let mut fields = Fields::open(bytes, CHUNK_MAGIC)?;
        let state = match fields.u16()? {
            1 => RecordState::Live,
            2 => RecordState::Deleted,
            _ => return Err(FormatError::Damaged("unknown state")),
        };
        let header = ReplicaHeader {
            state,
            data_offset: fields.u32()?,
            chunk: ChunkId(fields.u64()?),
            length: fields.u64()?,
            salt: fields.u64()?,
            checksum: fields.u32()?,
            blocks: fields.u32()?,
            crcs_checksum: fields.u32()?,
        };
        if salt.is_some_and(|salt| header.salt != salt) {
            return Err(FormatError::Damaged("of another segment"));
        }
        let blocks = u64::from(header.blocks);
        if block_count(header.length) != blocks
            || u64::from(header.data_offset) < header_len(blocks)
            || header.length > u64::MAX / 2
        {
            return Err(FormatError::Damaged("lengths do not agree"));
        }
        Ok(header)
    }

    /// Reads the checksums of the blocks, which follow the fixed part.
    ///
    /// # Errors
    /// They are not what the header says.
    pub(super) fn decode_crcs(&self, bytes: &[u8]) -> Result<Vec<u32>, FormatError> {
        let bytes = bytes
            .get(..4 * self.blocks as usize)
            .ok_or(FormatError::Damaged("block checksums are cut off"))?;
        let crcs: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap_or_default()))
            .collect();
        if crc32c(bytes) != self.crcs_checksum
            || combine_blocks(&crcs, self.length) != self.checksum
        {
            return Err(FormatError::Damaged("block checksums fail their checksum"));
        }
        Ok(crcs)
    }
}

/// The bytes of block checksums.
pub(super) fn encode_crcs(crcs: &[u32]) -> Vec<u8> {
    crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect()
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) salt: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Fixed::new(SEGMENT_MAGIC);
        out.put(&[0; 6]);
        out.put(&self.number.to_le_bytes());
        out.put(&self.salt.to_le_bytes());
        out.seal()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        let mut fields = Fields::open(bytes, SEGMENT_MAGIC)?;
        fields.take::<6>()?;
        Ok(SegmentHeader {
            number: fields.u64()?,
            salt: fields.u64()?,
        })
    }
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("written in format {0}, this program knows {VERSION}: use the newer program")]
    Newer(u16),
}

/// Writes a header: magic, version, fields, zeroes, checksum.
pub(super) struct Fixed {
    bytes: Vec<u8>,
}

impl Fixed {
    pub(super) fn new(magic: &[u8; 8]) -> Fixed {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(magic);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        Fixed { bytes }
    }

    pub(super) fn put(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(field);
    }

    pub(super) fn seal<const N: usize>(mut self) -> [u8; N] {
        self.bytes.resize(N - 4, 0);
        let crc = crc32c(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.try_into().unwrap_or([0; N])
    }
}

/// Reads a header that [`Fixed`] wrote.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Checks magic, version and checksum of a header of `HEADER_LEN` bytes.
    pub(super) fn open(bytes: &'a [u8], magic: &[u8; 8]) -> Result<Fields<'a>, FormatError> {
        Fields::open_sized::<HEADER_LEN>(bytes, magic)
    }

    pub(super) fn open_sized<const N: usize>(
        bytes: &'a [u8],
        magic: &[u8; 8],
    ) -> Result<Fields<'a>, FormatError> {
        let bytes: &[u8; N] = bytes
            .first_chunk()
            .ok_or(FormatError::Damaged("the header is cut off"))?;
        let (body, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or(FormatError::Damaged("the header is cut off"))?;
        let Some(rest) = body.strip_prefix(magic) else {
            return Err(FormatError::Damaged("not such a file"));
        };
        let mut fields = Fields { rest };
        // A newer format may keep its checksum elsewhere, so the version is looked at first.
        let version = fields.u16()?;
        if version > VERSION {
            return Err(FormatError::Newer(version));
        }
        if crc32c(body) != u32::from_le_bytes(*crc) || version == 0 {
            return Err(FormatError::Damaged("the header fails its checksum"));
        }
        Ok(fields)
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(FormatError::Damaged("the header is too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, FormatError> {
        self.take().map(u128::from_le_bytes)
    }
}
