//! What of the metadata must not be as it was when it comes back from a backup: ids that were
//! given out since must not be given out again, and what they name is left alone.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::enrolled;
use super::secrets::{Secret, SecretId};
use crate::meta::counters::{self, number};
use crate::meta::tables::{META, Meta, RANGES, SECRETS, SPENT};
use crate::types::{NodeKey, Timestamp};

/// How many ids are left out, from and to: more than may have been given out since any backup. How
/// many of them is drawn, since what the same backup was restored to before has given out some of
/// its own.
type Gap = (u64, u64);

const CHUNK_IDS: Gap = (1 << 40, 1 << 56);
const IDS: Gap = (1 << 32, 1 << 48);
/// There are 42 bits for them.
const INODE_IDS: Gap = (1 << 32, 1 << 36);
/// There are 32 bits for them.
const SHORT_IDS: Gap = (1 << 16, 1 << 20);
/// There are 22 bits for them.
const SNAPSHOT_IDS: Gap = (1 << 10, 1 << 14);

/// Adjusts what a backup had, and makes a node of the master that goes on with it; `drawn` is
/// random. Gives the cluster's authority, if it has one.
///
/// Chunks whose ids may have been granted since are of files that the backup does not have: their
/// replicas are nobody's, and are kept until a person has judged.
pub(crate) fn adjust(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (drawn, master): (u64, Option<(NodeKey, [u8; 32])>),
) -> Result<Option<Secret>, Fatal> {
    let open = state.scan(RANGES, ..)?.next().transpose()?;
    let next = number(state, Meta::NextChunk)?;
    let first = open.map_or(next, |(start, _)| start.0);
    let before = number(state, Meta::ForeignFrom)?;
    let first = if before == 0 {
        first
    } else {
        first.min(before)
    };
    for (which, (least, end)) in [
        (Meta::NextChunk, CHUNK_IDS),
        (Meta::NextInode, INODE_IDS),
        (Meta::NextSnapshot, SNAPSHOT_IDS),
        (Meta::NextClient, IDS),
        (Meta::NextTrash, IDS),
        (Meta::NextNode, SHORT_IDS),
        (Meta::NextUser, SHORT_IDS),
        (Meta::NextGroup, SHORT_IDS),
        (Meta::NextToken, SHORT_IDS),
        (Meta::NextSigningKey, SHORT_IDS),
        (Meta::Decisions, SHORT_IDS),
    ] {
        counters::add(state, which, least + drawn % (end - least))?;
    }
    state.put(META, &Meta::ForeignFrom, &first)?;
    let next = number(state, Meta::NextChunk)?;
    state.put(META, &Meta::ForeignTo, &next)?;
    // Nothing is committed under a grant of before.
    let ranges: Vec<_> = state.scan(RANGES, ..)?.collect::<Result<_, _>>()?;
    for (start, _) in ranges {
        state.remove(RANGES, &start)?;
    }
    let spent: Vec<_> = state.scan(SPENT, ..)?.collect::<Result<_, _>>()?;
    for (chunk, ()) in spent {
        state.remove(SPENT, &chunk)?;
    }
    if let Some((node, key)) = master {
        enrolled::found(state, now, node, key)?;
    }
    state.get(SECRETS, &SecretId::Authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::chunks::grant::{RangeState, range_state};
    use crate::meta::tests::fixture::Machine;
    use crate::meta::{Command, Reply};
    use crate::types::ChunkId;

    const DRAWN: u64 = 1 << 60;

    fn reserve(machine: &mut Machine) -> ChunkId {
        match machine.apply(Command::ReserveChunkIds { count: 10 }) {
            Reply::ChunkIds(Ok(ids)) => ids.start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_that_may_have_been_given_out_since_are_not_given_again_and_nobody_deletes_them() {
        let mut machine = Machine::lenient();
        machine.register(1);
        let granted = reserve(&mut machine);
        machine.edit(|state| adjust(state, Timestamp(5), (DRAWN, None)).map(|_| ()));
        let state = |chunk| range_state(&machine.view(), chunk, machine.now).unwrap();
        let since = ChunkId(granted.0 + 1_000_000);
        assert_eq!(state(granted), RangeState::Unreserved);
        assert_eq!(state(since), RangeState::Unreserved);

        let fresh = reserve(&mut machine);
        assert!(fresh.0 > since.0);
        let state = |chunk| range_state(&machine.view(), chunk, machine.now).unwrap();
        assert!(matches!(state(fresh), RangeState::Open(_)));
        assert_eq!(state(granted), RangeState::Unreserved);
        assert!(machine.register(2).0 > 1000);
        machine.check();

        // Once more: what was foreign stays so.
        machine.edit(|state| adjust(state, Timestamp(5), (DRAWN, None)).map(|_| ()));
        let state = |chunk| range_state(&machine.view(), chunk, machine.now).unwrap();
        assert_eq!(
            [granted, since, fresh].map(state),
            [RangeState::Unreserved; 3]
        );
    }

    #[test]
    fn two_groups_of_one_backup_give_out_ids_of_their_own() {
        let counted = [
            Meta::NextChunk,
            Meta::NextInode,
            Meta::NextSnapshot,
            Meta::NextClient,
            Meta::NextTrash,
            Meta::NextNode,
            Meta::NextUser,
            Meta::NextGroup,
            Meta::NextToken,
            Meta::NextSigningKey,
        ];
        let restored = |drawn| {
            let machine = Machine::lenient();
            let before = counted.map(|which| number(&machine.view(), which).unwrap());
            machine.edit(|state| adjust(state, Timestamp(5), (drawn, None)).map(|_| ()));
            let after = counted.map(|which| number(&machine.view(), which).unwrap());
            machine.check();
            (before, after)
        };
        let (before, one) = restored(0x1234_5678_9abc_def0);
        let (_, other) = restored(0x0fed_cba9_8765_4321);
        for (which, (before, (one, other))) in
            counted.iter().zip(before.iter().zip(one.iter().zip(other)))
        {
            assert!(before + 1000 < *one, "{which:?}: {before} {one}");
            assert!(one.abs_diff(other) > 500, "{which:?}: {one} {other}");
        }
    }
}
