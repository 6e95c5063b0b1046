//! The masters and data nodes that run, each in a slot of its own.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;

use super::builder::Config;
use super::retry;
use super::roster::Roster;
use crate::datanode::{DataNode, DataNodeConfig, DataNodeError};
use crate::error::{Error, ErrorKind, Result};
use crate::master::{Master, MasterConfig};

/// What is left of a part's former life may hold its directory or port for so long.
const FORMER_LIFE: Duration = Duration::from_secs(5);
/// Masters keep their ports for good: these are below those that systems hand out to programs
/// that ask for any.
const PORTS: std::ops::Range<u64> = 20_000..32_000;

/// A master or a data node of the cluster, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A master.
    Master(usize),
    /// A data node.
    DataNode(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Master(index) => write!(f, "m{}", index + 1),
            Part::DataNode(index) => write!(f, "n{}", index + 1),
        }
    }
}

/// All parts.
pub(crate) struct Parts {
    pub(crate) directory: PathBuf,
    pub(crate) config: Config,
    pub(crate) roster: Roster,
    pub(crate) masters: Vec<Mutex<Option<Master>>>,
    pub(crate) nodes: Vec<Mutex<Option<DataNode>>>,
}

impl Parts {
    /// Asks a master something, if it runs.
    pub(crate) async fn with_master<T>(
        &self,
        index: usize,
        ask: impl FnOnce(&Master) -> T,
    ) -> Option<T> {
        self.masters.get(index)?.lock().await.as_ref().map(ask)
    }

    /// Asks a data node something, if it runs.
    pub(crate) async fn with_node<T>(
        &self,
        index: usize,
        ask: impl FnOnce(&DataNode) -> T,
    ) -> Option<T> {
        self.nodes.get(index)?.lock().await.as_ref().map(ask)
    }

    pub(crate) fn directory_of(&self, part: Part) -> PathBuf {
        self.directory.join(part.to_string())
    }

    /// Stops a part at once. One that is down stays so.
    pub(crate) async fn crash(&self, part: Part) {
        match part {
            Part::Master(index) => {
                if let Some(slot) = self.masters.get(index)
                    && let Some(master) = slot.lock().await.take()
                {
                    master.crash().await;
                }
            }
            Part::DataNode(index) => {
                if let Some(slot) = self.nodes.get(index) {
                    drop(slot.lock().await.take());
                }
            }
        }
    }

    /// Starts a part that is down, at its address.
    pub(crate) async fn restart(&self, part: Part) -> Result<()> {
        match part {
            Part::Master(index) => {
                let Some(slot) = self.masters.get(index) else {
                    return Err(Error::invalid(format!("there is no {part}")));
                };
                let mut slot = slot.lock().await;
                if slot.is_none() {
                    let address = self.roster.masters.get(index);
                    let config = self.config.master(&self.directory, index, address);
                    let master = start_master(&self.config, config).await?;
                    if !master.is_admitted().await {
                        // Its disk was wiped: it comes back as somebody new.
                        let seeds = &self.roster.masters;
                        retry(self.config.patience, || master.join(seeds)).await?;
                    }
                    *slot = Some(master);
                }
            }
            Part::DataNode(index) => {
                let Some(slot) = self.nodes.get(index) else {
                    return Err(Error::invalid(format!("there is no {part}")));
                };
                let mut slot = slot.lock().await;
                if slot.is_none() {
                    let address = self.roster.nodes.get(index);
                    let masters = &self.roster.masters;
                    let config = self.config.node(&self.directory, index, address, masters);
                    *slot = Some(start_node(&self.config, config).await?);
                }
            }
        }
        Ok(())
    }

    /// Stops all parts in order: data nodes first, so that masters hear their last words.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        let mut result = Ok(());
        for slot in &self.nodes {
            if let Some(node) = slot.lock().await.take()
                && let Err(error) = node.shutdown().await
            {
                result = Err(node_error(error));
            }
        }
        let mut masters = Vec::new();
        for slot in &self.masters {
            masters.extend(slot.lock().await.take());
        }
        // The leader last: the others need not elect another in between, and it finds nobody to
        // hand over to.
        masters.sort_by_key(Master::leads);
        for master in masters {
            master.shutdown().await;
        }
        result
    }
}

/// Starts a master. Where it may choose its port, it chooses one that it can keep.
pub(crate) async fn start_master(cluster: &Config, config: MasterConfig) -> Result<Master> {
    retry(FORMER_LIFE, || {
        let mut config = config.clone();
        if let Some(host) = config.listen.strip_suffix(":0") {
            let port = PORTS.start + cluster.env.random.below(PORTS.end - PORTS.start);
            config.listen = format!("{host}:{port}");
        }
        Master::start(config, cluster.env.clone())
    })
    .await
}

/// Starts a data node.
pub(crate) async fn start_node(cluster: &Config, mut config: DataNodeConfig) -> Result<DataNode> {
    let (disk, directory) = (cluster.env.disk.clone(), config.store.directory.clone());
    let exists = move || disk.exists(&directory);
    let exists = cluster.env.run_blocking(exists).await;
    // What exists must be a store: an empty directory would be a lost disk.
    config.store.initialize = !exists.unwrap_or(true);
    retry(FORMER_LIFE, || async {
        let started = DataNode::start(config.clone(), cluster.env.clone()).await;
        started.map_err(node_error)
    })
    .await
}

pub(crate) fn node_error(error: DataNodeError) -> Error {
    let kind = match error {
        DataNodeError::Store(_) => ErrorKind::Internal,
        DataNodeError::Invalid(_) | DataNodeError::Listen { .. } | DataNodeError::Refused(_) => {
            ErrorKind::Invalid
        }
    };
    Error::with_source(kind, "a data node", error)
}
