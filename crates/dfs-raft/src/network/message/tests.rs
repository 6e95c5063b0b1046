//! Sent forms keep their bytes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use super::*;

fn hex<T: Serialize>(message: &T) -> String {
    let bytes = postcard::to_stdvec(message).unwrap();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn header() -> Header {
    Header {
        protocol: PROTOCOL,
        cluster: ClusterId(0x80),
        from: MemberId(1),
        to: MemberId(2),
    }
}

fn vote() -> WireVote {
    WireVote {
        term: 3,
        candidate: 1,
        granted_by_quorum: true,
    }
}

fn members() -> WireMembers {
    WireMembers {
        voters: vec![BTreeSet::from([1, 2])],
        addresses: BTreeMap::from([(1, "a".to_owned())]),
    }
}

const REV: Rev = Rev { term: 3, index: 9 };

#[test]
fn requests_keep_their_bytes() {
    let header = header();
    let command = Bytes::from_static(b"put");
    let entries = vec![
        WireEntry {
            rev: REV,
            payload: WirePayload::Blank,
        },
        WireEntry {
            rev: REV,
            payload: WirePayload::Command { time: 5, command },
        },
        WireEntry {
            rev: REV,
            payload: WirePayload::AllocateMember { time: 5 },
        },
    ];
    let append = Append {
        vote: vote(),
        previous: Some(REV),
        committed: None,
        entries,
    };
    let ask = || AskVote {
        vote: vote(),
        last: Some(REV),
        leadership_transfer: false,
    };
    let request = RaftRpcRequest::Append {
        header,
        request: append,
    };
    assert_eq!(
        hex(&request),
        "0001800101020301010103090003030900030901050370757403090305"
    );
    let request = RaftRpcRequest::Vote {
        header,
        request: ask(),
    };
    assert_eq!(hex(&request), "010180010102030101010309".to_owned() + "00");
    let request = RaftRpcRequest::PreVote {
        header,
        request: ask(),
    };
    assert_eq!(hex(&request), "02018001010203010101030900");
    let request = RaftRpcRequest::ReadIndex { header };
    assert_eq!(hex(&request), "040180010102");
    let request = RaftRpcRequest::Digests { header };
    assert_eq!(hex(&request), "080180010102");
    let request = RaftRpcRequest::Join {
        request: Join { protocol: PROTOCOL },
    };
    assert_eq!(hex(&request), "0a01");
}

#[test]
fn requests_about_snapshots_keep_their_bytes() {
    let header = header();
    let request = RaftRpcRequest::BeginSnapshot {
        header,
        vote: vote(),
    };
    assert_eq!(hex(&request), "050180010102030101");
    let part = Part {
        transfer: 7,
        sequence: 2,
        frame: Bytes::from_static(b"abc"),
    };
    let request = RaftRpcRequest::SnapshotFrame { header, part };
    assert_eq!(hex(&request), "060180010102070203616263");
    let end = End {
        transfer: 7,
        vote: vote(),
        rows: 5,
        digest: 0x81,
        applied: Some(REV),
        members_rev: Some(REV),
        members: members(),
    };
    let request = RaftRpcRequest::EndSnapshot { header, end };
    assert_eq!(
        hex(&request),
        "07018001010207030101058101".to_owned() + "010309" + "010309" + "01020102" + "01010161"
    );
}

#[test]
fn requests_about_members_keep_their_bytes() {
    let header = header();
    let request = RaftRpcRequest::Transfer {
        header,
        request: Transfer {
            leader: vote(),
            to: MemberId(2),
            last: Some(REV),
        },
    };
    assert_eq!(hex(&request), "03018001010203010102010309");
    let request = RaftRpcRequest::Diverged {
        header,
        rev: REV,
        majority: 0x81,
    };
    assert_eq!(hex(&request), "09018001010203098101");
    let address = "a".to_owned();
    let request = RaftRpcRequest::Admit { header, address };
    assert_eq!(hex(&request), "0b01800101020161");
    let request = RaftRpcRequest::Doubt { header, rev: REV };
    assert_eq!(hex(&request), "0c01800101020309");
    let entry = WireEntry {
        rev: REV,
        payload: WirePayload::Members(members()),
    };
    assert_eq!(hex(&entry), "03090201020102".to_owned() + "01010161");
}

#[test]
fn answers_keep_their_bytes() {
    assert_eq!(hex(&Appended::All), "00");
    assert_eq!(hex(&Appended::UpTo(Some(REV))), "01010309");
    assert_eq!(hex(&Appended::Conflict), "02");
    assert_eq!(hex(&Appended::HigherVote(vote())), "03030101");
    let refusal = Refusal::NotLeader {
        leader: Some("h:1".to_owned()),
    };
    assert_eq!(hex(&refusal), "040103683a31");
    assert_eq!(hex(&Refusal::Removed), "08");
    assert_eq!(hex(&Begun::Transfer(7)), "0007");
    assert_eq!(hex(&Begun::HigherVote(vote())), "01030101");
    assert_eq!(hex(&Transferred::Yes), "00");
    let changed = Transferred::VoteChanged {
        expected: vote(),
        actual: vote(),
    };
    assert_eq!(hex(&changed), "01030101030101");
    let unflushed = Transferred::LogNotFlushed {
        expected: Some(REV),
        actual: None,
    };
    assert_eq!(hex(&unflushed), "0201030900");
    let voted = Voted {
        vote: vote(),
        last: Some(REV),
        granted: true,
    };
    assert_eq!(hex(&voted), "03010101030901");
    let welcome = Welcome {
        cluster: ClusterId(0x80),
        leader: MemberId(1),
        member: MemberId(4),
    };
    assert_eq!(hex(&welcome), "80010104");
}
