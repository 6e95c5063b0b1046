//! Extents do not overlap, lie within their file and their chunk, and add up.

use std::collections::BTreeMap;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use super::tree::Inodes;
use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::tables::{CHUNKS, EXTENTS, TRIMS};
use crate::types::{ChunkId, InodeId};

/// How many extents name each chunk.
pub(super) type References = BTreeMap<ChunkId, u32>;

pub(super) fn check(
    state: &impl ReadState,
    inodes: &Inodes,
    findings: &mut Findings,
) -> Result<References, Fatal> {
    for row in state.scan(TRIMS, ..)? {
        let (id, from) = row?;
        let size = inodes.files.get(&id).map(|(size, _)| *size);
        findings.equal(Some(from), size, format!("{id}: where it is trimmed from"));
    }
    let mut references = References::new();
    let mut inline: BTreeMap<InodeId, u64> = BTreeMap::new();
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
        match inodes.files.get(&id) {
            Some((size, _)) => {
                let within = end <= *size || (offset >= *size && state.get(TRIMS, &id)?.is_some());
                findings.require(within, || format!("{what} is beyond the end at {size}"));
            }
            None => findings.require(inodes.purged.contains(&id), || {
                format!("{what} has no file")
            }),
        }
        *inline.entry(id).or_default() += extent.inline_length();
        source(state, id, &extent, &what, &mut references, findings)?;
    }
    for (id, (_, inline_bytes)) in &inodes.files {
        let sum = inline.get(id).copied().unwrap_or(0);
        findings.equal(
            u64::from(*inline_bytes),
            sum,
            format!("{id}: the inline bytes"),
        );
    }
    Ok(references)
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
            *references.entry(*chunk).or_default() += 1;
            let Some(row) = state.get(CHUNKS, chunk)? else {
                findings.require(false, || {
                    format!("{what} is in {chunk}, which does not exist")
                });
                return Ok(());
            };
            findings.equal(row.inode, id, format!("{chunk}: the file it is part of"));
            let within = offset.saturating_add(extent.length) <= row.length;
            findings.require(within, || {
                format!("{what} reaches beyond the end of {chunk}")
            });
        }
    }
    Ok(())
}
