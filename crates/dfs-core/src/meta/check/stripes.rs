//! Stripes and their members agree, one that is there is of use, and no data node is meant to have
//! two members of one.

use std::collections::BTreeSet;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use super::extents::References;
use crate::meta::chunks::stripes::{Membership, Stripe};
use crate::meta::tables::{CHUNKS, STRIPES};
use crate::types::{ChunkId, NewStripe, StripeId};

pub(super) fn check(
    state: &impl ReadState,
    references: &References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    for row in state.scan(STRIPES, ..)? {
        let (id, stripe) = row?;
        let members: Vec<ChunkId> = stripe.members.iter().map(|(chunk, _)| *chunk).collect();
        let first = members.first().map(|chunk| StripeId(chunk.0));
        findings.equal(first, Some(id), format!("{id}: the first member"));
        let live = members
            .iter()
            .filter(|chunk| references.contains_key(chunk));
        findings.equal(
            usize::from(stripe.live),
            live.count(),
            format!("{id}: the live members"),
        );
        findings.require(stripe.live > 0, || format!("{id} is of no use"));
        let new = NewStripe {
            code: stripe.code,
            shape: stripe.shape,
            shard_length: stripe.shard_length,
            members,
        };
        let sound = new.validate();
        findings.require(sound.is_ok(), || format!("{id}: {sound:?}"));
        check_members(state, (id, &stripe), references, findings)?;
    }
    for row in state.scan(CHUNKS, ..)? {
        let (chunk, row) = row?;
        let Some(Membership { stripe: id, index }) = row.stripe else {
            continue;
        };
        let stripe = state.get(STRIPES, &id)?;
        let member = stripe.and_then(|s| s.members.get(usize::from(index)).copied());
        findings.equal(
            member,
            Some((chunk, row.length)),
            format!("{chunk}: member {index} of {id}"),
        );
        findings.equal(row.target.0, 1, format!("{chunk}: its copies"));
    }
    Ok(())
}

fn check_members(
    state: &impl ReadState,
    (id, stripe): (StripeId, &Stripe),
    references: &References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let data = stripe.shape.data();
    let mut nodes = BTreeSet::new();
    for (index, (chunk, length)) in stripe.members.iter().enumerate() {
        let what = format!("{id}: its member {chunk}");
        let Some(row) = state.get(CHUNKS, chunk)? else {
            findings.require(false, || format!("{what} does not exist"));
            continue;
        };
        let is_member = row
            .stripe
            .is_some_and(|m| (m.stripe, usize::from(m.index)) == (id, index));
        findings.require(is_member, || format!("{what} is one of {:?}", row.stripe));
        findings.equal(row.length, *length, format!("{what}: its bytes"));
        let fits = match index + 1 == data {
            true => (1..=stripe.shard_length).contains(length),
            false => *length == stripe.shard_length,
        };
        findings.require(fits, || format!("{what} has {length} bytes"));
        let named = references.contains_key(chunk);
        findings.require(index < data || !named, || {
            format!("{what} is parity and named")
        });
        for node in row.replicas {
            findings.require(nodes.insert(node), || {
                format!("{what} is on {node}, which has another member")
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

    use dfs_raft::state::StateTxn;

    use super::super::check;
    use super::*;
    use crate::meta::Command;
    use crate::meta::tests::fixture::{ATTR, Machine, at, serial};
    use crate::types::change::{Commit, CommitTarget, Piece, WriteOffset};
    use crate::types::stripe::{Code, StripeShape};
    use crate::types::{Change, NewChunk, NodeId, Permit};

    const STRIPE: StripeId = StripeId(1);
    const SECOND: ChunkId = ChunkId(2);

    /// `/f` is a stripe of 2+1: c1 and c2, and c3 is parity.
    fn sound() -> Machine {
        let mut machine = Machine::lenient();
        let client = machine.open_session();
        for key in 1..=3 {
            machine.register(key);
        }
        machine.apply(Command::ReserveChunkIds { count: 10 });
        let chunks: Vec<NewChunk> = (1..=3)
            .map(|id| NewChunk {
                permit: Permit::default(),
                chunk: ChunkId(id),
                length: 128,
                checksum: 0,
                replicas: vec![NodeId(u32::try_from(id).unwrap())],
            })
            .collect();
        let piece = |new: &NewChunk| Piece::Chunk {
            chunk: new.chunk,
            offset: 0,
            length: new.length,
        };
        let commit = Commit {
            target: CommitTarget::New {
                at: at("f"),
                attr: ATTR,
                replace: true,
            },
            offset: WriteOffset::At(0),
            pieces: chunks.iter().take(2).map(piece).collect(),
            revision: None,
            stripes: vec![NewStripe {
                code: Code::Leopard16,
                shape: StripeShape { data: 2, parity: 1 },
                shard_length: 128,
                members: chunks.iter().map(|new| new.chunk).collect(),
            }],
            chunks,
        };
        machine
            .request(serial(client, 1), Change::Commit(commit))
            .unwrap();
        machine.check();
        machine
    }

    fn edit(state: &mut StateTxn<'_>, edit: impl FnOnce(&mut Stripe)) -> Result<(), Fatal> {
        let mut row = state.get(STRIPES, &STRIPE)?.unwrap();
        edit(&mut row);
        state.put(STRIPES, &STRIPE, &row)
    }

    fn edit_chunk(
        state: &mut StateTxn<'_>,
        edit: impl FnOnce(&mut crate::meta::Chunk),
    ) -> Result<(), Fatal> {
        let mut row = state.get(CHUNKS, &SECOND)?.unwrap();
        edit(&mut row);
        state.put(CHUNKS, &SECOND, &row)
    }

    #[test]
    fn damage_of_stripes_is_seen() {
        type Damage = fn(&mut StateTxn<'_>) -> Result<(), Fatal>;
        let damage: [(&str, Damage); 11] = [
            ("x1: the live members", |s| edit(s, |row| row.live = 1)),
            ("x1 is of no use", |s| edit(s, |row| row.live = 0)),
            ("c1: member 0 of x1", |s| s.remove(STRIPES, &STRIPE)),
            ("its member c2 is one of", |s| {
                edit_chunk(s, |row| row.stripe = None)
            }),
            ("its member c2: its bytes", |s| {
                edit_chunk(s, |row| row.length = 127)
            }),
            ("c2: the file it is part of", |s| {
                edit_chunk(s, |row| row.inode.0 = 9)
            }),
            ("c2: its copies", |s| edit_chunk(s, |row| row.target.0 = 2)),
            ("x1: the first member", |s| {
                edit(s, |row| row.members.reverse())
            }),
            ("its member c1 has 128 bytes", |s| {
                edit(s, |row| row.shard_length = 64)
            }),
            ("c2 is on n1, which has another member", |s| {
                edit_chunk(s, |row| row.replicas = vec![NodeId(1)])
            }),
            ("c2 does not exist", |s| s.remove(CHUNKS, &SECOND)),
        ];
        for (expected, damage) in damage {
            let machine = sound();
            machine.edit(damage);
            let found = check(&machine.view()).unwrap();
            let seen = found
                .iter()
                .any(|violation| violation.what.contains(expected));
            assert!(seen, "{expected}: {found:#?}");
        }
    }
}
