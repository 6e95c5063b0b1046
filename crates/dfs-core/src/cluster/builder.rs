//! Starting a cluster: founding it the first time, finding it again later.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;

use super::Cluster;
use super::parts::{Parts, node_error, start_master, start_node};
use super::roster::Roster;
use crate::datanode::store::Reserve;
use crate::datanode::{DataNode, DataNodeConfig};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::master::{Master, MasterConfig};
use crate::types::{Policy, PolicyChange, ReplicationTarget};

const MIB: usize = 1 << 20;
/// Most parts of one kind.
const PARTS_MAX: usize = 64;

type TuneMaster = Arc<dyn Fn(&mut MasterConfig) + Send + Sync>;
type TuneNode = Arc<dyn Fn(usize, &mut DataNodeConfig) + Send + Sync>;

/// Settings of a cluster.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) env: Env,
    masters: usize,
    nodes: usize,
    tune_master: TuneMaster,
    tune_node: TuneNode,
    /// How long parts may take to find each other, and a leader to be elected.
    pub(crate) patience: Duration,
}

impl Config {
    /// Settings of a master: lean in memory, at `address` if it has one.
    pub(crate) fn master(
        &self,
        directory: &Path,
        index: usize,
        address: Option<&String>,
    ) -> MasterConfig {
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
        if let Some(address) = address {
            config.listen.clone_from(address);
        }
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
    let before = known.unwrap_or_default();
    let (masters, nodes) = start_parts(&config, &directory, &before).await?;
    let mut roster = Roster {
        cluster: before.cluster,
        masters: masters.iter().map(|m| m.address().to_owned()).collect(),
        nodes: nodes.iter().map(|n| n.address().to_owned()).collect(),
    };
    if roster != before {
        // Before anything is founded: what was founded must be found again.
        roster.write(&config.env, &directory).await?;
    }
    let founded = gather(&config, &masters, &roster).await?;
    if roster.cluster.is_none() {
        roster.cluster = masters.iter().find_map(Master::cluster);
        roster.write(&config.env, &directory).await?;
    }
    for node in &nodes {
        node.joined().await.map_err(node_error)?;
    }
    let cluster = Cluster {
        parts: Arc::new(Parts {
            directory,
            roster,
            masters: masters.into_iter().map(|m| Mutex::new(Some(m))).collect(),
            nodes: nodes.into_iter().map(|n| Mutex::new(Some(n))).collect(),
            config,
        }),
    };
    cluster.wait_until_ready().await?;
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

async fn start_parts(
    config: &Config,
    directory: &Path,
    before: &Roster,
) -> Result<(Vec<Master>, Vec<DataNode>)> {
    let masters = (0..config.masters).map(|index| {
        let master = config.master(directory, index, before.masters.get(index));
        start_master(config, master)
    });
    let masters = try_join_all(masters).await?;
    let addresses: Vec<String> = masters.iter().map(|m| m.address().to_owned()).collect();
    let addresses = &addresses;
    let nodes = (0..config.nodes).map(|index| async move {
        let address = if_free(&config.env, before.nodes.get(index)).await;
        start_node(config, config.node(directory, index, address, addresses)).await
    });
    Ok((masters, try_join_all(nodes).await?))
}

/// The address, unless another program has taken it.
async fn if_free<'a>(env: &Env, address: Option<&'a String>) -> Option<&'a String> {
    let address = address?;
    env.network.listen(address).await.ok().map(|_| address)
}

/// Makes the masters one group; true if it was founded now.
async fn gather(config: &Config, masters: &[Master], roster: &Roster) -> Result<bool> {
    let founded = !masters.iter().any(Master::is_member);
    if let (true, Some(id)) = (founded, roster.cluster) {
        return Err(Error::invalid(format!(
            "no master of cluster {id} has its files any more: without them its data is of no use"
        )));
    }
    if let (true, Some(first)) = (founded, masters.first()) {
        first.found().await?;
    }
    let mut new = Vec::new();
    let mut known = None;
    for master in masters {
        match master.is_admitted().await {
            true => known = known.or(Some(master)),
            false => new.push(master),
        }
    }
    let joins = new.into_iter().map(|master| async {
        let seeds: Vec<String> = roster.masters.clone();
        super::retry(config.patience, || master.join(&seeds)).await
    });
    if !founded && let Some(first) = known {
        // Instead of waiting for the silence of a leader that cannot be.
        first.trigger_election().await?;
    }
    try_join_all(joins).await?;
    Ok(founded)
}

impl Cluster {
    /// Waits until all masters vote and all data nodes are heard.
    async fn wait_until_ready(&self) -> Result<()> {
        let limit = self.parts.config.patience;
        self.wait_for("all masters and data nodes", limit, || async {
            for index in 0..self.masters() {
                let ready = self.parts.with_master(index, |master| {
                    let (voters, live) = master.strength()?;
                    Some(voters >= self.masters() && live >= self.data_nodes())
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
