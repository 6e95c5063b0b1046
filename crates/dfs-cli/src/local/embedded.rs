//! A cluster that runs in this process.

use std::path::Path;

use dfs_core::client::Profile;
use dfs_core::cluster::{Cluster, ClusterBuilder};
use dfs_core::env::raise_handle_limit;

use crate::error::{Doing, Result};
use crate::local::home::Shape;

/// The cluster.
#[derive(Debug)]
pub(crate) struct Embedded(Cluster);

impl Embedded {
    /// Starts it, or founds it where there is none.
    ///
    /// # Errors
    /// Its directory cannot be used, or is damaged.
    pub(crate) async fn start(dir: &Path, shape: Shape) -> Result<Embedded> {
        Embedded::start_with(dir, shape, |builder| builder).await
    }

    /// The same, with other settings.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn start_with(
        dir: &Path,
        shape: Shape,
        settings: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
    ) -> Result<Embedded> {
        raise_handle_limit();
        let builder = Cluster::builder()
            .masters(shape.masters)
            .data_nodes(shape.data_nodes);
        let builder = settings(builder);
        // Boxed: it contains all of a cluster.
        let started = Box::pin(builder.start(dir)).await;
        let cluster = started.doing("start the cluster in", dir.display())?;
        Ok(Embedded(cluster))
    }

    /// How it is reached, by whoever may.
    pub(crate) fn profile(&self) -> Profile {
        let config = self.0.client_config();
        Profile::new(config.masters, config.access.as_ref())
    }

    /// How many of its data nodes were removed from it.
    pub(crate) fn removed_data_nodes(&self) -> usize {
        self.0.removed_data_nodes()
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// A part of it did not stop well. What was acknowledged is on stable storage all the same.
    pub(crate) async fn stop(&self) -> Result<()> {
        let stopped = self.0.clone().shutdown().await;
        stopped.doing("stop", "the cluster")
    }
}
