//! Upwards: what is above a directory, and how that is told.

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use crate::meta::machine::Stop;
use crate::meta::namespace::inode::Body;
use crate::meta::tables::INODES;
use crate::types::limits::{PATH_DEPTH_MAX, PATH_LEN_MAX};
use crate::types::{InodeId, Name};

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
