//! What a node keeps of itself on its disk: who it is, its key, its certificate, and whom to
//! believe.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kept::{self, Kept};
use super::{Certificate, Credentials, KeyPair, NodeIdentity, SecurityError, Trust};
use crate::env::Env;

/// A node's own papers.
#[derive(Debug)]
pub struct NodeFile {
    /// Who it is.
    pub identity: NodeIdentity,
    /// Its key.
    pub key: KeyPair,
    /// What its authority says of it.
    pub certificate: Certificate,
    /// The authority.
    pub authority: Certificate,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    identity: String,
    secret: [u8; 32],
    certificate: Vec<u8>,
    authority: Vec<u8>,
}

impl Kept for Stored {
    const NAME: &'static str = "papers";
    const MAGIC: &'static [u8; 8] = b"DFSPAPER";
    const REMEDY: &'static str = "the node must join again, with a new token";
}

impl NodeFile {
    /// Reads those in a directory; none if there are none.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub async fn read(env: &Env, directory: &Path) -> Result<Option<NodeFile>, SecurityError> {
        let Some(stored) = kept::read::<Stored>(env, directory).await? else {
            return Ok(None);
        };
        let secret = Zeroizing::new(stored.secret);
        Ok(Some(NodeFile {
            identity: stored.identity.parse()?,
            key: KeyPair::from_secret(&*secret)?,
            certificate: Certificate::from_der(stored.certificate),
            authority: Certificate::from_der(stored.authority),
        }))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn write(&self, env: &Env, directory: &Path) -> Result<(), SecurityError> {
        let secret = self.key.secret().try_into();
        let stored = Stored {
            identity: self.identity.to_string(),
            secret: secret.map_err(SecurityError::new)?,
            certificate: self.certificate.der().to_vec(),
            authority: self.authority.der().to_vec(),
        };
        kept::write(env, directory, &stored).await
    }

    /// What it shows to others.
    ///
    /// # Errors
    /// Key and certificate do not belong together.
    pub fn credentials(&self) -> Result<Credentials, SecurityError> {
        let (certificate, authority) = (self.certificate.clone(), self.authority.clone());
        Credentials::of_node(&self.key, certificate, authority)
    }

    /// Whom it believes.
    pub fn trust(&self) -> Trust {
        Trust::Authorities(vec![self.authority.clone()])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;
    use crate::security::{Authority, NODE_CERTIFICATE_TTL};
    use crate::types::{ClusterId, NodeKey, NodeRole};

    #[tokio::test]
    async fn papers_are_read_as_they_were_written() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let (random, now) = (&*env.random, env.clock.now());
        let authority = Authority::found(ClusterId(1), random, now).unwrap();
        let key = KeyPair::generate(random).unwrap();
        let identity = NodeIdentity {
            cluster: ClusterId(1),
            role: NodeRole::Master,
            node: NodeKey(7),
        };
        let good = (now, NODE_CERTIFICATE_TTL);
        let certificate = authority.issue(&identity, &key.public(), good, random);
        let papers = NodeFile {
            identity,
            key,
            certificate: certificate.unwrap(),
            authority: authority.certificate().clone(),
        };
        papers.write(&env, directory.path()).await.unwrap();
        let read = NodeFile::read(&env, directory.path()).await;
        let read = read.unwrap().unwrap();
        assert_eq!(read.identity, papers.identity);
        assert_eq!(read.key.public(), papers.key.public());
        assert_eq!(read.certificate, papers.certificate);
        assert_eq!(read.authority, papers.authority);
        read.credentials().unwrap();
    }
}
