//! What a node keeps of itself on its disk: who it is, its key, its certificate, and whom to
//! believe.
//!
//! ```text
//! "DFSPAPER" │ version(1) │ postcard │ CRC-32C of all before (4)
//! ```
//!
//! It is one file, replaced whole, and for its owner alone: it has a secret key.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Certificate, Credentials, KeyPair, NodeIdentity, SecurityError, Trust};
use crate::env::{Env, OpenMode};
use crate::types::checksum::crc32c;

const MAGIC: &[u8; 8] = b"DFSPAPER";
const VERSION: u8 = 1;
const CRC_LEN: usize = 4;
/// Longest file that is read.
const LEN_MAX: u64 = 64 * 1024;
const NAME: &str = "papers";
const NEW_NAME: &str = "papers.new";

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

impl NodeFile {
    /// Reads those in a directory; none if there are none.
    ///
    /// # Errors
    /// They cannot be read, or are damaged.
    pub async fn read(env: &Env, directory: &Path) -> Result<Option<NodeFile>, SecurityError> {
        let (path, disk) = (directory.join(NAME), env.disk.clone());
        let named =
            |what: &dyn std::fmt::Display| SecurityError(format!("{}: {what}", path.display()));
        let file = path.clone();
        let read = move || -> io::Result<Option<Zeroizing<Vec<u8>>>> {
            if !disk.exists(&file)? {
                return Ok(None);
            }
            let file = disk.open(&file, OpenMode::Read)?;
            let length = usize::try_from(file.len()?.min(LEN_MAX)).unwrap_or(0);
            let mut bytes = Zeroizing::new(vec![0; length]);
            file.read_at(&mut bytes, 0)?;
            Ok(Some(bytes))
        };
        let bytes = env.run_blocking(read).await.map_err(|e| named(&e))?;
        let decoded = bytes.map(|bytes| decode(&bytes)).transpose();
        decoded.map_err(|e| named(&e))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn write(&self, env: &Env, directory: &Path) -> Result<(), SecurityError> {
        let bytes = self.encode()?;
        let (directory, disk) = (directory.to_owned(), env.disk.clone());
        let named = format!("{}", directory.join(NAME).display());
        let write = move || {
            let (path, new) = (directory.join(NAME), directory.join(NEW_NAME));
            disk.create_directory(&directory)?;
            let file = disk.open(&new, OpenMode::Create)?;
            file.set_len(0)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            disk.rename(&new, &path)?;
            disk.sync_directory(&directory)
        };
        let written: io::Result<()> = env.run_blocking(write).await;
        written.map_err(|e| SecurityError(format!("{named}: {e}")))
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

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, SecurityError> {
        let secret = self.key.secret().try_into();
        let stored = Stored {
            identity: self.identity.to_string(),
            secret: secret.map_err(SecurityError::new)?,
            certificate: self.certificate.der().to_vec(),
            authority: self.authority.der().to_vec(),
        };
        let mut bytes = Zeroizing::new(MAGIC.to_vec());
        bytes.push(VERSION);
        let body = postcard::to_stdvec(&stored).map_err(SecurityError::new)?;
        bytes.extend_from_slice(&Zeroizing::new(body));
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }
}

fn decode(bytes: &[u8]) -> Result<NodeFile, SecurityError> {
    let damaged = || SecurityError::new("damaged; the node must join again, with a new token");
    let at = bytes.len().checked_sub(CRC_LEN).ok_or_else(damaged)?;
    let (rest, crc) = bytes.split_at_checked(at).ok_or_else(damaged)?;
    if crc32c(rest).to_le_bytes() != crc {
        return Err(damaged());
    }
    let rest = rest.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (version, body) = rest.split_first().ok_or_else(damaged)?;
    if *version != VERSION {
        let known = format!("of version {version}, this program knows {VERSION}");
        return Err(SecurityError(known));
    }
    let stored: Stored = postcard::from_bytes(body).map_err(|_| damaged())?;
    let secret = Zeroizing::new(stored.secret);
    Ok(NodeFile {
        identity: stored.identity.parse()?,
        key: KeyPair::from_secret(&*secret)?,
        certificate: Certificate::from_der(stored.certificate),
        authority: Certificate::from_der(stored.authority),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
    #![allow(clippy::disallowed_methods, reason = "a test damages files")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::security::{Authority, NODE_CERTIFICATE_TTL};
    use crate::types::{ClusterId, NodeKey, NodeRole};

    fn papers(env: &Env) -> NodeFile {
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
        NodeFile {
            identity,
            key,
            certificate: certificate.unwrap(),
            authority: authority.certificate().clone(),
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_for_its_owner_alone() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let directory = directory.path().join("new");
        assert!(NodeFile::read(&env, &directory).await.unwrap().is_none());
        let papers = papers(&env);
        papers.write(&env, &directory).await.unwrap();
        let read = NodeFile::read(&env, &directory).await.unwrap().unwrap();
        assert_eq!(read.identity, papers.identity);
        assert_eq!(read.key.public(), papers.key.public());
        assert_eq!(read.certificate, papers.certificate);
        assert_eq!(read.authority, papers.authority);
        read.credentials().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory.join(NAME)), 0o600);
        assert_eq!(mode(&directory), 0o700);
    }

    #[tokio::test]
    async fn damage_is_said_and_not_taken_for_nothing() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let papers = papers(&env);
        papers.write(&env, directory.path()).await.unwrap();
        let path = directory.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let error = decode(&bad).unwrap_err().to_string();
            assert!(error.contains("damaged"), "byte {at}: {error}");
            assert!(decode(&good[..at]).is_err());
        }
        std::fs::write(&path, b"").unwrap();
        let error = NodeFile::read(&env, directory.path()).await.unwrap_err();
        assert!(error.to_string().contains("papers: damaged"), "{error}");
    }
}
