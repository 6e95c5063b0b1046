//! Chunks, their references and intended replicas, the index by data node, and what is to be
//! deleted agree.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use super::extents::References;
use crate::meta::Chunk;
use crate::meta::chunks::grant::range_of;
use crate::meta::chunks::shares::SEVERAL;
use crate::meta::counters::number;
use crate::meta::members::nodes::{NodeLoad, is_registered};
use crate::meta::tables::{
    CHUNKS, DEPARTED, Meta, NODE_CHUNKS, NODE_LOADS, NODE_RECLAIM, RANGES, RECLAIM, SHARES, SPENT,
    STRIPES, WIDTHS,
};
use crate::types::{ChunkId, NodeId, Timestamp};

type Loads = BTreeMap<NodeId, NodeLoad>;

pub(super) fn check(
    state: &impl ReadState,
    references: &References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let loads = rows(state, references, findings)?;
    let listed: usize = loads.values().map(|load| load.replicas as usize).sum();
    findings.equal(
        state.scan(NODE_CHUNKS, ..)?.count(),
        listed,
        "rows of NODE_CHUNKS",
    );
    for (node, load) in &loads {
        let kept = state.get(NODE_LOADS, node)?.unwrap_or_default();
        findings.equal(kept, *load, format!("{node}: what it is meant to have"));
    }
    for row in state.scan(NODE_LOADS, ..)? {
        let (node, load) = row?;
        let loaded = loads.contains_key(&node) || load == NodeLoad::default();
        findings.require(loaded, || {
            format!("{node} is meant to have nothing, not {load:?}")
        });
    }
    reclaim(state, findings)?;
    ranges(state, findings)
}

fn rows(
    state: &impl ReadState,
    references: &References,
    findings: &mut Findings,
) -> Result<Loads, Fatal> {
    let mut loads = Loads::new();
    let mut widths = BTreeMap::<u64, u64>::new();
    let (mut count, mut bytes) = (0, 0);
    for row in state.scan(CHUNKS, ..)? {
        let (id, chunk) = row?;
        count += 1;
        bytes += chunk.length;
        *widths.entry(chunk.target.0.into()).or_default() += 1;
        let found = files(state, (id, &chunk), references, findings)?;
        let is_member = chunk.stripe.is_some();
        findings.equal(
            u64::from(chunk.extents()),
            found,
            format!("{id}: the references"),
        );
        findings.require(is_member || found > 0, || format!("{id} has no references"));
        findings.require(is_member || !chunk.replicas.is_empty(), || {
            format!("{id} has no replicas")
        });
        let distinct: BTreeSet<_> = chunk.replicas.iter().collect();
        findings.equal(
            distinct.len(),
            chunk.replicas.len(),
            format!("{id}: distinct replicas"),
        );
        for node in distinct {
            let load = loads.entry(*node).or_default();
            load.replicas += 1;
            load.bytes += chunk.length;
            let listed = state.get(NODE_CHUNKS, &(*node, id))?.is_some();
            findings.require(listed, || format!("{id} is not listed under {node}"));
            let known = is_registered(state, *node)?;
            findings.require(known, || format!("{id} is on {node}, who is unknown"));
        }
        let spent = state.get(SPENT, &id)?.is_some();
        findings.require(!spent, || format!("{id} is used and spent"));
        let next = number(state, Meta::NextChunk)?;
        findings.require(id.0 < next, || {
            format!("{id} is not below the next id {next}")
        });
    }
    for row in state.scan(STRIPES, ..)? {
        *widths.entry(row?.1.width()).or_default() += 1;
    }
    let kept = state.scan(WIDTHS, ..)?.collect::<Result<_, _>>()?;
    findings.equal(kept, widths, "how many data nodes chunks are to be on");
    for row in state.scan(SHARES, ..)? {
        let ((id, file), _) = row?;
        let shared = state
            .get(CHUNKS, &id)?
            .is_some_and(|row| row.inode == SEVERAL);
        let has = references
            .get(&id)
            .is_some_and(|files| files.contains_key(&file));
        findings.require(shared && has, || format!("{id} is not shared by {file}"));
    }
    findings.equal(number(state, Meta::Chunks)?, count, "the number of chunks");
    findings.equal(
        number(state, Meta::ChunkBytes)?,
        bytes,
        "the bytes of chunks",
    );
    Ok(loads)
}

/// The files that a chunk is part of are those it says; gives how many extents name it.
fn files(
    state: &impl ReadState,
    (id, chunk): (ChunkId, &Chunk),
    references: &References,
    findings: &mut Findings,
) -> Result<u64, Fatal> {
    let mut sum = 0;
    for (file, count) in references.get(&id).into_iter().flatten() {
        sum += count;
        match chunk.inode {
            SEVERAL => {
                let counted = state.get(SHARES, &(id, *file))?;
                findings.equal(
                    counted,
                    Some(*count),
                    format!("{id} in {file}: its extents"),
                );
            }
            one => findings.equal(one, *file, format!("{id}: the file it is part of")),
        }
    }
    Ok(sum)
}

fn reclaim(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let mut count = 0;
    for row in state.scan(RECLAIM, ..)? {
        let ((id, node), since) = row?;
        count += 1;
        let indexed = state.get(NODE_RECLAIM, &(node, since, id))?.is_some();
        findings.require(indexed, || {
            format!("{id} on {node} is given up and not indexed")
        });
        let wanted = state
            .get(CHUNKS, &id)?
            .is_some_and(|chunk| chunk.replicas.contains(&node));
        findings.require(!wanted, || {
            format!("{id} on {node} is intended and given up")
        });
        let known = is_registered(state, node)? || state.get(DEPARTED, &node)?.is_some();
        findings.require(known, || {
            format!("{id} is given up on {node}, who is unknown")
        });
    }
    findings.equal(
        state.scan(NODE_RECLAIM, ..)?.count(),
        count,
        "rows of NODE_RECLAIM",
    );
    Ok(())
}

fn ranges(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let next = ChunkId(number(state, Meta::NextChunk)?);
    let mut before = (ChunkId(0), Timestamp(0));
    for row in state.scan(RANGES, ..)? {
        let (start, range) = row?;
        let ordered = before.0 <= start && start < range.end && range.end <= next;
        findings.require(ordered, || {
            format!("the range {start}..{} is misplaced", range.end)
        });
        findings.require(before.1 <= range.expires, || {
            format!("{start} expires too early")
        });
        before = (range.end, range.expires);
    }
    for row in state.scan(SPENT, ..)? {
        let (id, ()) = row?;
        let reserved = range_of(state, id)?.is_some();
        findings.require(reserved, || format!("{id} is spent and of no range"));
    }
    Ok(())
}
