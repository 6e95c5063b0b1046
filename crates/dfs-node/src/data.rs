//! Running a data node.

use std::path::PathBuf;

use dfs_core::datanode::store::StoreError;
use dfs_core::datanode::{DataNode, DataNodeConfig, DataNodeError};
use dfs_core::env::{Env, raise_handle_limit};
use dfs_core::types::{Topology, VolumeId};

use crate::discover::Finder;
use crate::failure::{Failure, USAGE};
use crate::limits::affordable;
use crate::master::{PAUSE_MAX, PAUSE_MIN};
use crate::run::{directory, say, stop_signal};
use crate::security::Wanted;
use crate::settings::{DataSettings, set_mib};

/// Starts a data node. One that has to join waits until masters answer: they may be starting.
/// With a finder it asks those that are found, too.
async fn start(
    mut config: DataNodeConfig,
    finder: Option<&Finder>,
) -> Result<DataNode, DataNodeError> {
    let mut pause = PAUSE_MIN;
    loop {
        if let (Some(finder), Some(authority)) = (finder, config.security.authority()) {
            let found = finder.of_authority(authority);
            config.security = config.security.with_addresses(found);
        }
        match DataNode::start(config.clone(), Env::real()).await {
            Err(error @ DataNodeError::Unavailable(_)) => {
                tracing::warn!(%error, "no master lets this one join yet; it will ask again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            started => return started,
        }
    }
}

/// Waits until any masters are found, and says where.
async fn any(finder: &Finder) -> Vec<String> {
    loop {
        let found = finder.all().into_iter().map(|found| found.address);
        let found: Vec<String> = found.collect();
        if !found.is_empty() {
            return found;
        }
        tracing::info!("no master is set, and none is found yet; it will look on");
        tokio::time::sleep(PAUSE_MAX).await;
    }
}

/// Tells a data node of the masters of its cluster that are found, for ever.
async fn suggest(node: &DataNode, finder: Option<&Finder>) {
    let Some(finder) = finder else {
        return std::future::pending().await;
    };
    loop {
        if let Some(cluster) = node.cluster() {
            node.suggest_masters(finder.of_cluster(cluster));
        }
        tokio::time::sleep(PAUSE_MAX).await;
    }
}

/// A directory as it is known from anywhere: it is remembered.
fn whole(directory: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&directory)
        .map_err(|e| Failure::new(USAGE, format!("{}: {e}", directory.display())))
}

/// What the settings say.
fn configured(settings: DataSettings) -> Result<DataNodeConfig, Failure> {
    let masters = settings.masters.unwrap_or_default();
    let all = settings.directory.into_iter();
    let mut all = all.chain(settings.dir.into_iter().flatten());
    let first = whole(directory(all.next())?)?;
    let mut config = DataNodeConfig::new(first, masters);
    config.more = all.map(whole).collect::<Result<_, _>>()?;
    let leave = settings.leave.into_iter().flatten();
    config.leave = leave.map(whole).collect::<Result<_, _>>()?;
    let wanted = Wanted {
        join: settings.join.as_slice(),
        join_file: settings.join_file.as_deref(),
        insecure: settings.insecure.unwrap_or_default(),
        listen: settings.listen.as_deref().unwrap_or_default(),
        directory: &config.store.directory,
    };
    let (security, named) = wanted.security()?;
    config.security = security;
    let finds = settings.discover.unwrap_or_default();
    if config.masters.is_empty() && named.is_empty() && !finds {
        return Err(Failure::new(USAGE, "no master is set").hint(
            "pass `--join-file FILE` with a join token, or `--masters HOST:PORT,…`, or set \
             DFS_MASTERS or `masters` in the file, or find them with `--discover`",
        ));
    }
    if let Some(listen) = settings.listen {
        config.listen = listen;
    }
    config.advertise = settings.advertise;
    set_mib(&mut config.audit_bytes, settings.audit_mib);
    set_mib(&mut config.store.reserve.bytes, settings.reserve_mib);
    if let Some(period) = settings.scrub_period {
        config.scrub.period = period.0;
    }
    set_mib(&mut config.scrub.rate_max, settings.scrub_mib);
    config.topology = Topology {
        zone: settings.zone.unwrap_or_default(),
        rack: settings.rack.unwrap_or_default(),
        host: settings.host.unwrap_or_default(),
    };
    // A connection may need a file, and a connection to the next data node.
    config.limits.connections = affordable(config.limits.connections, 3, raise_handle_limit());
    Ok(config)
}

/// What a data node that did not start is told to do.
fn hinted(error: DataNodeError) -> Failure {
    match error {
        DataNodeError::Store(StoreError::Empty(_)) => {
            Failure::from(error).hint("if this is to be a new data node, pass `--new`, this once")
        }
        DataNodeError::Store(StoreError::Missing { volume, .. }) => {
            Failure::from(error).hint(format!(
                "name it with `--dir DIR`, wherever it is now; if it is gone for good, pass \
                 `--forget {volume}`, this once"
            ))
        }
        DataNodeError::Papers { was, .. } => {
            let named = was.map(|node| format!(" --node {node}"));
            let named = named.unwrap_or_default();
            Failure::from(error).hint(format!(
                "join with `--join-file` and a token of an administrator \
                 (`dfs token create --role data{named}`)"
            ))
        }
        error => Failure::from(error),
    }
}

/// Runs a data node until it is told to stop.
pub(crate) async fn data(
    settings: DataSettings,
    new: bool,
    forget: Vec<VolumeId>,
) -> Result<(), Failure> {
    let finder = match settings.discover {
        Some(true) => Some(Finder::start()?),
        _ => None,
    };
    let mut config = configured(settings)?;
    config.store.initialize = new;
    config.forget = forget;
    let mut stop = std::pin::pin!(stop_signal()?);
    let start = async {
        if config.masters.is_empty()
            && config.security.addresses().is_empty()
            && let Some(finder) = &finder
        {
            config.masters = any(finder).await;
        }
        start(config, finder.as_ref()).await
    };
    let started = tokio::select! {
        started = start => started,
        () = &mut stop => return Ok(()),
    };
    let node = started.map_err(hinted)?;
    let mut failed = node.failed();
    let run = async {
        let id = node.joined().await?;
        say(&format!("ready: data node {id} at {}", node.address()))?;
        match failed
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone())
        {
            Ok(Some(reason)) => Err(Failure::from(reason)),
            _ => Ok(()),
        }
    };
    let result = tokio::select! {
        () = stop => Ok(()),
        result = run => result,
        () = suggest(&node, finder.as_ref()) => Ok(()),
    };
    tracing::info!("stopping");
    node.shutdown().await?;
    result
}
