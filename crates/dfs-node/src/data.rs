//! Running a data node.

use std::path::PathBuf;

use dfs_core::datanode::store::StoreError;
use dfs_core::datanode::{DataNode, DataNodeConfig, DataNodeError};
use dfs_core::env::{Env, raise_handle_limit};
use dfs_core::types::{Topology, VolumeId};

use crate::failure::{Failure, USAGE};
use crate::limits::affordable;
use crate::master::{PAUSE_MAX, PAUSE_MIN};
use crate::run::{directory, say, stop_signal};
use crate::security::Wanted;
use crate::settings::{DataSettings, set_mib};

/// Starts a data node. One that has to join waits until masters answer: they may be starting.
async fn start(config: DataNodeConfig) -> Result<DataNode, DataNodeError> {
    let mut pause = PAUSE_MIN;
    loop {
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
    if config.masters.is_empty() && named.is_empty() {
        return Err(Failure::new(USAGE, "no master is set").hint(
            "pass `--join-file FILE` with a join token, or `--masters HOST:PORT,…`, or set \
             DFS_MASTERS or `masters` in the file",
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
        DataNodeError::Papers { .. } => Failure::from(error).hint(
            "join with `--join-file` and a token of an administrator \
             (`dfs token create --role data`)",
        ),
        error => Failure::from(error),
    }
}

/// Runs a data node until it is told to stop.
pub(crate) async fn data(
    settings: DataSettings,
    new: bool,
    forget: Vec<VolumeId>,
) -> Result<(), Failure> {
    let mut config = configured(settings)?;
    config.store.initialize = new;
    config.forget = forget;
    let mut stop = std::pin::pin!(stop_signal()?);
    let started = tokio::select! {
        started = start(config) => started,
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
    };
    tracing::info!("stopping");
    node.shutdown().await?;
    result
}
