//! The bytes on disk, fixed.

use super::super::index::{Entry, Place};
use super::super::layout::{FormatError, ReplicaHeader, SegmentHeader, header_len};
use super::super::open::stamp::Stamp;
use super::*;
use crate::types::{ClusterId, NodeId, NodeKey, VolumeId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_replica_header_has_these_bytes() {
    let crcs = [0x1111_1111, 0x2222_2222];
    let header = ReplicaHeader::new(ChunkId(0x1234), 70_000, &crcs, 0xabcd, 72);
    assert_eq!(
        hex(&header.encode()),
        "4446534348554e4b010001004800000034120000000000007011010000000000\
         cdab0000000000001477855b02000000f9f6147200000000000000003551730c"
    );
    assert_eq!(
        ReplicaHeader::decode(&header.encode(), Some(0xabcd)),
        Ok(header.clone())
    );
    let other = ReplicaHeader::decode(&header.encode(), Some(1));
    assert_eq!(other, Err(FormatError::Damaged("of another segment")));
    assert_eq!(header_len(2), 72);
}

#[test]
fn a_segment_header_has_these_bytes() {
    let header = SegmentHeader {
        number: 5,
        salt: 0x0102_0304_0506_0708,
    };
    assert_eq!(
        hex(&header.encode()),
        "4446535345474d54010000000000000005000000000000000807060504030201\
         00000000000000000000000000000000000000000000000000000000891c5496"
    );
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn a_stamp_has_these_bytes() {
    let stamp = Stamp {
        volume: VolumeId(0),
        key: NodeKey(0x1122),
        cluster: Some(ClusterId(0x3344)),
        node: Some(NodeId(7)),
        format: 1,
    };
    assert_eq!(
        hex(&stamp.encode()),
        "4446535354414d50010003000000000022110000000000000000000000000000\
         4433000000000000000000000000000007000000a249f813"
    );
    assert_eq!(Stamp::decode(&stamp.encode()), Ok(stamp));
    let fresh = Stamp {
        cluster: None,
        node: None,
        ..stamp
    };
    assert_eq!(Stamp::decode(&fresh.encode()), Ok(fresh));
}

#[test]
fn an_index_row_has_these_bytes() {
    let small = Entry {
        place: Place::Small {
            segment: 3,
            offset: 8192,
        },
        length: 100,
        checksum: 0xdead_beef,
        data_offset: 68,
    };
    let large = Entry {
        place: Place::Large,
        ..small
    };
    let row = small.encode(ChunkId(9));
    assert_eq!(
        hex(&row),
        "01026400000000000000efbeadde030000000000000000200000000000004400\
         00001400cdf8"
    );
    assert_eq!(Entry::decode(9, &row), Some(small));
    assert_eq!(Entry::decode(8, &row), None);
    assert_eq!(Entry::decode(9, &large.encode(ChunkId(9))), Some(large));
}

#[test]
fn damaged_and_newer_headers_are_told_apart() {
    let header = ReplicaHeader::new(ChunkId(1), 5, &[1], 0, 4096);
    for at in 0..64 {
        let mut bytes = header.encode();
        bytes[at] ^= 0x40;
        let error = ReplicaHeader::decode(&bytes, None).unwrap_err();
        let newer = matches!(error, FormatError::Newer(_));
        assert_eq!(newer, at == 8 || at == 9, "{at}: {error}");
    }
    for short in 0..64 {
        assert!(ReplicaHeader::decode(&header.encode()[..short], None).is_err());
    }
}
