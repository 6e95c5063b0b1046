//! What of the metadata must not be as it was when it comes back from a backup: ids that were
//! given out since must not be given out again, and what they name is left alone.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::enrolled;
use super::secrets::{Secret, SecretId};
use crate::meta::counters::{self, number};
use crate::meta::tables::{META, Meta, RANGES, SECRETS, SPENT};
use crate::types::{NodeKey, Timestamp};

/// How many ids are left out: more than may have been given out since any backup.
const IDS: u64 = 1 << 32;
/// The same of ids that are counted in 32 bits.
const SHORT_IDS: u64 = 1 << 16;
/// The same of chunks.
const CHUNK_IDS: u64 = 1 << 40;

/// Adjusts what a backup had, and makes a node of the master that goes on with it. Gives the
/// cluster's authority, if it has one.
///
/// Chunks whose ids may have been granted since are of files that the backup does not have: their
/// replicas are nobody's, and are kept until a person has judged.
pub(crate) fn adjust(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    master: Option<(NodeKey, [u8; 32])>,
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
    for (which, ids) in [
        (Meta::NextChunk, CHUNK_IDS),
        (Meta::NextInode, IDS),
        (Meta::NextClient, IDS),
        (Meta::NextTrash, IDS),
        (Meta::NextNode, SHORT_IDS),
        (Meta::NextUser, SHORT_IDS),
        (Meta::NextGroup, SHORT_IDS),
        (Meta::NextToken, SHORT_IDS),
        (Meta::NextSigningKey, SHORT_IDS),
        (Meta::Decisions, 1),
    ] {
        counters::add(state, which, ids)?;
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
        machine.edit(|state| adjust(state, Timestamp(5), None).map(|_| ()));
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
        machine.edit(|state| adjust(state, Timestamp(5), None).map(|_| ()));
        let state = |chunk| range_state(&machine.view(), chunk, machine.now).unwrap();
        assert_eq!(
            [granted, since, fresh].map(state),
            [RangeState::Unreserved; 3]
        );
    }
}
