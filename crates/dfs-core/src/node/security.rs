//! How a node proves who it is, and gets what it takes.

use std::path::Path;
use std::sync::Arc;

use super::{JoinError, NewCluster, Papers};
use crate::env::Env;
use crate::security::{Fingerprint, JoinToken, SecurityError};
use crate::types::{ClusterId, NodeKey, NodeRole};

/// How a node proves who it is, and makes sure who others are.
#[derive(Debug, Clone)]
pub enum Security {
    /// With the papers in its directory.
    Papers,
    /// With those; a node that has none gets them for a join token.
    Join(Arc<JoinToken>),
    /// With those; a master that has none founds a new cluster, and has its first.
    Found,
    /// Not at all: there is no encryption, and whoever reaches a port has full access. For tests
    /// and benchmarks on one machine.
    Insecure,
}

impl Security {
    /// To join with a token.
    pub fn join(token: JoinToken) -> Security {
        Security::Join(Arc::new(token))
    }

    /// Whether there is none.
    pub fn is_insecure(&self) -> bool {
        matches!(self, Security::Insecure)
    }

    /// The authority that the token is of.
    pub fn authority(&self) -> Option<Fingerprint> {
        match self {
            Security::Join(token) => Some(token.authority),
            Security::Papers | Security::Found | Security::Insecure => None,
        }
    }

    /// The same, for masters that are at more places than the token says.
    pub fn with_addresses(&self, more: Vec<String>) -> Security {
        match self {
            Security::Join(token) => Security::join(token.with_addresses(more)),
            other => other.clone(),
        }
    }

    /// Where the token says that masters are.
    pub fn addresses(&self) -> &[String] {
        match self {
            Security::Join(token) => &token.addresses,
            Security::Papers | Security::Found | Security::Insecure => &[],
        }
    }
}

/// Opens a node's papers, or gets them as the settings say; none if it needs none. `masters` are
/// known besides those that a token names; `belongs_to` is the cluster of the directory, if it is
/// of one.
pub(crate) async fn prepare(
    env: &Env,
    directory: &Path,
    (node, role): (Option<NodeKey>, NodeRole),
    security: &Security,
    (masters, belongs_to): (&[String], Option<ClusterId>),
) -> Result<Option<Papers>, JoinError> {
    let path = directory.display();
    let Some(papers) = Papers::open(env, directory).await? else {
        return match security {
            Security::Insecure => Ok(None),
            // Of a data node the key is in its stamp; a master without papers is nobody.
            _ if role == NodeRole::Master && belongs_to.is_some() => {
                let what = format!(
                    "{path} belongs to a cluster and has no papers: it was founded without \
                     security, or lost them"
                );
                Err(SecurityError::new(what).into())
            }
            Security::Papers => Err(JoinError::NoPapers(path.to_string())),
            Security::Join(token) => {
                let known = (masters, belongs_to);
                let joined = Papers::join(env, directory, (node, role), token, known).await?;
                Ok(Some(joined))
            }
            Security::Found => {
                let new = match NewCluster::read(env, directory).await? {
                    Some(begun) => begun,
                    None => NewCluster::draw(env)?,
                };
                Ok(Some(Papers::found(env, directory, &new).await?))
            }
        };
    };
    let identity = papers.identity();
    if identity.role != role || node.is_some_and(|node| node != identity.node) {
        let what = format!("the papers in {path} are of {identity}, which is another node");
        return Err(SecurityError::new(what).into());
    }
    match security {
        Security::Insecure => {
            let what = format!("{path} is of a secured cluster, and does not go without");
            Err(SecurityError::new(what).into())
        }
        Security::Join(token) if token.authority != papers.authority().fingerprint() => {
            let ours = identity.cluster;
            let what = format!("{path} belongs to cluster {ours}, the join token to another");
            Err(SecurityError::new(what).into())
        }
        _ => Ok(Some(papers)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use super::*;

    #[tokio::test]
    async fn a_directory_stays_as_secure_as_it_was_and_of_one_cluster() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let prepare = |node, role, security| {
            let (env, directory) = (&env, directory.path());
            async move { prepare(env, directory, (node, role), &security, (&[], None)).await }
        };
        let master = NodeRole::Master;
        let none = prepare(None, master, Security::Papers).await.unwrap_err();
        assert!(matches!(none, JoinError::NoPapers(_)), "{none}");
        let open = prepare(None, master, Security::Insecure).await.unwrap();
        assert!(open.is_none());
        for security in [Security::Papers, Security::Found] {
            let of_one = super::prepare(
                &env,
                directory.path(),
                (None, master),
                &security,
                (&[], Some(ClusterId(1))),
            );
            assert!(matches!(of_one.await, Err(JoinError::Papers(_))));
        }

        let found = prepare(None, master, Security::Found).await;
        let identity = found.unwrap().unwrap().identity();
        let again = prepare(Some(identity.node), master, Security::Papers).await;
        assert_eq!(again.unwrap().unwrap().identity(), identity);
        let addresses = vec!["m1:1".to_owned()];
        let token = JoinToken::generate(addresses, Fingerprint([7; 32]), &*env.random);
        for (node, role, security) in [
            (None, NodeRole::DataNode, Security::Papers),
            (Some(NodeKey(7)), master, Security::Papers),
            (None, master, Security::Insecure),
            (None, master, Security::join(token)),
        ] {
            let shown = format!("{security:?}");
            assert!(prepare(node, role, security).await.is_err(), "{shown}");
        }
    }
}
