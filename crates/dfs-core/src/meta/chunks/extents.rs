//! Extents: how the bytes of a file are made of chunks and inline bytes.
//!
//! The extents of a file do not overlap; what none covers reads as zero. A write cuts what it
//! replaces:
//!
//! ```text
//! before   |--- c1 ---|--- c2 ---|           after   |- c1 -|--- c9 ---|-c2-|
//! write           |--- c9 ---|
//! ```
//!
//! A truncation that has more to remove than one command may leaves the rest, all beyond the
//! end, to housekeeping: TRIMS has a row, readers stop at the end, and whatever would move the
//! end over those extents is refused as `Busy` until they are gone.

use bytes::Bytes;
use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::references::{self, acquire, release};
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Body};
use crate::meta::namespace::purge::Budget;
use crate::meta::snapshots::rows;
use crate::meta::tables::{EXTENTS, INODES, TRIMS};
use crate::planted::{self, Bug};
use crate::types::limits::EXTENTS_REPLACED_MAX;
use crate::types::{ChunkId, InodeId, RefusalKind, Timestamp};

/// Inline bytes that continue each other are kept in one row up to this length.
const INLINE_MERGED_MAX: usize = 4096;

/// A row of EXTENTS: bytes of a file from the key's offset on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// How many bytes.
    pub length: u64,
    /// Where they are.
    pub source: Source,
}

/// Where the bytes of an extent are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// In a chunk, from `offset` on.
    Chunk {
        /// Which.
        chunk: ChunkId,
        /// Where in it they begin.
        offset: u64,
    },
    /// Here.
    Inline(Bytes),
}

dfs_raft::postcard_values!(1: Extent);

impl Extent {
    /// The inline bytes it has.
    pub(crate) fn inline_length(&self) -> u64 {
        match self.source {
            Source::Chunk { .. } => 0,
            Source::Inline(_) => self.length,
        }
    }

    /// Which chunk its bytes are in, and where; none if they are here.
    pub(crate) fn in_chunk(&self) -> Option<(ChunkId, u64)> {
        match self.source {
            Source::Chunk { chunk, offset } => Some((chunk, offset)),
            Source::Inline(_) => None,
        }
    }

    /// The part of it from `skip` on, `length` bytes. Both lie within it.
    pub(super) fn part(&self, skip: u64, length: u64) -> Result<Extent, Fatal> {
        let source = match &self.source {
            Source::Chunk { chunk, offset } => Source::Chunk {
                chunk: *chunk,
                offset: offset + skip,
            },
            Source::Inline(bytes) => {
                let range = usize::try_from(skip)
                    .ok()
                    .zip(usize::try_from(skip + length).ok());
                let range = range.filter(|(_, end)| *end <= bytes.len());
                let (start, end) =
                    range.ok_or_else(|| Fatal::new("an inline extent is shorter than it says"))?;
                Source::Inline(bytes.slice(start..end))
            }
        };
        Ok(Extent { length, source })
    }

    /// This extent and the one right after it in the file as one, if they continue each other.
    fn joined(&self, next: &Extent) -> Option<Extent> {
        let source = match (&self.source, &next.source) {
            (
                Source::Chunk { chunk, offset },
                Source::Chunk {
                    chunk: other,
                    offset: continued,
                },
            ) if chunk == other && offset + self.length == *continued => Source::Chunk {
                chunk: *chunk,
                offset: *offset,
            },
            (Source::Inline(bytes), Source::Inline(more))
                if bytes.len() + more.len() <= INLINE_MERGED_MAX =>
            {
                Source::Inline([bytes.as_ref(), more.as_ref()].concat().into())
            }
            _ => return None,
        };
        Some(Extent {
            length: self.length + next.length,
            source,
        })
    }
}

/// What a cut did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes removed.
    pub(crate) bytes: u64,
    /// How many of them were inline.
    pub(crate) inline: u64,
    /// Extents cut or removed.
    pub(crate) extents: usize,
    /// Whether there were more extents than allowed, which are left.
    pub(crate) more: bool,
}

impl Cut {
    /// One that found nothing.
    pub(crate) const NOTHING: Cut = Cut {
        bytes: 0,
        inline: 0,
        extents: 0,
        more: false,
    };
}

/// The extents that touch `from..to`, at most `limit`, and whether there are more.
pub(crate) fn touching(
    state: &impl ReadState,
    inode: InodeId,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<(Vec<(u64, Extent)>, bool), Fatal> {
    let mut found = Vec::new();
    if let Some((offset, extent)) = last_before(state, inode, from)?
        && offset + extent.length > from
    {
        found.push((offset, extent));
    }
    for row in state.scan(EXTENTS, (inode, from)..(inode, to))? {
        let ((_, offset), extent) = row?;
        if found.len() >= limit {
            return Ok((found, true));
        }
        found.push((offset, extent));
    }
    Ok((found, false))
}

/// The last extent that begins before an offset.
pub(crate) fn last_before(
    state: &impl ReadState,
    inode: InodeId,
    offset: u64,
) -> Result<Option<(u64, Extent)>, Fatal> {
    let row = state
        .scan_back(EXTENTS, (inode, 0)..(inode, offset))?
        .next()
        .transpose()?;
    Ok(row.map(|((_, offset), extent)| (offset, extent)))
}

/// Removes the bytes `from..to` of a file from its extents, at most `limit` of them.
fn cut(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    (from, to): (u64, u64),
    limit: usize,
) -> Result<Cut, Fatal> {
    let (found, more) = touching(state, inode, from, to, limit)?;
    let (mut bytes, mut inline, extents) = (0, 0, found.len());
    for (offset, extent) in found {
        if planted::active(Bug::ExtentsOverlapAfterTruncate) && offset < from && to == u64::MAX {
            continue;
        }
        bytes += extent.length;
        inline += extent.inline_length();
        let end = offset + extent.length;
        let mut kept = 0;
        if offset < from {
            let head = extent.part(0, from - offset)?;
            bytes -= head.length;
            inline -= head.inline_length();
            rows::put(state, EXTENTS, &(inode, offset), &head)?;
            kept += 1;
        } else {
            rows::remove(state, EXTENTS, &(inode, offset))?;
        }
        if end > to {
            let tail = extent.part(to - offset, end - to)?;
            bytes -= tail.length;
            inline -= tail.inline_length();
            rows::put(state, EXTENTS, &(inode, to), &tail)?;
            kept += 1;
        }
        if let Source::Chunk { chunk, .. } = extent.source {
            match kept {
                0 => release(state, now, inode, chunk).map(drop)?,
                1 => {}
                _ => acquire(state, inode, chunk)?,
            }
        }
    }
    Ok(Cut {
        bytes,
        inline,
        extents,
        more,
    })
}

/// Makes room for bytes that are to be written at `from..to`; gives what was removed.
pub(crate) fn replace(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    from: u64,
    to: u64,
) -> Result<Cut, Stop> {
    let (found, more) = touching(state, inode, from, to, EXTENTS_REPLACED_MAX)?;
    if more {
        let subject = format!("{inode}: more than {EXTENTS_REPLACED_MAX} extents at once");
        return refuse(RefusalKind::TooLarge, subject);
    }
    // What is cut out of the middle of an extent makes two of it.
    if let [(offset, extent)] = found.as_slice()
        && *offset < from
        && to < offset + extent.length
        && let Source::Chunk { chunk, .. } = extent.source
    {
        references::require_room(chunk, &references::require(state, chunk)?)?;
    }
    Ok(cut(state, now, inode, (from, to), EXTENTS_REPLACED_MAX)?)
}

/// Writes extents that follow each other, from `offset` on, where there are none. The references
/// of their chunks are counted already, one for each.
pub(crate) fn insert(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    offset: u64,
    extents: impl IntoIterator<Item = Extent>,
) -> Result<(), Fatal> {
    let mut before = last_before(state, inode, offset)?
        .filter(|(start, extent)| start + extent.length == offset);
    let mut offset = offset;
    for extent in extents {
        let end = offset + extent.length;
        let (start, written) = match &before {
            Some((start, before)) if let Some(joined) = before.joined(&extent) => {
                if let Source::Chunk { chunk, .. } = joined.source {
                    release(state, now, inode, chunk)?;
                }
                (*start, joined)
            }
            _ => (offset, extent),
        };
        rows::put(state, EXTENTS, &(inode, start), &written)?;
        before = Some((start, written));
        offset = end;
    }
    Ok(())
}

/// Removes the bytes from `size` on, as far as `limit` extents go. What is left is trimmed by
/// housekeeping.
pub(crate) fn truncate(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    size: u64,
    limit: usize,
) -> Result<Cut, Fatal> {
    let done = cut(state, now, inode, (size, u64::MAX), limit)?;
    if done.more {
        state.put(TRIMS, &inode, &size)?;
    } else {
        state.remove(TRIMS, &inode)?;
    }
    Ok(done)
}

/// Whether extents beyond a file's end wait to be removed.
pub(crate) fn is_trimming(state: &impl ReadState, inode: InodeId) -> Result<bool, Fatal> {
    Ok(state.get(TRIMS, &inode)?.is_some())
}

/// Whether any file has extents beyond its end.
pub(crate) fn is_due(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(state.scan(TRIMS, ..)?.next().transpose()?.is_some())
}

/// Removes extents beyond the ends of files, as far as the budget goes.
pub(crate) fn trim(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent() {
        let Some((id, from)) = state.scan(TRIMS, ..)?.next().transpose()? else {
            return Ok(());
        };
        let limit = (budget.left() / Budget::EXTENT).max(1);
        let done = truncate(state, now, id, from, limit)?;
        budget.spend(1 + done.extents.saturating_mul(Budget::EXTENT));
        if done.bytes > 0 {
            let mut row = inode::require(state, id)?;
            subtract(&mut row.body, done);
            budget.spend(charges::lost(state, &row, done.bytes)?);
            rows::put(state, INODES, &id, &row)?;
        }
    }
    Ok(())
}

/// Takes what was removed off a file's sums.
pub(crate) fn subtract(body: &mut Body, removed: Cut) {
    if let Body::File {
        inline_bytes,
        allocated,
        ..
    } = body
    {
        let inline = u32::try_from(removed.inline).unwrap_or(u32::MAX);
        *inline_bytes = inline_bytes.saturating_sub(inline);
        *allocated = allocated.saturating_sub(removed.bytes);
    }
}

/// Removes all extents of a file that is no more, as far as the budget goes; says whether all
/// are gone.
pub(crate) fn remove_all(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    inode: InodeId,
    budget: &mut Budget,
) -> Result<bool, Fatal> {
    let limit = (budget.left() / Budget::EXTENT).max(1);
    let (found, more) = touching(state, inode, 0, u64::MAX, limit)?;
    for (offset, extent) in found {
        rows::remove(state, EXTENTS, &(inode, offset))?;
        let mut rows = 1;
        if let Source::Chunk { chunk, .. } = extent.source {
            rows += release(state, now, inode, chunk)?;
        }
        budget.spend(rows);
    }
    Ok(!more)
}
