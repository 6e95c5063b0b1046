//! What a data node keeps of its peers and the masters, so that it finds them after a restart.

use serde::{Deserialize, Serialize};

use crate::proto::metadata::NodeAddress;
use crate::security::kept::Kept;
use crate::types::{NodeId, NodeKey};

/// Most peers that are kept: any of them knows the others.
const PEERS_MAX: usize = 128;

/// The file `peers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct KeptPeers {
    peers: Vec<(u32, u128, String)>,
    /// Where masters were.
    pub(super) masters: Vec<String>,
}

impl Kept for KeptPeers {
    const NAME: &'static str = "peers";
    const MAGIC: &'static [u8; 8] = b"DFSPEER1";
    const REMEDY: &'static str = "remove it, it is written anew";
}

impl KeptPeers {
    pub(super) fn new(peers: impl Iterator<Item = NodeAddress>, masters: Vec<String>) -> KeptPeers {
        let peers = peers.take(PEERS_MAX);
        KeptPeers {
            peers: peers.map(|p| (p.node.0, p.key.0, p.address)).collect(),
            masters,
        }
    }

    pub(super) fn peers(&self) -> Vec<NodeAddress> {
        let peers = self.peers.iter().map(|(node, key, address)| NodeAddress {
            node: NodeId(*node),
            key: NodeKey(*key),
            address: address.clone(),
        });
        peers.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;
    use crate::env::Env;
    use crate::security::kept;

    #[tokio::test]
    async fn as_many_as_are_kept_are_read() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let peer = |node| NodeAddress {
            node: NodeId(node),
            key: NodeKey(u128::MAX),
            address: format!("{}:65535", "x".repeat(120)),
        };
        let many = KeptPeers::new((0..1000).map(peer), vec!["m:1".to_owned()]);
        kept::write(&env, directory.path(), &many).await.unwrap();
        let read: KeptPeers = kept::read(&env, directory.path()).await.unwrap().unwrap();
        assert_eq!(read, many);
        assert_eq!(read.peers().len(), PEERS_MAX);
        assert_eq!(read.peers().first(), Some(&peer(0)));
    }
}
