//! Commit: the one command that makes written bytes part of a file.
//!
//! ```text
//! target (file, upload, new) ─▶ revision ─▶ offset ─▶ new chunks, stripes ─▶ references ─▶ cut
//!                                                                            ─▶ extents
//! ```
//!
//! A new chunk is taken only if as many data nodes have it as the policy of the file insists on:
//! of a file that exists its own, of a new one that of its directory, at this point of the log. The
//! members of a stripe are on one data node each; the stripe is taken only if it is as safe.
//!
//! References of the new extents are counted before old ones are cut, so that a chunk which is
//! both replaced and named again is never without one.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::extents::{self, Extent, Source};
use super::grant::{RangeState, range_state};
use super::references::{self, Chunk};
use super::stripes::{self, Membership};
use super::{concat, shares};
use crate::meta::accounts::acl::{drop_special_bits, require_entry_rights};
use crate::meta::accounts::subject::Subject;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::nodes;
use crate::meta::namespace::inode::{self, Body, Inode};
use crate::meta::namespace::resolve::{Place, existing, place};
use crate::meta::namespace::{create, rename, upload};
use crate::meta::snapshots::rows;
use crate::meta::tables::{CHUNKS, INODES, SPENT};
use crate::planted::{self, Bug};
use crate::types::change::{Commit, CommitTarget, NewChunk, Piece, WriteOffset};
use crate::types::limits::FILE_LEN_MAX;
use crate::types::{
    Changed, ClientId, FileKind, InodeId, Location, NewStripe, RefusalKind, ReplicationTarget,
    Rights, Timestamp,
};

/// Carries out a commit.
pub(crate) fn commit(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (client, by): (ClientId, &Subject),
    commit: &Commit,
) -> Result<Changed, Stop> {
    let (id, inode, name) = target(state, now, (client, by), &commit.target)?;
    if let Some(expected) = commit.revision
        && expected != inode.revision
    {
        return refuse(
            RefusalKind::Conflict,
            format!("{id} is at revision {}", inode.revision),
        );
    }
    let (inode, offset) = write(state, (now, by), id, inode, commit)?;
    rows::put(state, INODES, &id, &inode)?;
    if let Some(Naming { place, at, upload }) = name {
        if upload {
            upload::forget(state, client, id)?;
            charges::published(state, by, place.dir, id)?;
        }
        create::give_name(state, now, &place, at, id)?;
    }
    let attr = inode::require(state, id)?.attr(id);
    Ok(Changed {
        attr: Some(attr),
        offset: Some(offset),
        ..Changed::default()
    })
}

/// A name that the file gets at the end.
struct Naming<'a> {
    place: Place,
    at: &'a Location,
    upload: bool,
}

/// The file to write to, and the name it is to get, if any.
fn target<'a>(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (client, by): (ClientId, &Subject),
    target: &'a CommitTarget,
) -> Result<(InodeId, Inode, Option<Naming<'a>>), Stop> {
    match target {
        CommitTarget::File(at) => {
            let (id, mut inode) = existing(state, by, at, true)?;
            require_file(&inode, at)?;
            by.require(state, (id, &inode), Rights::WRITE, at)?;
            drop_special_bits(&mut inode, by);
            Ok((id, inode, None))
        }
        CommitTarget::Upload(id) => {
            let inode = upload::require(state, client, *id)?;
            Ok((*id, inode, None))
        }
        CommitTarget::Publish {
            upload: id,
            at,
            replace,
        } => {
            let inode = upload::require(state, client, *id)?;
            let place = free_place(state, now, by, at, *replace)?;
            Ok((
                *id,
                inode,
                Some(Naming {
                    place,
                    at,
                    upload: true,
                }),
            ))
        }
        CommitTarget::New { at, attr, replace } => {
            let place = free_place(state, now, by, at, *replace)?;
            let body = Body::EMPTY_FILE;
            let made = create::new_inode(state, now, by, (&place, at), attr, body)?;
            let (mut inode, inherited) = made;
            let id = inode::next_id(state)?;
            inherited.store(state, id, &mut inode)?;
            charges::made(state, by, place.dir, (id, &mut inode))?;
            Ok((
                id,
                inode,
                Some(Naming {
                    place,
                    at,
                    upload: false,
                }),
            ))
        }
    }
}

/// A place for a new file, emptied if something may be replaced there. A symbolic link at the
/// end is not followed but is what is replaced.
pub(super) fn free_place(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    replace: bool,
) -> Result<Place, Stop> {
    let mut place = place(state, by, at, RefusalKind::IsADirectory)?;
    require_entry_rights(state, by, (place.dir, &place.dir_inode), at)?;
    if let Some(entry) = place.entry {
        if entry.kind == FileKind::Directory {
            return refuse(RefusalKind::IsADirectory, at);
        }
        if !replace {
            return refuse(RefusalKind::Exists, at);
        }
        rename::replace(state, now, by, &place, FileKind::File, at)?;
        place.entry = None;
    }
    Ok(place)
}

/// Refuses what is no regular file.
pub(crate) fn require_file(inode: &Inode, at: impl ToString) -> Result<(), Stop> {
    match inode.kind() {
        FileKind::File => Ok(()),
        FileKind::Directory => refuse(RefusalKind::IsADirectory, at),
        FileKind::Symlink => refuse(RefusalKind::NotAFile, at),
    }
}

/// What a commit brings.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) pieces: &'a [Piece],
    pub(crate) chunks: &'a [NewChunk],
    pub(crate) stripes: &'a [NewStripe],
}

impl Contents<'_> {
    pub(crate) fn of(commit: &Commit) -> Contents<'_> {
        Contents {
            pieces: &commit.pieces,
            chunks: &commit.chunks,
            stripes: &commit.stripes,
        }
    }
}

/// Makes the pieces part of a file; gives the inode as it is then, not yet stored, and where the
/// first byte went.
fn write(
    state: &mut StateTxn<'_>,
    (now, by): (Timestamp, &Subject),
    id: InodeId,
    inode: Inode,
    commit: &Commit,
) -> Result<(Inode, u64), Stop> {
    let Body::File { size, .. } = inode.body else {
        return Err(Fatal::new(format!("{id} is written to and is no file")).into());
    };
    let offset = match commit.offset {
        WriteOffset::At(offset) => offset,
        WriteOffset::End => size,
    };
    if commit.pieces.is_empty() {
        return Ok((inode, offset));
    }
    let contents = Contents::of(commit);
    let before = inode.allocated();
    let mut inode = put_pieces(state, now, (id, inode), offset, contents)?;
    charges::resized(state, by, &inode, before)?;
    inode.touch(now);
    Ok((inode, offset))
}

/// Puts pieces at an offset of a file; gives the inode as it is then, not yet stored.
pub(crate) fn put_pieces(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (id, mut inode): (InodeId, Inode),
    offset: u64,
    contents: Contents<'_>,
) -> Result<Inode, Stop> {
    let Body::File {
        size,
        inline_bytes,
        allocated,
    } = inode.body
    else {
        return Err(Fatal::new(format!("{id} is written to and is no file")).into());
    };
    let length: u64 = contents.pieces.iter().map(Piece::length).sum();
    let end = offset.saturating_add(length);
    if end > FILE_LEN_MAX {
        return refuse(RefusalKind::TooLarge, format!("{id} with {end} bytes"));
    }
    let trimming = extents::is_trimming(state, id)?;
    if trimming && end > size {
        return refuse(RefusalKind::Busy, format!("{id} is being trimmed"));
    }
    concat::require_settled(state, id)?;
    let mut memberships = stripes::memberships(contents.stripes);
    for new in contents.chunks {
        let stripe = memberships.remove(&new.chunk);
        add_chunk(state, now, (id, &inode), new, stripe)?;
    }
    stripes::insert(state, contents.stripes, &inode.policy)?;
    for piece in contents.pieces {
        acquire(state, id, piece)?;
    }
    let cut = match planted::active(Bug::ExtentsOverlapAfterTruncate) && offset >= size {
        true => extents::Cut::NOTHING,
        false => extents::replace(state, now, id, offset, end)?,
    };
    extents::insert(state, now, id, offset, contents.pieces.iter().map(extent))?;

    let added: u64 = contents
        .pieces
        .iter()
        .map(|piece| extent(piece).inline_length())
        .sum();
    let inline = (u64::from(inline_bytes) + added).saturating_sub(cut.inline);
    if added > 0 && inline > u64::from(inode.policy.inline_max) {
        let kind = if trimming {
            RefusalKind::Busy
        } else {
            RefusalKind::TooLarge
        };
        return refuse(kind, format!("{id} with {inline} bytes inline"));
    }
    inode.body = Body::File {
        size: size.max(end),
        inline_bytes: u32::try_from(inline).unwrap_or(u32::MAX),
        allocated: (allocated + length).saturating_sub(cut.bytes),
    };
    Ok(inode)
}

fn extent(piece: &Piece) -> Extent {
    match piece {
        Piece::Chunk {
            chunk,
            offset,
            length,
        } => {
            let source = Source::Chunk {
                chunk: *chunk,
                offset: *offset,
            };
            Extent {
                length: *length,
                source,
            }
        }
        Piece::Inline(bytes) => Extent {
            length: bytes.len() as u64,
            source: Source::Inline(bytes.clone()),
        },
    }
}

/// Adds a chunk that no earlier commit has named, if its id may be used.
fn add_chunk(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (id, inode): (InodeId, &Inode),
    new: &NewChunk,
    stripe: Option<Membership>,
) -> Result<(), Stop> {
    let chunk = new.chunk;
    match range_state(state, chunk, now)? {
        RangeState::Open(_) => {}
        RangeState::Expired if planted::active(Bug::ExpiredGrantCommitted) => {}
        RangeState::Expired => return refuse(RefusalKind::GrantExpired, chunk),
        RangeState::Unreserved => {
            return refuse(
                RefusalKind::GrantExpired,
                format!("{chunk} was never reserved"),
            );
        }
    }
    if state.get(CHUNKS, &chunk)?.is_some() || state.get(SPENT, &chunk)?.is_some() {
        return refuse(RefusalKind::Exists, format!("{chunk} is used already"));
    }
    for node in &new.replicas {
        if !nodes::is_registered(state, *node)? {
            return refuse(
                RefusalKind::Invalid,
                format!("{chunk} is on {node}, who is unknown"),
            );
        }
    }
    let (held, min) = (new.replicas.len(), inode.policy.replicas_min.0);
    // A member of a stripe is as safe as its stripe.
    let few = stripe.is_none() && held < usize::from(min);
    if few && !planted::active(Bug::CommittedAtOneReplica) {
        return refuse(
            RefusalKind::TooFewReplicas,
            format!("{chunk} is on {held}, the policy insists on {min}"),
        );
    }
    let mut row = Chunk {
        inode: id,
        length: new.length,
        checksum: new.checksum,
        references: u32::from(stripe.is_some()),
        target: match stripe {
            Some(_) => ReplicationTarget(1),
            None => inode.policy.replicas,
        },
        replicas: new.replicas.clone(),
        stripe,
    };
    if planted::active(Bug::HashOrderInApply) {
        planted::put_in_hash_order(&mut row.replicas);
    }
    references::insert(state, chunk, &row)?;
    Ok(())
}

/// Counts the reference of a piece to its chunk, which must be this file's.
fn acquire(state: &mut StateTxn<'_>, id: InodeId, piece: &Piece) -> Result<(), Stop> {
    let Piece::Chunk {
        chunk,
        offset,
        length,
    } = piece
    else {
        return Ok(());
    };
    let row = state.get(CHUNKS, chunk)?;
    let is_part = |row: &Chunk| shares::has(state, id, *chunk, row);
    let (Some(row), true) = (&row, row.as_ref().map_or(Ok(false), is_part)?) else {
        return refuse(RefusalKind::NotFound, format!("{chunk} in {id}"));
    };
    if offset.saturating_add(*length) > row.length {
        let subject = format!("a piece reaches beyond the end of {chunk}");
        return refuse(RefusalKind::Invalid, subject);
    }
    if stripes::is_parity(state, row)? {
        return refuse(RefusalKind::Invalid, format!("{chunk} is parity"));
    }
    references::require_room(*chunk, row)?;
    references::acquire(state, id, *chunk)?;
    Ok(())
}
