//! Making directories, files and symbolic links.
//!
//! What is new gets the policy of the directory it is made in, and its default list if it has one.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use super::dirent::{self, Dirent, directory_of};
use super::inode::{self, Body, Directory, Inode};
use super::resolve::{
    Cursor, Found, Place, Steps, place, require_attached, start, walk, walk_within,
};
use crate::meta::accounts::acl::{Inheritance, inherit, require_entry_rights};
use crate::meta::accounts::subject::Subject;
use crate::meta::chunks::commit::require_file;
use crate::meta::counters::charges;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots::rows;
use crate::meta::tables::INODES;
use crate::types::{Changed, FileKind, InodeId, Location, NewAttr, RefusalKind, Timestamp};

/// Gives an inode a name that nothing has yet.
pub(crate) fn give_name(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    place: &Place,
    at: &Location,
    id: InodeId,
) -> Result<(), Stop> {
    require_attached(state, place, at)?;
    let mut inode = inode::require(state, id)?;
    inode.links += 1;
    put_name(state, now, place, id, &mut inode)?;
    Ok(())
}

/// Adds the directory entry and stores the inode, whose links are counted already.
pub(crate) fn put_name(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    place: &Place,
    id: InodeId,
    inode: &mut Inode,
) -> Result<(), Fatal> {
    let kind = inode.kind();
    if kind == FileKind::Directory {
        directory_of(id, inode)?.place = Some((place.dir, place.name.clone()));
    }
    rows::put(state, INODES, &id, inode)?;
    dirent::add(
        state,
        place.dir,
        &place.name,
        Dirent { inode: id, kind },
        now,
    )
}

/// Makes something new at a place where nothing is.
fn make(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    (place, at): (&Place, &Location),
    attr: &NewAttr,
    body: Body,
) -> Result<(InodeId, Inode), Stop> {
    let (mut inode, inherited) = new_inode(state, now, by, (place, at), attr, body)?;
    inode.links = 1;
    let id = inode::next_id(state)?;
    inherited.store(state, id, &mut inode)?;
    charges::made(state, by, place.dir, (id, &mut inode))?;
    put_name(state, now, place, id, &mut inode)?;
    Ok((id, inode))
}

/// What is new in a directory, for who may make it there.
pub(crate) fn new_inode(
    state: &impl ReadState,
    now: Timestamp,
    by: &Subject,
    (place, at): (&Place, &Location),
    attr: &NewAttr,
    body: Body,
) -> Result<(Inode, Inheritance), Stop> {
    let dir = (place.dir, &place.dir_inode);
    require_entry_rights(state, by, dir, at)?;
    let owner = attr.owner.unwrap_or(by.user);
    let is_own = owner == by.user && attr.group.is_none_or(|group| by.is_in(group));
    if !is_own && !by.is_administrator() {
        return refuse(RefusalKind::NotPermitted, format!("{at} for somebody else"));
    }
    let inherited = inherit(state, by, dir, attr, body.kind())?;
    let policy = place.dir_inode.policy;
    let owner = (owner, inherited.group);
    Ok((
        Inode::new(owner, inherited.mode, policy, body, now),
        inherited,
    ))
}

fn changed(id: InodeId, inode: &Inode) -> Changed {
    Changed {
        attr: Some(inode.attr(id)),
        ..Changed::default()
    }
}

/// Makes a directory, and with `parents` those above it that are missing.
pub(crate) fn make_directory(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    attr: &NewAttr,
    parents: bool,
) -> Result<Changed, Stop> {
    let body = || Body::Directory(Directory::default());
    if !parents {
        let place = place(state, by, at, RefusalKind::Exists)?;
        if place.entry.is_some() {
            return refuse(RefusalKind::Exists, at);
        }
        let (id, inode) = make(state, now, by, (&place, at), attr, body())?;
        return Ok(changed(id, &inode));
    }
    let mut cursor = start(state, by, at)?;
    let mut steps = Steps::default();
    for (index, name) in at.path.names().iter().enumerate() {
        let last = index + 1 == at.path.names().len();
        let from = (cursor.id, name.clone());
        let names = (std::slice::from_ref(name), true);
        cursor = match walk_within(&mut steps, state, by, cursor, names, at)? {
            Found::Inode(cursor) => cursor,
            Found::Place(place) => match place.entry {
                Some(entry) => {
                    if last && entry.kind != FileKind::Directory {
                        return refuse(RefusalKind::Exists, at);
                    }
                    let inode = inode::require(state, entry.inode)?;
                    Cursor {
                        id: entry.inode,
                        inode,
                        depth: place.depth.map(|d| d + 1),
                        view: None,
                    }
                }
                None => {
                    // Only names of the path itself are made, not what a link leads to.
                    if from != (place.dir, place.name.clone()) {
                        return refuse(RefusalKind::NotFound, at);
                    }
                    require_attached(state, &place, at)?;
                    let (id, inode) = make(state, now, by, (&place, at), attr, body())?;
                    Cursor {
                        id,
                        inode,
                        depth: place.depth.map(|d| d + 1),
                        view: None,
                    }
                }
            },
        };
    }
    if cursor.inode.kind() != FileKind::Directory {
        return refuse(RefusalKind::Exists, at);
    }
    Ok(changed(cursor.id, &cursor.inode))
}

/// Makes an empty file. Unless it must be new, a symbolic link at the end is followed, and a
/// file that is there is left as it is.
pub(crate) fn file(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    attr: &NewAttr,
    exclusive: bool,
) -> Result<Changed, Stop> {
    let from = start(state, by, at)?;
    let place = match walk(state, by, from, at.path.names(), !exclusive, at)? {
        Found::Place(place) => place,
        Found::Inode(_) if exclusive => return refuse(RefusalKind::Exists, at),
        Found::Inode(Cursor { id, inode, .. }) => return existing_file(id, &inode, at),
    };
    match place.entry {
        Some(_) if exclusive => refuse(RefusalKind::Exists, at),
        Some(entry) => existing_file(entry.inode, &inode::require(state, entry.inode)?, at),
        None => {
            require_attached(state, &place, at)?;
            let body = Body::EMPTY_FILE;
            let (id, inode) = make(state, now, by, (&place, at), attr, body)?;
            Ok(changed(id, &inode))
        }
    }
}

fn existing_file(id: InodeId, inode: &Inode, at: &Location) -> Result<Changed, Stop> {
    require_file(inode, at)?;
    Ok(changed(id, inode))
}

/// Makes a symbolic link.
pub(crate) fn symlink(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    at: &Location,
    target: &str,
    attr: &NewAttr,
) -> Result<Changed, Stop> {
    let place = place(state, by, at, RefusalKind::Exists)?;
    if place.entry.is_some() {
        return refuse(RefusalKind::Exists, at);
    }
    let body = Body::Symlink {
        target: target.to_owned(),
    };
    let (id, inode) = make(state, now, by, (&place, at), attr, body)?;
    Ok(changed(id, &inode))
}

/// The place of a new file that is to be written before it gets its name there. Nothing is made.
pub(crate) fn place_of_upload(
    state: &StateTxn<'_>,
    by: &Subject,
    at: &Location,
) -> Result<Place, Stop> {
    let place = place(state, by, at, RefusalKind::IsADirectory)?;
    match place.entry.map(|entry| entry.kind) {
        Some(FileKind::Directory) => refuse(RefusalKind::IsADirectory, at),
        _ => Ok(place),
    }
}
