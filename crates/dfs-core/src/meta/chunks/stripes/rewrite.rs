//! Rewriting: other chunks in the place of those that a file has, with the same bytes.
//!
//! ```text
//! before   |c1|c2|-c3-|c4|         after   |----- c9 ------|      or a stripe c9 c10 + c11
//! ```
//!
//! A data node has read and verified the old chunks and written the new ones. It is recorded only
//! if the map still says of these bytes what it said when that began: whoever wrote there
//! meanwhile wins, and the new chunks are reclaimed like those of any write that was given up.
//! Who reads sees no change: neither the revision nor any time of the file is another afterwards.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use crate::meta::chunks::commit::{self, Contents};
use crate::meta::chunks::extents::{self, Extent, Source};
use crate::meta::command::{Replaced, Rewrite, validate};
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::Body;
use crate::meta::snapshots::rows;
use crate::meta::tables::INODES;
use crate::types::limits::EXTENTS_REPLACED_MAX;
use crate::types::{InodeId, RefusalKind, Timestamp};

/// Puts new chunks in the place of old ones.
pub(crate) fn rewrite(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    rewrite: &Rewrite,
) -> Result<(), Stop> {
    let commit = rewrite.commit();
    validate::validate_rewrite(rewrite, &commit)?;
    let id = rewrite.inode;
    let Some(inode) = state.get(INODES, &id)? else {
        return refuse(RefusalKind::NotFound, id);
    };
    if !matches!(inode.body, Body::File { .. }) {
        return refuse(RefusalKind::NotAFile, id);
    }
    if extents::is_trimming(state, id)? {
        return refuse(RefusalKind::Busy, format!("{id} is being trimmed"));
    }
    let (from, to) = rewrite.range();
    if found(state, id, (from, to))?.as_deref() != Some(rewrite.replaced.as_slice()) {
        return refuse(
            RefusalKind::Conflict,
            format!("{id} {from}..{to} is other chunks by now"),
        );
    }
    let contents = Contents::of(&commit);
    let inode = commit::put_pieces(state, now, (id, inode), from, contents)?;
    rows::put(state, INODES, &id, &inode)?;
    Ok(())
}

/// What the map says of the bytes `from..to` of a file; none unless all of them are in chunks.
fn found(
    state: &impl ReadState,
    inode: InodeId,
    (from, to): (u64, u64),
) -> Result<Option<Vec<Replaced>>, Fatal> {
    let (touching, more) = extents::touching(state, inode, from, to, EXTENTS_REPLACED_MAX)?;
    let (mut position, mut found) = (from, Vec::new());
    for (begins, Extent { length, source }) in touching {
        let Source::Chunk { chunk, offset } = source else {
            return Ok(None);
        };
        let (start, end) = (begins.max(from), (begins + length).min(to));
        if start != position || more {
            return Ok(None);
        }
        found.push(Replaced {
            offset: start,
            length: end.saturating_sub(start),
            chunk,
            chunk_offset: offset + (start - begins),
        });
        position = end;
    }
    Ok((position == to).then_some(found))
}
