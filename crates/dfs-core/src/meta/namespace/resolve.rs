//! Resolution: from a location to what is there.
//!
//! Symbolic links on the way are followed: an absolute target starts again at the root, a
//! relative one goes on in the directory of the link, and `..` in a target is the directory's
//! real parent. Whether a link at the end is followed is the operation's choice.
//!
//! Who follows names must have the right to search each directory on the way, up and down. Who is
//! confined to a directory has it for its root: no name, link or `..` leads out of it. An inode
//! that a location starts at was looked up before by whoever shows it; its own permissions are
//! checked again, those on the way to it are not.
//!
//! What was removed is out of reach by name; by inode it can still be read as long as it is in
//! the trash, but no name can be added, removed or moved in a directory that the root does not
//! lead to.

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::dirent::{self, Dirent};
use super::inode::{self, Body, Inode};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::INODES;
use crate::types::limits::{NAME_LEN_MAX, PATH_DEPTH_MAX, PATH_LEN_MAX, SYMLINKS_MAX};
use crate::types::{DfsPath, FileKind, InodeId, Location, Name, RefusalKind, Rights};

/// Names looked up in one resolution, links included, before it is refused as a loop.
const STEPS_MAX: usize = 4 * PATH_DEPTH_MAX;

/// A name in a directory, whether something has it or not.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) dir: InodeId,
    /// The directory's inode.
    pub(crate) dir_inode: Inode,
    /// How many names it is below the root, if it was reached from there.
    pub(crate) depth: Option<usize>,
    /// The name.
    pub(crate) name: Name,
    /// What has the name.
    pub(crate) entry: Option<Dirent>,
}

/// Where a walk ended.
pub(crate) enum Found {
    /// At a name.
    Place(Place),
    /// At an inode that no name of the walk leads to: its start, or a parent.
    Inode(Cursor),
}

/// An inode on the way.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    /// Which.
    pub(crate) id: InodeId,
    /// Its row.
    pub(crate) inode: Inode,
    /// How many names it is below the root, if it was reached from there.
    pub(crate) depth: Option<usize>,
}

enum Step {
    Down(Name),
    Up,
}

/// Where a location starts. What has no name is reached by its session only.
pub(crate) fn start(state: &impl ReadState, by: &Subject, at: &Location) -> Result<Cursor, Stop> {
    let base = match at.base {
        InodeId::ROOT => by.root,
        base => base,
    };
    let inode = state.get(INODES, &base)?.filter(|inode| inode.links > 0);
    let Some(inode) = inode else {
        return refuse(RefusalKind::NotFound, at);
    };
    if inode.kind() == FileKind::Directory && !is_below(state, base, by.root)? {
        return refuse(RefusalKind::NotFound, at);
    }
    Ok(Cursor {
        id: base,
        inode,
        depth: (base == InodeId::ROOT).then_some(0),
    })
}

/// What one command may follow, however many walks it takes.
#[derive(Debug)]
pub(crate) struct Steps {
    left: usize,
    links: usize,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            left: STEPS_MAX,
            links: SYMLINKS_MAX,
        }
    }
}

/// Whether a directory is where somebody's `/` is, or below it. So that `..` from a directory that
/// was moved away leads nowhere. Below the root everything is, what is in the trash too.
pub(crate) fn is_below(state: &impl ReadState, dir: InodeId, root: InodeId) -> Result<bool, Stop> {
    if root == InodeId::ROOT || dir == root {
        return Ok(true);
    }
    Ok(match above_to(state, dir, root)? {
        Above::Root(_) => true,
        Above::Detached | Above::TooDeep(_) => false,
    })
}

/// Follows names from `cursor` on.
pub(crate) fn walk(
    state: &impl ReadState,
    by: &Subject,
    cursor: Cursor,
    names: &[Name],
    follow: bool,
    at: &Location,
) -> Result<Found, Stop> {
    walk_within(
        &mut Steps::default(),
        state,
        by,
        cursor,
        (names, follow),
        at,
    )
}

/// The same as one of several walks of a command.
pub(crate) fn walk_within(
    steps: &mut Steps,
    state: &impl ReadState,
    by: &Subject,
    mut cursor: Cursor,
    (names, follow): (&[Name], bool),
    at: &Location,
) -> Result<Found, Stop> {
    let mut todo: Vec<Step> = names.iter().rev().cloned().map(Step::Down).collect();
    while let Some(left) = steps.left.checked_sub(1) {
        steps.left = left;
        let Some(step) = todo.pop() else {
            return Ok(Found::Inode(cursor));
        };
        let name = match step {
            Step::Up => {
                require_search(state, by, &cursor, at)?;
                cursor = parent(state, by, cursor, at)?;
                continue;
            }
            Step::Down(name) => name,
        };
        if cursor.inode.kind() != FileKind::Directory {
            return refuse(RefusalKind::NotADirectory, at);
        }
        require_search(state, by, &cursor, at)?;
        let entry = dirent::get(state, cursor.id, &name)?;
        let last = todo.is_empty();
        match entry {
            Some(link) if link.kind == FileKind::Symlink && (follow || !last) => {
                let Some(links) = steps.links.checked_sub(1) else {
                    return refuse(RefusalKind::SymlinkLoop, at);
                };
                steps.links = links;
                cursor = follow_link(state, by, cursor, link.inode, &mut todo, at)?;
            }
            entry if last => {
                let Cursor { id, inode, depth } = cursor;
                let place = Place {
                    dir: id,
                    dir_inode: inode,
                    depth,
                    name,
                    entry,
                };
                return Ok(Found::Place(place));
            }
            None => return refuse(RefusalKind::NotFound, at),
            Some(Dirent {
                inode,
                kind: FileKind::Directory,
            }) => {
                let depth = cursor.depth.map(|depth| depth + 1);
                cursor = Cursor {
                    id: inode,
                    inode: inode::require(state, inode)?,
                    depth,
                };
            }
            Some(_) => return refuse(RefusalKind::NotADirectory, at),
        }
    }
    refuse(RefusalKind::SymlinkLoop, at)
}

/// Puts the target of a link in front of what is left to walk; gives where to go on from.
fn follow_link(
    state: &impl ReadState,
    by: &Subject,
    cursor: Cursor,
    link: InodeId,
    todo: &mut Vec<Step>,
    at: &Location,
) -> Result<Cursor, Stop> {
    let Body::Symlink { target } = inode::require(state, link)?.body else {
        return Err(Fatal::new(format!("{link} is listed as a symbolic link and is none")).into());
    };
    for part in target.rsplit('/') {
        match part {
            "" | "." => {}
            ".." => todo.push(Step::Up),
            name => match Name::new(name) {
                Ok(name) => todo.push(Step::Down(name)),
                Err(_) if name.len() > NAME_LEN_MAX => return refuse(RefusalKind::NameTooLong, at),
                Err(_) => return refuse(RefusalKind::NotFound, at),
            },
        }
    }
    if target.starts_with('/') {
        return start(state, by, &Location::from(DfsPath::root()));
    }
    Ok(cursor)
}

fn require_search(
    state: &impl ReadState,
    by: &Subject,
    cursor: &Cursor,
    at: &Location,
) -> Result<(), Stop> {
    by.require(state, (cursor.id, &cursor.inode), Rights::EXECUTE, at)
}

fn parent(
    state: &impl ReadState,
    by: &Subject,
    cursor: Cursor,
    at: &Location,
) -> Result<Cursor, Stop> {
    if cursor.id == by.root {
        return Ok(cursor);
    }
    let Body::Directory(directory) = &cursor.inode.body else {
        return refuse(RefusalKind::NotADirectory, at);
    };
    match &directory.place {
        Some((id, _)) => {
            let depth = cursor.depth.map(|depth| depth.saturating_sub(1));
            Ok(Cursor {
                id: *id,
                inode: inode::require(state, *id)?,
                depth,
            })
        }
        None => refuse(RefusalKind::NotFound, at),
    }
}

/// What exists at a location.
pub(crate) fn existing(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    follow: bool,
) -> Result<(InodeId, Inode), Stop> {
    match walk(
        state,
        by,
        start(state, by, at)?,
        at.path.names(),
        follow,
        at,
    )? {
        Found::Inode(cursor) => Ok((cursor.id, cursor.inode)),
        Found::Place(Place {
            entry: Some(entry), ..
        }) => Ok((entry.inode, inode::require(state, entry.inode)?)),
        Found::Place(_) => refuse(RefusalKind::NotFound, at),
    }
}

/// The name at a location, in a directory that the root leads to and that is not too deep. A
/// symbolic link at the end is not followed. A location without a name is refused as `nameless`.
pub(crate) fn place(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    nameless: RefusalKind,
) -> Result<Place, Stop> {
    match walk(state, by, start(state, by, at)?, at.path.names(), false, at)? {
        Found::Place(place) => {
            require_attached(state, &place, at)?;
            Ok(place)
        }
        Found::Inode(_) => refuse(nameless, at),
    }
}

/// Refuses a directory that the root does not lead to, or that is too deep for another name.
pub(crate) fn require_attached(
    state: &impl ReadState,
    place: &Place,
    at: &Location,
) -> Result<(), Stop> {
    let depth = match place.depth {
        Some(depth) => depth,
        None => match above(state, place.dir)? {
            Above::Root(names) => names.len(),
            Above::Detached => return refuse(RefusalKind::NotFound, at),
            Above::TooDeep(names) => names.len(),
        },
    };
    if depth >= PATH_DEPTH_MAX && place.entry.is_none() {
        return refuse(RefusalKind::NameTooLong, at);
    }
    Ok(())
}

/// What is above a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Above {
    /// The root; the names from it down to the directory, last one first.
    Root(Vec<(InodeId, Name)>),
    /// Nothing: it, or a directory above it, is in the trash or being purged.
    Detached,
    /// More directories than a path may have; the names nearest to it, last one first.
    TooDeep(Vec<(InodeId, Name)>),
}

/// Climbs from a directory to the root. Each name comes with the directory that has it.
pub(crate) fn above(state: &impl ReadState, dir: InodeId) -> Result<Above, Fatal> {
    above_to(state, dir, InodeId::ROOT)
}

/// The same up to a directory that takes the place of the root.
fn above_to(state: &impl ReadState, dir: InodeId, root: InodeId) -> Result<Above, Fatal> {
    let mut names = Vec::new();
    let mut id = dir;
    while names.len() <= PATH_DEPTH_MAX {
        if id == root {
            return Ok(Above::Root(names));
        }
        let inode = state.get(INODES, &id)?.map(|inode| inode.body);
        let Some(Body::Directory(directory)) = inode else {
            return Ok(Above::Detached);
        };
        let Some((parent, name)) = directory.place else {
            return Ok(Above::Detached);
        };
        names.push((parent, name));
        id = parent;
    }
    Ok(Above::TooDeep(names))
}

/// The path of a name in a directory, as text and from somebody's `/`: cut at the front if it is
/// longer than a path may be.
pub(crate) fn path_text(
    state: &impl ReadState,
    root: InodeId,
    dir: InodeId,
    name: &Name,
) -> Result<String, Fatal> {
    let (above, rooted) = match above_to(state, dir, root)? {
        Above::Root(names) => (names, true),
        Above::TooDeep(names) => (names, false),
        Above::Detached => (Vec::new(), false),
    };
    let mut parts = vec![name.as_str()];
    let mut length = name.as_str().len() + 1;
    let mut whole = rooted;
    for (_, name) in &above {
        length += name.as_str().len() + 1;
        if length > PATH_LEN_MAX {
            whole = false;
            break;
        }
        parts.push(name.as_str());
    }
    let mut text = if whole {
        String::new()
    } else {
        "…".to_owned()
    };
    for part in parts.iter().rev() {
        text.push('/');
        text.push_str(part);
    }
    Ok(text)
}
