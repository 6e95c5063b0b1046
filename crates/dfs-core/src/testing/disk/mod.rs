//! A disk in memory. What is not synced is lost, kept, torn or reordered when the power goes.

mod file;
mod inode;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::env::{Disk, DiskFile, DiskLock, Entry, OpenMode, Random, SeededRandom, Space};
use file::MemoryFile;
use inode::Inode;
use world::{Directory, Faults, World, not_found, set, strike};

const PAGE: u64 = 4096;

/// Files in memory, with faults. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<World>>);

impl MemoryDisk {
    /// An empty disk of 1 GiB whose faults depend on `seed`.
    pub fn new(seed: u64) -> MemoryDisk {
        let world = World {
            random: SeededRandom::new(seed),
            inodes: BTreeMap::new(),
            next_inode: 1,
            directories: BTreeMap::from([(PathBuf::from("/"), Directory::default())]),
            locks: BTreeSet::new(),
            capacity: 1 << 30,
            life: 0,
            changes_left: None,
            changes: 0,
            written: 0,
            faults: Faults::default(),
        };
        MemoryDisk(Arc::new(Mutex::new(world)))
    }

    /// Another disk with the same on it: to look at what a process would find that starts now.
    pub fn copy(&self) -> MemoryDisk {
        let world = self.world();
        let copy = MemoryDisk::new(0);
        copy.world().inodes = world.inodes.clone();
        copy.world().directories = world.directories.clone();
        copy.world().next_inode = world.next_inode;
        copy.world().capacity = world.capacity;
        copy
    }

    /// Makes the disk this large; what is on it stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Bytes in use, in whole pages.
    pub fn used(&self) -> u64 {
        self.world().used()
    }

    /// The power goes when this many more changes were made; every call fails from then on.
    pub fn lose_power_after(&self, changes: u64) {
        self.world().changes_left = Some(changes);
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.world().powered().is_err()
    }

    /// Changes and syncs made so far.
    pub fn changes(&self) -> u64 {
        self.world().changes
    }

    /// A number that all bytes written so far decide on: the same in two runs that do the same.
    pub fn written(&self) -> u64 {
        self.world().written
    }

    /// The next syncs fail, and what they were to sync is lost, as on a real disk.
    pub fn fail_syncs(&self, count: u64) {
        self.world().faults.syncs = count;
    }

    /// The next syncs of directories fail; what the names are after a crash is open.
    pub fn fail_directory_syncs(&self, count: u64) {
        self.world().faults.directory_syncs = count;
    }

    /// The next writes fail, when a part of their bytes is written.
    pub fn fail_writes(&self, count: u64) {
        self.world().faults.writes = count;
    }

    /// The next write panics, as a bug in the program would.
    pub fn panic_on_write(&self) {
        self.world().faults.panics = 1;
    }

    /// No byte of this file can be read, or all can again.
    pub fn fail_reads_of(&self, path: impl AsRef<Path>, failing: bool) {
        self.fail_reads_at(path, if failing { 0..u64::MAX } else { 0..0 });
    }

    /// These bytes of the file, and only these, cannot be read.
    pub fn fail_reads_at(&self, path: impl AsRef<Path>, range: Range<u64>) {
        let mut world = self.world();
        let inode = world.inode_at(path.as_ref()).unwrap();
        world.inodes.get_mut(&inode).unwrap().unreadable = range;
    }

    /// Nothing below a directory can be read, written or synced, or all can again: it is on a disk
    /// of its own.
    pub fn break_below(&self, path: impl AsRef<Path>, broken: bool) {
        let mut world = self.world();
        let path = path.as_ref().to_owned();
        match broken {
            true => world.faults.broken.insert(path),
            false => world.faults.broken.remove(&path),
        };
    }

    /// Mounts a directory elsewhere.
    pub fn rename_directory(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        self.copy_directory(&from, to);
        let mut world = self.world();
        world.directories.retain(|path, _| !path.starts_with(&from));
    }

    /// Copies a directory and all that is in it, as `cp -a` does.
    pub fn copy_directory(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let mut world = self.world();
        let inner = world.directories.iter();
        let inner = inner.filter_map(|(path, directory)| {
            let below = path.strip_prefix(&from).ok()?;
            let path = to.as_ref().join(below).components().collect::<PathBuf>();
            Some((path, directory.current.clone()))
        });
        for (path, names) in inner.collect::<Vec<_>>() {
            let mut copied = Directory::default();
            for (name, inode) in names {
                let inode = world.inodes[&inode].clone();
                let next = world.next_inode;
                world.next_inode += 1;
                world.inodes.insert(next, inode);
                copied.current.insert(name.clone(), next);
                copied.durable.insert(name, next);
            }
            world.directories.insert(path, copied);
        }
    }

    /// Whether no file can be opened, because too many are.
    pub fn be_short_of_handles(&self, short: bool) {
        self.world().faults.opens = short;
    }

    /// Power goes and comes back: of what was not synced some is there, some is not, some is
    /// torn. Open files and locks are gone.
    pub fn cut_power(&self) {
        let mut world = self.world();
        let World {
            inodes,
            directories,
            random,
            ..
        } = &mut *world;
        for inode in inodes.values_mut() {
            inode.lose(random);
        }
        let mut named = BTreeSet::new();
        for directory in directories.values_mut() {
            for (name, inode) in std::mem::take(&mut directory.unsynced) {
                if random.below(2) == 0 {
                    set(&mut directory.durable, name, inode);
                }
            }
            directory.current = directory.durable.clone();
            named.extend(directory.current.values().copied());
        }
        inodes.retain(|inode, _| named.contains(inode));
        world.restart();
    }

    /// The process is killed and started again; the machine keeps all it was told.
    pub fn kill_process(&self) {
        self.world().restart();
    }

    /// Flips bits of a byte at rest.
    pub fn flip(&self, path: impl AsRef<Path>, offset: u64, mask: u8) {
        self.damage(path, |bytes| bytes[offset as usize] ^= mask);
    }

    /// Changes a file at rest.
    pub fn damage(&self, path: impl AsRef<Path>, change: impl Fn(&mut Vec<u8>)) {
        let mut world = self.world();
        let inode = world.inode_at(path.as_ref()).unwrap();
        let inode = world.inodes.get_mut(&inode).unwrap();
        change(&mut inode.current);
        change(&mut inode.durable);
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let file = self.open(path.as_ref(), OpenMode::Create).unwrap();
        file.set_len(0).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        self.sync_directory(path.as_ref().parent().unwrap())
            .unwrap();
    }

    /// What a file holds.
    pub fn get(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let world = self.world();
        let inode = world.inode_at(path.as_ref()).unwrap();
        world.inodes[&inode].current.clone()
    }

    /// All files below a directory.
    pub fn files(&self, below: impl AsRef<Path>) -> Vec<PathBuf> {
        let world = self.world();
        let all = world.directories.iter();
        all.filter(|(path, _)| path.starts_with(below.as_ref()))
            .flat_map(|(path, directory)| directory.current.keys().map(|n| path.join(n)))
            .collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.powered()?;
        world.faults.check(path)?;
        if world.faults.opens {
            return Err(io::Error::new(
                ErrorKind::ResourceBusy,
                "too many open files",
            ));
        }
        let inode = match (world.inode_at(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => inode,
            (Err(_), OpenMode::Create | OpenMode::CreateNew) => {
                world.begin_change()?;
                let inode = world.next_inode;
                world.next_inode += 1;
                world.set_name(path, Some(inode))?;
                world.inodes.insert(inode, Inode::default());
                inode
            }
            (Err(e), _) => return Err(e),
        };
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            life: world.life,
            inode,
            path: path.to_owned(),
        }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.faults.check(path)?;
        world.begin_change()?;
        for directory in path.ancestors() {
            world.directories.entry(directory.to_owned()).or_default();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.faults.check(to)?;
        world.begin_change()?;
        let inode = world.inode_at(from)?;
        world.set_name(to, Some(inode))?;
        world.set_name(from, None)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.faults.check(path)?;
        world.begin_change()?;
        let inode = world.inode_at(path)?;
        // Whatever the directory says after a crash, its room is free until then.
        world.inodes.get_mut(&inode).unwrap().pages.clear();
        world.set_name(path, None)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.faults.check(path)?;
        world.begin_change()?;
        if strike(&mut world.faults.directory_syncs) {
            return Err(io::Error::other("the disk failed to write"));
        }
        let directory = world
            .directories
            .get_mut(path)
            .ok_or_else(|| not_found(path))?;
        directory.durable = directory.current.clone();
        directory.unsynced.clear();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world();
        world.faults.check(path)?;
        world.powered()?;
        let directory = world.directories.get(path).ok_or_else(|| not_found(path))?;
        let files = directory.current.iter().map(|(name, inode)| Entry {
            name: name.clone(),
            length: world.inodes[inode].current.len() as u64,
            is_directory: false,
        });
        // What is below it comes right after it.
        let below = (Bound::Excluded(path), Bound::Unbounded);
        let below = world.directories.range::<Path, _>(below);
        let inner = below
            .map(|(inner, _)| inner)
            .take_while(|inner| inner.starts_with(path))
            .filter(|inner| inner.parent() == Some(path));
        let directories = inner.map(|inner| Entry {
            name: inner.file_name().unwrap().to_string_lossy().into_owned(),
            length: 0,
            is_directory: true,
        });
        let mut entries: Vec<Entry> = files.chain(directories).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let world = self.world();
        world.faults.check(path)?;
        world.powered()?;
        Ok(world.directories.contains_key(path) || world.inode_at(path).is_ok())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let world = self.world();
        Ok(Space {
            total: world.capacity,
            available: world.capacity.saturating_sub(world.used()),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut world = self.world();
        if !world.locks.insert(path.to_owned()) {
            return Err(io::Error::new(ErrorKind::WouldBlock, "locked"));
        }
        Ok(Box::new(MemoryLock {
            disk: self.clone(),
            life: world.life,
            path: path.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    life: u64,
    path: PathBuf,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.path);
        }
    }
}
