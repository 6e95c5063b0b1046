//! The bytes of a segment, one file of the log.
//!
//! ```text
//! segment = header  frame*  what was there before              numbers are little endian
//! header  = "dfs-log" version(1)  number(8)  first sequence(8)  salt(8)  CRC-32C(4)
//! frame   = length of body(4)  CRC-32C(4)  sequence(8)  body             one frame = one commit
//! body    = change*
//! change  = kind(1)  number(8)  length(4)  bytes
//! ```
//!
//! A segment is written in full before it is used, so that a commit changes bytes and nothing
//! else of the file: an fsync then has no metadata to write. What follows the last frame are
//! zeros, or frames of the segment that this file was before; the salt, new for each segment,
//! keeps those, and whatever users put into commands, from being taken for frames.
//!
//! A frame follows only one that is on disk. Where a frame should be and is not, the end of the
//! log is reached, unless a later one is there: then the log is damaged.

use crc_fast::{CrcAlgorithm, Digest};

use super::super::codec::{
    decode_rev, decode_stamp, decode_vote, encode_rev, encode_stamp, encode_vote,
};
use super::super::directory::Stamp;
use crate::error::Fatal;
use crate::machine::Rev;
use crate::types::Vote;

const MAGIC: &[u8; 7] = b"dfs-log";
const VERSION: u8 = 1;
pub(crate) const HEADER_LEN: usize = 36;
pub(crate) const FRAME_HEAD_LEN: usize = 16;
const CHANGE_HEAD_LEN: usize = 13;
/// Room for kinds that are not made yet: a newer program's log is refused, not cut.
const KIND_MAX: u8 = 31;

/// No number in a log comes near this, so that sums of them are numbers too.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// The kinds that codec.rs adds to checksums.
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const STAMP: &str = "stamp";

/// One change of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// An entry, encoded.
    Append {
        index: u64,
        stored: Vec<u8>,
    },
    Vote(Vote),
    Committed(Option<Rev>),
    /// Entries from this index on are gone.
    Truncate {
        from: u64,
    },
    /// Entries up to this one are gone.
    Purge(Rev),
    /// Whose log it is.
    Stamp(Stamp),
    /// The first change of a segment: the index that the next entry has.
    Begin {
        next: u64,
    },
}

/// How a segment begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// The sequence of its first frame.
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        for number in [self.number, self.sequence, self.salt] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Fatal> {
        let mut reader = Reader(bytes);
        let (magic, version) = (reader.take(MAGIC.len()), reader.take(1));
        if magic != Some(MAGIC) {
            return Err(Fatal::new("it does not begin as a segment of a log does"));
        }
        match version {
            Some(&[VERSION]) => {}
            other => {
                return Err(Fatal::new(format!(
                    "it has version {}, this program knows {VERSION}: use the newer program",
                    other.and_then(<[u8]>::first).unwrap_or(&0)
                )));
            }
        }
        let decoded = (|| {
            let (number, sequence) = (reader.u64()?, reader.u64()?);
            let (salt, stored) = (reader.u64()?, reader.u32()?);
            let checked = bytes.get(..HEADER_LEN - 4)?;
            (crc(&[checked]) == stored).then_some(Header {
                number,
                sequence,
                salt,
            })
        })();
        let header = decoded.ok_or_else(|| Fatal::new("its header fails its checksum"))?;
        match header.number.max(header.sequence) > NUMBER_MAX {
            true => Err(Fatal::new("its header has numbers that no log has")),
            false => Ok(header),
        }
    }
}

/// Where the stored bytes of an entry are, in a frame or in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl Place {
    /// The same in what begins at `offset`.
    pub(crate) fn after(self, offset: u64) -> Place {
        Place {
            offset: offset + self.offset,
            length: self.length,
        }
    }
}

/// A frame to be written, and where in it each change is.
#[derive(Debug)]
pub(crate) struct EncodedFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) places: Vec<Place>,
}

/// Encodes a frame.
pub(crate) fn encode_frame(
    salt: u64,
    sequence: u64,
    changes: &[Change],
) -> Result<EncodedFrame, Fatal> {
    let mut bytes = vec![0; FRAME_HEAD_LEN];
    let mut places = Vec::with_capacity(changes.len());
    for change in changes {
        let encoded;
        let (kind, number, stored) = match change {
            Change::Append { index, stored } => (1, *index, stored),
            Change::Truncate { from } => (4, *from, const { &Vec::new() }),
            Change::Begin { next } => (7, *next, const { &Vec::new() }),
            noted => {
                let kind;
                (kind, encoded) = encode_note(noted)?;
                (kind, 0, &encoded)
            }
        };
        bytes.push(kind);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&length_of(stored)?.to_le_bytes());
        places.push(Place {
            offset: bytes.len() as u64,
            length: stored.len(),
        });
        bytes.extend_from_slice(stored);
    }
    let bytes = with_head(salt, sequence, bytes)?;
    Ok(EncodedFrame { bytes, places })
}

/// A frame whose head is filled in.
pub(crate) fn with_head(salt: u64, sequence: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, Fatal> {
    let body = bytes.get(FRAME_HEAD_LEN..).unwrap_or_default();
    let length = length_of(body)?;
    let crc = frame_crc(salt, sequence, length, body);
    let head = length.to_le_bytes().into_iter();
    let head = head.chain(crc.to_le_bytes()).chain(sequence.to_le_bytes());
    for (byte, value) in bytes.iter_mut().zip(head) {
        *byte = value;
    }
    Ok(bytes)
}

fn encode_note(change: &Change) -> Result<(u8, Vec<u8>), Fatal> {
    Ok(match change {
        Change::Vote(vote) => (2, encode_vote(vote)?),
        Change::Committed(rev) => (3, encode_rev(COMMITTED, *rev)?),
        Change::Purge(rev) => (5, encode_rev(PURGED, Some(*rev))?),
        Change::Stamp(stamp) => (6, encode_stamp(STAMP, stamp)?),
        other => return Err(Fatal::new(format!("{other:?} is no note"))),
    })
}

fn length_of(bytes: &[u8]) -> Result<u32, Fatal> {
    u32::try_from(bytes.len()).map_err(|_| Fatal::new("a commit of the log exceeds 4 GiB"))
}

/// A frame, with its changes and where the entries among them are, from the frame's begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) changes: Vec<(Change, Place)>,
    pub(crate) length: usize,
}

/// The frame at the begin of `bytes`, if that is where one with this sequence is.
///
/// # Errors
/// It is a frame, but what is in it makes no sense to this program.
pub(crate) fn decode_frame(salt: u64, sequence: u64, bytes: &[u8]) -> Result<Option<Frame>, Fatal> {
    let Some(body) = checked_body(salt, sequence, bytes) else {
        return Ok(None);
    };
    let mut reader = Reader(body);
    let mut changes = Vec::new();
    while !reader.0.is_empty() {
        let offset = FRAME_HEAD_LEN + (body.len() - reader.0.len()) + CHANGE_HEAD_LEN;
        let (kind, number, stored) = (|| {
            let (kind, number) = (*reader.take(1)?.first()?, reader.u64()?);
            let length = reader.u32()? as usize;
            Some((kind, number, reader.take(length)?))
        })()
        .ok_or_else(|| Fatal::new(format!("commit {sequence} of the log has a torn change")))?;
        let place = Place {
            offset: offset as u64,
            length: stored.len(),
        };
        changes.push((decode_change(kind, number, stored)?, place));
    }
    Ok(Some(Frame {
        changes,
        length: FRAME_HEAD_LEN + body.len(),
    }))
}

fn decode_change(kind: u8, number: u64, stored: &[u8]) -> Result<Change, Fatal> {
    if number > NUMBER_MAX {
        return Err(Fatal::new(format!(
            "a change of entry {number}, which no log has"
        )));
    }
    Ok(match kind {
        1 => Change::Append {
            index: number,
            stored: stored.to_vec(),
        },
        2 => Change::Vote(decode_vote(stored)?),
        3 => Change::Committed(decode_rev(COMMITTED, stored)?),
        4 => Change::Truncate { from: number },
        5 => match decode_rev(PURGED, stored)? {
            Some(rev) if rev.index <= NUMBER_MAX => Change::Purge(rev),
            other => return Err(Fatal::new(format!("a purge up to {other:?}"))),
        },
        6 => Change::Stamp(decode_stamp(STAMP, stored)?),
        7 => Change::Begin { next: number },
        other => {
            return Err(Fatal::new(format!(
                "a change of kind {other}, which this program does not know: use the newer one"
            )));
        }
    })
}

/// Whether a frame that was written after the one with this sequence is anywhere in `bytes`.
pub(crate) fn has_later_frame(salt: u64, sequence: u64, bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|offset| {
        let frame = bytes.get(offset..).unwrap_or_default();
        let mut head = Reader(frame);
        let _length_and_crc = head.u64();
        // The longest log that fits between two segments has fewer commits than that.
        let later = 1..=bytes.len() as u64;
        let is_later = |found: &u64| later.contains(&found.wrapping_sub(sequence));
        let found = head.u64().filter(is_later);
        found.is_some_and(|found| checked_body(salt, found, frame).is_some())
    })
}

fn checked_body(salt: u64, sequence: u64, bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(bytes);
    let (length, stored) = (reader.u32()?, reader.u32()?);
    if reader.u64()? != sequence || length == 0 {
        return None;
    }
    let body = reader.take(length as usize)?;
    // Cheaper than the checksum, which is then taken of hardly anything else than frames.
    let mut changes = Reader(body);
    while !changes.0.is_empty() {
        let kind = *changes.take(1)?.first()?;
        let _number = changes.u64()?;
        let length = changes.u32()?;
        changes.take(length as usize)?;
        if !(1..=KIND_MAX).contains(&kind) {
            return None;
        }
    }
    (frame_crc(salt, sequence, length, body) == stored).then_some(body)
}

fn frame_crc(salt: u64, sequence: u64, length: u32, body: &[u8]) -> u32 {
    crc(&[
        &salt.to_le_bytes(),
        &sequence.to_le_bytes(),
        &length.to_le_bytes(),
        body,
    ])
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        crc.update(part);
    }
    crc.finalize() as u32
}

/// Takes bytes from the front of what is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use crate::types::{ClusterId, MemberId};

    fn one_of_each() -> Vec<Change> {
        vec![
            Change::Begin { next: 7 },
            Change::Stamp(Stamp {
                cluster: ClusterId(5),
                member: MemberId(3),
            }),
            Change::Vote(Vote::new(2, MemberId(3))),
            Change::Purge(Rev { term: 1, index: 6 }),
            Change::Committed(Some(Rev { term: 2, index: 7 })),
            Change::Append {
                index: 7,
                stored: b"entry".to_vec(),
            },
            Change::Truncate { from: 7 },
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_a_segment_are_these() {
        let header = Header {
            number: 1,
            sequence: 2,
            salt: 3,
        };
        assert_eq!(hex(&header.encode()), HEADER_HEX);
        assert_eq!(header.encode().len(), HEADER_LEN);
        assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        let frame = encode_frame(3, 2, &one_of_each()).unwrap().bytes;
        assert_eq!(hex(&frame), FRAME_HEX);
    }
    const HEADER_HEX: &str =
        "6466732d6c6f67010100000000000000020000000000000003000000000000005ead341c";
    const FRAME_HEX: &str = concat!(
        "7f0000004eaa80120200000000000000070700000000000000000000000600000000000000000700",
        "00000105033768999102000000000000000008000000010203004db0761305000000000000000008",
        "00000001010106bc8e46250300000000000000000800000001010207fde28cab0107000000000000",
        "0005000000656e74727904070000000000000000000000",
    );

    #[test]
    fn a_frame_comes_back_as_it_was_and_says_where_its_entries_are() {
        let bytes = encode_frame(3, 2, &one_of_each()).unwrap().bytes;
        let frame = decode_frame(3, 2, &bytes).unwrap().unwrap();
        assert_eq!(frame.length, bytes.len());
        let (changes, places): (Vec<_>, Vec<_>) = frame.changes.into_iter().unzip();
        assert_eq!(changes, one_of_each());
        let place = places.get(5).unwrap();
        let begin = usize::try_from(place.offset).unwrap();
        assert_eq!(bytes.get(begin..begin + place.length).unwrap(), b"entry");
    }

    #[test]
    fn a_frame_with_any_bit_flipped_or_any_byte_missing_is_none() {
        let bytes = encode_frame(3, 2, &one_of_each()).unwrap().bytes;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert_eq!(decode_frame(3, 2, &flipped).unwrap(), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            let torn = bytes.get(..length).unwrap();
            assert_eq!(decode_frame(3, 2, torn).unwrap(), None, "{length} bytes");
        }
    }

    #[test]
    fn frames_of_another_segment_or_another_turn_are_none() {
        let bytes = encode_frame(3, 2, &one_of_each()).unwrap().bytes;
        assert_eq!(decode_frame(4, 2, &bytes).unwrap(), None);
        assert_eq!(decode_frame(3, 3, &bytes).unwrap(), None);
        assert_eq!(decode_frame(3, 2, &[0; 64]).unwrap(), None);
    }

    #[test]
    fn a_later_frame_is_found_wherever_it_is_and_only_if_it_is_of_this_segment() {
        let mut bytes = vec![0xa5; 13];
        bytes.extend(encode_frame(3, 9, &one_of_each()).unwrap().bytes);
        assert!(has_later_frame(3, 8, &bytes));
        assert!(!has_later_frame(3, 9, &bytes), "that is the frame itself");
        assert!(!has_later_frame(4, 8, &bytes), "of the file's former life");
    }

    #[test]
    fn a_header_of_a_newer_version_or_with_a_flipped_bit_is_refused() {
        let header = Header {
            number: 1,
            sequence: 2,
            salt: 3,
        };
        let bytes = header.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut newer = bytes;
        *newer.get_mut(7).unwrap() = 2;
        let error = Header::decode(&newer).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
