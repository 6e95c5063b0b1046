//! What is on the disk of a store, read from any bytes: each fails where it does not hold what a
//! decoder must.

use std::time::Duration;

use super::index::Entry;
use super::layout::{
    CHUNK_MAGIC, Fixed, HEADER_LEN, PAGE_LEN, ReplicaHeader, SegmentHeader, is_part_name,
    parse_name,
};
use super::open::scan::{Found, scan};
use super::open::siblings::{self, Siblings};
use super::open::stamp::Stamp;
use super::scrubbed::{self, Scrubbed};
use crate::env::{DiskFile, Timestamp};
use crate::types::ChunkId;

/// Of a header: what is neither magic, version nor checksum.
const FIELDS_LEN: usize = HEADER_LEN - 14;

/// The same of how far replicas were read through.
const SCRUBBED_LEN: usize = scrubbed::LEN - 14;

/// A header with the right magic, version and checksum.
fn header_of(fields: &[u8]) -> [u8; HEADER_LEN] {
    let mut header = Fixed::new(CHUNK_MAGIC);
    header.put(fields.get(..FIELDS_LEN).unwrap_or(fields));
    header.seal()
}

/// The header of a replica and the checksums of its blocks.
pub(crate) fn replica(bytes: &[u8]) {
    let read = |header: &[u8], crcs: &[u8]| {
        let Ok(mut header) = ReplicaHeader::decode(header, None) else {
            return;
        };
        let again = ReplicaHeader::decode(&header.encode(), None);
        assert_eq!(again.as_ref(), Ok(&header));
        if let Ok(crcs) = header.decode_crcs(crcs) {
            assert_eq!(crcs.len(), header.blocks as usize);
        }
        header.cover(header.record_len());
    };
    read(bytes, bytes.get(HEADER_LEN..).unwrap_or_default());
    let (fields, crcs) = bytes.split_at(bytes.len().min(FIELDS_LEN));
    read(&header_of(fields), crcs);
}

/// The stamp of a directory.
pub(crate) fn stamp(bytes: &[u8]) {
    if let Ok(stamp) = Stamp::decode(bytes) {
        assert_eq!(Stamp::decode(&stamp.encode()), Ok(stamp));
    }
}

/// How far replicas were read through.
pub(crate) fn scrubbed(bytes: &[u8]) {
    let mut sealed = Fixed::new(scrubbed::MAGIC);
    sealed.put(bytes.get(..SCRUBBED_LEN).unwrap_or(bytes));
    let sealed: [u8; scrubbed::LEN] = sealed.seal();
    for bytes in [bytes, &sealed] {
        if let Ok(mut scrubbed) = Scrubbed::decode(bytes) {
            assert_eq!(Scrubbed::decode(&scrubbed.encode()).as_ref(), Ok(&scrubbed));
            let now = Timestamp(1);
            scrubbed.unchecked(now);
            scrubbed.passed(ChunkId(1), u64::MAX, now, Duration::ZERO);
            scrubbed.end();
            assert!(Scrubbed::decode(&scrubbed.encode()).is_ok());
        }
    }
}

/// The volumes of a data node.
pub(crate) fn volumes(bytes: &[u8]) {
    let mut sealed = Fixed::new(siblings::MAGIC);
    sealed.put(bytes.get(..siblings::LEN - 14).unwrap_or(bytes));
    let sealed: [u8; siblings::LEN] = sealed.seal();
    for bytes in [bytes, &sealed] {
        if let Ok(siblings) = Siblings::decode(bytes) {
            assert_eq!(Siblings::decode(&siblings.encode()).as_ref(), Ok(&siblings));
            let next = siblings.next_id();
            assert!(siblings.get(next).is_none() || next.0 == u32::MAX);
        }
    }
}

/// A row of the index.
pub(crate) fn row(bytes: &[u8]) {
    let sealed = super::index::seal(&7u64.to_le_bytes(), bytes.to_vec());
    for row in [bytes, &sealed] {
        if let Some(entry) = Entry::decode(7, row) {
            assert_eq!(Entry::decode(7, &entry.encode(ChunkId(7))), Some(entry));
            entry.stored_len();
        }
    }
}

/// The names of files.
pub(crate) fn names(bytes: &[u8]) {
    let Ok(name) = str::from_utf8(bytes) else {
        return;
    };
    if let Some(number) = parse_name(name, ".chunk") {
        assert_eq!(format!("{number:016x}.chunk"), name);
    }
    is_part_name(name);
}

/// A segment whose records are a page each and have these fields.
pub(crate) fn segment_of(bytes: &[u8]) -> Vec<u8> {
    let header = SegmentHeader { number: 1, salt: 3 };
    let mut segment = header.encode().to_vec();
    for fields in bytes.chunks(FIELDS_LEN) {
        segment.resize(segment.len().next_multiple_of(PAGE_LEN as usize), 0);
        segment.extend_from_slice(&header_of(fields));
    }
    segment.resize(segment.len().next_multiple_of(PAGE_LEN as usize), 0);
    segment
}

/// All records of a segment.
pub(crate) fn segment(file: &dyn DiskFile) {
    let length = file.len().unwrap_or(0);
    for found in scan(file, 0).into_iter().flatten() {
        let end = match found {
            Found::Record { offset, header } => offset + header.record_len(),
            Found::Damage { offset, .. } => offset,
        };
        assert!(end <= length, "a record ends behind the file");
    }
}
