//! Clones: a new file of the extents of another, without a copy of their bytes.
//!
//! A file of few extents is cloned by one command. Of a larger one the client makes a clone as it
//! makes a long upload, of many commands and without a name until the last:
//!
//! ```text
//! BeginUpload ─▶ i9     Clone i7 → i9 ─▶ end 256 MiB     Clone … ─▶ end = size     Publish i9
//! ```
//!
//! Each of them insists on the revision of the first, so that what is cloned is one state of the
//! file, never half of two.

use dfs_raft::Fatal;
use dfs_raft::state::StateTxn;

use super::commit::{free_place, require_file};
use super::extents::{Extent, Source, touching};
use super::{concat, references};
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Body, Inode};
use crate::meta::namespace::resolve::{Sight, place, sight};
use crate::meta::namespace::{create, upload};
use crate::meta::snapshots::rows;
use crate::meta::snapshots::view::At;
use crate::meta::tables::{EXTENTS, INODES};
use crate::types::change::CloneTarget;
use crate::types::limits::EXTENTS_CLONED_MAX;
use crate::types::{Changed, ClientId, InodeId, Location, RefusalKind, Rights, Timestamp};

/// Carries out a clone, or a part of one.
pub(crate) fn clone(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (client, by): (ClientId, &Subject),
    (from, to): (&Location, &CloneTarget),
    revision: Option<u64>,
) -> Result<Changed, Stop> {
    let source = sight(state, by, from, true)?;
    require_file(&source.inode, from)?;
    let then = At::of(state, source.view)?;
    by.require(&then, (source.id, &source.inode), Rights::READ, from)?;
    if let Some(expected) = revision
        && expected != source.inode.revision
    {
        let subject = format!("{from} is at revision {}", source.inode.revision);
        return refuse(RefusalKind::Conflict, subject);
    }
    concat::require_settled(&then, source.id)?;
    match to {
        CloneTarget::New { at, attr, replace } => {
            let there = place(state, by, at, RefusalKind::IsADirectory)?.entry;
            if source.view.is_none() && there.is_some_and(|there| there.inode == source.id) {
                let subject = format!("{at} is the file that is to be cloned");
                return refuse(RefusalKind::Invalid, subject);
            }
            let place = free_place(state, now, by, at, *replace)?;
            let body = Body::EMPTY_FILE;
            let made = create::new_inode(state, now, by, (&place, at), attr, body)?;
            let (mut inode, inherited) = made;
            let id = inode::next_id(state)?;
            inherited.store(state, id, &mut inode)?;
            charges::made(state, by, place.dir, (id, &mut inode))?;
            let (end, more) = copy(state, (now, by), (&source, from), (id, &mut inode))?;
            if more {
                let subject = format!("{from} with more than {EXTENTS_CLONED_MAX} extents");
                return refuse(RefusalKind::TooLarge, subject);
            }
            rows::put(state, INODES, &id, &inode)?;
            create::give_name(state, now, &place, at, id)?;
            changed(id, &inode::require(state, id)?, end)
        }
        CloneTarget::Upload(id) => {
            let mut inode = upload::require(state, client, *id)?;
            let (end, _) = copy(state, (now, by), (&source, from), (*id, &mut inode))?;
            rows::put(state, INODES, id, &inode)?;
            changed(*id, &inode, end)
        }
    }
}

fn changed(id: InodeId, inode: &Inode, end: u64) -> Result<Changed, Stop> {
    Ok(Changed {
        attr: Some(inode.attr(id)),
        offset: Some(end),
        ..Changed::default()
    })
}

/// Refuses to make the bytes of one file part of another whose policy wants another number of
/// copies: what is stored keeps the number it was stored with.
pub(super) fn require_alike(from: &Inode, to: &Inode, at: &Location) -> Result<(), Stop> {
    let (has, wants) = (from.policy.replicas.0, to.policy.replicas.0);
    if has == wants {
        return Ok(());
    }
    let subject = format!("{at} is kept in {has} copies, not {wants}: copy its bytes instead");
    refuse(RefusalKind::Invalid, subject)
}

/// Makes the extents of a file from the end of another on part of that one too, as many as one
/// command may. Gives its end afterwards, and whether there are more.
fn copy(
    state: &mut StateTxn<'_>,
    (now, by): (Timestamp, &Subject),
    (source, at): (&Sight, &Location),
    (id, to): (InodeId, &mut Inode),
) -> Result<(u64, bool), Stop> {
    let from = &source.inode;
    require_alike(from, to, at)?;
    let (
        Body::File { size, .. },
        Body::File {
            size: begin,
            inline_bytes,
            allocated: before,
        },
    ) = (&from.body, &to.body)
    else {
        return Err(Fatal::new(format!("{} or {id} is cloned and is no file", source.id)).into());
    };
    let (begin, before) = (*begin, *before);
    let (mut bytes, mut inline) = (before, u64::from(*inline_bytes));
    let limit = EXTENTS_CLONED_MAX;
    let (mut found, more) = match begin < *size {
        true => {
            let then = At::of(state, source.view)?;
            touching(&then, source.id, begin, *size, limit)?
        }
        false => (Vec::new(), false),
    };
    let mut end = *size;
    if more && let Some((offset, last)) = found.last() {
        end = offset + last.length;
    }
    if let Some((offset, first)) = found.first_mut()
        && *offset < begin
    {
        let skip = begin - *offset;
        (*offset, *first) = (begin, first.part(skip, first.length - skip)?);
    }
    for (offset, extent) in &found {
        bytes += extent.length;
        inline += extent.inline_length();
        share(state, id, extent)?;
        rows::put(state, EXTENTS, &(id, *offset), extent)?;
    }
    if inline > u64::from(to.policy.inline_max) {
        return refuse(
            RefusalKind::TooLarge,
            format!("{at} with {inline} bytes inline"),
        );
    }
    let end = end.max(begin);
    to.body = Body::File {
        size: end,
        inline_bytes: u32::try_from(inline).unwrap_or(u32::MAX),
        allocated: bytes,
    };
    charges::resized(state, by, to, before)?;
    to.touch(now);
    Ok((end, more))
}

/// Counts one more extent that names the same chunk.
fn share(state: &mut StateTxn<'_>, id: InodeId, extent: &Extent) -> Result<(), Stop> {
    let Source::Chunk { chunk, .. } = extent.source else {
        return Ok(());
    };
    references::require_room(chunk, &references::require(state, chunk)?)?;
    Ok(references::acquire(state, id, chunk)?)
}
