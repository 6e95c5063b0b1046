//! Snapshots have names, what is kept for them is listed, and all that one sees is there: every
//! name, inode, list and extent, and their chunks.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use super::extents::References;
use crate::meta::chunks::extents::Source;
use crate::meta::counters::{number, uses};
use crate::meta::namespace::inode::{Body, Inode};
use crate::meta::namespace::resolve::{Above, above};
use crate::meta::snapshots::old::{self, OldKey, OldOf};
use crate::meta::snapshots::view::At;
use crate::meta::snapshots::{Snapshot, seen};
use crate::meta::tables::{
    ACLS, CHUNKS, DIRENTS, EXTENTS, INODES, LEAVING, Meta, OLD, OLD_OF, SEEN, SNAPSHOT_NAMES,
    SNAPSHOTS,
};
use crate::types::{InodeId, SnapshotId};

type Snapshots = BTreeMap<SnapshotId, Snapshot>;

/// Adds to the references what old extents name.
pub(super) fn check(
    state: &impl ReadState,
    references: &mut References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let snapshots = state.scan(SNAPSHOTS, ..)?.collect::<Result<_, _>>()?;
    names(state, &snapshots, findings)?;
    seen_rows(state, &snapshots, findings)?;
    old_rows(state, &snapshots, references, findings)?;
    for (number, snapshot) in snapshots.iter().filter(|(_, row)| !row.leaving) {
        view(state, (*number, snapshot), findings)?;
    }
    Ok(())
}

fn names(
    state: &impl ReadState,
    snapshots: &Snapshots,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let counted = number(state, Meta::Snapshots)?;
    findings.equal(counted, snapshots.len() as u64, "the number of snapshots");
    let next = number(state, Meta::NextSnapshot)?;
    let (mut living, mut before) = (0, InodeId(0));
    for (number, row) in snapshots {
        findings.require(number.0 < next, || {
            format!("{number} is not below the next number {next}")
        });
        findings.require(before <= row.next_inode, || {
            format!("{number} sees fewer inodes than the one before it")
        });
        before = row.next_inode;
        let leaves = state.get(LEAVING, number)?.is_some();
        findings.equal(leaves, row.leaving, format!("{number} is being removed"));
        if row.leaving {
            continue;
        }
        living += 1;
        let named = state.get(SNAPSHOT_NAMES, &(row.at, row.name.clone()))?;
        findings.equal(named, Some(*number), format!("the name of {number}"));
        let counted = uses::row(state, row.at)?.is_some();
        findings.require(counted, || format!("{} of {number} is not counted", row.at));
        let there = matches!(above(state, row.at)?, Above::Root(_));
        findings.require(there, || format!("{} of {number} is removed", row.at));
    }
    let rows = state.scan(SNAPSHOT_NAMES, ..)?.count();
    findings.equal(rows, living, "rows of SNAPSHOT_NAMES");
    let rows = state.scan(LEAVING, ..)?.count();
    findings.equal(rows, snapshots.len() - living, "rows of LEAVING");
    Ok(())
}

fn seen_rows(
    state: &impl ReadState,
    snapshots: &Snapshots,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let mut own = BTreeMap::new();
    for (number, row) in snapshots.iter().filter(|(_, row)| !row.leaving) {
        own.insert(row.dir, *number);
    }
    for row in state.scan(SEEN, ..)? {
        let (id, row) = row?;
        let newest = own.remove(&id);
        findings.equal(row.own, newest, format!("{id}: its newest snapshot"));
        let known = state.get(INODES, &id)?.is_some() || old::has_inode(state, id)?;
        findings.require(known, || format!("{id} is seen and nowhere"));
    }
    for (dir, number) in own {
        findings.require(false, || format!("{dir} does not know of {number}"));
    }
    Ok(())
}

fn old_rows(
    state: &impl ReadState,
    snapshots: &Snapshots,
    references: &mut References,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let mut count = 0;
    for found in state.scan(OLD, ..)? {
        let (OldKey { row, number }, kept) = found?;
        count += 1;
        let owner = row.owner()?;
        let what = format!("the old row {:?} of {owner} for {number}", row.which);
        let snapshot = snapshots.get(&number);
        let sees = snapshot.is_some_and(|snapshot| owner < snapshot.next_inode);
        findings.require(sees, || format!("{what} is of no snapshot"));
        if let Some(chunk) = old::chunk_of(&row, &kept)? {
            let files = references.entry(chunk).or_default();
            *files.entry(old::holder(owner)).or_default() += 1;
        }
        let listed = state.get(OLD_OF, &OldOf { number, row })?.is_some();
        findings.require(listed, || format!("{what} is not listed"));
    }
    findings.equal(state.scan(OLD_OF, ..)?.count(), count, "rows of OLD_OF");
    Ok(())
}

/// All that a snapshot sees, from its directory down.
fn view(
    state: &impl ReadState,
    (number, snapshot): (SnapshotId, &Snapshot),
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let then = At::view(state, number, snapshot);
    let mut known = BTreeSet::new();
    let mut todo = vec![snapshot.dir];
    while let Some(id) = todo.pop() {
        let what = format!("{}", id.within(number));
        let Some(inode) = then.get(INODES, &id)? else {
            findings.require(false, || format!("{what} is not there"));
            continue;
        };
        if !known.insert(id) {
            continue;
        }
        let sees = seen::sees(state, (number, snapshot), id)?;
        findings.require(sees, || format!("{what} is taken to be elsewhere"));
        let has_acl = then.get(ACLS, &id)?.is_some();
        findings.equal(has_acl, inode.has_acl, format!("{what}: its lists"));
        match &inode.body {
            Body::Symlink { .. } => {}
            Body::File { .. } => file(&then, (id, &inode), &what, findings)?,
            Body::Directory(directory) => {
                let (mut entries, mut subdirectories) = (0, 0);
                for row in then.scan_prefix(DIRENTS, &id)? {
                    let ((dir, name), entry) = row?;
                    entries += 1;
                    let child = then.get(INODES, &entry.inode)?;
                    let kind = child.as_ref().map(Inode::kind);
                    findings.equal(kind, Some(entry.kind), format!("{what}/{name}: the kind"));
                    if let Some(Body::Directory(child)) = child.map(|child| child.body) {
                        subdirectories += 1;
                        let place = Some((dir, name.clone()));
                        findings.equal(child.place, place, format!("{what}/{name}: the place"));
                    }
                    todo.push(entry.inode);
                }
                let listed = (directory.entries, directory.subdirectories);
                let found = (entries, subdirectories);
                findings.equal(found, listed, format!("{what}: entries and subdirectories"));
            }
        }
    }
    Ok(())
}

/// The extents of a file are within it, do not overlap, and their chunks are there.
fn file(
    then: &impl ReadState,
    (id, inode): (InodeId, &Inode),
    what: &str,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let size = inode.attr(id).size;
    let (mut before, mut all, mut inline) = (0, 0, 0);
    for row in then.scan_prefix(EXTENTS, &id)? {
        let ((_, offset), extent) = row?;
        let end = offset.saturating_add(extent.length);
        findings.require(before <= offset && end <= size, || {
            format!("{what} {offset}+{} is misplaced", extent.length)
        });
        before = end;
        all += extent.length;
        inline += extent.inline_length();
        if let Source::Chunk { chunk, .. } = extent.source {
            let there = then.get(CHUNKS, &chunk)?.is_some();
            findings.require(there, || format!("{what} is in {chunk}, which is gone"));
        }
    }
    findings.equal(
        all,
        inode.allocated(),
        format!("{what}: the bytes of its extents"),
    );
    let kept = u64::from(inode.attr(id).inline_bytes);
    findings.equal(inline, kept, format!("{what}: the inline bytes"));
    Ok(())
}
