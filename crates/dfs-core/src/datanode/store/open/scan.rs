//! Finding the records of a segment by their headers alone.

use std::path::Path;

use crate::datanode::store::error::{StoreError, is_shortage};
use crate::datanode::store::layout::{HEADER_LEN, PAGE_LEN, ReplicaHeader, SegmentHeader};
use crate::env::{Disk, DiskFile, OpenMode};

/// What is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::datanode::store) enum Found {
    /// A record, deleted or not, whose header is right.
    Record {
        /// Where it begins.
        offset: u64,
        header: ReplicaHeader,
    },
    /// Bytes that are no record: a torn or rotten one.
    Damage {
        /// Where they begin.
        offset: u64,
        length: u64,
    },
}

/// The records from `from` on, in order. Damage to one hides no other: after it, the next page
/// with a right header is looked for. Blocks.
///
/// # Errors
/// The file cannot be read at all, or is no segment; [`StoreError::Busy`] says nothing of it.
pub(in crate::datanode::store) fn scan_segment(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
) -> Result<Vec<Found>, StoreError> {
    let invalid =
        |e: &dyn std::fmt::Display| StoreError::Invalid(format!("{}: {e}", path.display()));
    let file = match disk.open(path, OpenMode::Read) {
        Err(e) if is_shortage(&e) => return Err(StoreError::Busy(e.to_string())),
        opened => opened.map_err(|e| invalid(&e))?,
    };
    scan(&*file, from).map_err(|what| invalid(&what))
}

/// The same of an open file.
///
/// # Errors
/// Why it cannot be read at all.
pub(in crate::datanode::store) fn scan(
    file: &dyn DiskFile,
    from: u64,
) -> Result<Vec<Found>, String> {
    let length = file.len().map_err(|e| e.to_string())?;
    let salt = find_salt(file).ok_or("not a segment")?;
    let mut found = Vec::new();
    let mut offset = from.max(PAGE_LEN);
    while offset < length {
        match read_record(file, offset, length, salt) {
            Some(header) => {
                let next = offset + header.record_len();
                found.push(Found::Record { offset, header });
                offset = next;
            }
            None => {
                match found.last_mut() {
                    Some(Found::Damage { length, .. }) => *length += PAGE_LEN,
                    _ => found.push(Found::Damage {
                        offset,
                        length: PAGE_LEN,
                    }),
                }
                offset += PAGE_LEN;
            }
        }
    }
    Ok(found)
}

/// The salt, from the segment's header or, if that is damaged, from its first record, which is
/// ours wherever the others begin.
fn find_salt(file: &dyn DiskFile) -> Option<u64> {
    let mut bytes = [0; HEADER_LEN];
    if file.read_at(&mut bytes, 0).is_ok()
        && let Ok(header) = SegmentHeader::decode(&bytes)
    {
        return Some(header.salt);
    }
    file.read_at(&mut bytes, PAGE_LEN).ok()?;
    let first = ReplicaHeader::decode(&bytes, None).ok()?;
    Some(first.salt)
}

fn read_record(file: &dyn DiskFile, offset: u64, length: u64, salt: u64) -> Option<ReplicaHeader> {
    let mut bytes = [0; HEADER_LEN];
    file.read_at(&mut bytes, offset).ok()?;
    let header = ReplicaHeader::decode(&bytes, Some(salt)).ok()?;
    // A record is whole or it is damage.
    (header.record_len() <= length - offset).then_some(header)
}
