//! Extents do not overlap, lie within their file and their chunk, and add up.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use super::tree::Inodes;
use crate::meta::chunks::concat::Part;
use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::snapshots::old;
use crate::meta::tables::{CHUNKS, CONCATS, EXTENTS, TRIMS};
use crate::types::{ChunkId, InodeId};

/// How many extents name each chunk, by the file that has them.
pub(super) type References = BTreeMap<ChunkId, BTreeMap<InodeId, u64>>;

/// Files whose extents are to be moved: to which one, from which offset on, how many bytes.
type Parts = BTreeMap<InodeId, (InodeId, u64, u64)>;

pub(super) fn check(
    state: &impl ReadState,
    inodes: &Inodes,
    findings: &mut Findings,
) -> Result<References, Fatal> {
    for row in state.scan(TRIMS, ..)? {
        let (id, from) = row?;
        let size = inodes.files.get(&id).map(|(size, ..)| *size);
        findings.equal(Some(from), size, format!("{id}: where it is trimmed from"));
    }
    let parts = parts(state, inodes, findings)?;
    let growing: BTreeSet<_> = parts.values().map(|(id, ..)| *id).collect();
    let mut grown = Vec::new();
    let mut references = References::new();
    let mut sums: BTreeMap<InodeId, (u64, u64)> = BTreeMap::new();
    let mut before = (InodeId(0), 0);
    for row in state.scan(EXTENTS, ..)? {
        let ((id, offset), extent) = row?;
        let end = offset.saturating_add(extent.length);
        let what = format!("{id} {offset}+{}", extent.length);
        findings.require(extent.length > 0, || format!("{what} is empty"));
        findings.require(before.0 != id || before.1 <= offset, || {
            format!("{what} overlaps")
        });
        before = (id, end);
        let part = parts.get(&id);
        let (file, moved) = part.map_or((id, 0), |(file, at, _)| (*file, *at));
        if growing.contains(&file) {
            grown.push((
                file,
                moved.saturating_add(offset),
                moved.saturating_add(end),
            ));
        }
        match inodes.files.get(&id) {
            _ if let Some((.., length)) = part => {
                findings.require(end <= *length, || format!("{what} is beyond its part"));
            }
            Some((size, ..)) => {
                let within = end <= *size || (offset >= *size && state.get(TRIMS, &id)?.is_some());
                findings.require(within, || format!("{what} is beyond the end at {size}"));
            }
            None => {
                let kept = inodes.purged.contains(&id) || old::has_inode(state, id)?;
                findings.require(kept, || format!("{what} has no file"));
            }
        }
        let (inline, all) = sums.entry(file).or_default();
        *inline += extent.inline_length();
        *all += extent.length;
        source(state, id, &extent, &what, &mut references, findings)?;
    }
    overlaps(grown, findings);
    for (id, (_, inline_bytes, allocated)) in &inodes.files {
        let (inline, all) = sums.get(id).copied().unwrap_or_default();
        let what = format!("{id}: the inline bytes");
        findings.equal(u64::from(*inline_bytes), inline, what);
        findings.equal(*allocated, all, format!("{id}: the bytes of its extents"));
    }
    Ok(references)
}

/// What is still to be moved is of files that are gone, lies within those it goes to, once.
fn parts(state: &impl ReadState, inodes: &Inodes, findings: &mut Findings) -> Result<Parts, Fatal> {
    let mut parts = Parts::new();
    for row in state.scan(CONCATS, ..)? {
        let ((id, at), Part { source, length }) = row?;
        let size = inodes.files.get(&id).map_or(0, |(size, ..)| *size);
        let within = at.saturating_add(length) <= size;
        findings.require(within, || {
            format!("{source} reaches beyond the end of {id}")
        });
        let gone = !inodes.files.contains_key(&source) && !inodes.purged.contains(&source);
        findings.require(gone, || format!("{source} is part of {id} and a file"));
        let first = parts.insert(source, (id, at, length)).is_none();
        findings.require(first, || format!("{source} is part of two files"));
    }
    Ok(parts)
}

/// What was moved to a file and what still has to be lie beside each other.
fn overlaps(mut grown: Vec<(InodeId, u64, u64)>, findings: &mut Findings) {
    grown.sort_unstable();
    let mut before = (InodeId(0), 0);
    for (id, offset, end) in grown {
        findings.require(before.0 != id || before.1 <= offset, || {
            format!("{id} {offset} overlaps what was moved to it")
        });
        before = (id, end);
    }
}

fn source(
    state: &impl ReadState,
    id: InodeId,
    extent: &Extent,
    what: &str,
    references: &mut References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    match &extent.source {
        Source::Inline(bytes) => {
            findings.equal(
                bytes.len() as u64,
                extent.length,
                format!("{what}: its bytes"),
            );
        }
        Source::Chunk { chunk, offset } => {
            let files = references.entry(*chunk).or_default();
            *files.entry(id).or_default() += 1;
            let Some(row) = state.get(CHUNKS, chunk)? else {
                findings.require(false, || {
                    format!("{what} is in {chunk}, which does not exist")
                });
                return Ok(());
            };
            let within = offset.saturating_add(extent.length) <= row.length;
            findings.require(within, || {
                format!("{what} reaches beyond the end of {chunk}")
            });
        }
    }
    Ok(())
}
