//! What a new cluster is founded with. It is kept in a file until the masters have it, so that a
//! founder that dies on the way goes on where it was.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::env::{Env, Random};
use crate::security::kept::{self, Kept};
use crate::security::{Authority, Certificate, KeyPair, SecurityError};
use crate::types::{ClusterId, NodeKey};

/// What a new cluster is founded with. It is not shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewCluster {
    cluster: u128,
    node: u128,
    authority: [u8; 32],
    certificate: Vec<u8>,
    /// The key that vouches for inodes.
    pub handles: [u8; 32],
    /// The first signing key.
    pub signing: [u8; 32],
}

impl Kept for NewCluster {
    const NAME: &'static str = "founding";
    const MAGIC: &'static [u8; 8] = b"DFSFOUND";
    const REMEDY: &'static str = "clear the directory and found the cluster anew";
}

impl NewCluster {
    /// Draws all of it.
    ///
    /// # Errors
    /// The authority's certificate cannot be made.
    pub fn draw(env: &Env) -> Result<NewCluster, SecurityError> {
        let random = &*env.random;
        let cluster = ClusterId(random.next_u128());
        let authority = Authority::found(cluster, random, env.clock.now())?;
        let secret = authority.key().secret().try_into();
        Ok(NewCluster {
            cluster: cluster.0,
            node: random.next_u128(),
            authority: secret.map_err(SecurityError::new)?,
            certificate: authority.certificate().der().to_vec(),
            handles: secret_of(random),
            signing: secret_of(random),
        })
    }

    /// Reads what was kept; none if nothing is being founded in a directory.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn read(env: &Env, directory: &Path) -> Result<Option<NewCluster>, SecurityError> {
        kept::read(env, directory).await
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn write(&self, env: &Env, directory: &Path) -> Result<(), SecurityError> {
        kept::write(env, directory, self).await
    }

    /// Keeps nothing any more: the masters have it.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn remove(env: &Env, directory: &Path) -> Result<(), SecurityError> {
        kept::remove::<NewCluster>(env, directory).await
    }

    /// Its id.
    pub fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    /// The master that founds it.
    pub fn node(&self) -> NodeKey {
        NodeKey(self.node)
    }

    /// Its authority.
    ///
    /// # Errors
    /// The key is none.
    pub fn authority(&self) -> Result<Authority, SecurityError> {
        let key = KeyPair::from_secret(&self.authority)?;
        let certificate = Certificate::from_der(self.certificate.clone());
        Ok(Authority::from_parts(self.cluster(), key, certificate))
    }
}

fn secret_of(random: &dyn Random) -> [u8; 32] {
    let mut secret = [0; 32];
    random.fill(&mut secret);
    secret
}

impl std::fmt::Debug for NewCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewCluster({})", self.cluster())
    }
}
