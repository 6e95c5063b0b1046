//! Founding a cluster, and running a master.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_core::client::{Access, Profile};
use dfs_core::env::{Env, raise_handle_limit};
use dfs_core::error::{Error, ErrorKind};
use dfs_core::master::{Master, MasterConfig};
use dfs_core::node::Security;
use dfs_core::proto::hello::{self, Hello, Service};
use dfs_core::security::JoinToken;
use dfs_core::types::account::AccountName;
use dfs_core::types::{ClusterId, NodeRole};
use zeroize::Zeroizing;

use crate::discover::{Announced, Finder, announce};
use crate::failure::{Failure, REFUSED};
use crate::limits::affordable;
use crate::profile;
use crate::run::{directory, say, stop_signal};
use crate::security::Wanted;
use crate::settings::{MasterSettings, set_mib};

/// The first administrator.
const ADMIN: &str = "admin";
/// How long the tokens are good that are made with a cluster, and for how many nodes.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN_MASTERS: u32 = 2;
const TOKEN_DATA_NODES: u32 = 16;
/// The pause after an attempt to join; doubles up to the maximum.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(250);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a seed is asked whose it is.
const SEED_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings, and where masters are that it may join.
pub(crate) fn master_config(
    settings: &MasterSettings,
) -> Result<(MasterConfig, Vec<String>), Failure> {
    let mut config = MasterConfig::new(directory(settings.directory.clone())?);
    let wanted = Wanted {
        join: settings.join.as_deref().unwrap_or_default(),
        join_file: settings.join_file.as_deref(),
        insecure: settings.insecure.unwrap_or_default(),
        listen: settings.listen.as_deref().unwrap_or_default(),
        directory: &config.replica.directory,
    };
    let (security, seeds) = wanted.security()?;
    config.security = security;
    if let Some(listen) = &settings.listen {
        config.listen.clone_from(listen);
    }
    config.advertise.clone_from(&settings.advertise);
    if let Some(period) = settings.dead_after {
        config.liveness.dead_after = period.0;
    }
    if let Some(period) = settings.dead_after_agreed {
        config.liveness.dead_after_agreed = period.0;
    }
    set_mib(
        &mut config.repair.bytes_per_second_per_node,
        settings.repair_mib,
    );
    if let Some(percent) = settings.balance_percent {
        config.balance.threshold = percent.saturating_mul(10);
    }
    if let Some(period) = settings.compact_after {
        config.rewrite.compact_after = period.0;
    }
    set_mib(&mut config.audit_bytes, settings.audit_mib);
    set_mib(&mut config.reserve, settings.reserve_mib);
    if let Some(mib) = settings.cache_mib {
        config.replica.state_cache_bytes = mib as usize * (1 << 20);
    }
    if let Some(entries) = settings.log_entries {
        config.replica.log_cut_entries = u64::from(entries);
        config.replica.log_entries_kept = u64::from(entries);
    }
    config.connections_max = affordable(config.connections_max, 1, raise_handle_limit());
    Ok((config, seeds))
}

/// Founds a new cluster. Interrupted, it goes on where it stopped when it is run again.
pub(crate) async fn init(settings: MasterSettings) -> Result<(), Failure> {
    let (mut config, _) = master_config(&settings)?;
    let directory = config.replica.directory.clone();
    let shown = directory.display().to_string();
    if !config.security.is_insecure() {
        config.security = Security::Found;
    }
    let secured = !config.security.is_insecure();
    let master = Master::start(config, Env::real()).await?;
    let founded = found(&master, &directory).await;
    let address = master.address().to_owned();
    let tokens = match (&founded, secured) {
        (Ok(_), true) => Some(tokens(&master).await),
        _ => None,
    };
    master.shutdown().await;
    let (cluster, profile) = founded?;
    say(&format!("founded cluster {cluster} in {shown}"))?;
    if let Some(profile) = profile {
        say(&format!("administrator: {}", profile.display()))?;
    }
    if let Some(tokens) = tokens {
        let (masters, data_nodes) = tokens?;
        say(&format!("token for masters: {}", *masters))?;
        say(&format!("token for data nodes: {}", *data_nodes))?;
    }
    say(&format!(
        "next: dfs-node master --directory {shown} --listen {address}"
    ))
}

async fn found(master: &Master, directory: &Path) -> Result<(ClusterId, Option<PathBuf>), Failure> {
    let shown = directory.display();
    if !master.is_founding().await? {
        return Err(
            Failure::new(REFUSED, format!("{shown} belongs to a cluster already"))
                .hint(format!("run it with `dfs-node master --directory {shown}`")),
        );
    }
    let cluster = master.found().await?;
    let Some(authority) = master.authority() else {
        return Ok((cluster, None));
    };
    let key = master.create_admin_key("made with the cluster").await?;
    let admin: AccountName = ADMIN.parse().map_err(|e| Failure::new(REFUSED, e))?;
    let access = Access::with_key(authority, admin, key);
    let profile = Profile::new(vec![master.address().to_owned()], Some(&access));
    let path = profile::write(directory, &profile)?;
    master.forget_founding().await?;
    Ok((cluster, Some(path)))
}

type Revealed = Zeroizing<String>;

/// Tokens for the nodes that join in the first day.
async fn tokens(master: &Master) -> Result<(Revealed, Revealed), Failure> {
    let reveal = |token: JoinToken| token.reveal().map_err(|e| Failure::new(REFUSED, e));
    let masters = master.create_token(NodeRole::Master, TOKEN_MASTERS, TOKEN_TTL);
    let masters = reveal(masters.await?)?;
    let nodes = master.create_token(NodeRole::DataNode, TOKEN_DATA_NODES, TOKEN_TTL);
    Ok((masters, reveal(nodes.await?)?))
}

/// Runs a master until it is told to stop.
pub(crate) async fn master(settings: MasterSettings) -> Result<(), Failure> {
    let (config, seeds) = master_config(&settings)?;
    let directory = config.replica.directory.display().to_string();
    let insecure = config.security.is_insecure();
    let authority = config.security.authority();
    let finder = match settings.discover {
        Some(true) => Some(Finder::start()?),
        _ => None,
    };
    let found = || match (&finder, authority) {
        (Some(finder), Some(authority)) => finder.of_authority(authority),
        _ => Vec::new(),
    };
    let mut stop = std::pin::pin!(stop_signal()?);
    // It may have to join, and the others may be starting as well.
    let start = patiently(|| {
        let mut config = config.clone();
        config.security = config.security.with_addresses(found());
        Master::start(config, Env::real())
    });
    let started = tokio::select! {
        started = start => started,
        () = &mut stop => return Ok(()),
    };
    let master = started.map_err(|error| no_papers(Path::new(&directory), error))?;
    if insecure
        && let Some(ours) = master.cluster()
        && let Err(refused) = refuse_another_cluster(&directory, ours, &seeds).await
    {
        master.shutdown().await;
        return Err(refused);
    }
    // One that was interrupted while it joined goes on.
    if !master.is_admitted().await {
        if seeds.is_empty() {
            let failure = outside(&directory, master.cluster());
            master.shutdown().await;
            return Err(failure);
        }
        tokio::select! {
            joined = patiently(|| master.join(&[&seeds[..], &found()].concat())) => joined?,
            () = &mut stop => {
                master.shutdown().await;
                return Ok(());
            }
        }
    }
    if let Some(status) = master.status()? {
        let (member, cluster) = (status.member, status.cluster);
        let address = master.address();
        say(&format!(
            "ready: master {member} of cluster {cluster} at {address}"
        ))?;
    }
    let _announced = finder.as_ref().and_then(|_| announced(&master));
    let mut failed = master.failed();
    let failure = tokio::select! {
        () = stop => None,
        reason = failed.wait_for(Option::is_some) => reason.ok().and_then(|r| r.clone()),
    };
    tracing::info!("stopping");
    master.shutdown().await;
    match failure {
        None => Ok(()),
        // With its cause, which may be that the disk is full.
        Some(reason) => Err(Failure::new(
            REFUSED,
            format!("the master stopped: {reason:?}"),
        )),
    }
}

/// Announces a master on the local network. It runs all the same if that fails.
fn announced(master: &Master) -> Option<Announced> {
    match announce(master.address(), master.cluster()?, master.authority()) {
        Ok(announced) => Some(announced),
        Err(error) => {
            tracing::warn!(%error, "this master cannot be found on the local network");
            None
        }
    }
}

/// Why a master that is in no group, and knows nobody to join, does not run.
fn outside(directory: &str, cluster: Option<ClusterId>) -> Failure {
    match cluster {
        None => Failure::new(REFUSED, format!("{directory} belongs to no cluster yet"))
            .hint("found one with `dfs-node init`, or join one with `--join-file`"),
        Some(ours) => Failure::new(
            REFUSED,
            format!("{directory} is not, or no longer, in the group of cluster {ours}"),
        )
        .hint("if it was removed, clear the directory; then join with `--join-file`"),
    }
}

/// Does what needs other masters, as soon as they answer: they may be starting, or electing a
/// leader.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = PAUSE_MIN;
    loop {
        match attempt().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable { .. }) => {
                tracing::warn!(%error, "no master lets this one join yet; it will ask again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            done => return done,
        }
    }
}

/// A directory without papers is of no cluster.
fn no_papers(directory: &Path, error: Error) -> Failure {
    let is_refused = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied);
    let failure = Failure::from(error);
    match is_refused && !directory.join("papers").exists() {
        true => failure.hint(
            "found a cluster with `dfs-node init`, or join one with `--join-file` and a token of \
             its administrator (`dfs token create --role master`)",
        ),
        false => failure,
    }
}

/// A member that is told to join is where it should be, unless a seed is of another cluster.
async fn refuse_another_cluster(
    directory: &str,
    ours: ClusterId,
    seeds: &[String],
) -> Result<(), Failure> {
    for seed in seeds {
        let hello = Hello::new(Service::Metadata, None);
        let network = Env::real().network;
        let called = hello::call(&*network, seed, hello, SEED_TIMEOUT).await;
        // One that does not answer is not needed any more.
        if let Ok((_, Some(theirs))) = called
            && theirs != ours
        {
            let what = format!("{directory} belongs to cluster {ours}, {seed} to {theirs}");
            return Err(Failure::new(REFUSED, what)
                .hint("join from an empty directory, or leave out the join token"));
        }
    }
    Ok(())
}
