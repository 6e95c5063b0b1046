//! Bytes of some chunks are written into others.

use bytes::Bytes;

use super::fixture::{Cluster, bytes, eventually, read, rot, write};
use crate::proto::cluster::{
    RewriteSource, RewriteTarget, StoredChunk, StripePlan, Task, TaskResult,
};
use crate::proto::erasure;
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::crc32c;
use crate::types::stripe::{Code, StripeShape};
use crate::types::{ByteRange, ChunkId, InodeId};

const LENGTH: usize = 300_000;
const SHAPE: StripeShape = StripeShape { data: 2, parity: 1 };

struct Setting {
    cluster: Cluster,
    nodes: Vec<NodeAddress>,
}

/// Three nodes; c1 is on the first, c2 on the second.
async fn setting() -> Setting {
    let cluster = Cluster::start(3).await;
    let nodes = cluster.addresses();
    for (id, node) in (1..=2).zip(&nodes) {
        let chunk = ChunkId(id);
        let target = std::slice::from_ref(node);
        write(&cluster.pool, target, chunk, &bytes(chunk, LENGTH))
            .await
            .unwrap();
    }
    Setting { cluster, nodes }
}

/// All of c1, and c2 from a place within on.
const SKIPPED: usize = 70_000;

fn expected() -> Bytes {
    let second = bytes(ChunkId(2), LENGTH).slice(SKIPPED..);
    [bytes(ChunkId(1), LENGTH), second].concat().into()
}

impl Setting {
    fn task(&self, targets: &[(u64, &[usize])], stripe: Option<StripePlan>) -> Task {
        let source = |id: u64, skipped: usize| RewriteSource {
            chunk: ChunkId(id),
            offset: skipped as u64,
            length: (LENGTH - skipped) as u64,
            chunk_length: LENGTH as u64,
            checksum: crc32c(&bytes(ChunkId(id), LENGTH)),
            nodes: vec![self.nodes[id as usize - 1].clone()],
        };
        let target = |(id, nodes): &(u64, &[usize])| RewriteTarget {
            chunk: ChunkId(*id),
            nodes: nodes.iter().map(|node| self.nodes[*node].clone()).collect(),
        };
        Task::Rewrite {
            inode: InodeId(5),
            sources: vec![source(1, 0), source(2, SKIPPED)],
            targets: targets.iter().map(target).collect(),
            stripe,
        }
    }

    async fn done(&self, task: Task) -> TaskResult {
        let master = &self.cluster.master;
        master.give(self.nodes[2].node, task.clone());
        let ended = || {
            let state = master.state();
            state
                .finished
                .iter()
                .find(|ended| ended.task == task)
                .cloned()
        };
        eventually("the task ends", ended).await
    }

    async fn stored(&self, stored: &StoredChunk) -> Vec<u8> {
        let all = ByteRange::new(0, stored.length);
        let node = self
            .nodes
            .iter()
            .find(|node| node.node == stored.nodes[0])
            .unwrap();
        read(&self.cluster.pool, node, stored.chunk, all)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn bytes_of_several_chunks_become_one_on_all_nodes_of_its_pipeline() {
    let setting = setting().await;

    let ended = setting.done(setting.task(&[(9, &[1, 2])], None)).await;

    assert_eq!(ended.result, Ok(()));
    let whole = expected();
    let nodes = [1, 2].map(|node| setting.nodes[node].node).to_vec();
    let stored = StoredChunk {
        chunk: ChunkId(9),
        length: whole.len() as u64,
        checksum: crc32c(&whole),
        nodes,
    };
    assert_eq!(ended.stored, std::slice::from_ref(&stored));
    assert!(setting.stored(&stored).await == whole);
}

#[tokio::test]
async fn bytes_of_several_chunks_become_a_stripe() {
    let setting = setting().await;
    let whole = expected();
    let plan = StripePlan {
        code: Code::Leopard16,
        shape: SHAPE,
        shard_length: SHAPE.shard_length_of(whole.len() as u64),
    };

    let ended = setting
        .done(setting.task(&[(7, &[0]), (8, &[1]), (9, &[2])], Some(plan)))
        .await;

    assert_eq!(ended.result, Ok(()));
    let members = erasure::members(plan.code, SHAPE, plan.shard_length, [whole]).unwrap();
    for (stored, member) in ended.stored.iter().zip(members) {
        assert!(setting.stored(stored).await == member.bytes, "{stored:?}");
    }
}

#[tokio::test]
async fn rotten_bytes_are_rewritten_nowhere() {
    let setting = setting().await;
    rot(&setting.cluster.directory(0), LENGTH as u64);

    let ended = setting.done(setting.task(&[(9, &[2])], None)).await;

    assert!(ended.result.unwrap_err().contains("corrupt"));
    assert_eq!(ended.stored, []);
    assert_eq!(setting.cluster.nodes[2].shared.store.replicas(), 0);
}
