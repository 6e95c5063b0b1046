//! Snapshots of directories: what one was with all below it, at a moment, to be read later.
//!
//! `PATH/.snapshots` has a directory for each snapshot of `PATH`, which is what `PATH` was. Inodes
//! in it are told apart from those of today by the number of the snapshot, which is in the upper
//! bits of their ids:
//!
//! ```text
//! 22 bits snapshot | 42 bits inode        none of today has any of the upper bits
//! ```

use serde::{Deserialize, Serialize};

use super::id::{InodeId, SnapshotId, UserId};
use super::path::{Location, Name};
use dfs_raft::env::Timestamp;

/// The name, in each directory that has snapshots, of where they are. Nobody can make it.
pub const SNAPSHOTS_NAME: &str = ".snapshots";

/// The bits of an inode's id that are its own.
const OWN_BITS: u32 = 42;

/// The first id that no inode can have.
pub const INODES_END: u64 = 1 << OWN_BITS;

impl SnapshotId {
    /// Where those of a directory are listed; no snapshot has this number, nor a greater one.
    pub const LIST: SnapshotId = SnapshotId((1 << (u64::BITS - OWN_BITS)) - 1);
}

impl InodeId {
    /// The same as a snapshot has it.
    pub const fn within(self, snapshot: SnapshotId) -> InodeId {
        InodeId(self.own().0 | snapshot.0 << OWN_BITS)
    }

    /// In which snapshot it is; none if it is one of today.
    pub fn snapshot(self) -> Option<SnapshotId> {
        Some(SnapshotId(self.0 >> OWN_BITS)).filter(|snapshot| snapshot.0 > 0)
    }

    /// The same, of today.
    pub const fn own(self) -> InodeId {
        InodeId(self.0 & (INODES_END - 1))
    }
}

/// A change of a directory's snapshots. For administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotChange {
    /// Begins to go through the directory and all below it, as must be done once before its first
    /// snapshot. Where it was done nothing happens.
    Prepare,
    /// Makes a snapshot of the directory as it is. `Busy` until it is prepared.
    Create {
        /// Its name among those of the directory.
        name: Name,
    },
    /// Removes a snapshot. Its name goes at once, what only it had goes in steps.
    Remove {
        /// Its name.
        name: Name,
    },
    /// Puts another directory in the place of this one, with its snapshots and its quota. This one
    /// goes to the trash, or where its policy sends it.
    Replace {
        /// The other one. It must be counted, have no snapshots or quota, and be in the same
        /// directory.
        by: Location,
    },
}

/// A snapshot of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name among those of the directory.
    pub name: Name,
    /// Its number among all that ever were.
    pub number: SnapshotId,
    /// The directory in it.
    pub inode: InodeId,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub by: UserId,
}

/// Part of a list of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotPage {
    /// Snapshots by name.
    pub snapshots: Vec<SnapshotInfo>,
    /// Whether there are more after the last.
    pub more: bool,
}
