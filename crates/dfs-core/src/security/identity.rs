//! What a certificate says of its holder.

use std::fmt;
use std::str::FromStr;

use super::{Fingerprint, SecurityError};
use crate::types::{ClusterId, NodeKey, NodeRole};

/// What nodes' identities begin with.
const SCHEME: &str = "dfs://";
/// What clients' begin with.
const KEY: &str = "key:";

/// A node of a cluster, as its certificate says: `dfs://CLUSTER/ROLE/KEY`, a name of type URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIdentity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// What it is.
    pub role: NodeRole,
    /// What its directory is stamped with.
    pub node: NodeKey,
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.cluster, self.role, self.node)
    }
}

impl FromStr for NodeIdentity {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<NodeIdentity, SecurityError> {
        let wrong = || SecurityError(format!("`{text:.100}` is no identity of a node"));
        let rest = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let mut parts = rest.split('/');
        let (Some(cluster), Some(role), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let identity = NodeIdentity {
            cluster: cluster.parse().map_err(|_| wrong())?,
            role: role.parse().map_err(SecurityError::new)?,
            node: node.parse().map_err(|_| wrong())?,
        };
        // One identity has one text.
        match identity.to_string() == text {
            true => Ok(identity),
            false => Err(wrong()),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A node of the cluster.
    Node(NodeIdentity),
    /// Whoever has a key.
    Key(Fingerprint),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Node(node) => node.fmt(f),
            Peer::Key(key) => write!(f, "{KEY}{key}"),
        }
    }
}

impl FromStr for Peer {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Peer, SecurityError> {
        match text.strip_prefix(KEY) {
            Some(key) => Ok(Peer::Key(key.parse()?)),
            None => Ok(Peer::Node(text.parse()?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_text() {
        let node = NodeIdentity {
            cluster: ClusterId(7),
            role: NodeRole::DataNode,
            node: NodeKey(9),
        };
        let text = node.to_string();
        assert_eq!(text, format!("dfs://{:032x}/data/{:032x}", 7, 9));
        assert_eq!(text.parse::<NodeIdentity>().unwrap(), node);
        let peer = Peer::Node(node);
        assert_eq!(peer.to_string().parse::<Peer>().unwrap(), peer);
        let key = Peer::Key(Fingerprint([3; 32]));
        assert_eq!(key.to_string().parse::<Peer>().unwrap(), key);
        for wrong in [
            String::new(),
            text.to_uppercase(),
            text.replace("data", "root"),
            text.replace("data", "Master"),
            format!("{text}/"),
            format!("{text}x"),
            text.replacen('0', "", 1),
            text.replacen("dfs", "dfss", 1),
            "key:00".to_owned(),
        ] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
