//! Members of stripes are made from others.

use bytes::Bytes;

use super::fixture::{Cluster, bytes, eventually, read, rot, write};
use crate::proto::cluster::{RebuildSource, Task};
use crate::proto::erasure;
use crate::proto::metadata::NodeAddress;
use crate::types::checksum::crc32c;
use crate::types::stripe::{Code, StripeShape};
use crate::types::{ByteRange, ChunkId};

const SHAPE: StripeShape = StripeShape { data: 2, parity: 2 };
/// More than one slice of it is in memory at a time.
const SHARD: usize = 5 << 20;
/// The last data chunk is shorter.
const LAST: usize = SHARD - 100_000;

/// The members as they are stored: c1 to c4, each on a node of its own.
fn members() -> Vec<Bytes> {
    let last = [bytes(ChunkId(2), LAST).as_ref(), &[0; SHARD - LAST]].concat();
    let mut all = vec![bytes(ChunkId(1), SHARD), Bytes::from(last)];
    let parity = erasure::encode(Code::Leopard16, SHAPE, &all).unwrap();
    all[1].truncate(LAST);
    all.extend(parity.into_iter().map(Bytes::from));
    all
}

struct Stripe {
    cluster: Cluster,
    members: Vec<Bytes>,
    nodes: Vec<NodeAddress>,
}

/// Five nodes, each of the first four with a member.
async fn stripe() -> Stripe {
    let cluster = Cluster::start(5).await;
    let (members, nodes) = (members(), cluster.addresses());
    for ((member, node), id) in members.iter().zip(&nodes).zip(1..) {
        let target = std::slice::from_ref(node);
        write(&cluster.pool, target, ChunkId(id), member)
            .await
            .unwrap();
    }
    Stripe {
        cluster,
        members,
        nodes,
    }
}

impl Stripe {
    /// To make a member from these others, as their nodes are named; all indexes from zero.
    fn task(&self, lost: usize, sources: &[(usize, usize)]) -> Task {
        let source = |&(index, node): &(usize, usize)| RebuildSource {
            index: index as u8,
            chunk: ChunkId(index as u64 + 1),
            length: self.members[index].len() as u64,
            checksum: crc32c(&self.members[index]),
            nodes: vec![self.nodes[node].clone()],
        };
        Task::Rebuild {
            chunk: ChunkId(lost as u64 + 1),
            length: self.members[lost].len() as u64,
            checksum: crc32c(&self.members[lost]),
            index: lost as u8,
            code: Code::Leopard16,
            shape: SHAPE,
            shard_length: SHARD as u64,
            sources: sources.iter().map(source).collect(),
        }
    }

    async fn done(&self, node: usize, task: Task) -> Result<(), String> {
        let master = &self.cluster.master;
        master.give(self.nodes[node].node, task.clone());
        eventually("the task ends", || master.result_of(&task)).await
    }

    async fn is_there(&self, member: usize, node: usize) -> bool {
        let expected = &self.members[member];
        let all = ByteRange::new(0, expected.len() as u64);
        let chunk = ChunkId(member as u64 + 1);
        let found = read(&self.cluster.pool, &self.nodes[node], chunk, all).await;
        found.is_ok_and(|bytes| bytes == *expected)
    }
}

#[tokio::test]
async fn data_the_short_last_and_parity_are_made_from_any_others() {
    let stripe = stripe().await;
    for (lost, sources) in [
        (0, [(1, 1), (2, 2)]),
        (1, [(2, 2), (3, 3)]),
        (3, [(0, 0), (1, 1)]),
    ] {
        let made = stripe.done(4, stripe.task(lost, &sources)).await;
        assert_eq!(made, Ok(()), "{lost}");
        assert!(stripe.is_there(lost, 4).await, "{lost}");
    }
}

#[tokio::test]
async fn a_source_that_fails_is_replaced_by_another_and_too_few_make_nothing() {
    let stripe = stripe().await;
    // The member is not on the node that is named.
    let wrong = (1, 4);
    let few = stripe.done(4, stripe.task(0, &[wrong, (2, 2)])).await;
    let few = few.unwrap_err();
    assert!(few.contains("1 of 2+2 are left"), "{few}");
    assert_eq!(stripe.cluster.nodes[4].shared.store.replicas(), 0);

    let made = stripe
        .done(4, stripe.task(0, &[wrong, (2, 2), (3, 3)]))
        .await;
    assert_eq!(made, Ok(()));
    assert!(stripe.is_there(0, 4).await);
}

#[tokio::test]
async fn what_is_made_of_members_in_each_others_place_is_not_kept() {
    let stripe = stripe().await;
    let mut task = stripe.task(0, &[(2, 2), (3, 3)]);
    let Task::Rebuild { sources, .. } = &mut task else {
        panic!("{task:?}");
    };
    (sources[0].index, sources[1].index) = (3, 2);

    let failed = stripe.done(4, task).await.unwrap_err();

    assert!(failed.contains("other bytes"), "{failed}");
    assert_eq!(stripe.cluster.nodes[4].shared.store.replicas(), 0);
}

#[tokio::test]
async fn a_corrupt_member_is_replaced_where_it_is() {
    let stripe = stripe().await;
    rot(&stripe.cluster.directory(0), SHARD as u64);
    assert!(!stripe.is_there(0, 0).await);

    let made = stripe.done(0, stripe.task(0, &[(1, 1), (2, 2)])).await;

    assert_eq!(made, Ok(()));
    assert!(stripe.is_there(0, 0).await);
}

#[tokio::test]
async fn lengths_that_make_no_sense_are_refused_before_anything_is_read() {
    let stripe = stripe().await;
    let mut task = stripe.task(0, &[(1, 1), (2, 2)]);
    if let Task::Rebuild { shard_length, .. } = &mut task {
        *shard_length = 1000;
    }
    let failed = stripe.done(4, task).await.unwrap_err();
    assert!(failed.contains("1000 each"), "{failed}");
}
