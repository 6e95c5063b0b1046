//! Concatenation: files become parts of another, in order, and their names go.
//!
//! However many extents they have, one command does it, because those stay where they are at
//! first. The file has its new length at once, CONCATS says whose extents its bytes are, and
//! housekeeping moves them over, lowest offset first:
//!
//! ```text
//! i7 |--- own ---|--- of i8, moved ---|--- of i8, still its ---|--- of i9, still its ---|
//!                ▲ CONCATS (i7, here) -> i8                    ▲ CONCATS (i7, here) -> i9
//! ```
//!
//! Reading follows them, and the file can be renamed and removed. What would change its bytes is
//! refused as `Busy` until all is moved. The inodes of the parts are gone from the beginning.

use std::collections::BTreeSet;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::clone::require_alike;
use super::commit::require_file;
use super::extents::{self, Extent, Source, touching};
use super::shares;
use crate::meta::accounts::acl::{drop_special_bits, require_removal_rights};
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::dirent::{self, Dirent};
use crate::meta::namespace::inode::{self, Body, Inode};
use crate::meta::namespace::purge::{Budget, Purge};
use crate::meta::namespace::resolve::{Place, existing, place};
use crate::meta::snapshots::{old, rows, seen};
use crate::meta::tables::{CONCATS, EXTENTS, INODES, PURGE};
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{Changed, FileKind, InodeId, Location, RefusalKind, Rights, Timestamp};

/// A row of CONCATS: bytes of a file from the key's offset on are those of another that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whose extents they are, by their offsets in it.
    pub source: InodeId,
    /// How many bytes.
    pub length: u64,
}

dfs_raft::postcard_values!(1: Part);

/// A row, with its key.
type Row = ((InodeId, u64), Part);

/// Carries out a concatenation.
pub(crate) fn concat(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    to: &Location,
    from: &[Location],
) -> Result<Changed, Stop> {
    let (id, mut inode) = existing(state, by, to, true)?;
    require_file(&inode, to)?;
    by.require(state, (id, &inode), Rights::WRITE, to)?;
    drop_special_bits(&mut inode, by);
    require_idle(state, id)?;
    let Body::File {
        size,
        inline_bytes,
        allocated,
    } = inode.body
    else {
        return refuse(RefusalKind::NotAFile, to);
    };
    let mut sources = resolve(state, by, (id, &inode), from)?;
    let (mut end, mut inline, mut bytes) = (size, u64::from(inline_bytes), allocated);
    for source in &sources {
        end = end.saturating_add(source.size);
        inline += source.inline;
        bytes += source.inode.allocated();
    }
    if end > FILE_LEN_MAX {
        return refuse(RefusalKind::TooLarge, format!("{to} with {end} bytes"));
    }
    let has_inline = inline > u64::from(inline_bytes);
    if has_inline && inline > u64::from(inode.policy.inline_max) {
        let subject = format!("{to} with {inline} bytes inline: copy the small files instead");
        return refuse(RefusalKind::TooLarge, subject);
    }
    inode.body = Body::File {
        size: end,
        inline_bytes: u32::try_from(inline).unwrap_or(u32::MAX),
        allocated: bytes,
    };
    let parts = sources.iter_mut().map(|s| (s.entry.inode, &mut s.inode));
    charges::joined(state, by, (&inode, allocated), parts.collect())?;
    inode.touch(now);
    rows::put(state, INODES, &id, &inode)?;
    let mut offset = size;
    for SourceFile {
        place, entry, size, ..
    } in sources
    {
        dirent::remove(state, place.dir, &place.name, entry, now)?;
        inode::remove(state, entry.inode)?;
        if old::has_inode(state, entry.inode)? {
            seen::joined(state, entry.inode, true)?;
        }
        if size > 0 {
            let (source, length) = (entry.inode, size);
            state.put(CONCATS, &(id, offset), &Part { source, length })?;
        }
        offset += size;
    }
    settle_parts(state, Some(id), &mut Budget::aside())?;
    Ok(Changed {
        attr: Some(inode::require(state, id)?.attr(id)),
        offset: Some(size),
        ..Changed::default()
    })
}

/// A file that is to become part of another.
struct SourceFile {
    place: Place,
    entry: Dirent,
    inode: Inode,
    size: u64,
    inline: u64,
}

/// Finds the files that are to become parts of another, and refuses what cannot.
fn resolve(
    state: &impl ReadState,
    by: &Subject,
    (id, inode): (InodeId, &Inode),
    from: &[Location],
) -> Result<Vec<SourceFile>, Stop> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for at in from {
        let place = place(state, by, at, RefusalKind::NotPermitted)?;
        let Some(entry) = place.entry else {
            return refuse(RefusalKind::NotFound, at);
        };
        let source = inode::require(state, entry.inode)?;
        require_file(&source, at)?;
        if entry.inode == id {
            let subject = format!("{at} is the file that others are to be appended to");
            return refuse(RefusalKind::Invalid, subject);
        }
        if !seen.insert(entry.inode) {
            return refuse(RefusalKind::Invalid, format!("{at} is named twice"));
        }
        if source.links > 1 {
            let subject = format!("{at} has {} names: they would all go", source.links);
            return refuse(RefusalKind::Invalid, subject);
        }
        by.require(state, (entry.inode, &source), Rights::READ, at)?;
        require_removal_rights(state, by, (place.dir, &place.dir_inode), entry.inode, at)?;
        require_idle(state, entry.inode)?;
        require_alike(&source, inode, at)?;
        let Body::File {
            size, inline_bytes, ..
        } = source.body
        else {
            return refuse(RefusalKind::NotAFile, at);
        };
        let inline = u64::from(inline_bytes);
        sources.push(SourceFile {
            place,
            entry: Dirent {
                inode: entry.inode,
                kind: FileKind::File,
            },
            inode: source,
            size,
            inline,
        });
    }
    Ok(sources)
}

/// Refuses a file whose extents are being removed or moved.
fn require_idle(state: &impl ReadState, id: InodeId) -> Result<(), Stop> {
    if extents::is_trimming(state, id)? {
        return refuse(RefusalKind::Busy, format!("{id} is being trimmed"));
    }
    require_settled(state, id)
}

/// Refuses a file to which extents of others still have to be moved.
pub(crate) fn require_settled(state: &impl ReadState, id: InodeId) -> Result<(), Stop> {
    match first_part(state, Some(id))? {
        None => Ok(()),
        Some(_) => refuse(RefusalKind::Busy, format!("{id} is being concatenated")),
    }
}

/// The first part, of a file or of any, whose extents still have to be moved.
fn first_part(state: &impl ReadState, of: Option<InodeId>) -> Result<Option<Row>, Fatal> {
    match of {
        Some(id) => state.scan_prefix(CONCATS, &id)?.next().transpose(),
        None => state.scan(CONCATS, ..)?.next().transpose(),
    }
}

/// Whether extents of any file have to be moved.
pub(crate) fn is_due(state: &impl ReadState) -> Result<bool, Fatal> {
    Ok(first_part(state, None)?.is_some())
}

/// Moves extents to the files that they are part of, as far as the budget goes.
pub(crate) fn settle(state: &mut StateTxn<'_>, budget: &mut Budget) -> Result<(), Fatal> {
    settle_parts(state, None, budget)
}

fn settle_parts(
    state: &mut StateTxn<'_>,
    of: Option<InodeId>,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some(((id, at), part)) = first_part(state, of)?
    {
        let limit = (budget.left() / Budget::EXTENT).max(1);
        let (found, more) = touching(state, part.source, 0, part.length, limit)?;
        for (offset, extent) in found {
            rows::remove(state, EXTENTS, &(part.source, offset))?;
            rows::put(state, EXTENTS, &(id, at + offset), &extent)?;
            let mut rows = 2;
            if let Source::Chunk { chunk, .. } = extent.source {
                rows += shares::hand_over(state, chunk, (part.source, id))?;
            }
            budget.spend(rows);
        }
        if !more {
            state.remove(CONCATS, &(id, at))?;
            budget.spend(1);
        }
    }
    Ok(())
}

/// Leaves the extents that would have been moved to a file to the purge: it is no more.
pub(crate) fn give_up(
    state: &mut StateTxn<'_>,
    id: InodeId,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while let Some((key, part)) = first_part(state, Some(id))? {
        state.remove(CONCATS, &key)?;
        match old::has_inode(state, part.source)? {
            true => seen::joined(state, part.source, false)?,
            false => state.put(PURGE, &part.source, &Purge::Data)?,
        }
        budget.spend(2);
    }
    Ok(())
}

/// The extents that touch the bytes `from..to` of a file, those included that still have to be
/// moved to it: at most `limit`, and whether there are more.
pub(crate) fn read(
    state: &impl ReadState,
    id: InodeId,
    (from, to): (u64, u64),
    limit: usize,
) -> Result<(Vec<(u64, Extent)>, bool), Fatal> {
    let (mut found, mut more) = touching(state, id, from, to, limit)?;
    for row in state.scan_prefix(CONCATS, &id)? {
        let ((_, at), part) = row?;
        let (begin, end) = (from.max(at), to.min(at.saturating_add(part.length)));
        if more || begin >= end {
            continue;
        }
        let room = limit.saturating_sub(found.len());
        if room == 0 {
            more = true;
            continue;
        }
        let (rest, left) = touching(state, part.source, begin - at, end - at, room)?;
        more = left;
        found.extend(
            rest.into_iter()
                .map(|(offset, extent)| (at + offset, extent)),
        );
    }
    Ok((found, more))
}
