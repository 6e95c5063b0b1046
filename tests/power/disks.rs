//! A disk for each member, so that the power of one goes and that of the others stays.

use std::io;
use std::path::Path;
use std::sync::Arc;

use dfs_core::testing::{MemoryDisk, test_env};
use dfs_raft::env::{Disk, DiskFile, DiskLock, Entry, Env, OpenMode, Space};

/// Members that have a disk.
const MEMBERS: usize = 2;

/// Disks of members; paths with `member-1` in them are on the second.
#[derive(Debug, Clone)]
pub(crate) struct Disks(Arc<[MemoryDisk]>);

impl Disks {
    pub(crate) fn new(seed: u64) -> Disks {
        let disks = (0..MEMBERS as u64).map(|index| MemoryDisk::new(seed + index));
        Disks(disks.collect())
    }

    /// The disk of a member.
    #[allow(clippy::indexing_slicing, reason = "there is one for each member")]
    pub(crate) fn of(&self, index: usize) -> &MemoryDisk {
        &self.0[index]
    }

    /// An environment with these disks.
    pub(crate) fn env(&self, seed: u64) -> Env {
        let mut env = test_env(seed, self.of(0));
        env.disk = Arc::new(self.clone());
        env
    }

    fn at(&self, path: &Path) -> &MemoryDisk {
        let text = path.to_string_lossy();
        let owner = (0..MEMBERS).find(|index| text.contains(&format!("member-{index}")));
        self.of(owner.unwrap_or(0))
    }
}

impl Disk for Disks {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.at(path).open(path, mode)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.at(path).create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(from).rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at(path).remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.at(path).sync_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.at(path).list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.at(path).exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.at(path).space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.at(path).lock(path)
    }
}
