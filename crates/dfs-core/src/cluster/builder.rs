//! Starting a cluster: founding it the first time, finding it again later.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::timeout;

use super::parts::{NodeSlot, Parts, free_address, node_error};
use super::roster::Roster;
use super::{Cluster, Part};
use crate::datanode::DataNodeConfig;
use crate::datanode::store::Reserve;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::master::MasterConfig;
use crate::node::Security;
use crate::types::{Policy, PolicyChange, ReplicationTarget};

const MIB: usize = 1 << 20;
/// Where parts listen.
const HOST: &str = "127.0.0.1";
/// Most parts of one kind.
const PARTS_MAX: usize = 64;

type TuneMaster = Arc<dyn Fn(&mut MasterConfig) + Send + Sync>;
type TuneNode = Arc<dyn Fn(usize, &mut DataNodeConfig) + Send + Sync>;

/// Settings of a cluster.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) env: Env,
    masters: usize,
    pub(crate) nodes: usize,
    pub(crate) insecure: bool,
    tune_master: TuneMaster,
    tune_node: TuneNode,
    /// How long parts may take to find each other, and a leader to be elected.
    pub(crate) patience: Duration,
}

impl Config {
    /// Settings of a master: lean in memory.
    pub(crate) fn master(&self, directory: &Path, index: usize, address: &str) -> MasterConfig {
        let name = super::Part::Master(index).to_string();
        let mut config = MasterConfig::new(directory.join(name));
        config.group_size = self.masters;
        config.reserve = 128 << 20;
        config.tick = Duration::from_millis(50);
        config.pass_interval = Duration::from_secs(1);
        config.replica.log_cache_bytes = 2 * MIB;
        config.replica.log_segment_bytes = 2 << 20;
        config.replica.state_cache_bytes = 16 * MIB;
        config.replica.log_bytes_kept = 64 << 20;
        (self.tune_master)(&mut config);
        address.clone_into(&mut config.listen);
        config
    }

    /// Settings of a data node: lean in memory, at `address` if it has one.
    pub(crate) fn node(
        &self,
        directory: &Path,
        index: usize,
        address: Option<&String>,
        masters: &[String],
    ) -> DataNodeConfig {
        let name = super::Part::DataNode(index).to_string();
        let mut config = DataNodeConfig::new(directory.join(name), masters.to_vec());
        config.store.index_cache = 8 * MIB;
        config.store.reserve = Reserve {
            bytes: 64 << 20,
            percent: 1,
        };
        config.limits.buffer_bytes = 256 * MIB;
        (self.tune_node)(index, &mut config);
        if let Some(address) = address {
            config.listen.clone_from(address);
        }
        config
    }
}

/// Collects the settings of a [`Cluster`].
#[derive(Clone)]
#[must_use]
pub struct ClusterBuilder {
    config: Config,
}

impl ClusterBuilder {
    pub(super) fn new() -> ClusterBuilder {
        ClusterBuilder {
            config: Config {
                env: Env::real(),
                masters: 3,
                nodes: 3,
                insecure: false,
                tune_master: Arc::new(|_| {}),
                tune_node: Arc::new(|_, _| {}),
                patience: Duration::from_secs(20),
            },
        }
    }

    /// Sets how many masters there are: 3, unless set. Later starts have as many as the first.
    pub fn masters(mut self, count: usize) -> ClusterBuilder {
        self.config.masters = count;
        self
    }

    /// Sets how many data nodes there are: 3, unless set. A later start may have more.
    ///
    /// With fewer than 3 the first start sets the policy of the root directory to as many copies.
    pub fn data_nodes(mut self, count: usize) -> ClusterBuilder {
        self.config.nodes = count;
        self
    }

    /// Does without encryption and logins: whoever reaches a port has full access. For tests and
    /// benchmarks. A cluster stays as it was founded.
    pub fn insecure(mut self) -> ClusterBuilder {
        self.config.insecure = true;
        self
    }

    /// Changes the settings of every master.
    pub fn tune_masters(
        mut self,
        tune: impl Fn(&mut MasterConfig) + Send + Sync + 'static,
    ) -> ClusterBuilder {
        self.config.tune_master = Arc::new(tune);
        self
    }

    /// Changes the settings of data nodes, each by its index.
    pub fn tune_data_nodes(
        mut self,
        tune: impl Fn(usize, &mut DataNodeConfig) + Send + Sync + 'static,
    ) -> ClusterBuilder {
        self.config.tune_node = Arc::new(tune);
        self
    }

    /// Sets the world to live in: the machine, unless set.
    pub fn env(mut self, env: Env) -> ClusterBuilder {
        self.config.env = env;
        self
    }

    /// Sets how long parts may take to find each other, and a leader to be elected.
    pub fn patience(mut self, patience: Duration) -> ClusterBuilder {
        self.config.patience = patience;
        self
    }

    /// Starts the cluster in `directory` and waits until it can be used.
    ///
    /// # Errors
    /// The settings or the directory cannot be used, a port of a master is taken, or the cluster
    /// does not get ready in time.
    pub async fn start(self, directory: impl AsRef<Path>) -> Result<Cluster> {
        // In a box, or the futures of programs that embed it are too deep for the compiler.
        Box::pin(start(self.config, directory.as_ref().to_owned())).await
    }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("masters", &self.config.masters)
            .field("data_nodes", &self.config.nodes)
            .finish_non_exhaustive()
    }
}

async fn start(mut config: Config, directory: PathBuf) -> Result<Cluster> {
    make_directory(&config, &directory).await?;
    let known = Roster::read(&config.env, &directory).await?;
    if let Some(known) = &known {
        config.masters = known.masters.len();
        config.nodes = config.nodes.max(known.nodes.len());
    }
    let allowed = 1..=PARTS_MAX;
    if !allowed.contains(&config.masters) || !allowed.contains(&config.nodes) {
        let what = format!("{} masters, {} data nodes", config.masters, config.nodes);
        return Err(Error::invalid(format!("{what}: 1 to {PARTS_MAX} of each")));
    }
    let (env, patience) = (config.env.clone(), config.patience);
    let mut roster = known.unwrap_or_default();
    while roster.masters.len() < config.masters {
        roster.masters.push(free_address(&env, HOST).await?);
    }
    // Before anything is founded: what was founded must be found again.
    roster.write(&env, &directory).await?;
    let parts = Arc::new(Parts::new(config, directory.clone(), &roster));
    let mut cluster = Cluster {
        parts,
        access: None,
    };
    let founded = cluster.gather_masters(&roster).await?;
    roster.cluster = Some(cluster.id().await?);
    cluster.parts.leave_out_removed().await?;
    let nodes = 0..cluster.parts.nodes.len();
    try_join_all(nodes.map(|index| cluster.parts.start_node(index))).await?;
    let slots = cluster.parts.nodes.iter();
    roster.nodes = slots.filter_map(NodeSlot::address).collect();
    roster.write(&env, &directory).await?;
    for slot in &cluster.parts.nodes {
        if let Some(node) = slot.running.lock().await.as_ref() {
            let joined = timeout(patience, node.joined()).await;
            let joined = joined.map_err(|_| Error::unavailable("a data node does not join"))?;
            joined.map_err(node_error)?;
        }
    }
    cluster.wait_until_ready().await?;
    cluster.access = cluster.open_access().await?;
    if founded {
        cluster.fit_policy().await?;
    }
    Ok(cluster)
}

async fn make_directory(config: &Config, directory: &Path) -> Result<()> {
    let (disk, path) = (config.env.disk.clone(), directory.to_owned());
    let make = move || disk.create_directory(&path);
    config.env.run_blocking(make).await.map_err(|e| {
        let what = format!("cannot use {}", directory.display());
        Error::with_source(ErrorKind::Invalid, what, e)
    })
}

impl Cluster {
    /// Starts the masters and makes them one group; true if it was founded now. Those that have
    /// papers start first: the others need a token of theirs.
    async fn gather_masters(&self, roster: &Roster) -> Result<bool> {
        let parts = &self.parts;
        let mut ready = Vec::new();
        let mut late = Vec::new();
        for index in 0..self.masters() {
            let founder = index == 0 && roster.cluster.is_none();
            match parts.config.insecure {
                true => ready.push((index, Security::Insecure)),
                false if founder => ready.push((index, Security::Found)),
                false if parts.has_papers(Part::Master(index)).await? => {
                    ready.push((index, Security::Papers));
                }
                false => late.push(index),
            }
        }
        let ready = ready.into_iter();
        try_join_all(ready.map(|(index, security)| parts.start_master(index, security))).await?;
        let founded = self.found(roster).await?;
        for index in late {
            let security = parts.security(Part::Master(index)).await?;
            parts.start_master(index, security).await?;
        }
        try_join_all((0..self.masters()).map(|index| parts.admit(index))).await?;
        Ok(founded)
    }

    /// Founds the cluster, unless that was done; says whether it did.
    async fn found(&self, roster: &Roster) -> Result<bool> {
        let mut member = None;
        for slot in &self.parts.masters {
            let slot = slot.lock().await;
            let Some(master) = slot.as_ref() else {
                continue;
            };
            if roster.cluster.is_none() && master.is_founding().await? {
                master.found().await?;
                self.make_access(master).await?;
                master.forget_founding().await?;
                return Ok(true);
            }
            if master.is_admitted().await && member.is_none() {
                // Instead of waiting for the silence of a leader that cannot be.
                master.trigger_election().await?;
                member = master.cluster();
            }
        }
        match (member, roster.cluster) {
            (Some(_), _) => Ok(false),
            (None, id) => {
                let id = id.map(|id| format!(" {id}")).unwrap_or_default();
                Err(Error::invalid(format!(
                    "no master of cluster{id} has its files any more: without them its data is \
                     of no use"
                )))
            }
        }
    }
}

impl Cluster {
    /// Waits until all masters vote and all data nodes are heard.
    async fn wait_until_ready(&self) -> Result<()> {
        let limit = self.parts.config.patience;
        let slots = self.parts.nodes.iter();
        let nodes = slots.filter(|slot| !slot.is_removed()).count();
        self.wait_for("all masters and data nodes", limit, || async {
            for index in 0..self.masters() {
                let ready = self.parts.with_master(index, |master| {
                    let (voters, live) = master.strength()?;
                    Some(voters >= self.masters() && live >= nodes)
                });
                if ready.await.flatten() == Some(true) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Asks for no more copies than there are data nodes.
    async fn fit_policy(&self) -> Result<()> {
        let nodes = u8::try_from(self.data_nodes()).unwrap_or(u8::MAX);
        if nodes >= Policy::DEFAULT.replicas.0 {
            return Ok(());
        }
        let change = PolicyChange {
            replicas: Some(ReplicationTarget(nodes)),
            ..PolicyChange::default()
        };
        let client = self.client().await?;
        client.set_policy("/", change).await?;
        client.close().await;
        Ok(())
    }
}
