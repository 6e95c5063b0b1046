//! Stripes: do any K of the members that are on disks give all the others?
//!
//! Parity is made of data 64 bytes by 64 bytes, and of the sum of two such columns it is the sum
//! of theirs. So all columns of a member added up (exclusive or) are one column, and those of all
//! members fit together as the members do:
//!
//! ```text
//! data    |--|--|--|--|   ─▶  + ─▶ |--|      64 bytes of each member are enough to know
//! parity  |--|--|--|--|   ─▶  + ─▶ |--|      whether what is on disks can be decoded
//! ```
//!
//! That bytes of a member are in their places is known from its checksum.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dfs_core::datanode::store::{ChunkStore, ReplicaSummary, StoreError};
use dfs_core::master::ChunkMap;
use dfs_core::proto::erasure::decode;
use dfs_core::types::limits::SHARD_UNIT;
use dfs_core::types::{ByteRange, ChunkId, NodeId, StripeLayout};

use super::Holdings;

/// Bytes of a column.
const COLUMN: usize = SHARD_UNIT as usize;

/// All columns of a replica, added up. What lacks of the last counts as zeroes, as in the code.
pub type Sum = [u8; COLUMN];

/// Reads a replica for its sum.
///
/// # Errors
/// It cannot be read.
pub(super) async fn sum(store: &ChunkStore, replica: &ReplicaSummary) -> Result<Sum, StoreError> {
    let reader = store.open_replica(replica.chunk).await?;
    let (mut sum, mut offset) = ([0; COLUMN], 0);
    while offset < replica.length {
        let rest = ByteRange::new(offset, replica.length - offset);
        let run = reader.read(rest).await?;
        offset = run.offset + run.bytes.len() as u64;
        add(&mut sum, &run.bytes);
    }
    Ok(sum)
}

/// Adds columns to a sum; a run of blocks begins with a whole one.
fn add(sum: &mut Sum, bytes: &[u8]) {
    for column in bytes.chunks(COLUMN) {
        for (sum, byte) in sum.iter_mut().zip(column) {
            *sum ^= byte;
        }
    }
}

/// All stripes of a map, by their first member.
fn stripes(map: &ChunkMap) -> BTreeMap<ChunkId, Arc<StripeLayout>> {
    let stripes = map.chunks.values().filter_map(|chunk| chunk.stripe.clone());
    let first = |stripe: &Arc<StripeLayout>| stripe.members.first().map(|m| m.chunk);
    let known = stripes.filter_map(|stripe| Some((first(&stripe)?, stripe)));
    known.collect()
}

/// Whether a chunk is a member of a stripe.
pub fn is_member(map: &ChunkMap, chunk: ChunkId) -> bool {
    let chunk = map.chunks.get(&chunk);
    chunk.is_some_and(|chunk| chunk.stripe.is_some())
}

/// Stripes whose members do not give each other, or of which two would be lost with one data
/// node, and those of which too few are left. What a data node lacks is told elsewhere.
pub fn complaints<'a>(map: &ChunkMap, all: impl IntoIterator<Item = &'a Holdings>) -> Vec<String> {
    let mut sums: BTreeMap<(ChunkId, NodeId), Sum> = BTreeMap::new();
    for holdings in all {
        let Some(node) = holdings.node else {
            continue;
        };
        sums.extend(holdings.sums.iter().map(|(c, sum)| ((*c, node), *sum)));
    }
    let judged = stripes(map).into_values();
    judged.flat_map(|stripe| judge(&stripe, &sums)).collect()
}

fn judge(stripe: &StripeLayout, sums: &BTreeMap<(ChunkId, NodeId), Sum>) -> Vec<String> {
    let mut found = Vec::new();
    let mut homes: BTreeMap<NodeId, ChunkId> = BTreeMap::new();
    let mut left = Vec::new();
    for (index, member) in stripe.members.iter().enumerate() {
        for node in &member.replicas {
            if let Some(other) = homes.insert(*node, member.chunk) {
                let chunk = member.chunk;
                found.push(format!(
                    "D7: {other} and {chunk}, of one stripe, are both on {node}"
                ));
            }
        }
        let mut here = member.replicas.iter();
        let here = here.find_map(|node| sums.get(&(member.chunk, *node)));
        left.extend(here.map(|sum| (index, Bytes::copy_from_slice(sum))));
    }
    let (first, shape) = (stripe.members.first().map(|m| m.chunk), stripe.shape);
    let Some(basis) = left.get(..shape.data()) else {
        let (count, first) = (left.len(), first.unwrap_or(ChunkId(0)));
        found.push(format!(
            "D7: {count} members are left of the {shape} of {first}"
        ));
        return found;
    };
    for (index, sum) in left.iter().skip(basis.len()) {
        let made = decode(stripe.code, shape, basis, *index);
        if made.as_deref() != Ok(&sum[..]) {
            let chunk = stripe.members.get(*index).map_or(ChunkId(0), |m| m.chunk);
            found.push(format!(
                "D7: {chunk} is not what the other members of its {shape} give"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use dfs_core::master::planners::Intended;
    use dfs_core::proto::erasure::encode;
    use dfs_core::types::ReplicationTarget;
    use dfs_core::types::stripe::{Code, StripeMember, StripeShape};

    use super::*;

    const SHAPE: StripeShape = StripeShape { data: 3, parity: 2 };
    const COLUMNS: usize = 5;

    /// Members of a stripe, each on the node of its number.
    fn members() -> Vec<Vec<u8>> {
        let byte = |member: usize, at: usize| (member * 31 + at * at + 7) as u8;
        let data: Vec<Bytes> = (0..3)
            .map(|m| {
                (0..COLUMNS * COLUMN)
                    .map(|at| byte(m, at))
                    .collect::<Vec<_>>()
            })
            .map(Bytes::from)
            .collect();
        let parity = encode(Code::Leopard16, SHAPE, &data).unwrap();
        data.iter().map(|d| d.to_vec()).chain(parity).collect()
    }

    fn found(members: &[Vec<u8>], nodes: [u32; 5]) -> Vec<String> {
        let layout = Arc::new(StripeLayout {
            code: Code::Leopard16,
            shape: SHAPE,
            shard_length: (COLUMNS * COLUMN) as u64,
            members: (1..)
                .zip(nodes)
                .map(|(chunk, node)| StripeMember {
                    chunk: ChunkId(chunk),
                    length: (COLUMNS * COLUMN) as u64,
                    checksum: 7,
                    replicas: vec![NodeId(node)],
                })
                .collect(),
        });
        let intended = Intended {
            length: 1,
            checksum: 7,
            target: ReplicationTarget(1),
            replicas: Vec::new(),
            stripe: Some(layout),
        };
        let map = ChunkMap {
            chunks: (1..=5).map(|c| (ChunkId(c), intended.clone())).collect(),
            ..ChunkMap::default()
        };
        let holdings: Vec<Holdings> = (1..)
            .zip(nodes)
            .zip(members)
            .map(|((chunk, node), bytes)| {
                let mut sum = [0; COLUMN];
                add(&mut sum, bytes);
                Holdings {
                    node: Some(NodeId(node)),
                    sums: [(ChunkId(chunk), sum)].into(),
                    ..Holdings::default()
                }
            })
            .collect();
        complaints(&map, &holdings)
    }

    #[test]
    fn members_that_give_each_other_are_right_though_some_lack() {
        let members = members();
        assert_eq!(found(&members, [1, 2, 3, 4, 5]), Vec::<String>::new());
        assert_eq!(found(&members[..3], [1, 2, 3, 4, 5]), Vec::<String>::new());
        let few = found(&members[..2], [1, 2, 3, 4, 5]);
        assert!(
            few.len() == 1 && few[0].starts_with("D7: 2 members"),
            "{few:?}"
        );
    }

    #[test]
    fn one_wrong_bit_in_any_member_and_members_that_were_swapped_are_seen() {
        for wrong in 0..5 {
            let mut members = members();
            members[wrong][COLUMN + 3] ^= 4;
            assert!(
                !found(&members, [1, 2, 3, 4, 5]).is_empty(),
                "member {wrong}"
            );
        }
        let mut swapped = members();
        swapped.swap(0, 1);
        assert_eq!(found(&swapped, [1, 2, 3, 4, 5]).len(), 2);
    }

    #[test]
    fn two_members_on_one_data_node_are_seen() {
        let found = found(&members(), [1, 2, 3, 4, 2]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("are both on n2"), "{found:?}");
    }
}
