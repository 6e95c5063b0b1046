//! Stored forms keep their bytes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn entry(payload: types::Payload) -> Entry {
    Entry {
        log_id: types::log_id(Rev { term: 3, index: 9 }),
        payload,
    }
}

fn members() -> Membership {
    let voters = BTreeSet::from([MemberId(1), MemberId(2)]);
    let nodes = [1, 2, 5].map(|id| {
        let addr = format!("h{id}:1");
        (MemberId(id), BasicNode { addr })
    });
    Membership::new(vec![voters], BTreeMap::from(nodes)).unwrap()
}

fn entries() -> [Entry; 4] {
    let time = Timestamp(1_000);
    let command = Bytes::from_static(b"put");
    [
        entry(EntryPayload::Blank),
        entry(EntryPayload::Normal(Proposal::Command { time, command })),
        entry(EntryPayload::Membership(members())),
        entry(EntryPayload::Normal(Proposal::AllocateMember { time })),
    ]
}

#[test]
fn stored_entries_keep_their_bytes() {
    let golden = [
        "010300",
        "010301e80703707574",
        "0103020102010203010468313a31020468323a31050468353a31",
        "010303e807",
    ];
    for (entry, golden) in entries().iter().zip(golden) {
        let stored = encode_entry(entry).unwrap();
        let (value, _crc) = stored.split_last_chunk::<4>().unwrap();
        assert_eq!(hex(value), golden);
        assert_eq!(&decode_entry(9, &stored).unwrap(), entry);
    }
}

#[test]
fn what_a_newer_program_stored_is_refused_by_its_version() {
    let newer = seal("identity", &[], vec![VERSION + 1, 1, 2, 3]);
    let error = decode_stamp::<u64>("identity", &newer).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("`identity` is stored in version 2"), "{said}");
    assert!(said.ends_with("use the newer program"), "{said}");
}

#[test]
fn a_stored_vote_keeps_its_bytes() {
    let vote = Vote::new_committed(7, MemberId(2));
    let stored = encode_vote(&vote).unwrap();
    assert_eq!(hex(&stored), "010702015d9d20c9");
    assert_eq!(decode_vote(&stored).unwrap(), vote);
}

#[test]
fn stored_members_keep_their_bytes() {
    let applied = StoredMembership::new(Some(types::log_id(Rev { term: 3, index: 9 })), members());
    let stored = encode_members(&applied).unwrap();
    assert!(hex(&stored).starts_with("01010309010201020301046831"));
    assert_eq!(decode_members(&stored).unwrap(), applied);
    let none = StoredMembership::default();
    assert_eq!(
        decode_members(&encode_members(&none).unwrap()).unwrap(),
        none
    );
}

#[test]
fn an_entry_at_another_index_or_with_a_flipped_bit_is_damaged() {
    let [_, command, ..] = entries();
    let stored = encode_entry(&command).unwrap();
    assert!(decode_entry(10, &stored).is_err());
    for bit in 0..stored.len() * 8 {
        let mut bad = stored.clone();
        *bad.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        assert!(decode_entry(9, &bad).is_err(), "bit {bit}");
    }
}
