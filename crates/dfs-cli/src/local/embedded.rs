//! A cluster that runs in this process.

use std::path::Path;

use dfs_core::cluster::Cluster;
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
        raise_handle_limit();
        let builder = Cluster::builder()
            .masters(shape.masters)
            .data_nodes(shape.data_nodes);
        // Boxed: it contains all of a cluster.
        let started = Box::pin(builder.start(dir)).await;
        let cluster = started.doing("start the cluster in", dir.display())?;
        Ok(Embedded(cluster))
    }

    /// The addresses of its masters.
    pub(crate) fn masters(&self) -> Vec<String> {
        self.0.addresses()
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
