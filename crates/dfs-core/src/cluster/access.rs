//! What clients of the cluster log in with: a key of its administrator, kept beside its parts.

use serde::{Deserialize, Serialize};

use super::Cluster;
use crate::client::Access;
use crate::error::{Error, Result};
use crate::master::Master;
use crate::security::kept::{self, Kept};
use crate::security::{ApiKey, Fingerprint, SecurityError};
use crate::types::account::{AccountName, AccountNameError};

const ADMIN: &str = "admin";

#[derive(Serialize, Deserialize)]
struct Stored {
    authority: [u8; 32],
    key: String,
}

impl Kept for Stored {
    const NAME: &'static str = "access";
    const MAGIC: &'static [u8; 8] = b"DFSACCES";
    const REMEDY: &'static str = "remove it, and another is made at the next start";
}

impl Cluster {
    /// Gives the administrator a key, and keeps it.
    pub(super) async fn make_access(&self, leader: &Master) -> Result<()> {
        let Some(authority) = leader.authority() else {
            return Ok(());
        };
        let key = leader.create_admin_key("of an embedded cluster").await?;
        let stored = Stored {
            authority: authority.0,
            key: key.reveal().to_string(),
        };
        let written = kept::write(self.env(), self.directory(), &stored).await;
        written.map_err(failed)
    }

    /// What clients log in with; none without security. Who lost it gets another.
    pub(super) async fn open_access(&self) -> Result<Option<Access>> {
        if self.parts.config.insecure {
            return Ok(None);
        }
        let read = || kept::read::<Stored>(self.env(), self.directory());
        if read().await.map_err(failed)?.is_none() {
            let deadline = self.parts.config.patience;
            super::retry(deadline, || self.access_of_leader()).await?;
        }
        let stored = read().await.map_err(failed)?;
        let stored = stored.ok_or_else(|| Error::unavailable("what was kept is gone"))?;
        let key = ApiKey::parse(&stored.key).map_err(failed)?;
        let admin: std::result::Result<AccountName, AccountNameError> = ADMIN.parse();
        let admin = admin.map_err(|e| Error::invalid(e.to_string()))?;
        Ok(Some(Access::with_key(
            Fingerprint(stored.authority),
            admin,
            key,
        )))
    }

    async fn access_of_leader(&self) -> Result<()> {
        for slot in &self.parts.masters {
            if let Some(master) = slot.lock().await.as_ref()
                && master.leads()
            {
                return self.make_access(master).await;
            }
        }
        Err(Error::unavailable("no master leads"))
    }
}

fn failed(error: SecurityError) -> Error {
    Error::invalid(error.to_string())
}
