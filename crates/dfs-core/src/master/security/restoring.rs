//! Making a master of a backup: the only one of a group that goes on where the backup was made.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use dfs_raft::RestoreError;

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::master::MasterConfig;
use crate::meta::MetaMachine;
use crate::meta::members::restored;
use crate::meta::query::Secret;
use crate::node::Papers;
use crate::proto::hello::{self, Hello, Service};
use crate::security::{Authority, Certificate, KeyPair, NodeIdentity, SecurityError};
use crate::types::{ClusterId, NodeKey, NodeRole, Rev};

/// How long a former master is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a master was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The cluster.
    pub cluster: ClusterId,
    /// The last change in the backup.
    pub rev: Rev,
    /// Rows of metadata.
    pub rows: u64,
    /// Where the masters were.
    pub masters: Vec<String>,
}

impl From<dfs_raft::BackupInfo> for Restored {
    fn from(info: dfs_raft::BackupInfo) -> Restored {
        Restored {
            cluster: ClusterId(info.cluster.0),
            rev: info.rev,
            rows: info.rows,
            masters: info.members,
        }
    }
}

/// Reads a backup through, and makes nothing of it. Blocks.
///
/// # Errors
/// It is damaged, cut short, or none.
pub fn verify_backup(from: impl Read) -> Result<Restored> {
    let verified = dfs_raft::verify_backup(from);
    verified.map(Restored::from).map_err(restore_error)
}

/// Makes an empty directory that of a master, with the metadata of a backup. It has the only vote,
/// so it leads when it is started; others join it, and data nodes that know its address come back
/// to it with what they have.
///
/// Former masters must be gone for good: of two groups of one cluster each would lead data nodes
/// astray. One that answers where it was is noticed, and then nothing is made.
///
/// # Errors
/// `Invalid` if the directory is not empty, the backup is damaged or a former master answers.
/// After an error clear the directory before trying again.
pub async fn restore(
    config: MasterConfig,
    env: &Env,
    from: impl Read + Send + 'static,
) -> Result<Restored> {
    let directory = config.replica.directory.clone();
    let insecure = config.security.is_insecure();
    let node = NodeKey(env.random.next_u128());
    let key = KeyPair::generate(&*env.random).map_err(unusable)?;
    let address = config.advertise.as_ref().unwrap_or(&config.listen).clone();
    let (replica, own) = (config.replica, (node, key.public().0));
    let (world, master) = (env.clone(), (!insecure).then_some(own));
    let drawn = env.random.next_u64();
    let make = move || {
        dfs_raft::restore::<MetaMachine, _>(&replica, &world, &address, from, |state, time| {
            restored::adjust(state, time, (drawn, master))
        })
    };
    let (info, authority) = env.run_blocking(make).await.map_err(restore_error)?;
    let restored = Restored::from(info);
    let network = match (insecure, authority) {
        (false, Some(authority)) => {
            let papers = issue(env, &directory, restored.cluster, (node, key), authority).await;
            papers.map_err(unusable)?.env(env).map_err(unusable)?
        }
        (true, None) => env.clone(),
        (true, Some(_)) => return Err(Error::invalid("the backup is of a cluster with security")),
        (false, None) => {
            let what = "the backup is of a cluster without security: use --insecure";
            return Err(Error::invalid(what));
        }
    };
    for address in &restored.masters {
        if is_master_of(&network, restored.cluster, address).await {
            clear(env, &directory).await?;
            return Err(Error::invalid(format!(
                "the cluster lives: its master at {address} answers. Stop all of its masters \
                 first, for good; nothing was restored"
            )));
        }
    }
    Ok(restored)
}

/// Whether a master of a cluster listens at an address. With papers only one of the cluster is
/// spoken to, and one that refuses is one.
async fn is_master_of(env: &Env, cluster: ClusterId, address: &str) -> bool {
    let hello = Hello::new(Service::Metadata, None);
    match hello::call(&*env.network, address, hello, ANSWER_TIMEOUT).await {
        Ok((_, found)) => found == Some(cluster),
        Err(e) => match e.kind() {
            io::ErrorKind::PermissionDenied => true,
            io::ErrorKind::ConnectionRefused => e.raw_os_error().is_none(),
            _ => false,
        },
    }
}

/// Papers for the master, by the authority that was restored.
async fn issue(
    env: &Env,
    directory: &Path,
    cluster: ClusterId,
    (node, key): (NodeKey, KeyPair),
    authority: Secret,
) -> std::result::Result<Papers, SecurityError> {
    let signing = KeyPair::from_secret(&authority.secret.0)?;
    let certificate = Certificate::from_der(authority.public);
    let authority = Authority::from_parts(cluster, signing, certificate);
    let identity = NodeIdentity {
        cluster,
        role: NodeRole::Master,
        node,
    };
    Papers::issue(env, directory, identity, key, &authority).await
}

/// Removes what was made.
async fn clear(env: &Env, directory: &Path) -> Result<()> {
    let (disk, directory) = (env.disk.clone(), directory.to_owned());
    let remove = move || {
        for entry in disk.list(&directory)? {
            disk.remove_file(&directory.join(entry.name))?;
        }
        disk.sync_directory(&directory)
    };
    let removed = env.run_blocking(remove).await;
    removed.map_err(|e| {
        let what = "what was made could not be removed: clear the directory";
        Error::with_source(ErrorKind::Internal, what, e)
    })
}

fn restore_error(error: RestoreError) -> Error {
    let kind = match error {
        RestoreError::Backup(_) | RestoreError::NotEmpty | RestoreError::Directory(_) => {
            ErrorKind::Invalid
        }
        RestoreError::Fatal(_) => ErrorKind::Internal,
    };
    Error::with_source(kind, "nothing was restored", error)
}

fn unusable(error: SecurityError) -> Error {
    Error::invalid(error.to_string())
}
