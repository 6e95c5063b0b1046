//! The keys that the masters sign with, as this master knows them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tokio::time::Instant;

use crate::master::shared::Shared;
use crate::meta::query::{self, SigningKeyId};
use crate::proto::error::RpcError;
use crate::security::{HandleKey, KeyNumber, KeyPair, SigningKeys};

/// A key that signs, with its number.
pub(crate) type Signer = (KeyNumber, Arc<KeyPair>);

/// The keys that are at hand: they are looked up with every use, and made only once.
#[derive(Default)]
pub(crate) struct Keys {
    made: Mutex<Vec<Signer>>,
    /// The one that signs, and when it was looked up.
    newest: Mutex<Option<(Signer, Instant)>>,
    /// It never changes.
    handles: OnceLock<HandleKey>,
}

/// How long the key that signs is not looked up again: those before it verify for much longer.
const NEWEST_AGE_MAX: Duration = Duration::from_secs(1);

impl Keys {
    /// All keys that are kept, the newest last.
    async fn all(&self, shared: &Shared) -> Result<Vec<Signer>, RpcError> {
        let reading = shared.read(Consistency::Stale).await?;
        let numbers = shared
            .look(reading.clone(), |view: &View| query::signing_key_ids(view))
            .await?;
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let is_there = |id: &SigningKeyId| made.iter().any(|(number, _)| *number == id.0);
        let made = match made.len() == numbers.len() && numbers.iter().all(is_there) {
            true => made,
            false => {
                let look = |view: &View| query::signing_keys(view);
                let kept = shared.look(reading, look).await?;
                let keys = kept.into_iter().map(|(id, secret)| {
                    let key = KeyPair::from_secret(&secret.secret.0);
                    let key = key.map_err(|e| RpcError::Internal(e.to_string()))?;
                    Ok((id.0, Arc::new(key)))
                });
                let keys = keys.collect::<Result<Vec<_>, RpcError>>()?;
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.clone_from(&keys);
                keys
            }
        };
        Ok(made)
    }

    /// The key that vouches for inodes.
    ///
    /// # Errors
    /// There is none yet, or the state cannot be read.
    pub(crate) async fn handles(&self, shared: &Shared) -> Result<&HandleKey, RpcError> {
        if let Some(key) = self.handles.get() {
            return Ok(key);
        }
        let reading = shared.read(Consistency::Stale).await?;
        let secret = shared
            .look(reading, |view: &View| query::handles(view))
            .await?;
        let secret = secret
            .ok_or_else(|| RpcError::Unavailable("there is no key for handles yet".to_owned()))?;
        Ok(self
            .handles
            .get_or_init(|| HandleKey::new(&secret.secret.0)))
    }

    /// Those that still count.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) async fn verifying(&self, shared: &Shared) -> Result<SigningKeys, RpcError> {
        let all = self.all(shared).await?;
        let public = all.iter().map(|(number, key)| (*number, key.public()));
        Ok(SigningKeys::new(public))
    }

    /// The one that signs.
    ///
    /// # Errors
    /// There is none yet, or the state cannot be read.
    pub(crate) async fn signing(&self, shared: &Shared) -> Result<Signer, RpcError> {
        let lock = || self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signer, since)) = &*lock()
            && since.elapsed() < NEWEST_AGE_MAX
        {
            return Ok(signer.clone());
        }
        let newest = self.all(shared).await?.pop();
        let newest = newest
            .ok_or_else(|| RpcError::Unavailable("there is no signing key yet".to_owned()))?;
        *lock() = Some((newest.clone(), Instant::now()));
        Ok(newest)
    }
}
