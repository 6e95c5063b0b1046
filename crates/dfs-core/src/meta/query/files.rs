//! What is in directories, files and links, today or in a snapshot.

use std::collections::BTreeSet;

use dfs_raft::state::ReadState;

use super::REPLY_TEXT_MAX;
use crate::meta::accounts::subject::Subject;
use crate::meta::chunks::commit::require_file;
use crate::meta::chunks::extents::Source;
use crate::meta::chunks::references::{self, Chunk};
use crate::meta::chunks::{concat, stripes};
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::inode::{self, Body};
use crate::meta::namespace::resolve::sight;
use crate::meta::snapshots::{self, view::At};
use crate::meta::tables::DIRENTS;
use crate::types::limits::ENTRIES_PER_REPLY_MAX;
use crate::types::query::{Entry, EntryPage, Layout, LayoutExtent, LayoutSource};
use crate::types::{
    ByteRange, FileKind, InodeId, Location, Name, Permit, RefusalKind, Rights, SnapshotId,
};

/// Names in a directory: a page that begins after a name.
pub(super) fn list(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    (after, limit): (Option<&Name>, usize),
    attrs: bool,
) -> Result<EntryPage, Stop> {
    let sight = sight(state, by, at, true)?;
    let (dir, inode) = (sight.id, &sight.inode);
    if inode.kind() != FileKind::Directory {
        return refuse(RefusalKind::NotADirectory, at);
    }
    let rights = match attrs {
        true => Rights::READ.and(Rights::EXECUTE),
        false => Rights::READ,
    };
    let then = At::of(state, sight.view)?;
    by.require(&then, (dir, inode), rights, at)?;
    if sight.view == Some(SnapshotId::LIST) {
        return list_snapshots(state, dir, (after, limit), attrs);
    }
    let mut page = EntryPage {
        entries: Vec::new(),
        more: false,
    };
    let mut text = 0;
    let rows = match after {
        Some(after) => then.scan(DIRENTS, &(dir, after.clone())..)?,
        None => then.scan_prefix(DIRENTS, &dir)?,
    };
    for row in rows {
        let ((parent, name), entry) = row?;
        if parent != dir {
            break;
        }
        if after == Some(&name) {
            continue;
        }
        if page.entries.len() >= limit || text > REPLY_TEXT_MAX {
            page.more = true;
            break;
        }
        text += name.as_str().len();
        let id = sight.shown(entry.inode);
        let attr = match attrs {
            true => Some(inode::require(&then, entry.inode)?.attr(id)),
            false => None,
        };
        page.entries.push(Entry {
            name,
            inode: id,
            kind: entry.kind,
            attr,
        });
    }
    Ok(page)
}

/// The names of a directory's snapshots.
fn list_snapshots(
    state: &impl ReadState,
    dir: InodeId,
    (after, limit): (Option<&Name>, usize),
    attrs: bool,
) -> Result<EntryPage, Stop> {
    let (found, more) = snapshots::of(state, dir, after, limit)?;
    let entries = found.into_iter().map(|(info, inode)| Entry {
        name: info.name,
        inode: info.inode,
        kind: FileKind::Directory,
        attr: attrs.then(|| inode.attr(info.inode)),
    });
    let entries = entries.collect();
    Ok(EntryPage { entries, more })
}

/// Where the bytes of a file are.
pub(super) fn layout(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
    range: ByteRange,
) -> Result<Layout, Stop> {
    let sight = sight(state, by, at, true)?;
    let (id, inode) = (sight.id, &sight.inode);
    require_file(inode, at)?;
    let then = At::of(state, sight.view)?;
    by.require(&then, (id, inode), Rights::READ, at)?;
    let attr = sight.attr();
    let end = range.end().min(attr.size);
    let mut layout = Layout {
        attr,
        extents: Vec::new(),
        more: false,
        permit: Permit::default(),
        stripes: Vec::new(),
    };
    if range.offset >= end {
        return Ok(layout);
    }
    let bytes = (range.offset, end);
    let (found, more) = concat::read(&then, id, bytes, ENTRIES_PER_REPLY_MAX)?;
    layout.more = more;
    let (mut seen, mut members) = (BTreeSet::new(), 0);
    for (offset, extent) in found {
        if layout.extents.len() + members >= ENTRIES_PER_REPLY_MAX {
            layout.more = true;
            break;
        }
        let source = match extent.source {
            Source::Inline(bytes) => LayoutSource::Inline(bytes),
            Source::Chunk { chunk, offset } => {
                let row = references::require(state, chunk)?;
                if let Some(membership) = row.stripe
                    && seen.insert(membership.stripe)
                {
                    let stripe = stripes::layout(state, membership.stripe)?;
                    members += stripe.members.len();
                    layout.stripes.push(stripe);
                }
                let Chunk {
                    length, replicas, ..
                } = row;
                LayoutSource::Chunk {
                    chunk,
                    offset,
                    length,
                    replicas,
                }
            }
        };
        layout.extents.push(LayoutExtent {
            offset,
            length: extent.length,
            source,
        });
    }
    Ok(layout)
}

/// What a symbolic link leads to.
pub(super) fn read_link(
    state: &impl ReadState,
    by: &Subject,
    at: &Location,
) -> Result<String, Stop> {
    match sight(state, by, at, false)?.inode.body {
        Body::Symlink { target } => Ok(target),
        _ => refuse(RefusalKind::NotASymlink, at),
    }
}
