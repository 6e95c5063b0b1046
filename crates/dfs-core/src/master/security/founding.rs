//! How a cluster begins: its first master, its secrets, its first administrator, and the tokens
//! for those that join.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::master::services::metadata::MetadataService;
use crate::master::shared::unexpected;
use crate::master::{Master, change_error, rpc_error};
use crate::meta::command::{Founding, SecretBytes};
use crate::meta::{Command, Reply};
use crate::node::NewCluster;
use crate::node::audit::Actor;
use crate::proto::metadata::{MetadataRpc, Proofs};
use crate::security::{ApiKey, JoinToken, PublicKey};
use crate::types::account::AccountChange;
use crate::types::node::MemberChange;
use crate::types::{Caller, Change, ClusterId, NodeRole, RequestId, UserId};

/// How long a founder may take until it leads its own cluster.
const FOUNDING_TIMEOUT: Duration = Duration::from_secs(30);
const FOUNDING_PAUSE: Duration = Duration::from_millis(50);

impl Master {
    /// Founds a new cluster, of this master alone. After an error it may be called again and goes
    /// on where it stopped.
    ///
    /// # Errors
    /// It belongs to a cluster already, or does not come to lead its own.
    pub async fn found(&self) -> Result<ClusterId> {
        let shared = &self.shared;
        if shared.config.security.is_insecure() {
            let founded = shared.replica.bootstrap(&shared.address).await;
            let cluster = ClusterId(founded.map_err(change_error)?.0);
            shared.cluster();
            return Ok(cluster);
        }
        let Some(new) = self.begun().await? else {
            let directory = shared.config.replica.directory.display();
            let what = format!("{directory} belongs to a cluster already");
            return Err(Error::invalid(what));
        };
        self.found_with(&new, self.key).await?;
        Ok(new.cluster())
    }

    /// Whether there is a cluster to be founded, of which perhaps a part is done.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub async fn is_founding(&self) -> Result<bool> {
        match self.shared.config.security.is_insecure() {
            true => Ok(!self.is_member()),
            false => Ok(self.begun().await?.is_some()),
        }
    }

    async fn begun(&self) -> Result<Option<NewCluster>> {
        let shared = &self.shared;
        let directory = &shared.config.replica.directory;
        let new = NewCluster::read(&shared.env, directory).await;
        new.map_err(|e| Error::invalid(e.to_string()))
    }

    /// Keeps no longer what the cluster was founded with: the masters have it, and somebody can
    /// log in.
    ///
    /// # Errors
    /// The disk cannot.
    pub async fn forget_founding(&self) -> Result<()> {
        let shared = &self.shared;
        let directory = &shared.config.replica.directory;
        let removed = NewCluster::remove(&shared.env, directory).await;
        removed.map_err(|e| Error::invalid(e.to_string()))
    }

    async fn found_with(&self, new: &NewCluster, key: Option<PublicKey>) -> Result<()> {
        let invalid = |what: &dyn std::fmt::Display| Error::invalid(what.to_string());
        let key = key.ok_or_else(|| invalid(&"a founder has papers"))?;
        let authority = new.authority().map_err(|e| invalid(&e))?;
        let secret = authority.key().secret().try_into();
        let founding = Founding {
            node: new.node(),
            key: key.0,
            authority: secret.map(SecretBytes).map_err(|_| invalid(&"a cut key"))?,
            certificate: authority.certificate().der().to_vec(),
            handles: SecretBytes(new.handles),
            signing: SecretBytes(new.signing),
        };
        let (shared, cluster) = (&self.shared, new.cluster());
        if shared.cluster() != Some(cluster) {
            let raft = dfs_raft::ClusterId(cluster.0);
            let founded = shared.replica.bootstrap_as(raft, &shared.address);
            founded.await.map_err(change_error)?;
            shared.cluster();
        }
        let end = Instant::now() + FOUNDING_TIMEOUT;
        loop {
            let proposed = shared.propose(Command::Found(founding.clone()));
            match proposed.await.map(|stamped| stamped.value) {
                // Refused, it has them already.
                Ok(Reply::Founded(_)) => return Ok(()),
                Ok(other) => return Err(rpc_error(unexpected(&other))),
                Err(error) if Instant::now() >= end => return Err(rpc_error(error)),
                // It leads in a moment.
                Err(_) => tokio::time::sleep(FOUNDING_PAUSE).await,
            }
        }
    }

    /// As the leader, makes a token for nodes that join.
    ///
    /// # Errors
    /// It does not lead, or the cluster has no security and needs none.
    pub async fn create_token(
        &self,
        role: NodeRole,
        uses: u32,
        ttl: Duration,
    ) -> Result<JoinToken> {
        let authority = self.authority.ok_or_else(|| {
            Error::invalid("this cluster has no security, and whoever reaches it joins")
        })?;
        let shared = &self.shared;
        let token = JoinToken::generate(shared.masters(), authority, &*shared.env.random);
        let change = MemberChange::CreateToken {
            hash: token.hash(),
            role,
            node: None,
            uses,
            ttl,
            label: "made by a master".to_owned(),
        };
        self.change(Change::Member(change)).await?;
        Ok(token)
    }

    /// As the leader, gives the first administrator a key to log in with.
    ///
    /// # Errors
    /// It does not lead, or that user has too many keys.
    pub async fn create_admin_key(&self, label: &str) -> Result<ApiKey> {
        let key = ApiKey::generate(&*self.shared.env.random);
        let change = AccountChange::AddKey {
            user: UserId::ROOT,
            label: label.to_owned(),
            hash: key.hash(),
        };
        self.change(Change::Account(change)).await?;
        Ok(key)
    }

    /// Makes one change as the system itself.
    pub(in crate::master) async fn change(&self, change: Change) -> Result<()> {
        let actor = Arc::new(Actor::new("this master", ""));
        let system = (Caller::System, None);
        let service = MetadataService::new(self.shared.clone(), actor, system);
        let context = tarpc::context::current();
        let opened = service.clone().open_session(context).await;
        let client = opened.map_err(rpc_error)?.value;
        let request = |sequence| RequestId {
            client,
            sequence,
            answered_below: sequence,
        };
        let changed = service
            .clone()
            .change(context, request(1), change, Proofs::default())
            .await;
        changed.map_err(rpc_error)?;
        let closed = service
            .change(context, request(2), Change::CloseSession, Proofs::default())
            .await;
        closed.map(|_| ()).map_err(rpc_error)
    }
}
