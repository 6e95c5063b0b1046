//! Decoders of bytes that others sent or a disk kept, and what must hold of them for any bytes.
//!
//! They do not panic, and what they made of some bytes they make again of its own encoding.
//! Where bytes carry a checksum they are also tried with the right one, as whoever means harm
//! would send them: it is no decoder that finds nothing but that.

use std::fmt::{Debug, Display};
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use openraft::raft::AppendEntriesRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Response};

use crate::env::DiskFile;
use crate::network::Incoming;
use crate::network::message::{RaftRpcRequest, RaftRpcResponse};
use crate::network::transport;
use crate::state::{seal, unseal};
use crate::storage::backup::{seal_piece, verify_backup};
use crate::storage::codec;
use crate::storage::directory::Identity;
use crate::storage::log::recovery::read_alone;
use crate::storage::log::segment::{FRAME_HEAD_LEN, Header, decode_frame, encode_frame, with_head};
use crate::storage::snapshot;

/// A decoder by its name. It panics where it does not hold what it must.
pub type Decoder = (&'static str, fn(&[u8]));

/// Those of replicas.
pub const DECODERS: &[Decoder] = &[
    ("raft-request", raft_request),
    ("raft-answer", raft_answer),
    ("raft-snapshot", raft_snapshot),
    ("raft-entry", raft_entry),
    ("raft-notes", raft_notes),
    ("raft-segment", raft_segment),
    ("raft-backup", raft_backup),
];

/// Makes sure that what was decoded is the same when it is encoded and decoded again.
pub fn comes_back<T: Serialize + DeserializeOwned>(decoded: &T) {
    let encode = |value| postcard::to_stdvec(value).unwrap_or_else(|e| panic!("to encode: {e}"));
    let bytes = encode(decoded);
    match postcard::from_bytes::<T>(&bytes) {
        Ok(again) => assert_eq!(encode(&again), bytes, "it comes back as something else"),
        Err(e) => panic!("what was encoded is not decoded: {e}"),
    }
}

/// Makes sure that a text, if these bytes are one that can be parsed, prints as it is parsed.
pub fn prints_as_parsed<T>(bytes: &[u8])
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq,
{
    let parsed = str::from_utf8(bytes).map(str::parse::<T>);
    match parsed {
        Ok(Ok(value)) => match value.to_string().parse::<T>() {
            Ok(again) => assert_eq!(again, value, "it comes back as something else"),
            Err(e) => panic!("{value} is not parsed: {e}"),
        },
        Ok(Err(error)) => drop(error.to_string()),
        Err(_) => {}
    }
}

/// A file that is not written to.
#[derive(Debug)]
pub struct ReadOnlyFile(pub Vec<u8>);

impl DiskFile for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..));
        let bytes = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn raft_request(bytes: &[u8]) {
    let heard = transport::decode::<Incoming<RaftRpcRequest>>(bytes);
    let Ok(ClientMessage::Request(request)) = heard.map(ClientMessage::from) else {
        return;
    };
    comes_back(&request.message);
    match request.message {
        RaftRpcRequest::Append { request, .. } => {
            let _ = AppendEntriesRequest::try_from(request);
        }
        RaftRpcRequest::EndSnapshot { end, .. } => {
            let _ = end.position();
        }
        RaftRpcRequest::SnapshotFrame { part, .. } => raft_snapshot(&part.frame),
        _ => {}
    }
}

fn raft_answer(bytes: &[u8]) {
    let answer = transport::decode::<Response<RaftRpcResponse>>(bytes);
    let _ = answer.map(|answer| answer.message.map(|message| comes_back(&message)));
}

fn raft_snapshot(bytes: &[u8]) {
    let sealed = snapshot::seal_frame(7, bytes.to_vec());
    for frame in [bytes, &sealed] {
        if let Ok(rows) = snapshot::decode_frame(7, frame) {
            comes_back(&rows);
            for (key, row) in &rows.rows {
                let _ = unseal(&rows.table, key, row);
            }
        }
    }
}

/// Tries bytes as they are, and with a version and the right checksum.
fn stored(kind: &str, key: &[u8], bytes: &[u8], decode: impl Fn(&[u8])) {
    decode(bytes);
    decode(&seal(kind, key, bytes.to_vec()));
    decode(&seal(kind, key, [&[1], bytes].concat()));
}

fn raft_entry(bytes: &[u8]) {
    stored("entry", &9u64.to_be_bytes(), bytes, |stored| {
        let Ok(entry) = codec::decode_entry(9, stored) else {
            return;
        };
        let again = codec::encode_entry(&entry).and_then(|again| codec::decode_entry(9, &again));
        assert_eq!(again.ok().as_ref(), Some(&entry));
    });
}

fn raft_notes(bytes: &[u8]) {
    stored("vote", &[], bytes, |stored| {
        if let Ok(vote) = codec::decode_vote(stored) {
            let again = codec::encode_vote(&vote).and_then(|again| codec::decode_vote(&again));
            assert_eq!(again.ok(), Some(vote));
        }
    });
    stored("members", &[], bytes, |stored| {
        if let Ok(members) = codec::decode_members(stored) {
            let again = codec::encode_members(&members);
            let again = again.and_then(|again| codec::decode_members(&again));
            assert_eq!(again.ok(), Some(members));
        }
    });
    stored("applied", &[], bytes, |stored| {
        if let Ok(rev) = codec::decode_rev("applied", stored) {
            let again = codec::encode_rev("applied", rev);
            let again = again.and_then(|again| codec::decode_rev("applied", &again));
            assert_eq!(again.ok(), Some(rev));
        }
    });
    stored("identity", &[], bytes, |stored| {
        if let Ok(identity) = codec::decode_stamp::<Identity>("identity", stored) {
            comes_back(&identity);
        }
    });
}

/// The segment is in the bytes as it is, and in another form: the sequence of the first frame,
/// then the frames without their heads, each after its length.
fn raft_segment(bytes: &[u8]) {
    let read = |bytes: Vec<u8>| {
        let file = Arc::new(ReadOnlyFile(bytes.clone()));
        let _ = read_alone(file, bytes);
    };
    read(bytes.to_vec());
    let Some((first, mut rest)) = bytes.split_first_chunk() else {
        return;
    };
    let first = u64::from_le_bytes(*first);
    let header = Header {
        number: 1,
        sequence: first,
        salt: 3,
    };
    let mut segment = header.encode();
    let mut sequence = first;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (body, after) = after.split_at_checked(length).unwrap_or_default();
        let headless = [&[0; FRAME_HEAD_LEN], body].concat();
        if let Ok(frame) = with_head(3, sequence, headless) {
            frame_comes_back(sequence, &frame);
            segment.extend_from_slice(&frame);
        }
        (rest, sequence) = (after, sequence.wrapping_add(1));
    }
    read(segment);
}

/// The backup is in the bytes as it is, and in another form: the bodies of its pieces, each after
/// its length, the last without a checksum of a piece of another place.
fn raft_backup(bytes: &[u8]) {
    let _ = verify_backup(bytes);
    let mut rest = bytes;
    let mut backup = Vec::new();
    let mut number = 0;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (body, after) = after.split_at_checked(length).unwrap_or_default();
        let is_last = after.len() < 2;
        let place = if is_last { u64::MAX } else { number };
        backup.extend(seal_piece(place, body.to_vec()).unwrap_or_default());
        (rest, number) = (after, number + 1);
    }
    let _ = verify_backup(&backup[..]);
}

fn frame_comes_back(sequence: u64, frame: &[u8]) {
    let Ok(Some(frame)) = decode_frame(3, sequence, frame) else {
        return;
    };
    let changes = |(change, _)| change;
    let changes: Vec<_> = frame.changes.into_iter().map(changes).collect();
    let encoded = encode_frame(3, sequence, &changes).map(|encoded| encoded.bytes);
    let again = encoded.and_then(|encoded| decode_frame(3, sequence, &encoded));
    let again = again.ok().flatten().map(|frame| frame.changes);
    let again = again.into_iter().flatten().map(|(change, _)| change);
    assert!(again.eq(changes), "a frame comes back as something else");
}
