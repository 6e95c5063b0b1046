//! The data node: keeps replicas of chunks and hands them on.
//!
//! ```text
//! client, data node ──chunk stream──▶ service ─┬─▶ pipeline ─▶ store        bytes
//!                                              └────────────▶ store
//! data node ◀────── gossip ─────▶ gossip ────▶ heartbeat, pipeline, tasks    advice
//! masters ◀──register, heartbeat, report───────── heartbeat ◀─ store        control
//!         ───tasks────────────────────────────▶ tasks ─▶ other data nodes, store
//! ```
//!
//! - It belongs to one cluster, for ever: the first registration stamps its directory, and from
//!   then on it talks to no other.
//! - It never deletes on its own, but for what it has put on another of its disks. A corrupt
//!   replica it reports, and keeps what is good of it until it has another one.
//! - It decides nothing that others depend on: masters do, with what it reports. Without masters
//!   it goes on serving what it has.

mod admission;
mod config;
mod error;
pub(crate) mod gossip;
mod heartbeat;
mod pipeline;
mod scrub;
mod service;
pub mod store;
mod tasks;
mod volumes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

pub use config::{DataNodeConfig, DataNodeLimits};
pub use error::DataNodeError;
pub use scrub::ScrubConfig;

use crate::env::{Env, Timestamp};
use crate::node::audit::Audit;
use crate::node::{self, JoinError, Papers};
use crate::proto::chunk_stream::{ChunkPool, PoolConfig};
#[cfg(test)]
use crate::proto::metadata::NodeAddress;
use crate::types::{ClusterId, NodeId, NodeRole};
use admission::{Admission, permits, serving};
use gossip::Peers;
use scrub::CorruptReplicas;
use serving::Serving;
use store::RecoveryReport;
use volumes::Volumes;

/// A running data node. Dropping it stops it at once; [`DataNode::shutdown`] is gentler.
pub struct DataNode {
    shared: Arc<Shared>,
    /// Writes the audit log, longer than the others run who have something to tell.
    auditing: AbortOnDropHandle<()>,
    recovered: RecoveryReport,
}

/// What all parts of a data node share.
struct Shared {
    env: Env,
    config: DataNodeConfig,
    store: Volumes,
    /// Where others reach it.
    address: String,
    admission: Admission,
    corrupt: CorruptReplicas,
    /// Where it is written down who was not let in.
    audit: Audit,
    /// What permits are verified with.
    signing: permits::Masters,
    /// Where masters are, as far as it knows.
    masters: Mutex<Vec<String>>,
    /// What it knows of other data nodes.
    peers: Peers,
    identity: watch::Sender<Option<Identity>>,
    pool: OnceLock<ChunkPool>,
    serving: Serving,
    refused: watch::Sender<Option<DataNodeError>>,
    /// Nothing new is begun.
    stop: CancellationToken,
    /// What runs is cut off.
    kill: CancellationToken,
    streams: TaskTracker,
    background: TaskTracker,
}

/// Whose data node this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    cluster: ClusterId,
    node: NodeId,
}

impl DataNode {
    /// Opens the store, listens, and begins to look for the masters. A node that was in a cluster
    /// before serves reads from then on; a new one waits for its first registration, see
    /// [`DataNode::joined`].
    ///
    /// # Errors
    /// The settings, the directory or the address cannot be used.
    pub async fn start(config: DataNodeConfig, env: Env) -> Result<DataNode, DataNodeError> {
        config.validate().map_err(DataNodeError::Invalid)?;
        let world = env;
        let (store, recovered) = Volumes::open(&config, &world).await?;
        let (papers, env) = match prepare(&config, &store, &world).await {
            Ok(prepared) => prepared,
            Err(error) => {
                store.close().await?;
                return Err(error);
            }
        };
        let room = (config.audit_bytes, config.store.reserve.bytes);
        let (audit, writing) = Audit::new(&env, store.home(), room);
        let listener = match env.network.listen(&config.listen).await {
            Ok(listener) => listener,
            Err(e) => {
                let (address, reason) = (config.listen, e.to_string());
                store.close().await?;
                return Err(DataNodeError::Listen { address, reason });
            }
        };
        let address = config
            .advertise
            .clone()
            .unwrap_or_else(|| listener.local_address());
        let shared = Arc::new(Shared {
            admission: Admission::new(&config.limits),
            audit,
            masters: Mutex::new(config.seeds()),
            signing: permits::Masters::default(),
            peers: Peers::new(&env, address.clone(), config.gossip_interval),
            env,
            config,
            store,
            address,
            corrupt: CorruptReplicas::default(),
            identity: watch::Sender::new(None),
            pool: OnceLock::new(),
            serving: Serving::default(),
            refused: watch::Sender::new(None),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            streams: TaskTracker::new(),
            background: TaskTracker::new(),
        });
        let stamp = shared.store.stamp();
        if let (Some(cluster), Some(node)) = (stamp.cluster, stamp.node) {
            shared.set_identity(Identity { cluster, node });
        }
        let background = &shared.background;
        let auditing = AbortOnDropHandle::new(tokio::spawn(writing));
        background.spawn(service::accept(Arc::clone(&shared), listener));
        background.spawn(heartbeat::run(Arc::clone(&shared)));
        background.spawn(gossip::run(Arc::clone(&shared)));
        for volume in shared.store.all() {
            let (store, scrubbing) = (volume.store.clone(), Arc::clone(&volume.scrubbing));
            background.spawn(scrub::run(Arc::clone(&shared), store, scrubbing));
        }
        background.spawn(volumes::empty_leaving(Arc::clone(&shared)));
        background.spawn(volumes::leave_one_of_two(Arc::clone(&shared)));
        if let Some(papers) = papers {
            background.spawn(renew(Arc::clone(&shared), papers, world));
        }
        info!(address = shared.address, node = ?stamp.node, "data node started");
        Ok(DataNode {
            shared,
            auditing,
            recovered,
        })
    }

    /// Where others reach it, `host:port`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Its id, once it has one.
    pub fn node_id(&self) -> Option<NodeId> {
        self.shared.identity().map(|i| i.node)
    }

    /// The cluster it belongs to, once it does.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.identity().map(|i| i.cluster)
    }

    /// Tells it where masters may be, besides those it was told before. They are tried when none
    /// of those that it knows answers.
    pub fn suggest_masters(&self, addresses: Vec<String>) {
        self.shared.peers.suggest(addresses);
    }

    /// Waits until it belongs to a cluster, and says under which id.
    ///
    /// # Errors
    /// [`DataNodeError::Refused`]: the masters do not want it.
    pub async fn joined(&self) -> Result<NodeId, DataNodeError> {
        let (mut identity, mut refused) = (
            self.shared.identity.subscribe(),
            self.shared.refused.subscribe(),
        );
        tokio::select! {
            // The senders live as long as `self`, so neither can fail.
            Ok(known) = identity.wait_for(Option::is_some) => {
                Ok(known.map(|i| i.node).unwrap_or_default())
            }
            Ok(why) = refused.wait_for(Option::is_some) => Err(why.clone().unwrap_or_else(|| {
                DataNodeError::Refused("for no reason".to_owned())
            })),
        }
    }

    /// Why the masters do not want it, once they have said so. It is of no use then and should
    /// be stopped. (A disk that fails does not end it: the masters are told, reads go on.)
    pub fn failed(&self) -> watch::Receiver<Option<DataNodeError>> {
        self.shared.refused.subscribe()
    }

    /// What was found in the directory at the start.
    pub fn recovered(&self) -> &RecoveryReport {
        &self.recovered
    }

    /// Takes nothing new on, lets running streams end for a moment, closes the store.
    ///
    /// # Errors
    /// The store could not be closed cleanly; replicas are as durable as without it.
    pub async fn shutdown(mut self) -> Result<(), DataNodeError> {
        let shared = Arc::clone(&self.shared);
        shared.stop.cancel();
        shared.streams.close();
        shared.background.close();
        if timeout(shared.config.limits.shutdown, shared.streams.wait())
            .await
            .is_err()
        {
            warn!(
                streams = shared.streams.len(),
                "streams are cut off by the shutdown"
            );
        }
        shared.kill.cancel();
        shared.streams.wait().await;
        shared.background.wait().await;
        shared.audit.close();
        if let Err(error) = (&mut self.auditing).await {
            error!(%error, "the audit log may lack its last lines");
        }
        shared.store.close().await?;
        info!(address = shared.address, "data node stopped");
        Ok(())
    }
}

/// Opens its papers, or gets them, and the world in which it shows them.
async fn prepare(
    config: &DataNodeConfig,
    store: &Volumes,
    world: &Env,
) -> Result<(Option<Papers>, Env), DataNodeError> {
    let (directory, stamp) = (store.home(), store.stamp());
    let own = (Some(stamp.key), NodeRole::DataNode);
    let failed = |reason: String| DataNodeError::Papers {
        directory: directory.display().to_string(),
        reason,
        was: stamp.cluster.map(|_| stamp.key),
    };
    let known = (&*config.masters, stamp.cluster);
    let papers = node::prepare(world, directory, own, &config.security, known).await;
    let papers = papers.map_err(|error| match error {
        JoinError::Unavailable(why) => DataNodeError::Unavailable(why),
        error => failed(error.to_string()),
    })?;
    let env = match &papers {
        Some(papers) => papers.env(world).map_err(|e| failed(e.to_string()))?,
        None => world.clone(),
    };
    Ok((papers, env))
}

/// Renews its papers until it stops.
async fn renew(shared: Arc<Shared>, papers: Papers, world: Env) {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = node::keep_good(papers, world, || shared.masters()) => {}
    }
}

#[cfg(test)]
impl DataNode {
    /// The data nodes that it knows.
    fn peers(&self) -> Vec<NodeAddress> {
        self.shared.peers.known()
    }

    /// Where it would look for one.
    fn places(&self, node: NodeId) -> Vec<NodeAddress> {
        self.shared.peers.addresses(node)
    }

    fn masters(&self) -> Vec<String> {
        self.shared.masters()
    }

    /// How it talks to others.
    fn chunks(&self) -> ChunkPool {
        self.shared.pool().cloned().unwrap()
    }
}

impl Drop for DataNode {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel();
    }
}

impl fmt::Debug for DataNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataNode")
            .field("address", &self.shared.address)
            .field("identity", &self.shared.identity())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn identity(&self) -> Option<Identity> {
        *self.identity.borrow()
    }

    /// Its id; zero, which no node has, before it has one.
    fn node_or_zero(&self) -> NodeId {
        self.identity().map(|i| i.node).unwrap_or_default()
    }

    /// Where masters are; at last where others have seen some.
    fn masters(&self) -> Vec<String> {
        let mut masters = self
            .masters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let rumors = self.peers.rumors().into_iter();
        let rumors = rumors.filter(|rumor| !masters.contains(rumor));
        let rumors: Vec<String> = rumors.collect();
        masters.extend(rumors);
        masters
    }

    /// Notes what a master says of the others. Those of the settings stay, as the way back.
    fn learn_masters(&self, learned: &[String], at: Timestamp) {
        self.peers.sight(at, learned);
        let mut all = learned.to_vec();
        let seeds = self.config.seeds().into_iter();
        all.extend(seeds.filter(|seed| !learned.contains(seed)));
        *self.masters.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn set_identity(&self, identity: Identity) {
        let config = PoolConfig {
            deadlines: self.config.deadlines,
            gives_way: true,
            ..PoolConfig::default()
        };
        self.pool.get_or_init(|| {
            let (env, peers) = (self.env.clone(), self.peers.clone());
            let elsewhere = Box::new(move |node| peers.addresses(node));
            ChunkPool::with_elsewhere(env, identity.cluster, config, elsewhere)
        });
        self.identity.send_replace(Some(identity));
    }

    /// Connections to other data nodes; none before it is in a cluster.
    fn pool(&self) -> Option<&ChunkPool> {
        self.pool.get()
    }
}
