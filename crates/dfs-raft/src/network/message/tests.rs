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
fn answers_keep_their_bytes() {
    assert_eq!(hex(&Appended::All), "00");
    assert_eq!(hex(&Appended::UpTo(Some(REV))), "01010309");
    assert_eq!(hex(&Appended::Conflict), "02");
    assert_eq!(hex(&Appended::HigherVote(vote())), "03030101");
    let refusal = Refusal::NotLeader {
        leader: Some("h:1".to_owned()),
    };
    assert_eq!(hex(&refusal), "040103683a31");
    assert_eq!(hex(&Begun::Transfer(7)), "0007");
}
