//! A whole cluster in this process: the same masters and data nodes that the daemons run, over
//! loopback TCP, in one directory.
//!
//! ```no_run
//! # async fn example() -> dfs_core::error::Result<()> {
//! use dfs_core::cluster::Cluster;
//!
//! let cluster = Cluster::builder().masters(3).data_nodes(3).start("/var/lib/my-app").await?;
//! let client = cluster.client().await?;
//! client.write("/greeting", "hello").await?;
//! cluster.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The first start founds the cluster; later ones find it again, at the addresses it had.
//! [`Cluster::faults`] takes parts of it away, for tests.
//!
//! ```text
//! directory/ ─┬─ cluster      addresses, one a line
//!             ├─ access       what clients log in with
//!             ├─ m1/ m2/ …    masters
//!             └─ n1/ n2/ …    data nodes
//! ```

mod access;
#[cfg(test)]
mod audited;
mod builder;
mod check;
#[cfg(test)]
mod elsewhere;
mod faults;
mod parts;
mod roster;
#[cfg(test)]
mod security;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use builder::ClusterBuilder;
pub use check::Unsound;
pub use faults::{Down, Faults};
pub use parts::Part;

use crate::client::{Access, Client, ClientConfig};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::query::LayoutSource;
use crate::types::{ByteRange, ClusterId, NodeId};
use parts::Parts;

/// How often a condition is looked at that nothing tells of.
const POLL: Duration = Duration::from_millis(10);

/// A running cluster. Dropping it stops everything at once, as a crash would;
/// [`Cluster::shutdown`] is gentler. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    parts: Arc<Parts>,
    /// What clients log in with, once it is known.
    access: Option<Access>,
}

impl Cluster {
    /// Settings one by one.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// A client of this cluster, with a session of its own.
    ///
    /// # Errors
    /// No master answers.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.client_config(), self.env().clone()).await
    }

    /// The settings that [`client`](Cluster::client) uses.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig {
            access: self.access.clone(),
            ..ClientConfig::new(self.addresses())
        }
    }

    /// The addresses of the masters, for clients anywhere.
    pub fn addresses(&self) -> Vec<String> {
        self.parts.addresses.clone()
    }

    /// Where it is kept.
    pub fn directory(&self) -> &PathBuf {
        &self.parts.directory
    }

    /// Its id.
    ///
    /// # Errors
    /// No master runs.
    pub async fn id(&self) -> Result<ClusterId> {
        for index in 0..self.masters() {
            let id = self.parts.with_master(index, |master| master.cluster());
            if let Some(Some(id)) = id.await {
                return Ok(id);
            }
        }
        Err(Error::unavailable("no master runs"))
    }

    /// How many masters it has, running or not.
    pub fn masters(&self) -> usize {
        self.parts.masters.len()
    }

    /// How many data nodes it has, running or not.
    pub fn data_nodes(&self) -> usize {
        self.parts.nodes.len()
    }

    /// How many of them were removed from the cluster; they do not run any more.
    pub fn removed_data_nodes(&self) -> usize {
        let removed = self.parts.nodes.iter().filter(|slot| slot.is_removed());
        removed.count()
    }

    /// The master that leads; waits for one.
    ///
    /// # Errors
    /// There is none for long.
    pub async fn leader(&self) -> Result<Part> {
        let wait = self.parts.config.patience;
        self.wait_for("a leader", wait, || async {
            for index in 0..self.masters() {
                let leads = self.parts.with_master(index, |master| master.leads());
                if leads.await == Some(true) {
                    return Ok(Some(Part::Master(index)));
                }
            }
            Ok(None)
        })
        .await
    }

    /// A data node that runs and is meant to have bytes of a file.
    ///
    /// # Errors
    /// The file is not there, has no chunk, or none of its data nodes runs.
    pub async fn holder_of(&self, path: &str) -> Result<Part> {
        let holders = self.holders_of(path).await?;
        let first = holders.first().copied();
        first.ok_or_else(|| Error::unavailable(format!("no data node that runs has {path}")))
    }

    /// The data nodes that run and are meant to have the first chunk of a file.
    ///
    /// # Errors
    /// The file is not there, or the cluster does not answer.
    pub async fn holders_of(&self, path: &str) -> Result<Vec<Part>> {
        let client = self.client().await?;
        let layout = client.layout(path, ByteRange::new(0, u64::MAX)).await?;
        let mut sources = layout.extents.into_iter().map(|extent| extent.source);
        let replicas = sources.find_map(|source| match source {
            LayoutSource::Chunk { replicas, .. } => Some(replicas),
            LayoutSource::Inline(_) => None,
        });
        let mut holders = Vec::new();
        for node in replicas.unwrap_or_default() {
            holders.extend(self.part_of(node).await);
        }
        Ok(holders)
    }

    /// The part that a data node is, if it runs.
    pub async fn part_of(&self, node: NodeId) -> Option<Part> {
        for index in 0..self.data_nodes() {
            let id = self.parts.with_node(index, |running| running.node_id());
            if id.await == Some(Some(node)) {
                return Some(Part::DataNode(index));
            }
        }
        None
    }

    /// The id of a data node that runs.
    pub async fn node_id(&self, part: Part) -> Option<NodeId> {
        match part {
            Part::Master(_) => None,
            Part::DataNode(index) => self.parts.with_node(index, |node| node.node_id()).await?,
        }
    }

    /// The directory of a part.
    pub fn directory_of(&self, part: Part) -> PathBuf {
        self.parts.directory_of(part)
    }

    /// Takes parts of it away.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.parts))
    }

    /// Stops everything in order.
    ///
    /// # Errors
    /// A part did not stop cleanly; nothing acknowledged is lost.
    pub async fn shutdown(self) -> Result<()> {
        Box::pin(self.parts.shutdown()).await
    }

    fn env(&self) -> &Env {
        &self.parts.config.env
    }

    /// Waits until `condition` gives something.
    async fn wait_for<T, F>(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = condition().await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let what = format!("waited {limit:?} for {what} in vain");
                return Err(Error::unavailable(what));
            }
            sleep(POLL).await;
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("directory", &self.parts.directory)
            .finish_non_exhaustive()
    }
}

/// Tries until `attempt` succeeds or the deadline passes, then gives its last error.
async fn retry<T, F>(limit: Duration, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "tried again");
                sleep(POLL * 2).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: &T) {}

    #[tokio::test]
    async fn a_cluster_can_be_used_from_any_task() {
        let directory = tempfile::tempdir().unwrap();
        let start = Cluster::builder().masters(1).data_nodes(1);
        let start = start.start(&directory);
        is_send(&start);
        let cluster = start.await.unwrap();
        is_send(&cluster.check());
        is_send(&cluster.leader());
        is_send(&cluster.faults().crash(Part::Master(0)));
        cluster.check().await.unwrap();
        cluster.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_new_master_has_a_port_that_systems_hand_out_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let start = Cluster::builder().masters(1).data_nodes(1);
        let cluster = start.start(&directory).await.unwrap();
        let address: std::net::SocketAddr = cluster.addresses()[0].parse().unwrap();
        assert!((20_000..32_000).contains(&address.port()), "{address}");
        cluster.shutdown().await.unwrap();
    }
}
