//! How one becomes a node of a cluster, and stays one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::RpcError;
use crate::types::{ClusterId, NodeKey, NodeRole};

/// Papers for nodes. Only the leader answers.
#[tarpc::service]
pub trait EnrolRpc {
    /// Makes a node of whoever shows the secret of a join token. Its papers are for the key with
    /// which it has made the connection. Repeated, it gives new papers and takes no more of the
    /// token.
    async fn enrol(
        node: NodeKey,
        role: NodeRole,
        secret: JoinSecret,
    ) -> Result<IssuedPapers, RpcError>;

    /// New papers for a node that has made the connection with the key of its former ones, be
    /// they still good or not.
    async fn renew(node: NodeKey, role: NodeRole) -> Result<IssuedPapers, RpcError>;
}

/// What is secret of a join token. It is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSecret(pub [u8; 32]);

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

/// What a node gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedPapers {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// That of the authority that issued it, in DER.
    pub authority: Vec<u8>,
    /// Where all masters are.
    pub masters: Vec<String>,
}
