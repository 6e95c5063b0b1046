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
//!
//! `.snapshots` in a directory leads to its snapshots, and a name there to what the directory was.
//! From then on all is read as the snapshot has it, until a link leads elsewhere. Only questions
//! go there, and the sources of clones.

mod inside;
mod upward;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

pub(crate) use upward::{Above, above, is_below, path_text};

use super::dirent::{self, Dirent};
use super::inode::{self, Body, Inode};
use crate::meta::accounts::subject::Subject;
use crate::meta::machine::{Stop, refuse};
use crate::meta::snapshots;
use crate::meta::snapshots::view::At;
use crate::meta::tables::INODES;
use crate::types::limits::{NAME_LEN_MAX, PATH_DEPTH_MAX, SYMLINKS_MAX};
use crate::types::snapshot::SNAPSHOTS_NAME;
use crate::types::{
    Attr, DfsPath, FileKind, InodeId, Location, Name, RefusalKind, Rights, SnapshotId,
};

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
    /// The snapshot it is in.
    view: Option<SnapshotId>,
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
    /// The snapshot it is in.
    pub(crate) view: Option<SnapshotId>,
}

enum Step {
    Down(Name),
    Up,
}

/// Where a location starts. What has no name is reached by its session only.
pub(crate) fn start(state: &impl ReadState, by: &Subject, at: &Location) -> Result<Cursor, Stop> {
    if let Some(number) = at.base.snapshot() {
        return inside::start(state, by, number, at);
    }
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
        view: None,
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

/// Follows names from `cursor` on, in the tree of today alone.
///
/// # Errors
/// Refused as `NotPermitted` where they lead into a snapshot, besides all that refuses names.
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
    cursor: Cursor,
    names: (&[Name], bool),
    at: &Location,
) -> Result<Found, Stop> {
    let found = follow_names(steps, state, by, cursor, names, at)?;
    let view = match &found {
        Found::Place(place) => place.view,
        Found::Inode(cursor) => cursor.view,
    };
    let subject = match view {
        None => return Ok(found),
        Some(SnapshotId::LIST) => format!("{at}: what is in `{SNAPSHOTS_NAME}` is made by itself"),
        Some(number) => {
            let snapshot = snapshots::get(state, number)?;
            let name = snapshot.map_or(number.to_string(), |row| row.name.to_string());
            format!("{at}: the snapshot `{name}` is as it was, nothing in it changes")
        }
    };
    refuse(RefusalKind::NotPermitted, subject)
}

/// Follows names wherever they lead.
fn follow_names(
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
        let view = &At::of(state, cursor.view)?;
        let name = match step {
            Step::Up => {
                require_search(view, by, &cursor, at)?;
                cursor = parent(state, by, cursor, at)?;
                continue;
            }
            Step::Down(name) => name,
        };
        if cursor.inode.kind() != FileKind::Directory {
            return refuse(RefusalKind::NotADirectory, at);
        }
        require_search(view, by, &cursor, at)?;
        if let Some(entered) = inside::enter(state, &cursor, &name)? {
            cursor = entered;
            continue;
        }
        let entry = match cursor.view {
            Some(SnapshotId::LIST) => None,
            _ => dirent::get(view, cursor.id, &name)?,
        };
        let last = todo.is_empty();
        match entry {
            Some(link) if link.kind == FileKind::Symlink && (follow || !last) => {
                let Some(links) = steps.links.checked_sub(1) else {
                    return refuse(RefusalKind::SymlinkLoop, at);
                };
                steps.links = links;
                let target = target_of(view, link.inode)?;
                cursor = follow_link(state, by, cursor, &target, &mut todo, at)?;
            }
            entry if last => {
                let place = Place {
                    dir: cursor.id,
                    dir_inode: cursor.inode,
                    depth: cursor.depth,
                    name,
                    entry,
                    view: cursor.view,
                };
                return Ok(Found::Place(place));
            }
            None => return refuse(RefusalKind::NotFound, at),
            Some(Dirent {
                inode,
                kind: FileKind::Directory,
            }) => {
                cursor = Cursor {
                    id: inode,
                    inode: inode::require(view, inode)?,
                    depth: cursor.depth.map(|depth| depth + 1),
                    view: cursor.view,
                };
            }
            Some(_) => return refuse(RefusalKind::NotADirectory, at),
        }
    }
    refuse(RefusalKind::SymlinkLoop, at)
}

fn target_of(state: &impl ReadState, link: InodeId) -> Result<String, Fatal> {
    match inode::require(state, link)?.body {
        Body::Symlink { target } => Ok(target),
        _ => Err(Fatal::new(format!(
            "{link} is listed as a symbolic link and is none"
        ))),
    }
}

/// Puts the target of a link in front of what is left to walk; gives where to go on from.
fn follow_link(
    state: &impl ReadState,
    by: &Subject,
    cursor: Cursor,
    target: &str,
    todo: &mut Vec<Step>,
    at: &Location,
) -> Result<Cursor, Stop> {
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
    match cursor.view {
        None if cursor.id == by.root => return Ok(cursor),
        None => {}
        Some(number) => return inside::parent(state, cursor, number, at),
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
                view: None,
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

/// Something to look at, today or in a snapshot.
pub(crate) struct Sight {
    /// Which inode.
    pub(crate) id: InodeId,
    /// Its row.
    pub(crate) inode: Inode,
    /// The snapshot it is in.
    pub(crate) view: Option<SnapshotId>,
}

impl Sight {
    /// Its attributes as clients see them.
    pub(crate) fn attr(&self) -> Attr {
        self.inode.attr(self.shown(self.id))
    }

    /// The id that clients know something by that is in the same snapshot, or of today like it.
    pub(crate) fn shown(&self, id: InodeId) -> InodeId {
        self.view.map_or(id, |view| id.within(view))
    }
}

/// What is or was at a location, for who only looks at it.
pub(crate) fn sight(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    follow: bool,
) -> Result<Sight, Stop> {
    let (from, names) = (start(state, by, at)?, at.path.names());
    let steps = &mut Steps::default();
    match follow_names(steps, state, by, from, (names, follow), at)? {
        Found::Inode(Cursor {
            id, inode, view, ..
        }) => Ok(Sight { id, inode, view }),
        Found::Place(Place {
            entry: Some(entry),
            view,
            ..
        }) => Ok(Sight {
            id: entry.inode,
            inode: inode::require(&At::of(state, view)?, entry.inode)?,
            view,
        }),
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
