//! All decoders of bytes that come from a network, a disk or a person, besides those of replicas.
//! What must hold of them is in [`dfs_raft::testing::decoders`].

use std::sync::LazyLock;
use std::time::Duration;

use dfs_raft::Incoming;
use dfs_raft::state::Value;
use dfs_raft::testing::decoders::{Decoder, ReadOnlyFile, comes_back, prints_as_parsed};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Response};
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

use crate::datanode::gossip::kept::KeptPeers;
use crate::datanode::store::decoders as store;
use crate::env::{BoxStream, SeededRandom, Timestamp};
use crate::meta::tables::ROWS;
use crate::meta::{Command, command};
use crate::node::NewCluster;
use crate::node::joining::Joining;
use crate::proto::chunk_stream::frame::{FrameKind, Patience, read_frame, with_head};
use crate::proto::chunk_stream::{self, Blocks, DataHeader, Finish};
use crate::proto::cluster::{ClusterRpcRequest, ClusterRpcResponse};
use crate::proto::enrol::{EnrolRpcRequest, EnrolRpcResponse};
use crate::proto::hello::{self, HelloReply};
use crate::proto::login::{LoginRpcRequest, LoginRpcResponse};
use crate::proto::metadata::{MetadataRpcRequest, MetadataRpcResponse};
use crate::proto::peers;
use crate::proto::transport;
use crate::security::capability::{Demand, Gate, Operation};
use crate::security::file::Stored;
use crate::security::kept::{self, Kept};
use crate::security::signed::{Signable, sign_body};
use crate::security::tls::verified;
use crate::security::tls::verify::peer_of;
use crate::security::{
    ApiKey, Authority, Capability, Certificate, Fingerprint, JoinToken, KeyPair, NodeFile,
    NodeIdentity, Peer, PublicKey, SigningKeys, Ticket, password,
};
use crate::types::account::PasswordHash;
use crate::types::limits::FRAME_PAYLOAD_MAX;
use crate::types::{AccountName, ChunkId, ClusterId, DfsPath, Name, NodeId, NodeRole};

/// All of this crate.
pub const DECODERS: &[Decoder] = &[
    ("hello", hears::<hello::Hello>),
    ("hello-reply", hears::<HelloReply>),
    ("metadata-request", metadata_request),
    ("metadata-answer", answer::<MetadataRpcResponse>),
    ("cluster-request", request::<ClusterRpcRequest>),
    ("cluster-answer", answer::<ClusterRpcResponse>),
    ("enrol-request", request::<EnrolRpcRequest>),
    ("enrol-answer", answer::<EnrolRpcResponse>),
    ("login-request", request::<LoginRpcRequest>),
    ("login-answer", answer::<LoginRpcResponse>),
    ("chunk-stream", chunk_stream),
    ("gossip", gossip),
    ("ticket", ticket),
    ("capability", capability),
    ("certificate", certificate),
    ("identity", prints_as_parsed::<NodeIdentity>),
    ("peer", prints_as_parsed::<Peer>),
    ("fingerprint", prints_as_parsed::<Fingerprint>),
    ("join-token", join_token),
    ("api-key", api_key),
    ("password-hash", password_hash),
    ("papers", papers),
    ("founding", founding),
    ("joining", joining),
    ("known-peers", known_peers),
    ("command", command),
    ("row", row),
    ("store-scrub", store::scrubbed),
    ("store-stamp", store::stamp),
    ("store-volumes", store::volumes),
    ("store-replica", store::replica),
    ("store-row", store::row),
    ("store-segment", segment),
    ("store-name", store::names),
    ("name", prints_as_parsed::<Name>),
    ("path", prints_as_parsed::<DfsPath>),
    ("account-name", prints_as_parsed::<AccountName>),
    ("role", prints_as_parsed::<NodeRole>),
    ("cluster-id", prints_as_parsed::<ClusterId>),
];

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
const KEY_NUMBER: u32 = 1;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A stream that has these bytes, and ends.
async fn stream_of(bytes: &[u8]) -> BoxStream {
    let (ours, mut theirs) = tokio::io::duplex(bytes.len().max(1));
    theirs.write_all(bytes).await.unwrap();
    Box::new(ours)
}

fn hears<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    wait(async {
        let _ = hello::hear(&mut stream_of(bytes).await).await;
        let whole = [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
        for bytes in [bytes, &whole] {
            if let Ok(heard) = hello::receive::<T>(&mut stream_of(bytes).await).await {
                comes_back(&heard);
            }
        }
    });
}

fn received<T>(bytes: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned,
{
    match transport::decode::<Incoming<T>>(bytes).map(ClientMessage::from) {
        Ok(ClientMessage::Request(request)) => {
            comes_back::<T>(&request.message);
            Some(request.message)
        }
        _ => None,
    }
}

fn request<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    received::<T>(bytes);
}

fn metadata_request(bytes: &[u8]) {
    if let Some(MetadataRpcRequest::Change {
        request, change, ..
    }) = received(bytes)
    {
        let _ = command::validate(&change);
        let _ = command::validate_request(&request);
    }
}

fn answer<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let answer = transport::decode::<Response<T>>(bytes);
    let _ = answer.map(|answer| answer.message.map(|message| comes_back(&message)));
}

/// The frames are in the bytes as they are, and in another form: the kind of the first, the
/// length of its header, the header, and the rest as its payload.
fn chunk_stream(bytes: &[u8]) {
    wait(frames(bytes));
    let [code, low, high, rest @ ..] = bytes else {
        return;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (header, payload) = rest.split_at(length);
    let payload = &payload[..payload.len().min(FRAME_PAYLOAD_MAX)];
    let kind = FrameKind::from_code(code % 8);
    let head = kind.map(|kind| with_head(kind, header, payload.len()));
    if let Some(Ok(head)) = head {
        wait(frames(&[&head, payload].concat()));
    }
}

async fn frames(mut bytes: &[u8]) {
    let patience = Patience {
        first: hello::HELLO_TIMEOUT,
        silence: hello::HELLO_TIMEOUT,
        whole: hello::HELLO_TIMEOUT,
    };
    while let Ok(Some(frame)) = read_frame(&mut bytes, patience).await {
        match frame.kind {
            FrameKind::Request => {
                if let Ok(request) =
                    chunk_stream::decode::<chunk_stream::Request>(&frame, frame.kind)
                {
                    comes_back(&request);
                    let _ = request.validate();
                }
            }
            FrameKind::Data => {
                if let Ok(header) = chunk_stream::decode::<DataHeader>(&frame, frame.kind) {
                    comes_back(&header);
                    let blocks = Blocks::from_frame(frame, header.offset);
                    let _ = blocks.map(|blocks| blocks.end());
                }
            }
            FrameKind::Finish => {
                let _ = chunk_stream::decode::<Finish>(&frame, frame.kind);
            }
            FrameKind::Alive => {}
            FrameKind::Reply => {
                if let Ok(reply) = chunk_stream::decode::<chunk_stream::Reply>(&frame, frame.kind) {
                    comes_back(&reply);
                }
            }
        }
    }
}

fn key() -> KeyPair {
    KeyPair::from_secret(&[7; 32]).unwrap()
}

/// What was signed, from bytes as they are, and from a body that the masters have signed.
fn signed<T: Signable>(bytes: &[u8]) -> Vec<T> {
    let keys = SigningKeys::new([(KEY_NUMBER, key().public())]);
    let signed = sign_body::<T>(bytes, (KEY_NUMBER, &key())).unwrap_or_default();
    let opened: Vec<T> = [bytes, &signed]
        .iter()
        .filter_map(|bytes| keys.open(bytes).ok())
        .collect();
    opened.iter().for_each(comes_back);
    opened
}

fn ticket(bytes: &[u8]) {
    signed::<Ticket>(bytes);
}

fn capability(bytes: &[u8]) {
    for capability in signed::<Capability>(bytes) {
        let demand = Demand {
            operation: Operation::Read,
            chunk: ChunkId(7),
            peer: Peer {
                key: PublicKey([7; 32]),
                node: None,
            },
        };
        let gate = Gate {
            cluster: capability.cluster,
            node: NodeId(1),
            now: NOW,
        };
        capability.permits(&demand, &gate);
    }
}

fn certificate(bytes: &[u8]) {
    static AUTHORITY: LazyLock<Authority> =
        LazyLock::new(|| Authority::found(ClusterId(1), &SeededRandom::new(7), NOW).unwrap());
    let shown = Certificate::from_der(bytes.to_vec());
    let _ = peer_of(&CertificateDer::from(bytes));
    let _ = verified(&shown, AUTHORITY.certificate(), NOW);
    let _ = verified(&shown, &shown, NOW);
}

fn join_token(bytes: &[u8]) {
    let Ok(Ok(token)) = str::from_utf8(bytes).map(str::parse::<JoinToken>) else {
        return;
    };
    let text = token.reveal().unwrap();
    let again = text.parse::<JoinToken>().and_then(|again| again.reveal());
    assert_eq!(again.ok(), Some(text));
}

fn api_key(bytes: &[u8]) {
    if let Ok(Ok(key)) = str::from_utf8(bytes).map(ApiKey::parse) {
        let again = ApiKey::parse(&key.reveal()).map(|again| again.secret());
        assert_eq!(again.ok(), Some(key.secret()));
    }
}

fn password_hash(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        password::usual(&PasswordHash(text.to_owned()));
    }
}

/// What is kept in a file, from bytes as they are, and with what a good file has around them.
fn kept_in<T: Kept>(bytes: &[u8]) -> Vec<T> {
    let sealed = kept::sealed::<T>(bytes);
    let decoded: Vec<T> = [bytes, &sealed]
        .iter()
        .filter_map(|bytes| kept::decode(bytes).ok())
        .collect();
    decoded.iter().for_each(comes_back);
    decoded
}

fn papers(bytes: &[u8]) {
    for stored in kept_in::<Stored>(bytes) {
        if let Ok(papers) = NodeFile::opened(stored) {
            let _ = papers.verify(&papers.authority.fingerprint(), NOW);
            let _ = papers.credentials();
        }
    }
}

fn founding(bytes: &[u8]) {
    for new in kept_in::<NewCluster>(bytes) {
        let _ = new.authority();
    }
}

fn joining(bytes: &[u8]) {
    kept_in::<Joining>(bytes);
}

fn known_peers(bytes: &[u8]) {
    kept_in::<KeptPeers>(bytes);
}

/// With the length before it, and as it is.
fn gossip(bytes: &[u8]) {
    wait(async {
        let whole = [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
        for bytes in [bytes, &whole] {
            let heard = peers::hear(&mut stream_of(bytes).await, Duration::from_secs(1)).await;
            if let Ok(heard) = heard {
                comes_back(&heard);
            }
        }
    });
}

fn command(bytes: &[u8]) {
    let Ok(command) = Command::from_bytes(bytes) else {
        return;
    };
    comes_back(&command);
    if let Command::Client {
        request, change, ..
    } = command
    {
        let _ = command::validate(&change);
        let _ = command::validate_request(&request);
    }
}

/// Which table, how long the key is, the key, the value.
fn row(bytes: &[u8]) {
    let [table, length, rest @ ..] = bytes else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    ROWS[usize::from(*table) % ROWS.len()](key, value);
}

fn segment(bytes: &[u8]) {
    store::segment(&ReadOnlyFile(bytes.to_vec()));
    store::segment(&ReadOnlyFile(store::segment_of(bytes)));
}
