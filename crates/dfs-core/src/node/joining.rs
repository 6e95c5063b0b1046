//! Becoming a node: a join token is shown to the masters, which give papers for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Papers;
use crate::env::Env;
use crate::proto::enrol::{EnrolRpcClient, IssuedPapers, JoinSecret};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::transport::messages;
use crate::security::kept::{self, Kept};
use crate::security::{
    Certificate, Credentials, JoinToken, KeyPair, NodeFile, NodeIdentity, SecurityError,
    TlsNetwork, Trust,
};
use crate::types::{ClusterId, NodeKey, NodeRole};

/// How long one master may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often all masters of a token are asked before it is given up.
const ROUNDS: usize = 10;
/// Most masters that are asked, those that others name included.
const MASTERS_MAX: usize = 16;
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// Why somebody is no node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has no papers, and no way to get any.
    #[error("{0} has no papers: it is of no cluster yet, or of one without security")]
    NoPapers(String),
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

impl Papers {
    /// Shows a join token to the masters that it names, and to others that are known, and keeps
    /// the papers they give. A node that has no key of its own yet draws one. A directory that
    /// belongs to a cluster already gets no papers of another.
    ///
    /// # Errors
    /// They refuse, or none answers within some seconds.
    pub async fn join(
        env: &Env,
        directory: &Path,
        (node, role): (Option<NodeKey>, NodeRole),
        token: &JoinToken,
        (others, belongs_to): (&[String], Option<ClusterId>),
    ) -> Result<Papers, JoinError> {
        Papers::require_none(env, directory).await?;
        let (node, key) = Joining::begin(env, directory, node).await?;
        let trust = Trust::Fingerprint(token.authority);
        let mut addresses = token.addresses.clone();
        addresses.extend(
            others
                .iter()
                .filter(|o| !token.addresses.contains(o))
                .cloned(),
        );
        let masters = Masters::new(env, &key, &trust, addresses)?;
        let secret = JoinSecret(token.secret());
        let ask = |client: EnrolRpcClient| async move {
            let context = tarpc::context::current();
            client.enrol(context, node, role, secret).await
        };
        let issued = masters.ask(ROUNDS, ask).await?;
        if belongs_to.is_some_and(|ours| ours != issued.cluster) {
            let (path, theirs) = (directory.display(), issued.cluster);
            let what =
                format!("{path} belongs to another cluster than the token, which is of {theirs}");
            return Err(SecurityError::new(what).into());
        }
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
            since: env.clock.now(),
        };
        file.verify(&token.authority, env.clock.now())?;
        let papers = Papers::keep(env, directory, file).await?;
        kept::remove::<Joining>(env, directory).await?;
        Ok(papers)
    }
}

#[cfg(test)]
impl Papers {
    /// Leaves a directory as it was before these were kept.
    pub(crate) async fn forget(&self, env: &Env, directory: &Path) -> Result<(), SecurityError> {
        let secret = self.key_pair().secret().try_into();
        let joining = Joining {
            node: self.identity().node.0,
            secret: secret.map_err(SecurityError::new)?,
        };
        kept::write(env, directory, &joining).await
    }
}

/// Who a node is that is about to join. It is kept before it is shown, so that a node whose
/// answer was lost asks again as the same, with the same key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Joining {
    node: u128,
    secret: [u8; 32],
}

impl Kept for Joining {
    const NAME: &'static str = "joining";
    const MAGIC: &'static [u8; 8] = b"DFSJOIN1";
    const REMEDY: &'static str = "remove it and join again, with a new token";
}

impl Joining {
    async fn begin(
        env: &Env,
        directory: &Path,
        node: Option<NodeKey>,
    ) -> Result<(NodeKey, KeyPair), SecurityError> {
        let kept: Option<Joining> = kept::read(env, directory).await?;
        let is_it = |kept: &Joining| node.is_none_or(|node| node.0 == kept.node);
        if let Some(kept) = kept.filter(is_it) {
            return Ok((NodeKey(kept.node), KeyPair::from_secret(&kept.secret)?));
        }
        let node = node.unwrap_or_else(|| NodeKey(env.random.next_u128()));
        let key = KeyPair::generate(&*env.random)?;
        let secret = key.secret().try_into().map_err(SecurityError::new)?;
        kept::write(
            env,
            directory,
            &Joining {
                node: node.0,
                secret,
            },
        )
        .await?;
        Ok((node, key))
    }
}

/// Masters that are asked for papers, by whoever has a key.
pub(super) struct Masters {
    network: TlsNetwork,
    addresses: Vec<String>,
}

/// What one master said.
enum Answer {
    Refused(RpcError),
    /// Another leads.
    Leader(Option<String>),
    None(String),
}

type Asked = Result<Result<IssuedPapers, RpcError>, tarpc::client::RpcError>;

impl Masters {
    pub(super) fn new(
        env: &Env,
        key: &KeyPair,
        trust: &Trust,
        addresses: Vec<String>,
    ) -> Result<Masters, SecurityError> {
        let shown = Arc::new(Credentials::of_key(key, env)?);
        let network = TlsNetwork::new(env, &shown, trust)?;
        Ok(Masters { network, addresses })
    }

    /// Asks all of them, some times, until one gives papers.
    pub(super) async fn ask<F>(
        mut self,
        rounds: usize,
        question: impl Fn(EnrolRpcClient) -> F,
    ) -> Result<IssuedPapers, JoinError>
    where
        F: Future<Output = Asked>,
    {
        let mut last = "no master is known".to_owned();
        for _ in 0..rounds {
            let mut next = 0;
            while let Some(address) = self.addresses.get(next).cloned() {
                next += 1;
                match self.ask_one(&address, &question).await {
                    Ok(issued) => return Ok(issued),
                    Err(Answer::Refused(error)) => return Err(JoinError::Refused(error)),
                    Err(Answer::Leader(Some(leader)))
                        if !self.addresses.contains(&leader)
                            && self.addresses.len() < MASTERS_MAX =>
                    {
                        self.addresses.push(leader);
                    }
                    Err(Answer::Leader(_)) => last = format!("{address} does not lead"),
                    Err(Answer::None(why)) => last = format!("{address}: {why}"),
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Err(JoinError::Unavailable(last))
    }

    async fn ask_one<F>(
        &self,
        address: &str,
        question: impl Fn(EnrolRpcClient) -> F,
    ) -> Result<IssuedPapers, Answer>
    where
        F: Future<Output = Asked>,
    {
        let hello = Hello::new(Service::Enrol, None);
        let called = hello::call(&self.network, address, hello, ANSWER_TIMEOUT).await;
        let (stream, _) = called.map_err(|e| Answer::None(e.to_string()))?;
        let config = tarpc::client::Config::default();
        let client = EnrolRpcClient::new(config, messages(stream)).spawn();
        match timeout(ANSWER_TIMEOUT, question(client)).await {
            Ok(Ok(Ok(issued))) => Ok(issued),
            Ok(Ok(Err(RpcError::NotLeader { leader }))) => Err(Answer::Leader(leader)),
            Ok(Ok(Err(error @ RpcError::Refused { .. }))) => Err(Answer::Refused(error)),
            Ok(Ok(Err(error))) => Err(Answer::None(error.to_string())),
            Ok(Err(error)) => Err(Answer::None(error.to_string())),
            Err(_) => Err(Answer::None("no answer in time".to_owned())),
        }
    }
}
