//! What a certificate says of its holder.

use std::fmt;
use std::str::FromStr;

use super::{Fingerprint, PublicKey, SecurityError};
use crate::types::{ClusterId, NodeKey, NodeRole};

/// What nodes' identities begin with.
const SCHEME: &str = "dfs://";
/// What keys begin with.
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

/// Who is at the other end of a connection: whoever has a key, and if its certificate says so, a
/// node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The key, of which it has shown that it has the secret.
    pub key: PublicKey,
    /// The node, as the cluster's authority says.
    pub node: Option<NodeIdentity>,
}

impl Peer {
    /// Whether it is a node of this kind.
    pub fn is(&self, role: NodeRole) -> bool {
        self.node.is_some_and(|node| node.role == role)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY}{}", self.key)?;
        match self.node {
            Some(node) => write!(f, " {node}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Peer {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Peer, SecurityError> {
        let rest = text.strip_prefix(KEY);
        let rest = rest.ok_or_else(|| SecurityError(format!("`{text:.100}` has no key")))?;
        let (key, node) = match rest.split_once(' ') {
            Some((key, node)) => (key, Some(node.parse()?)),
            None => (rest, None),
        };
        let key = PublicKey(key.parse::<Fingerprint>()?.0);
        Ok(Peer { key, node })
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
        let key = PublicKey([3; 32]);
        for node in [None, Some(node)] {
            let peer = Peer { key, node };
            assert_eq!(peer.to_string().parse::<Peer>().unwrap(), peer);
        }
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
            let peer = format!("key:{key} {wrong}");
            assert!(peer.parse::<Peer>().is_err(), "{wrong}");
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
