//! What counted directories hold is what is charged to them and to those below; all that is in
//! them is charged to somebody.

use std::collections::{BTreeMap, BTreeSet};

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use crate::meta::counters::uses::{Sum, Use};
use crate::meta::namespace::inode::Body;
use crate::meta::tables::{COUNTING, DIRENTS, INODES, QUOTAS, USES};
use crate::types::limits::PATH_DEPTH_MAX;
use crate::types::{FileKind, InodeId};

type Rows = BTreeMap<InodeId, Use>;
type Sums = BTreeMap<InodeId, Sum>;

pub(super) fn check(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let rows = state.scan(USES, ..)?.collect::<Result<Rows, _>>()?;
    let mut own = Sums::new();
    let mut charged = BTreeSet::new();
    let mut places = BTreeMap::new();
    for row in state.scan(INODES, ..)? {
        let (id, inode) = row?;
        if let Some(dir) = inode.charged {
            charged.insert(id);
            let known = rows.contains_key(&dir) && inode.kind() != FileKind::Directory;
            findings.require(known, || format!("{id} is charged to {dir}"));
            add(&mut own, dir, Sum::inode(inode.allocated()));
        }
        if let Body::Directory(directory) = inode.body {
            places.insert(id, directory.place.map(|(parent, _)| parent));
        }
    }
    let mut pending = BTreeSet::new();
    for row in state.scan(COUNTING, ..)? {
        let (id, _) = row?;
        pending.insert(id);
        add(&mut own, id, Sum::PENDING);
        let known = rows.contains_key(&id);
        findings.require(known, || format!("{id} is being counted and has no row"));
    }
    for (id, row) in &rows {
        one(state, (*id, row), places.get(id), findings)?;
    }
    sums(&rows, &own, findings);
    everything(state, (&rows, &pending, &charged), findings)
}

fn add(sums: &mut Sums, id: InodeId, more: Sum) {
    let sum = sums.entry(id).or_default();
    *sum = sum.plus(more).unwrap_or(*sum);
}

/// A row, and where its directory is.
fn one(
    state: &impl ReadState,
    (id, row): (InodeId, &Use),
    place: Option<&Option<InodeId>>,
    findings: &mut Findings,
) -> Result<(), Fatal> {
    findings.equal(row.gone, place.is_none(), format!("{id} holds and is gone"));
    let listed = state.get(QUOTAS, &id)?.is_some();
    findings.equal(row.is_quota(), listed, format!("{id} has a quota"));
    match place {
        None => {
            let holds = row.sum != Sum::default();
            findings.require(holds, || format!("{id} is gone and holds nothing"));
        }
        Some(place) => {
            let within = row.above.is_none() || row.above == *place;
            findings.require(within, || format!("{id} is counted for {:?}", row.above));
        }
    }
    Ok(())
}

/// Every sum is that of what is charged to the directory and to all below it.
fn sums(rows: &Rows, own: &Sums, findings: &mut Findings) {
    let mut found = Sums::new();
    for (id, row) in rows {
        let of_below = own.get(id).copied().unwrap_or_default();
        add(&mut found, *id, of_below);
        let (mut above, mut steps) = (row.above, 0);
        let itself = Sum {
            inodes: u64::from(!row.gone),
            ..Sum::default()
        };
        while let Some(next) = above
            && steps <= rows.len() as u32
        {
            add(&mut found, next, of_below);
            add(&mut found, next, itself);
            steps += 1;
            let next_row = rows.get(&next);
            let high = next_row.is_some_and(|row| row.height >= steps);
            findings.require(high, || format!("{id} is {steps} below {next}"));
            above = next_row.and_then(|row| row.above);
        }
        let ends = steps <= rows.len() as u32;
        findings.require(ends, || format!("{id} is counted for itself"));
    }
    for (id, row) in rows {
        let found = found.get(id).copied().unwrap_or_default();
        findings.equal(row.sum, found, format!("{id}: what it holds"));
    }
    let strangers = found.keys().filter(|id| !rows.contains_key(id));
    for id in strangers {
        findings.require(false, || format!("{id} holds something and has no row"));
    }
}

/// What is in a directory that was counted through is counted.
fn everything(
    state: &impl ReadState,
    (rows, pending, charged): (&Rows, &BTreeSet<InodeId>, &BTreeSet<InodeId>),
    findings: &mut Findings,
) -> Result<(), Fatal> {
    let depth = |dir: InodeId| {
        let mut row = rows.get(&dir);
        let mut depth = 0;
        while let Some(above) = row.and_then(|row| row.above)
            && depth <= rows.len()
        {
            depth += 1;
            row = rows.get(&above);
        }
        depth
    };
    for row in state.scan(DIRENTS, ..)? {
        let ((parent, name), entry) = row?;
        if !rows.contains_key(&parent) || pending.contains(&parent) {
            continue;
        }
        let is_counted = match entry.kind {
            FileKind::Directory => rows.get(&entry.inode).and_then(|row| row.above) == Some(parent),
            FileKind::File | FileKind::Symlink => charged.contains(&entry.inode),
        };
        let may_not = entry.kind == FileKind::Directory && depth(parent) + 1 >= PATH_DEPTH_MAX;
        findings.require(is_counted || may_not, || {
            format!("{parent}/{name} is not counted")
        });
    }
    Ok(())
}
