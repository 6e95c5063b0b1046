//! Names, inodes and links agree; every directory hangs on the root, the trash or the purge.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use crate::meta::counters::number;
use crate::meta::namespace::inode::Body;
use crate::meta::namespace::purge::Purge;
use crate::meta::tables::{DIRENTS, INODES, Meta, Moment, PURGE, TRASH, TRASH_EXPIRY, UPLOADS};
use crate::types::{FileKind, InodeId, Name};

/// What other checks need to know of inodes.
pub(super) struct Inodes {
    /// Size, inline bytes and bytes of all extents of every file.
    pub(super) files: Files,
    /// The files that are gone but for their extents.
    pub(super) purged: BTreeSet<InodeId>,
}

/// A row of INODES, and what leads to it.
struct Known {
    kind: FileKind,
    links: u32,
    place: Option<(InodeId, Name)>,
    listed: (u64, u32),
    found_links: u32,
    found_entries: u64,
    found_subdirectories: u32,
    trashed: bool,
    upload: bool,
    dying: bool,
}

type Map = BTreeMap<InodeId, Known>;

pub(super) fn check(state: &impl ReadState, findings: &mut Findings) -> Result<Inodes, Fatal> {
    let (mut map, files) = load(state, findings)?;
    dirents(state, &mut map, findings)?;
    trash(state, &mut map, findings)?;
    uploads(state, &mut map, findings)?;
    let purged = purge(state, &mut map, findings)?;
    for (id, known) in &map {
        links(*id, known, findings);
    }
    roots(&map, findings);
    Ok(Inodes { files, purged })
}

pub(super) type Files = BTreeMap<InodeId, (u64, u32, u64)>;

fn load(state: &impl ReadState, findings: &mut Findings) -> Result<(Map, Files), Fatal> {
    let (mut map, mut files) = (Map::new(), Files::new());
    let next = number(state, Meta::NextInode)?;
    for row in state.scan(INODES, ..)? {
        let (id, inode) = row?;
        findings.require(id.0 < next, || {
            format!("{id} is not below the next id {next}")
        });
        let kind = inode.kind();
        let (place, listed) = match inode.body {
            Body::Directory(d) => (d.place, (d.entries, d.subdirectories)),
            Body::File {
                size,
                inline_bytes,
                allocated,
            } => {
                files.insert(id, (size, inline_bytes, allocated));
                (None, (0, 0))
            }
            Body::Symlink { .. } => (None, (0, 0)),
        };
        let known = Known {
            kind,
            links: inode.links,
            place,
            listed,
            found_links: u32::from(id == InodeId::ROOT),
            found_entries: 0,
            found_subdirectories: 0,
            trashed: false,
            upload: false,
            dying: false,
        };
        map.insert(id, known);
    }
    findings.equal(
        number(state, Meta::Inodes)?,
        map.len() as u64,
        "the number of inodes",
    );
    let root = map.get(&InodeId::ROOT).map(|known| known.kind);
    findings.equal(root, Some(FileKind::Directory), "the root");
    Ok((map, files))
}

fn dirents(state: &impl ReadState, map: &mut Map, findings: &mut Findings) -> Result<(), Fatal> {
    for row in state.scan(DIRENTS, ..)? {
        let ((parent, name), entry) = row?;
        let at = format!("{parent}/{name}");
        match map.get_mut(&parent) {
            Some(known) if known.kind == FileKind::Directory => {
                known.found_entries += 1;
                known.found_subdirectories += u32::from(entry.kind == FileKind::Directory);
            }
            _ => findings.require(false, || format!("{at} is in no directory")),
        }
        match map.get_mut(&entry.inode) {
            None => findings.require(false, || format!("{at} leads to no inode")),
            Some(known) => {
                known.found_links += 1;
                findings.equal(entry.kind, known.kind, format!("{at}: the kind"));
                if known.kind == FileKind::Directory {
                    let place = Some((parent, name));
                    findings.equal(
                        known.place.as_ref(),
                        place.as_ref(),
                        format!("{at}: the place"),
                    );
                }
            }
        }
    }
    Ok(())
}

fn trash(state: &impl ReadState, map: &mut Map, findings: &mut Findings) -> Result<(), Fatal> {
    let next = number(state, Meta::NextTrash)?;
    let mut entries = 0;
    for row in state.scan(TRASH, ..)? {
        let (id, entry) = row?;
        entries += 1;
        findings.require(id.0 < next, || {
            format!("{id} is not below the next id {next}")
        });
        let expiry = state.get(TRASH_EXPIRY, &(Moment(entry.expires), id))?;
        findings.require(expiry.is_some(), || format!("{id} does not expire"));
        match map.get_mut(&entry.inode) {
            None => findings.require(false, || format!("{id} leads to no inode")),
            Some(known) => {
                known.found_links += 1;
                known.trashed = true;
                findings.equal(entry.kind, known.kind, format!("{id}: the kind"));
            }
        }
    }
    findings.equal(
        state.scan(TRASH_EXPIRY, ..)?.count(),
        entries,
        "rows of TRASH_EXPIRY",
    );
    Ok(())
}

fn uploads(state: &impl ReadState, map: &mut Map, findings: &mut Findings) -> Result<(), Fatal> {
    for row in state.scan(UPLOADS, ..)? {
        let ((client, id), ()) = row?;
        match map.get_mut(&id) {
            Some(known) if known.kind == FileKind::File => {
                findings.require(!known.upload, || {
                    format!("{id} is the upload of two sessions")
                });
                known.upload = true;
            }
            _ => findings.require(false, || format!("the upload {id} of {client} is no file")),
        }
    }
    Ok(())
}

fn purge(
    state: &impl ReadState,
    map: &mut Map,
    findings: &mut Findings,
) -> Result<BTreeSet<InodeId>, Fatal> {
    let mut purged = BTreeSet::new();
    for row in state.scan(PURGE, ..)? {
        let (id, purge) = row?;
        match (purge, map.get_mut(&id)) {
            (Purge::Tree, Some(known)) if known.kind == FileKind::Directory => known.dying = true,
            (Purge::Data, None) => {
                purged.insert(id);
            }
            _ => findings.require(false, || {
                format!("{id} is purged as {purge:?} and is not such")
            }),
        }
    }
    Ok(purged)
}

fn links(id: InodeId, known: &Known, findings: &mut Findings) {
    findings.equal(known.links, known.found_links, format!("{id}: the links"));
    let expected = u32::from(known.upload) + u32::from(known.dying);
    let nameless = u32::from(known.links == 0);
    findings.equal(
        nameless,
        expected,
        format!("{id} has no name, is an upload, or is purged"),
    );
    if known.kind != FileKind::Directory {
        return;
    }
    let found = (known.found_entries, known.found_subdirectories);
    findings.equal(
        known.listed,
        found,
        format!("{id}: entries and subdirectories"),
    );
    findings.require(known.found_links <= 1, || {
        format!("{id} is a directory with two names")
    });
    let loose = id == InodeId::ROOT || known.trashed || known.dying;
    findings.equal(known.place.is_none(), loose, format!("{id} has no place"));
}

/// Every directory, followed upwards, ends at the root or at one that is rightly loose.
fn roots(map: &Map, findings: &mut Findings) {
    let mut sound = BTreeSet::new();
    for start in map.keys() {
        let mut seen = BTreeSet::new();
        let mut id = *start;
        while !sound.contains(&id)
            && let Some((parent, _)) = map.get(&id).and_then(|known| known.place.as_ref())
        {
            if !seen.insert(id) {
                findings.require(false, || format!("{id} is above itself"));
                break;
            }
            id = *parent;
        }
        sound.extend(seen);
    }
}
