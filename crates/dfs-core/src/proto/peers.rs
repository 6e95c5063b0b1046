//! What data nodes tell each other of each other.
//!
//! ```text
//! data node ── length(4) ─ postcard(Gossip) ──▶ data node
//!           ◀─ length(4) ─ postcard(Gossip) ───
//! ```
//!
//! It is advice: nothing is deleted because of it, nothing counts as a copy, and nobody becomes a
//! data node by being named. Both ways are bounded, one exchange is one connection, and on each
//! end the other shows that it is a data node.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::metadata::NodeAddress;
use super::transport;
use crate::env::{BoxStream, Timestamp};
use crate::types::NodeId;
use crate::types::checksum::crc32c;

/// Most records in one message.
pub const RECORDS_MAX: usize = 64;
/// Most masters in one record.
pub const MASTERS_MAX: usize = 9;
/// Most peers that a node says it holds for down.
pub const DOWN_MAX: usize = 64;
/// Longest address, in bytes: that of a name and a port.
pub const ADDRESS_LEN_MAX: usize = 260;
/// Longest message, in bytes: more than the longest that is [right](Gossip::validate).
const LEN_MAX: usize = 256 << 10;

/// What one data node knows of itself and of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// Who tells.
    pub node: NodeId,
    /// What it knows: its own record first.
    pub records: Vec<PeerRecord>,
}

/// A data node, as it told of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Which.
    pub node: NodeId,
    /// Of two records of a node the one with the higher number is newer. Only the node itself
    /// makes it higher, as long as it lives.
    pub version: u64,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Streams that it serves.
    pub streams: u32,
    /// Where it last heard of masters.
    pub masters: Sighting,
}

/// Where masters were.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sighting {
    /// When, by the time of the leader that said it.
    pub at: Timestamp,
    /// The addresses of all of them; none if it has not heard of any.
    pub addresses: Vec<String>,
}

/// All data nodes there are, as the masters say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerList {
    /// A sum over them: lists with the same one are the same.
    pub version: u64,
    /// By id.
    pub peers: Vec<NodeAddress>,
}

impl PeerList {
    /// Of these nodes, by id.
    pub fn new(peers: Vec<NodeAddress>) -> PeerList {
        let mut bytes = Vec::new();
        for NodeAddress { node, key, address } in &peers {
            bytes.extend_from_slice(&node.0.to_le_bytes());
            bytes.extend_from_slice(&key.0.to_le_bytes());
            bytes.extend_from_slice(address.as_bytes());
        }
        // Never zero: that is no list.
        let version = (peers.len() as u64 + 1) << 32 | u64::from(crc32c(&bytes));
        PeerList { version, peers }
    }
}

impl Gossip {
    /// Checks what a decoder cannot.
    ///
    /// # Errors
    /// Says what is too long or too many.
    pub fn validate(&self) -> Result<(), String> {
        if self.records.len() > RECORDS_MAX {
            return Err(format!("{} records", self.records.len()));
        }
        for record in &self.records {
            let masters = &record.masters.addresses;
            if masters.len() > MASTERS_MAX {
                return Err(format!("{} masters of {}", masters.len(), record.node));
            }
            let mut addresses = masters.iter().chain([&record.address]);
            if !addresses.all(|address| is_address(address)) {
                return Err(format!("an address of {} is none", record.node));
            }
        }
        Ok(())
    }
}

/// Whether it could be `host:port`.
fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    text.len() <= ADDRESS_LEN_MAX && matches!(port, Some(Ok(_)))
}

/// Sends a message.
///
/// # Errors
/// It is too long, the other end is gone, or the deadline passed.
pub async fn tell(stream: &mut BoxStream, gossip: &Gossip, deadline: Duration) -> io::Result<()> {
    let bytes = postcard::to_stdvec(gossip).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    if bytes.len() > LEN_MAX {
        return Err(invalid("gossip is too long"));
    }
    let send = async {
        stream.write_all(&length.to_le_bytes()).await?;
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    timeout(deadline, send).await.unwrap_or_else(late)
}

/// Receives a message.
///
/// # Errors
/// It is too long or malformed, the other end is gone, or the deadline passed.
pub async fn hear(stream: &mut BoxStream, deadline: Duration) -> io::Result<Gossip> {
    let receive = async {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LEN_MAX {
            return Err(invalid("gossip is too long"));
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        let gossip: Gossip = transport::decode(&bytes)?;
        gossip.validate().map_err(|why| invalid(&why))?;
        Ok(gossip)
    };
    timeout(deadline, receive).await.unwrap_or_else(late)
}

fn late<T>(_: tokio::time::error::Elapsed) -> io::Result<T> {
    Err(io::ErrorKind::TimedOut.into())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record() -> PeerRecord {
        PeerRecord {
            node: NodeId(1),
            version: 1,
            address: "n1:1".to_owned(),
            streams: 0,
            masters: Sighting::default(),
        }
    }

    #[test]
    fn what_is_too_long_or_no_address_is_refused() {
        let of = |records| Gossip {
            node: NodeId(1),
            records,
        };
        let with_masters = |count, address: &str| {
            let mut record = record();
            record.masters.addresses = vec![address.to_owned(); count];
            record
        };
        let longest = format!("{}:65535", "x".repeat(ADDRESS_LEN_MAX - 6));
        let good = vec![with_masters(MASTERS_MAX, &longest); RECORDS_MAX];
        assert_eq!(of(good.clone()).validate(), Ok(()));
        assert!(postcard::to_stdvec(&of(good)).unwrap().len() <= LEN_MAX);
        for bad in [
            vec![record(); RECORDS_MAX + 1],
            vec![with_masters(MASTERS_MAX + 1, "m:1")],
            vec![with_masters(1, &format!("x{longest}"))],
            vec![with_masters(1, "m")],
        ] {
            assert!(of(bad).validate().is_err());
        }
    }

    #[tokio::test]
    async fn nothing_is_allocated_for_a_length_beyond_the_limit() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        let error = hear(&mut (Box::new(ours) as BoxStream), SECOND)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_heard_and_silence_is_not_waited_for_long() {
        let gossip = Gossip {
            node: NodeId(1),
            records: vec![record()],
        };
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (mut ours, mut theirs) = (Box::new(ours) as BoxStream, Box::new(theirs) as BoxStream);
        tell(&mut theirs, &gossip, SECOND).await.unwrap();
        assert_eq!(hear(&mut ours, SECOND).await.unwrap(), gossip);
        let error = hear(&mut ours, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
