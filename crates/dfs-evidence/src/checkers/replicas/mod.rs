//! Replicas: have data nodes on their disks what the map says they have, and nothing else?
//!
//! No client is asked: the directories of data nodes that do not run, or copies of them, are read
//! as a data node reads its own.

pub mod stripes;

use std::collections::{BTreeMap, BTreeSet};

use dfs_core::datanode::store::{ChunkStore, ReplicaSummary, StoreConfig, StoreError};
use dfs_core::env::Env;
use dfs_core::master::ChunkMap;
use dfs_core::master::planners::Intended;
use dfs_core::types::{ChunkId, NodeId};

use stripes::Sum;

/// Replicas read from the index of a store at a time.
const PAGE: usize = 1024;

/// What is in the directory of a data node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Whose it is; nobody's before it has registered.
    pub node: Option<NodeId>,
    /// Its replicas, or what is wrong with them. All their bytes were read.
    pub replicas: BTreeMap<ChunkId, Result<ReplicaSummary, String>>,
    /// What stripes are judged by, of those replicas that were asked for and are right.
    pub sums: BTreeMap<ChunkId, Sum>,
}

impl Holdings {
    /// Reads a directory that no process has. It is opened as a data node opens it, so what a
    /// crash left is put in order. Of which replicas the sum is wanted says `is_member`.
    ///
    /// # Errors
    /// It cannot be opened, or its index cannot be read.
    pub async fn read(
        config: StoreConfig,
        env: Env,
        is_member: impl Fn(ChunkId) -> bool,
    ) -> Result<Holdings, StoreError> {
        let (store, _) = ChunkStore::open(config, env).await?;
        let mut holdings = Holdings {
            node: store.stamp().node,
            ..Holdings::default()
        };
        let mut from = ChunkId(0);
        loop {
            let page = store.list(from, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            from = ChunkId(last.chunk.0.saturating_add(1));
            for replica in page {
                let verified = store.verify(replica.chunk).await;
                if verified.is_ok() && is_member(replica.chunk) {
                    let sum = stripes::sum(&store, &replica).await?;
                    holdings.sums.insert(replica.chunk, sum);
                }
                let is = verified.map(|()| replica).map_err(|e| e.to_string());
                holdings.replicas.insert(replica.chunk, is);
            }
        }
        store.close().await?;
        Ok(holdings)
    }

    /// Replicas that this data node is meant to have and has not, or not as they should be, and
    /// why.
    pub fn lacking(&self, map: &ChunkMap) -> Vec<(ChunkId, String)> {
        let Some(node) = self.node else {
            return Vec::new();
        };
        let mut lacking = Vec::new();
        for (id, chunk) in &map.chunks {
            if !chunk.replicas.contains(&node) {
                continue;
            }
            let wrong = match self.replicas.get(id) {
                None => "it is not there".to_owned(),
                Some(Err(why)) => why.clone(),
                Some(Ok(r)) if (r.length, r.checksum) == (chunk.length, chunk.checksum) => continue,
                Some(Ok(replica)) => format!(
                    "it has {} bytes with checksum {:08x} and not {} with {:08x}",
                    replica.length, replica.checksum, chunk.length, chunk.checksum
                ),
            };
            lacking.push((*id, wrong));
        }
        lacking
    }

    /// Whether there is a replica of this chunk here, and its bytes are wrong.
    pub fn is_corrupt(&self, chunk: ChunkId) -> bool {
        matches!(self.replicas.get(&chunk), Some(Err(_)))
    }

    /// Replicas here that nobody wants here.
    pub fn unwanted(&self, map: &ChunkMap) -> Vec<ChunkId> {
        let wanted = |id: &ChunkId| {
            let chunk = map.chunks.get(id).zip(self.node);
            chunk.is_some_and(|(chunk, node)| chunk.replicas.contains(&node))
        };
        let all = self.replicas.keys().copied();
        all.filter(|id| !wanted(id)).collect()
    }

    /// Those of them that are left over: they do not wait for their deletion, and no write that
    /// is under way can make them wanted.
    pub fn left_over(&self, map: &ChunkMap) -> Vec<ChunkId> {
        let mut left = self.unwanted(map);
        let waits = |id: &ChunkId| {
            let of_node = self.node.map(|node| (*id, node));
            of_node.is_some_and(|of_node| map.given_up.contains(&of_node))
        };
        left.retain(|id| !waits(id) && !map.may_come(*id));
        left
    }
}

/// Chunks of which the map counts fewer replicas at these data nodes, which are all there are,
/// than are wanted.
pub fn too_few(map: &ChunkMap, all: &BTreeSet<NodeId>) -> Vec<String> {
    let complaint = |(id, chunk): (&ChunkId, &Intended)| {
        let there = chunk.replicas.iter().filter(|node| all.contains(node));
        let (there, wanted) = (there.count(), usize::from(chunk.target.0));
        (there < wanted).then(|| {
            let on = &chunk.replicas;
            format!("D6: {there} of {wanted} data nodes are to have {id}: {on:?}")
        })
    };
    map.chunks.iter().filter_map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use dfs_core::types::ReplicationTarget;

    use super::*;

    fn replica(chunk: u64, checksum: u32) -> ReplicaSummary {
        ReplicaSummary {
            chunk: ChunkId(chunk),
            length: 10,
            checksum,
        }
    }

    fn map(chunks: &[(u64, &[u32])]) -> ChunkMap {
        let intended = |nodes: &[u32]| Intended {
            length: 10,
            checksum: 7,
            target: ReplicationTarget(2),
            replicas: nodes.iter().copied().map(NodeId).collect(),
            stripe: None,
        };
        let chunks = chunks.iter();
        ChunkMap {
            chunks: chunks.map(|(c, n)| (ChunkId(*c), intended(n))).collect(),
            ..ChunkMap::default()
        }
    }

    fn holdings(replicas: Vec<(u64, Result<ReplicaSummary, String>)>) -> Holdings {
        let replicas = replicas.into_iter();
        Holdings {
            node: Some(NodeId(1)),
            replicas: replicas.map(|(id, is)| (ChunkId(id), is)).collect(),
            sums: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_lost_torn_or_other_than_meant_is_lacking() {
        let has = holdings(vec![
            (1, Ok(replica(1, 7))),
            (2, Err("torn".to_owned())),
            (3, Ok(replica(3, 8))),
        ]);
        let all: &[(u64, &[u32])] = &[(1, &[1, 2]), (2, &[1]), (3, &[1]), (4, &[2, 1]), (5, &[2])];
        let lacking: Vec<u64> = has.lacking(&map(all)).iter().map(|(id, _)| id.0).collect();
        assert_eq!(lacking, [2, 3, 4]);
        assert_eq!(has.lacking(&map(&[(1, &[1])])), []);
    }

    #[test]
    fn what_no_file_has_or_another_node_should_have_is_unwanted() {
        let has = holdings(vec![
            (1, Ok(replica(1, 7))),
            (2, Ok(replica(2, 7))),
            (3, Err("torn".to_owned())),
        ]);
        let unwanted = has.unwanted(&map(&[(1, &[1, 2]), (2, &[2])]));
        assert_eq!(unwanted, [ChunkId(2), ChunkId(3)]);
    }

    #[test]
    fn what_waits_for_its_deletion_or_for_its_commit_is_not_left_over() {
        let has = holdings((1..=6).map(|id| (id, Ok(replica(id, 7)))).collect());
        let mut map = map(&[(1, &[1]), (2, &[2]), (3, &[2])]);
        map.given_up = BTreeSet::from([(ChunkId(2), NodeId(1)), (ChunkId(5), NodeId(2))]);
        (map.granted, map.spent) = (vec![(ChunkId(3), ChunkId(6))], BTreeSet::from([ChunkId(5)]));
        // One more copy than wanted; one that was freed, and given up elsewhere only; one whose
        // grant is over.
        assert_eq!(has.left_over(&map), [ChunkId(3), ChunkId(5), ChunkId(6)]);
    }

    #[test]
    fn a_replica_at_a_data_node_that_is_gone_does_not_count() {
        let map = map(&[(1, &[1, 2]), (2, &[1, 9]), (3, &[1, 2, 9])]);
        let found = too_few(&map, &BTreeSet::from([NodeId(1), NodeId(2)]));
        let begins = format!("D6: 1 of 2 data nodes are to have {}", ChunkId(2));
        assert!(
            found.len() == 1 && found[0].starts_with(&begins),
            "{found:?}"
        );
    }

    #[test]
    fn bytes_that_are_wrong_are_told_from_those_that_are_not_there() {
        let has = holdings(vec![(1, Ok(replica(1, 7))), (2, Err("torn".to_owned()))]);
        let corrupt: Vec<bool> = (1..4).map(|id| has.is_corrupt(ChunkId(id))).collect();
        assert_eq!(corrupt, [false, true, false]);
    }
}
