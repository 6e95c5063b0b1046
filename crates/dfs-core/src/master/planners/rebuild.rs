//! Members of stripes: what is left of a stripe, and what a lost member can be made from.
//!
//! A member has one replica. When that is lost it is made from any K others, on a node that has
//! no other member: two members on one node would be lost together.

use crate::master::view::ClusterView;
use crate::proto::metadata::Liveness;
use crate::types::stripe::{Code, StripeShape};
use crate::types::{ChunkId, NodeId, StripeLayout};

/// A member that can be read, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where among the members it is.
    pub index: u8,
    /// Which chunk.
    pub chunk: ChunkId,
    /// Its bytes.
    pub length: u64,
    /// CRC-32C of them.
    pub checksum: u32,
    /// Who has it, best choice first.
    pub nodes: Vec<NodeId>,
}

/// What a member can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Where among the members it is.
    pub index: u8,
    /// How parity was computed.
    pub code: Code,
    /// Data and parity.
    pub shape: StripeShape,
    /// Bytes of each member; of the last data chunk the most.
    pub shard_length: u64,
    /// The others that can be read, at least as many as there is data.
    pub parts: Vec<Part>,
}

/// What is left of the stripe of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remains {
    /// The other members that can be read.
    pub parts: Vec<Part>,
    /// Nodes that are meant to have other members, and are not dead.
    pub neighbours: Vec<NodeId>,
    /// How many members it takes.
    pub needed: usize,
}

impl Remains {
    /// What remains beside a chunk.
    pub fn of(view: &ClusterView, chunk: ChunkId, stripe: &StripeLayout) -> Remains {
        let mut remains = Remains {
            needed: stripe.shape.data(),
            ..Remains::default()
        };
        for (index, member) in (0..).zip(&stripe.members) {
            if member.chunk == chunk {
                continue;
            }
            let is_there = |id: &&NodeId| {
                let node = view.node(**id);
                node.is_some_and(|node| node.liveness != Liveness::Dead)
            };
            remains
                .neighbours
                .extend(member.replicas.iter().filter(is_there));
            let can_read = |id: &&NodeId| {
                let node = view.node(**id);
                node.is_some_and(|node| {
                    let serves = node.liveness != Liveness::Dead || node.serves_in_spite();
                    serves && node.fault(member.chunk).is_none()
                })
            };
            let mut nodes: Vec<NodeId> = member.replicas.iter().filter(can_read).copied().collect();
            view.sort_for_reading(member.chunk, &mut nodes);
            nodes.extend(view.strays(member.chunk));
            if !nodes.is_empty() {
                remains.parts.push(Part {
                    index,
                    chunk: member.chunk,
                    length: member.length,
                    checksum: member.checksum,
                    nodes,
                });
            }
        }
        // Those on nodes that answer soonest first: they are asked first.
        let haste = |part: &Part| {
            let node = part.nodes.first().and_then(|node| view.node(*node));
            node.map(|node| (node.liveness, node.streams))
        };
        remains.parts.sort_by_key(haste);
        remains
    }

    /// How many members may be lost until the chunk is, where `own` says whether it can be read
    /// itself; none if it is lost already, but for other reasons.
    pub fn spare(&self, own: bool) -> usize {
        (self.parts.len() + usize::from(own) + 1).saturating_sub(self.needed)
    }

    /// Whether the chunk can be made from the others.
    pub fn are_enough(&self) -> bool {
        self.needed > 0 && self.parts.len() >= self.needed
    }

    /// What the chunk is made from.
    pub fn recipe(&self, chunk: ChunkId, stripe: &StripeLayout) -> Option<Recipe> {
        let index = u8::try_from(stripe.index_of(chunk)?).ok()?;
        self.are_enough().then(|| Recipe {
            index,
            code: stripe.code,
            shape: stripe.shape,
            shard_length: stripe.shard_length,
            parts: self.parts.clone(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::master::view::Fault;
    use crate::master::view::tests::view;
    use crate::types::stripe::StripeMember;

    /// A stripe of 2+2: c1 to c4 on these nodes, none where it is 0.
    pub(crate) fn stripe(nodes: [u32; 4]) -> StripeLayout {
        let member = |(chunk, node): (u64, u32)| StripeMember {
            chunk: ChunkId(chunk),
            length: 10,
            checksum: 7,
            replicas: (node != 0).then_some(NodeId(node)).into_iter().collect(),
        };
        StripeLayout {
            code: Code::Leopard16,
            shape: StripeShape { data: 2, parity: 2 },
            shard_length: 64,
            members: (1..).zip(nodes).map(member).collect(),
        }
    }

    #[test]
    fn what_can_be_read_of_the_others_is_what_remains() {
        let stripe = stripe([1, 2, 3, 0]);
        let mut view = view(5);
        view.set_liveness(NodeId(1), Liveness::Dead);
        let indexes = |view: &ClusterView| {
            let remains = Remains::of(view, ChunkId(1), &stripe);
            let all = remains.parts.iter().map(|part| part.index);
            (all.collect::<Vec<_>>(), remains.spare(false))
        };
        assert_eq!(indexes(&view), (vec![1, 2], 1));
        view.add_fault(NodeId(2), ChunkId(2), Fault::Corrupt);
        assert_eq!(indexes(&view), (vec![2], 0));
        view.add_surplus(NodeId(5), ChunkId(4));
        assert_eq!(indexes(&view).1, 1);
        let neighbours = Remains::of(&view, ChunkId(1), &stripe).neighbours;
        assert_eq!(neighbours, [2, 3].map(NodeId));
    }

    #[test]
    fn a_member_is_made_from_as_many_others_as_there_is_data_and_no_fewer() {
        let mut view = view(4);
        let stripe = stripe([1, 2, 3, 4]);
        let recipe = |view: &ClusterView| {
            let remains = Remains::of(view, ChunkId(4), &stripe);
            remains
                .recipe(ChunkId(4), &stripe)
                .map(|recipe| recipe.index)
        };
        view.set_liveness(NodeId(1), Liveness::Dead);
        assert_eq!(recipe(&view), Some(3));
        view.set_liveness(NodeId(2), Liveness::Dead);
        assert_eq!(recipe(&view), None);
    }
}
