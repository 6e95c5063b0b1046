//! Snapshots: a copy of the whole tree is what each must show for ever.

use dfs_raft::env::Random;
use dfs_raft::state::ReadState;

use super::tree::Tree;
use super::{Driver, Location};
use crate::meta::tables::{LEAVING, OLD, OLD_OF, SNAPSHOTS};
use crate::types::snapshot::SnapshotChange;
use crate::types::{Change, InodeId, Name, SnapshotId};

/// Most snapshots at a time.
const VIEWS_MAX: usize = 6;

/// A snapshot of a directory, and the tree when it was made.
pub(super) struct View {
    pub(super) dir: u64,
    pub(super) number: SnapshotId,
    pub(super) name: Name,
    pub(super) tree: Tree,
}

impl Driver {
    /// Makes a snapshot, or removes one.
    pub(super) fn snapshot(&mut self) {
        if self.views.len() >= VIEWS_MAX || self.chance(30) && !self.views.is_empty() {
            let index = self.below(self.views.len() as u64) as usize;
            self.remove_snapshot(index);
            return;
        }
        let (dir, path) = self.tree.directory(self.random.below(1 << 32));
        let at = Location::from(InodeId(dir));
        let change = SnapshotChange::Prepare;
        self.request(Change::Snapshot {
            at: at.clone(),
            change,
        })
        .unwrap();
        if self.chance(50) {
            self.housekeep();
        }
        let name = Name::new(format!("s{}", self.sequence)).unwrap();
        let change = SnapshotChange::Create { name: name.clone() };
        let made = self.request(Change::Snapshot { at, change });
        if path.is_none() {
            assert_eq!(made.unwrap_err().kind, crate::types::RefusalKind::NotFound);
            return;
        }
        let number = made.unwrap().attr.unwrap().inode.snapshot().unwrap();
        self.tree.snapped.push(dir);
        let tree = self.tree.clone();
        self.views.push(View {
            dir,
            number,
            name,
            tree,
        });
    }

    fn remove_snapshot(&mut self, index: usize) {
        let View { dir, name, .. } = self.views.remove(index);
        let at = Location::from(InodeId(dir));
        let change = SnapshotChange::Remove { name };
        self.request(Change::Snapshot { at, change }).unwrap();
        let known = self.tree.snapped.iter().position(|snapped| *snapped == dir);
        self.tree.snapped.remove(known.unwrap());
        if self.chance(50) {
            self.housekeep();
        }
    }

    /// Then nothing is kept for anybody.
    pub(super) fn remove_all_snapshots(&mut self) {
        while !self.views.is_empty() {
            self.remove_snapshot(0);
        }
        self.housekeep();
        let view = self.machine.view();
        assert_eq!(view.scan(OLD, ..).unwrap().count(), 0);
        assert_eq!(view.scan(OLD_OF, ..).unwrap().count(), 0);
        assert_eq!(view.scan(SNAPSHOTS, ..).unwrap().count(), 0);
        assert_eq!(view.scan(LEAVING, ..).unwrap().count(), 0);
    }
}
