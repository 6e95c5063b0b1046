//! What data nodes end with on their disks.

use dfs_core::datanode::store::StoreConfig;
use dfs_core::env::Env;
use dfs_core::master::ChunkMap;

use super::{Cluster, Role};
use crate::checkers::replicas::Holdings;

impl Cluster {
    /// Reads the directories of all data nodes, which no longer run: every replica that the
    /// masters count on must be there, bit by bit. Where bits flipped, only what was read since
    /// is mended; the rest is not judged.
    pub(super) async fn lacking_replicas(&self, map: &ChunkMap) -> Vec<String> {
        let mut wrong = Vec::new();
        for node in self.nodes.iter().filter(|node| node.role == Role::Data) {
            if node.is_rotten {
                continue;
            }
            let config = StoreConfig::new(node.disk.directory());
            let name = &node.name;
            match Holdings::read(config, Env::real()).await {
                Ok(holdings) => {
                    let lacking = holdings.lacking(map).into_iter();
                    wrong.extend(lacking.map(|(c, why)| format!("D4: {name} has not {c}: {why}")));
                }
                Err(error) => wrong.push(format!("D4: {name} cannot be opened: {error}")),
            }
        }
        wrong
    }
}
