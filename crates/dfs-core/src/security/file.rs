//! What a node keeps of itself on its disk: who it is, its key, its certificate, and whom to
//! believe.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kept::{self, Kept};
use super::tls::verified;
use super::{
    Certificate, Credentials, Fingerprint, KeyPair, NodeIdentity, Peer, SecurityError, Trust,
};
use crate::env::{Env, Timestamp};

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
    /// When it got the certificate, by its own clock.
    pub since: Timestamp,
}

/// The same as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    identity: String,
    secret: [u8; 32],
    certificate: Vec<u8>,
    authority: Vec<u8>,
    since: Timestamp,
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
        let stored = kept::read::<Stored>(env, directory).await?;
        stored.map(NodeFile::opened).transpose()
    }

    pub(crate) fn opened(stored: Stored) -> Result<NodeFile, SecurityError> {
        let secret = Zeroizing::new(stored.secret);
        Ok(NodeFile {
            identity: stored.identity.parse()?,
            key: KeyPair::from_secret(&*secret)?,
            certificate: Certificate::from_der(stored.certificate),
            authority: Certificate::from_der(stored.authority),
            since: stored.since,
        })
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
            since: self.since,
        };
        kept::write(env, directory, &stored).await
    }

    /// Removes those in a directory, if there are some.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn remove(env: &Env, directory: &Path) -> Result<(), SecurityError> {
        kept::remove::<Stored>(env, directory).await
    }

    /// Whether the papers are in order: the expected authority has issued the certificate, for
    /// this key and this identity.
    ///
    /// # Errors
    /// They are not, and why.
    pub fn verify(&self, authority: &Fingerprint, now: Timestamp) -> Result<(), SecurityError> {
        if self.authority.fingerprint() != *authority {
            return Err(SecurityError::new("the papers are of another authority"));
        }
        let peer = verified(&self.certificate, &self.authority, now)?;
        let right = Peer {
            key: self.key.public(),
            node: Some(self.identity),
        };
        match peer == right {
            true => Ok(()),
            false => Err(SecurityError(format!("the papers are of {peer}"))),
        }
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
            since: now,
        };
        papers.write(&env, directory.path()).await.unwrap();
        let read = NodeFile::read(&env, directory.path()).await;
        let read = read.unwrap().unwrap();
        assert_eq!(read.identity, papers.identity);
        assert_eq!(read.key.public(), papers.key.public());
        assert_eq!(read.certificate, papers.certificate);
        assert_eq!(read.authority, papers.authority);
        read.credentials().unwrap();

        let ours = papers.authority.fingerprint();
        read.verify(&ours, now).unwrap();
        let other = Authority::found(ClusterId(1), random, now).unwrap();
        assert!(
            read.verify(&other.certificate().fingerprint(), now)
                .is_err()
        );
        let changed = |change: &dyn Fn(&mut NodeFile)| {
            let mut file = NodeFile {
                key: KeyPair::from_secret(read.key.secret()).unwrap(),
                certificate: read.certificate.clone(),
                authority: read.authority.clone(),
                ..read
            };
            change(&mut file);
            file.verify(&ours, now)
        };
        assert!(changed(&|_| {}).is_ok());
        assert!(changed(&|file| file.identity.node = NodeKey(8)).is_err());
        assert!(changed(&|file| file.key = KeyPair::generate(random).unwrap()).is_err());
        let public = read.key.public();
        let forged = other.issue(&identity, &public, good, random).unwrap();
        assert!(changed(&|file| file.certificate = forged.clone()).is_err());
    }
}
