//! What data nodes end with on their disks.

use std::collections::BTreeSet;

use dfs_core::datanode::store::StoreConfig;
use dfs_core::env::Env;
use dfs_core::master::ChunkMap;

use super::{Cluster, Role};
use crate::checkers::replicas::{Holdings, too_few};

impl Cluster {
    /// Reads the directories of all data nodes, which no longer run: every replica that the
    /// masters count on must be there, bit by bit, and of each chunk as many as are wanted. Where
    /// bits flipped, only what was read since is mended: what is corrupt there is not judged, but
    /// what is gone is.
    pub(super) async fn lacking_replicas(&self, map: &ChunkMap) -> Vec<String> {
        let (mut wrong, mut read) = (Vec::new(), BTreeSet::new());
        let mut all_are_read = true;
        for node in self.nodes.iter().filter(|node| node.role == Role::Data) {
            let config = StoreConfig::new(node.disk.directory());
            let name = &node.name;
            let holdings = match Holdings::read(config, Env::real()).await {
                Ok(holdings) => holdings,
                Err(error) => {
                    all_are_read = false;
                    // Bits of what is needed to open it may have flipped.
                    if !node.is_rotten {
                        wrong.push(format!("D4: {name} cannot be opened: {error}"));
                    }
                    continue;
                }
            };
            match holdings.node {
                Some(id) => drop(read.insert(id)),
                None => wrong.push(format!("D4: {name} does not know which data node it is")),
            }
            let mut lacking = holdings.lacking(map);
            if node.is_rotten {
                lacking.retain(|(chunk, _)| !holdings.is_corrupt(*chunk));
            }
            let lacking = lacking.into_iter();
            wrong.extend(lacking.map(|(chunk, why)| format!("D4: {name} has not {chunk}: {why}")));
        }
        if all_are_read {
            wrong.extend(too_few(map, &read));
        }
        wrong
    }
}
