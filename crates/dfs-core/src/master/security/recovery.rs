//! The way back in for an administrator that has lost every key and password: with the disk of a
//! master that does not run. Whoever has that has all secrets of the cluster anyhow.
//!
//! The master's replica is opened on an [`Overlay`], so its log is replayed as at any start and
//! nothing on the disk changes: masters that differ would stop.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dfs_raft::state::View;
use dfs_raft::{Dial, Member, ReplicaConfig, ReplicaStatus, Role, StartError};
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};

use crate::env::{BoxStream, Env, Overlay, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::master::shared::Replica;
use crate::master::{change_error, fatal, start_error};
use crate::meta::{MetaMachine, query};
use crate::security::{Certificate, Fingerprint, KeyPair, NodeFile, SecurityError, Ticket};
use crate::types::account::AccountName;
use crate::types::{Caller, ClusterId, NodeRole};

/// How long it may take to go through the end of the log.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(60);
const REPLAY_PAUSE: Duration = Duration::from_millis(20);

/// What lets an administrator in again, for a while. Nothing secret of it is shown.
#[derive(Clone)]
pub struct Recovered {
    /// To which cluster.
    pub cluster: ClusterId,
    /// The fingerprint of its authority.
    pub authority: Fingerprint,
    /// Where its masters are.
    pub masters: Vec<String>,
    /// As whom.
    pub user: AccountName,
    /// The secret key of the client that the ticket is for.
    pub key: [u8; 32],
    /// A ticket, as masters sign it.
    pub ticket: Vec<u8>,
    /// From when on it is void.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovered")
            .field("cluster", &self.cluster)
            .field("user", &self.user)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What the state of the master says.
struct Known {
    user: AccountName,
    caller: Caller,
    authority: Fingerprint,
    signing: (u32, KeyPair),
}

/// Makes a ticket of an administrator, the first if none is named, from the directory of a master
/// that does not run. Nothing there is changed.
///
/// The ticket is good as long as the masters know the same of the user as this disk does: one of
/// a master that was away or killed may lack what they did last.
///
/// # Errors
/// The directory is no master's of a cluster with security, the master runs, its state cannot be
/// read, or the user is no administrator that may log in.
pub async fn recover(
    env: &Env,
    directory: &Path,
    user: Option<AccountName>,
    ttl: Duration,
) -> Result<Recovered> {
    let env = &Env {
        disk: Arc::new(Overlay::new(Arc::clone(&env.disk))),
        ..env.clone()
    };
    require_master(env, directory).await?;
    let config = ReplicaConfig::new(directory);
    let replica = Replica::start(config, env.clone(), Arc::new(Nobody), MetaMachine).await;
    let replica = replica.map_err(|e| not_opened(directory, e))?;
    let read = read(env, &replica, user).await;
    replica.shutdown().await;
    let (status, known) = read?;
    let cluster = ClusterId(status.cluster.0);
    let client = KeyPair::generate(&*env.random).map_err(unusable)?;
    let key = client.secret().try_into();
    let expires = env.clock.now().saturating_add(ttl);
    let Caller::User { user, epoch } = known.caller else {
        return Err(Error::invalid("the system needs no ticket"));
    };
    let ticket = Ticket::new((cluster, user, epoch), client.public(), expires);
    let (number, signing) = &known.signing;
    let ticket = ticket.sign((*number, signing));
    Ok(Recovered {
        cluster,
        authority: known.authority,
        masters: status.members.into_iter().map(|m| m.address).collect(),
        user: known.user,
        key: key.map_err(|_| Error::invalid("a cut key"))?,
        ticket: ticket.map_err(|e| Error::invalid(e.to_string()))?,
        expires,
    })
}

async fn require_master(env: &Env, directory: &Path) -> Result<()> {
    let path = directory.display();
    let papers = NodeFile::read(env, directory).await.map_err(unusable)?;
    match papers.map(|papers| papers.identity) {
        Some(identity) if identity.role == NodeRole::Master => Ok(()),
        Some(identity) => Err(Error::invalid(format!(
            "{path} is of {identity}, which is no master"
        ))),
        None => Err(Error::invalid(format!(
            "{path} is not the directory of a master of a cluster with security: it has no papers"
        ))),
    }
}

async fn read(
    env: &Env,
    replica: &Replica,
    user: Option<AccountName>,
) -> Result<(ReplicaStatus, Known)> {
    let replayed = timeout(REPLAY_TIMEOUT, replayed(replica)).await;
    let status = replayed.map_err(|_| Error::unavailable("the log was not replayed in time"))??;
    let mut voters = status.members.iter().filter(|m| m.role == Role::Voter);
    let is_own = |voter: &Member| voter.id == status.member;
    if voters.next().is_some_and(is_own) && voters.next().is_none() {
        // What has the only vote knows that all of its log counts, not only what it had noted as
        // such.
        replica.trigger_election().await.map_err(change_error)?;
        let mut leadership = replica.leadership();
        let ready = timeout(REPLAY_TIMEOUT, leadership.wait_for(|now| now.is_ready)).await;
        if !matches!(ready, Ok(Ok(_))) {
            let what = "this master has the only vote, or is about to share it, and did not come \
                        to lead; start it, wait until it is ready and stop it in order";
            return Err(Error::unavailable(what));
        }
    }
    let reading = replica.read_stale();
    let reading = reading.map_err(|e| Error::unavailable(e.to_string()))?;
    let look = move || known(&reading.view, user.as_ref());
    Ok((status, env.run_blocking(look).await?))
}

/// Waits until the replica knows of its group, and its state has all that its log says counts.
async fn replayed(replica: &Replica) -> Result<ReplicaStatus> {
    if !replica.is_admitted().await {
        return Err(Error::invalid("this master is in no group of masters"));
    }
    loop {
        match replica.status().map_err(fatal)? {
            Some(status)
                if !status.members.is_empty() && status.committed <= Some(status.applied) =>
            {
                return Ok(status);
            }
            _ => sleep(REPLAY_PAUSE).await,
        }
    }
}

/// What the state says of the user, and what is needed to sign for it.
fn known(view: &View, name: Option<&AccountName>) -> Result<Known> {
    let Some((id, user, epoch)) = query::user(view, name).map_err(fatal)? else {
        let name = name.map_or_else(String::new, AccountName::to_string);
        return Err(Error::invalid(format!("there is no user {name}")));
    };
    let caller = Caller::User { user: id, epoch };
    match query::standing(view, caller).map_err(fatal)? {
        None => return Err(Error::invalid(format!("{user} is disabled"))),
        Some(standing) if !standing.is_administrator => {
            return Err(Error::invalid(format!("{user} is no administrator")));
        }
        Some(_) => {}
    }
    let authority = query::authority(view).map_err(fatal)?;
    let signing = query::signing_keys(view).map_err(fatal)?.pop();
    let (Some(authority), Some((number, signing))) = (authority, signing) else {
        return Err(Error::invalid("this master has no keys yet"));
    };
    Ok(Known {
        user,
        caller,
        authority: Certificate::from_der(authority.public).fingerprint(),
        signing: (
            number.0,
            KeyPair::from_secret(&signing.secret.0).map_err(unusable)?,
        ),
    })
}

fn unusable(error: SecurityError) -> Error {
    Error::with_source(
        ErrorKind::Invalid,
        "the papers or keys of this master",
        error,
    )
}

fn not_opened(directory: &Path, error: StartError) -> Error {
    match &error {
        StartError::Directory(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let what = format!("a master runs in {}; stop it first", directory.display());
            Error::with_source(ErrorKind::Invalid, what, error)
        }
        _ => start_error(directory, error),
    }
}

/// Reaches no other master.
struct Nobody;

impl Dial for Nobody {
    fn dial(&self, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::NotConnected.into()) })
    }
}
