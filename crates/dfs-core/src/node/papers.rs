//! A node's papers: founded, opened, shown on every connection, and exchanged for newer ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::NewCluster;
use crate::env::{Env, Timestamp};
use crate::proto::enrol::IssuedPapers;
use crate::security::{
    Authority, Certificate, Credentials, KeyPair, NODE_CERTIFICATE_TTL, NodeFile, NodeIdentity,
    PublicKey, SecurityError, TlsNetwork, Trust,
};
use crate::types::NodeRole;

/// The papers of a node, in use.
#[derive(Debug)]
pub struct Papers {
    directory: PathBuf,
    file: NodeFile,
    credentials: Arc<Credentials>,
}

impl Papers {
    /// Opens those in a directory; none if it has none.
    ///
    /// # Errors
    /// They are damaged or cannot be read.
    pub async fn open(env: &Env, directory: &Path) -> Result<Option<Papers>, SecurityError> {
        let file = NodeFile::read(env, directory).await?;
        file.map(|file| Papers::of(directory, file)).transpose()
    }

    /// Makes those of the first master of a new cluster, which its authority issues. What the
    /// cluster is founded with is kept beside them until [`NewCluster::remove`].
    ///
    /// # Errors
    /// They cannot be made or written.
    pub async fn found(
        env: &Env,
        directory: &Path,
        new: &NewCluster,
    ) -> Result<Papers, SecurityError> {
        Papers::require_none(env, directory).await?;
        new.write(env, directory).await?;
        let key = KeyPair::generate(&*env.random)?;
        let identity = NodeIdentity {
            cluster: new.cluster(),
            role: NodeRole::Master,
            node: new.node(),
        };
        Papers::issue(env, directory, identity, key, &new.authority()?).await
    }

    /// Makes those of a node in a directory that has none, by the authority's key itself.
    ///
    /// # Errors
    /// There are some, or they cannot be made or written.
    pub async fn issue(
        env: &Env,
        directory: &Path,
        identity: NodeIdentity,
        key: KeyPair,
        authority: &Authority,
    ) -> Result<Papers, SecurityError> {
        Papers::require_none(env, directory).await?;
        let now = env.clock.now();
        let good = (now, NODE_CERTIFICATE_TTL);
        let certificate = authority.issue(&identity, &key.public(), good, &*env.random)?;
        let file = NodeFile {
            identity,
            key,
            certificate,
            authority: authority.certificate().clone(),
            since: now,
        };
        Papers::keep(env, directory, file).await
    }

    /// Keeps new papers in a directory that has none.
    pub(super) async fn keep(
        env: &Env,
        directory: &Path,
        file: NodeFile,
    ) -> Result<Papers, SecurityError> {
        let papers = Papers::of(directory, file)?;
        papers.file.write(env, directory).await?;
        Ok(papers)
    }

    fn of(directory: &Path, file: NodeFile) -> Result<Papers, SecurityError> {
        let credentials = Arc::new(file.credentials()?);
        Ok(Papers {
            directory: directory.to_owned(),
            file,
            credentials,
        })
    }

    /// Moves the papers in one directory of a node to another, unless newer ones are there. Those
    /// that are damaged are none there, and that there are none to move is no error.
    ///
    /// # Errors
    /// They are damaged, or a disk cannot. Then they are where they were.
    pub async fn relocate(env: &Env, from: &Path, to: &Path) -> Result<(), SecurityError> {
        let Some(file) = NodeFile::read(env, from).await? else {
            return Ok(());
        };
        let there = match NodeFile::read(env, to).await {
            Ok(there) => there,
            Err(error) => {
                tracing::warn!(%error, "papers that cannot be read are replaced");
                None
            }
        };
        if there.is_none_or(|there| there.since < file.since) {
            file.write(env, to).await?;
        }
        NodeFile::remove(env, from).await
    }

    /// Papers are not replaced by accident: whoever has some is a node.
    pub(super) async fn require_none(env: &Env, directory: &Path) -> Result<(), SecurityError> {
        match NodeFile::read(env, directory).await? {
            None => Ok(()),
            Some(file) => {
                let (path, identity) = (directory.display(), file.identity);
                Err(SecurityError::new(format!(
                    "{path} has papers already: {identity}"
                )))
            }
        }
    }

    /// Who the node is.
    pub fn identity(&self) -> NodeIdentity {
        self.file.identity
    }

    /// The certificate of the authority that it believes.
    pub fn authority(&self) -> &Certificate {
        &self.file.authority
    }

    /// The key of its papers.
    pub(super) fn key_pair(&self) -> &KeyPair {
        &self.file.key
    }

    /// The public key of its papers.
    pub fn key(&self) -> PublicKey {
        self.file.key.public()
    }

    /// When the node got them, by its own clock.
    pub fn since(&self) -> Timestamp {
        self.file.since
    }

    /// Whom the node believes.
    pub fn trust(&self) -> Trust {
        self.file.trust()
    }

    /// The world with a network on which these papers are shown, and good ones are asked for.
    ///
    /// # Errors
    /// The authority's certificate is none.
    pub fn env(&self, env: &Env) -> Result<Env, SecurityError> {
        let network = TlsNetwork::new(env, &self.credentials, &self.trust())?;
        Ok(Env {
            network: Arc::new(network),
            ..env.clone()
        })
    }

    /// Shows new papers from now on, and keeps them.
    ///
    /// # Errors
    /// They are of another key, and the former are still shown and kept. Or they cannot be
    /// written, and the former are kept: nor are they where the former are not any more, since
    /// that is another disk.
    pub async fn renew(&mut self, env: &Env, issued: IssuedPapers) -> Result<(), SecurityError> {
        let certificate = Certificate::from_der(issued.certificate);
        let authority = Certificate::from_der(issued.authority);
        let file = NodeFile {
            identity: self.file.identity,
            key: KeyPair::from_secret(self.file.key.secret())?,
            certificate: certificate.clone(),
            authority: authority.clone(),
            since: env.clock.now(),
        };
        file.verify(&self.file.authority.fingerprint(), env.clock.now())?;
        self.credentials.renew(&file.key, certificate, authority)?;
        if NodeFile::read(env, &self.directory).await?.is_none() {
            let path = self.directory.display();
            let what = format!("{path} has no papers any more; is the disk mounted?");
            return Err(SecurityError::new(what));
        }
        file.write(env, &self.directory).await?;
        self.file = file;
        Ok(())
    }
}
