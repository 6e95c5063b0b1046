//! What data nodes end with on their disks.

use std::collections::BTreeSet;
use std::time::Duration;

use dfs_core::datanode::store::StoreConfig;
use dfs_core::datanode::{DataNode, DataNodeConfig};
use dfs_core::env::Env;
use dfs_core::master::{ChunkMap, Master};
use dfs_core::types::ChunkId;
use tokio::time::{Instant, sleep};

use super::states::POLL;
use super::{Cluster, Node, RESERVE, Role};
use crate::checkers::replicas::{Holdings, stripes, too_few};
use crate::processes::tool;

/// Masters may take so long to hear of what is left over and to give it up.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);
/// Chunks that are shown, of many.
const SHOWN: usize = 5;

/// What is on the disk of a data node.
struct Held<'a> {
    node: &'a Node,
    holdings: Holdings,
}

impl Cluster {
    /// Reads the directories of all data nodes, which no longer run. Every replica that the
    /// masters count on must be there, bit by bit, and of each chunk as many as are wanted; of
    /// what else is there nothing may be forgotten.
    pub(super) async fn judge_replicas(
        &self,
        map: &ChunkMap,
        masters: &[(String, Master)],
    ) -> Vec<String> {
        let (held, mut wrong) = self.read_data_nodes(map).await;
        for held in &held {
            wrong.extend(lacking(held, map));
        }
        if held.len() == self.places(Role::Data).len() {
            let nodes: BTreeSet<_> = held.iter().filter_map(|h| h.holdings.node).collect();
            wrong.extend(too_few(map, &nodes));
            wrong.extend(stripes::complaints(map, held.iter().map(|h| &h.holdings)));
        }
        wrong.extend(self.left_over(&held, map, masters).await);
        wrong
    }

    /// What is on the disks of data nodes, and what is wrong with those that cannot be read.
    async fn read_data_nodes(&self, map: &ChunkMap) -> (Vec<Held<'_>>, Vec<String>) {
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        for node in self.nodes.iter().filter(|node| node.role == Role::Data) {
            let config = StoreConfig::new(node.disk.directory());
            let name = &node.name;
            match Holdings::read(config, Env::real(), |c| stripes::is_member(map, c)).await {
                Ok(holdings) => {
                    if holdings.node.is_none() {
                        wrong.push(format!("D4: {name} does not know which data node it is"));
                    }
                    all.push(Held { node, holdings });
                }
                // Bits of what is needed to open it may have flipped.
                Err(_) if node.is_rotten => {}
                Err(error) => wrong.push(format!("D4: {name} cannot be opened: {error}")),
            }
        }
        (all, wrong)
    }

    /// What nobody wants is given up by the masters, once they have heard of it: if they have not
    /// yet, the data nodes tell them now. One that is rotten may not know what it has.
    async fn left_over(
        &self,
        held: &[Held<'_>],
        map: &ChunkMap,
        masters: &[(String, Master)],
    ) -> Vec<String> {
        let sound = held.iter().filter(|held| !held.node.is_rotten);
        let left = sound.map(|held| (held, held.holdings.left_over(map)));
        let mut left: Vec<_> = left.filter(|(_, chunks)| !chunks.is_empty()).collect();
        let (mut running, mut wrong) = (Vec::new(), Vec::new());
        // All of them: one copy too many is given up when the others were read.
        let all = held.iter().filter(|_| !left.is_empty());
        for held in all {
            match self.start_here(held.node).await {
                Ok(node) => running.push(node),
                Err(_) if held.node.is_rotten => {}
                Err(why) => wrong.push(format!("D5: unknown: {why}")),
            }
        }
        let start = Instant::now();
        while !left.is_empty() && start.elapsed() < GIVEN_UP_WITHIN {
            sleep(POLL).await;
            if let Some(map) = masters.iter().find_map(|(_, m)| m.chunk_map().ok()) {
                for (held, chunks) in &mut left {
                    // What was given up once is deleted later, and the map forgets it.
                    let now = held.holdings.left_over(&map);
                    chunks.retain(|chunk| now.contains(chunk));
                }
                left.retain(|(_, chunks)| !chunks.is_empty());
            }
        }
        for node in running {
            let ended = node.shutdown().await;
            wrong.extend(ended.err().map(|e| format!("D5: a data node: {e}")));
        }
        wrong.extend(left.iter().map(|(held, chunks)| {
            let (name, count) = (&held.node.name, chunks.len());
            let some: Vec<_> = chunks.iter().take(SHOWN).map(ChunkId::to_string).collect();
            format!("D5: {name} keeps {count} chunks that nobody wants: {some:?}")
        }));
        wrong
    }

    /// A data node, in this process.
    async fn start_here(&self, node: &Node) -> Result<DataNode, String> {
        let address = format!("ip address add {}/32 dev lo", node.host.address);
        tool::run(&address).await.map_err(|e| e.to_string())?;
        let mut config = DataNodeConfig::new(node.disk.directory(), self.masters());
        config.listen = node.address();
        config.store.reserve.bytes = RESERVE;
        let started = DataNode::start(config, Env::real()).await;
        started.map_err(|e| format!("{} does not start: {e}", node.name))
    }
}

/// Replicas that the masters count on and that are not as they should be. Where bits flipped,
/// only what was read since is mended: what is corrupt there is not judged, but what is gone is.
fn lacking(held: &Held<'_>, map: &ChunkMap) -> Vec<String> {
    let (name, holdings) = (&held.node.name, &held.holdings);
    let mut lacking = holdings.lacking(map);
    if held.node.is_rotten {
        lacking.retain(|(chunk, _)| !holdings.is_corrupt(*chunk));
    }
    let lacking = lacking.into_iter();
    let complaint = |(chunk, why)| format!("D4: {name} has not {chunk}: {why}");
    lacking.map(complaint).collect()
}
