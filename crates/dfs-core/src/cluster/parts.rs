//! The masters and data nodes that run, each in a slot of its own.

use std::fmt;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::builder::Config;
use super::retry;
use super::roster::Roster;
use crate::datanode::{DataNode, DataNodeConfig, DataNodeError};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::master::Master;
use crate::node::{Papers, Security};
use crate::security::JoinToken;
use crate::types::NodeRole;

/// What is left of a part's former life may hold its directory or port for so long.
const FORMER_LIFE: Duration = Duration::from_secs(5);
/// How long a token is good that a part joins with at once.
const TOKEN_TTL: Duration = Duration::from_secs(5 * 60);
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
    /// Where masters are.
    pub(crate) addresses: Vec<String>,
    pub(crate) masters: Vec<Mutex<Option<Master>>>,
    pub(crate) nodes: Vec<NodeSlot>,
}

/// The place of a data node.
pub(crate) struct NodeSlot {
    pub(crate) running: Mutex<Option<DataNode>>,
    /// Where it was last.
    address: std::sync::Mutex<Option<String>>,
    /// Whether it is a data node no more.
    removed: AtomicBool,
}

impl NodeSlot {
    /// Where the data node is, or was last.
    pub(crate) fn address(&self) -> Option<String> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        address.clone()
    }

    /// Whether it is a data node no more: it is not started.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

impl Parts {
    /// The places of all parts. None runs yet.
    pub(crate) fn new(config: Config, directory: PathBuf, roster: &Roster) -> Parts {
        let node = |index| NodeSlot {
            running: Mutex::default(),
            address: std::sync::Mutex::new(roster.nodes.get(index).cloned()),
            removed: AtomicBool::new(false),
        };
        Parts {
            addresses: roster.masters.clone(),
            masters: roster.masters.iter().map(|_| Mutex::default()).collect(),
            nodes: (0..config.nodes).map(node).collect(),
            directory,
            config,
        }
    }

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
        self.nodes
            .get(index)?
            .running
            .lock()
            .await
            .as_ref()
            .map(ask)
    }

    /// Leaves out the data nodes that were removed from the cluster.
    pub(crate) async fn leave_out_removed(&self) -> Result<()> {
        let removed = retry(self.config.patience, || async {
            let mut result = Err(Error::unavailable("no master runs"));
            for slot in &self.masters {
                if let Some(master) = slot.lock().await.as_ref() {
                    result = master.removed_nodes().await;
                    if result.is_ok() {
                        break;
                    }
                }
            }
            result
        });
        let removed = removed.await?;
        for slot in &self.nodes {
            let is_removed = slot.address().is_some_and(|at| removed.contains(&at));
            slot.removed.store(is_removed, Ordering::Relaxed);
        }
        Ok(())
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
                    drop(slot.running.lock().await.take());
                }
            }
        }
    }

    /// Starts a part that is down, at its address. A master whose disk was wiped comes back as
    /// somebody new.
    pub(crate) async fn restart(&self, part: Part) -> Result<()> {
        match part {
            Part::Master(index) => {
                let security = self.security(part).await?;
                self.start_master(index, security).await?;
                self.admit(index).await
            }
            Part::DataNode(index) => self.start_node(index).await,
        }
    }

    /// How a part proves who it is: one without papers needs a token of the leader.
    pub(crate) async fn security(&self, part: Part) -> Result<Security> {
        if self.config.insecure {
            return Ok(Security::Insecure);
        }
        if self.has_papers(part).await? {
            return Ok(Security::Papers);
        }
        let role = match part {
            Part::Master(_) => NodeRole::Master,
            Part::DataNode(_) => NodeRole::DataNode,
        };
        let token = retry(self.config.patience, || self.token(role)).await?;
        Ok(Security::join(token))
    }

    /// Whether a part needs no token.
    pub(crate) async fn has_papers(&self, part: Part) -> Result<bool> {
        let directory = self.directory_of(part);
        let papers = Papers::open(&self.config.env, &directory).await;
        let papers = papers.map_err(|e| Error::invalid(e.to_string()))?;
        Ok(papers.is_some())
    }

    async fn token(&self, role: NodeRole) -> Result<JoinToken> {
        for slot in &self.masters {
            if let Some(master) = slot.lock().await.as_ref()
                && master.leads()
            {
                return master.create_token(role, 1, TOKEN_TTL).await;
            }
        }
        Err(Error::unavailable("no master leads"))
    }

    /// Starts a master that is down.
    pub(crate) async fn start_master(&self, index: usize, security: Security) -> Result<()> {
        let Some((slot, address)) = self.masters.get(index).zip(self.addresses.get(index)) else {
            return Err(Error::invalid(format!(
                "there is no {}",
                Part::Master(index)
            )));
        };
        let mut slot = slot.lock().await;
        if slot.is_none() {
            let mut config = self.config.master(&self.directory, index, address);
            config.security = security;
            let env = &self.config.env;
            let start = || Master::start(config.clone(), env.clone());
            *slot = Some(retry(FORMER_LIFE, start).await?);
        }
        Ok(())
    }

    /// Has a master join the group, unless it is in it.
    pub(crate) async fn admit(&self, index: usize) -> Result<()> {
        let Some(slot) = self.masters.get(index) else {
            return Ok(());
        };
        let slot = slot.lock().await;
        match slot.as_ref() {
            Some(master) if !master.is_admitted().await => {
                let seeds = &self.addresses;
                retry(self.config.patience, || master.join(seeds)).await
            }
            _ => Ok(()),
        }
    }

    /// Starts a data node that is down, at its former address if that is free.
    pub(crate) async fn start_node(&self, index: usize) -> Result<()> {
        let part = Part::DataNode(index);
        let Some(slot) = self.nodes.get(index) else {
            return Err(Error::invalid(format!("there is no {part}")));
        };
        let mut running = slot.running.lock().await;
        if running.is_none() && !slot.is_removed() {
            let env = &self.config.env;
            let former = slot.address();
            let address = match &former {
                Some(address) => env.network.listen(address).await.ok().and(former.as_ref()),
                None => None,
            };
            let masters = &self.addresses;
            let mut config = self.config.node(&self.directory, index, address, masters);
            config.security = self.security(part).await?;
            let node = start_node(env, config).await?;
            let mut at = slot.address.lock().unwrap_or_else(PoisonError::into_inner);
            *at = Some(node.address().to_owned());
            drop(at);
            *running = Some(node);
        }
        Ok(())
    }

    /// Stops all parts in order: data nodes first, so that masters hear their last words.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        let mut result = Ok(());
        for slot in &self.nodes {
            if let Some(node) = slot.running.lock().await.take()
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

/// An address for a new master, which it can keep.
pub(crate) async fn free_address(env: &Env, host: &str) -> Result<String> {
    retry(FORMER_LIFE, || async {
        let port = PORTS.start + env.random.below(PORTS.end - PORTS.start);
        let address = format!("{host}:{port}");
        let listened = env.network.listen(&address).await;
        listened.map_err(|e| Error::unavailable(format!("listen at {address}: {e}")))?;
        Ok(address)
    })
    .await
}

async fn start_node(env: &Env, mut config: DataNodeConfig) -> Result<DataNode> {
    let (disk, directory) = (env.disk.clone(), config.store.directory.clone());
    let exists = env.run_blocking(move || disk.exists(&directory)).await;
    // What exists must be a store: an empty directory would be a lost disk.
    config.store.initialize = !exists.unwrap_or(true);
    retry(FORMER_LIFE, || async {
        let started = DataNode::start(config.clone(), env.clone()).await;
        started.map_err(node_error)
    })
    .await
}

pub(crate) fn node_error(error: DataNodeError) -> Error {
    let kind = match error {
        DataNodeError::Store(_) => ErrorKind::Internal,
        DataNodeError::Invalid(_)
        | DataNodeError::Papers { .. }
        | DataNodeError::Listen { .. }
        | DataNodeError::Refused(_) => ErrorKind::Invalid,
        DataNodeError::Unavailable(why) => return Error::unavailable(why),
    };
    Error::with_source(kind, "a data node", error)
}
