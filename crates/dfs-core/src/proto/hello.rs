//! The first words on every connection.
//!
//! ```text
//! caller   ── "dfs" version(1) ─ length(2) ─ postcard(Hello) ──▶
//!          ◀─ length(2) ─ postcard(HelloReply) ─────────────────  listener
//! ```
//!
//! Nobody sends more than `HELLO_LEN_MAX` bytes before both know that they mean the same
//! service of the same cluster, in a version both speak.

use std::io;
use std::time::Duration;

use crate::env::{BoxStream, Network};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::security::Peer;
use crate::types::{ClusterId, NodeRole};

const MAGIC: [u8; 4] = [b'd', b'f', b's', VERSION];
/// The version of everything in [`proto`](crate::proto).
const VERSION: u8 = 3;
/// Most bytes of a hello or its reply.
const HELLO_LEN_MAX: usize = 512;
/// How long the other end may take to say it.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Service {
    /// Master to master.
    Raft,
    /// Client to master.
    Metadata,
    /// Data node to master.
    Cluster,
    /// Client or data node to data node.
    ChunkStream,
    /// Whoever wants to be a node, or is one, to master.
    Enrol,
    /// Whoever wants to be let in as a user, to master.
    Login,
    /// Data node to data node, about data nodes.
    Peers,
}

impl Service {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Service::Raft => "raft",
            Service::Metadata => "metadata",
            Service::Cluster => "cluster",
            Service::ChunkStream => "chunk-stream",
            Service::Enrol => "enrol",
            Service::Login => "login",
            Service::Peers => "peers",
        }
    }

    /// Who serves it.
    fn server(self) -> NodeRole {
        match self {
            Service::ChunkStream | Service::Peers => NodeRole::DataNode,
            Service::Raft
            | Service::Metadata
            | Service::Cluster
            | Service::Enrol
            | Service::Login => NodeRole::Master,
        }
    }
}

/// What the caller says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The service it wants.
    pub service: Service,
    /// The cluster it belongs to; none if it does not know yet.
    pub cluster: Option<ClusterId>,
    /// As whom a client was let in, signed by the masters.
    pub ticket: Option<Vec<u8>>,
}

impl Hello {
    /// Without a ticket.
    pub fn new(service: Service, cluster: Option<ClusterId>) -> Hello {
        Hello {
            service,
            cluster,
            ticket: None,
        }
    }
}

/// What the listener answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Go on.
    Welcome {
        /// The cluster it belongs to; none before it has joined one.
        cluster: Option<ClusterId>,
    },
    /// No, and why.
    Refused(String),
    /// A ticket is needed, or the one that was shown is no longer good.
    LoginRequired,
}

/// Connects to `address` and says hello. Where the network says who is at the other end, it must
/// be a node that serves this.
///
/// # Errors
/// Nobody listens, the deadline passed, or the listener refused; says which. That a login is
/// required is `PermissionDenied`.
pub async fn call(
    network: &dyn Network,
    address: &str,
    hello: Hello,
    deadline: Duration,
) -> io::Result<(BoxStream, Option<ClusterId>)> {
    let attempt = async {
        let mut stream = network.connect(address).await?;
        require_server(&stream, hello.service)?;
        stream.write_all(&MAGIC).await?;
        send(&mut stream, &hello).await?;
        match receive(&mut stream).await? {
            HelloReply::Welcome { cluster } => Ok((stream, cluster)),
            HelloReply::Refused(reason) => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
            }
            HelloReply::LoginRequired => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a login is required",
            )),
        }
    };
    timeout(deadline, attempt)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Another node of the cluster may have taken the address, and is not to be told anything.
fn require_server(stream: &BoxStream, service: Service) -> io::Result<()> {
    let Some(identity) = stream.identity() else {
        return Ok(());
    };
    let server = service.server();
    let peer = identity.parse::<Peer>();
    match peer.is_ok_and(|peer| peer.is(server)) {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("no node of role `{server}` listens there"),
        )),
    }
}

/// Hears what a caller wants.
///
/// # Errors
/// It does not speak our language, or took longer than [`HELLO_TIMEOUT`].
pub async fn hear(stream: &mut BoxStream) -> io::Result<Hello> {
    let listen = async {
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic).await?;
        if magic != MAGIC {
            return Err(invalid("not a dfs connection, or another version of it"));
        }
        receive(stream).await
    };
    let late = |_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it said nothing in time",
        ))
    };
    timeout(HELLO_TIMEOUT, listen).await.unwrap_or_else(late)
}

/// What becomes of a caller that waits where many others come.
pub fn gave_way() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it waited while many others came")
}

/// What to call it, in the audit log, when somebody was [not heard](hear) who was not cut off.
pub fn oddity(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::InvalidData => Some("connect"),
        io::ErrorKind::TimedOut => Some("silence"),
        _ => None,
    }
}

/// Answers a caller.
///
/// # Errors
/// It is gone.
pub async fn answer(stream: &mut BoxStream, reply: &HelloReply) -> io::Result<()> {
    timeout(HELLO_TIMEOUT, send(stream, reply))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn send<T: Serialize>(stream: &mut BoxStream, message: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&bytes);
    stream.write_all(&frame).await?;
    stream.flush().await
}

pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut BoxStream) -> io::Result<T> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_le_bytes(length));
    if length > HELLO_LEN_MAX {
        return Err(invalid("a hello is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes).map_err(|_| invalid("a hello is malformed"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stranger_is_refused_without_waiting_for_more() {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"dfs\x02\xff\xff",
            b"dfs\x02\x02\0\xff\xff",
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(garbage).await.unwrap();
            let error = hear(&mut (Box::new(ours) as BoxStream)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_caller_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let error = hear(&mut (Box::new(ours) as BoxStream)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
