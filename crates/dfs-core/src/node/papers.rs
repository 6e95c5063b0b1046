//! A node's papers: founded, joined for, opened, and shown on every connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::NewCluster;
use crate::env::Env;
use crate::proto::enrol::{EnrolRpcClient, IssuedPapers, JoinSecret};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::transport::messages;
use crate::security::kept::{self, Kept};
use crate::security::{
    Certificate, Credentials, JoinToken, KeyPair, NODE_CERTIFICATE_TTL, NodeFile, NodeIdentity,
    Peer, PublicKey, SecurityError, TlsNetwork, Trust,
};
use crate::types::{NodeKey, NodeRole};

/// How long one master may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often all masters of a token are asked before it is given up.
const ROUNDS: usize = 10;
/// Most masters that are asked, those that others name included.
const MASTERS_MAX: usize = 16;
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// Why somebody did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The masters refuse it.
    #[error("the masters refuse it: {0}")]
    Refused(RpcError),
    /// No master answered who could have.
    #[error("no master answered: {0}")]
    Unavailable(String),
    /// The papers cannot be made, read or written.
    #[error("papers: {0}")]
    Papers(#[from] SecurityError),
}

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
        require_none(env, directory).await?;
        new.write(env, directory).await?;
        let (random, now) = (&*env.random, env.clock.now());
        let authority = new.authority()?;
        let key = KeyPair::generate(random)?;
        let identity = NodeIdentity {
            cluster: new.cluster(),
            role: NodeRole::Master,
            node: new.node(),
        };
        let good = (now, NODE_CERTIFICATE_TTL);
        let certificate = authority.issue(&identity, &key.public(), good, random)?;
        let file = NodeFile {
            identity,
            key,
            certificate,
            authority: authority.certificate().clone(),
        };
        let papers = Papers::of(directory, file)?;
        papers.file.write(env, directory).await?;
        Ok(papers)
    }

    /// Shows a join token to the masters that it names, and keeps the papers they give.
    ///
    /// # Errors
    /// They refuse, or none answers within some seconds.
    pub async fn join(
        env: &Env,
        directory: &Path,
        (node, role): (NodeKey, NodeRole),
        token: &JoinToken,
    ) -> Result<Papers, JoinError> {
        require_none(env, directory).await?;
        let key = Joining::key(env, directory, node).await?;
        let shown = Arc::new(Credentials::of_key(&key, env)?);
        let trust = Trust::Fingerprint(token.authority);
        let network = TlsNetwork::new(env, &shown, &trust)?;
        let mut masters = token.addresses.clone();
        let mut last = "the token names no master".to_owned();
        for _ in 0..ROUNDS {
            let mut next = 0;
            while let Some(address) = masters.get(next).cloned() {
                next += 1;
                match ask(&network, &address, (node, role), token).await {
                    Ok(issued) => {
                        let identity = NodeIdentity {
                            cluster: issued.cluster,
                            role,
                            node,
                        };
                        let file = NodeFile {
                            identity,
                            key,
                            certificate: Certificate::from_der(issued.certificate),
                            authority: Certificate::from_der(issued.authority),
                        };
                        file.verify(&token.authority, env.clock.now())?;
                        let papers = Papers::of(directory, file)?;
                        papers.file.write(env, directory).await?;
                        kept::remove::<Joining>(env, directory).await?;
                        return Ok(papers);
                    }
                    Err(Answer::Refused(error)) => return Err(JoinError::Refused(error)),
                    Err(Answer::Leader(Some(leader)))
                        if !masters.contains(&leader) && masters.len() < MASTERS_MAX =>
                    {
                        masters.push(leader);
                    }
                    Err(Answer::Leader(_)) => last = format!("{address} does not lead"),
                    Err(Answer::None(why)) => last = format!("{address}: {why}"),
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Err(JoinError::Unavailable(last))
    }

    fn of(directory: &Path, file: NodeFile) -> Result<Papers, SecurityError> {
        let credentials = Arc::new(file.credentials()?);
        Ok(Papers {
            directory: directory.to_owned(),
            file,
            credentials,
        })
    }

    /// Who the node is.
    pub fn identity(&self) -> NodeIdentity {
        self.file.identity
    }

    /// The certificate of the authority that it believes, in DER.
    pub fn authority(&self) -> &[u8] {
        self.file.authority.der()
    }

    /// The public key of its papers.
    pub fn key(&self) -> PublicKey {
        self.file.key.public()
    }

    /// The world with a network on which these papers are shown, and good ones are asked for.
    ///
    /// # Errors
    /// The authority's certificate is none.
    pub fn env(&self, env: &Env) -> Result<Env, SecurityError> {
        let network = TlsNetwork::new(env, &self.credentials, &self.file.trust())?;
        Ok(Env {
            network: Arc::new(network),
            ..env.clone()
        })
    }

    /// Shows new papers from now on, and keeps them.
    ///
    /// # Errors
    /// They are of another key, and the former are still shown and kept. Or they cannot be
    /// written, and the former are kept.
    pub async fn renew(&mut self, env: &Env, issued: IssuedPapers) -> Result<(), SecurityError> {
        let certificate = Certificate::from_der(issued.certificate);
        let authority = Certificate::from_der(issued.authority);
        let file = NodeFile {
            identity: self.file.identity,
            key: KeyPair::from_secret(self.file.key.secret())?,
            certificate: certificate.clone(),
            authority: authority.clone(),
        };
        file.verify(&self.file.authority.fingerprint(), env.clock.now())?;
        self.credentials.renew(&file.key, certificate, authority)?;
        file.write(env, &self.directory).await?;
        self.file = file;
        Ok(())
    }
}

/// Papers are not replaced by accident: whoever has some is a node.
async fn require_none(env: &Env, directory: &Path) -> Result<(), SecurityError> {
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

/// The key of a node that is about to join. It is kept before it is shown, so that a node whose
/// answer was lost asks again with the same.
#[derive(Serialize, Deserialize)]
struct Joining {
    node: u128,
    secret: [u8; 32],
}

impl Kept for Joining {
    const NAME: &'static str = "joining";
    const MAGIC: &'static [u8; 8] = b"DFSJOIN1";
    const REMEDY: &'static str = "remove it and join again, with a new token";
}

impl Joining {
    async fn key(env: &Env, directory: &Path, node: NodeKey) -> Result<KeyPair, SecurityError> {
        let kept: Option<Joining> = kept::read(env, directory).await?;
        if let Some(kept) = kept.filter(|kept| kept.node == node.0) {
            return KeyPair::from_secret(&kept.secret);
        }
        let key = KeyPair::generate(&*env.random)?;
        let secret = key.secret().try_into().map_err(SecurityError::new)?;
        let node = node.0;
        kept::write(env, directory, &Joining { node, secret }).await?;
        Ok(key)
    }
}

/// What one master said.
enum Answer {
    Refused(RpcError),
    /// Another leads.
    Leader(Option<String>),
    None(String),
}

async fn ask(
    network: &TlsNetwork,
    address: &str,
    (node, role): (NodeKey, NodeRole),
    token: &JoinToken,
) -> Result<IssuedPapers, Answer> {
    let (service, cluster) = (Service::Enrol, None);
    let hello = Hello { service, cluster };
    let called = hello::call(network, address, hello, ANSWER_TIMEOUT).await;
    let (stream, _) = called.map_err(|e| Answer::None(e.to_string()))?;
    // The secret is for masters; another node of the cluster may have taken the address.
    let peer = stream.identity().and_then(|text| text.parse::<Peer>().ok());
    if !peer.is_some_and(|peer| peer.is(NodeRole::Master)) {
        return Err(Answer::None("no master listens there".to_owned()));
    }
    let client = EnrolRpcClient::new(tarpc::client::Config::default(), messages(stream)).spawn();
    let secret = JoinSecret(token.secret());
    let asked = client.enrol(tarpc::context::current(), node, role, secret);
    match timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(Ok(issued))) => Ok(issued),
        Ok(Ok(Err(RpcError::NotLeader { leader }))) => Err(Answer::Leader(leader)),
        Ok(Ok(Err(error @ RpcError::Refused { .. }))) => Err(Answer::Refused(error)),
        Ok(Ok(Err(error))) => Err(Answer::None(error.to_string())),
        Ok(Err(error)) => Err(Answer::None(error.to_string())),
        Err(_) => Err(Answer::None("no answer in time".to_owned())),
    }
}
