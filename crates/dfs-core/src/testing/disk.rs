//! A disk in memory. What is not synced is lost, kept, torn or reordered when the power goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::env::{Disk, DiskFile, DiskLock, Entry, OpenMode, Random, SeededRandom, Space};

const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// Files in memory, with faults. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    random: SeededRandom,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    directories: BTreeMap<PathBuf, Directory>,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    /// Files opened in an earlier life of the machine are of no use.
    life: u64,
    /// Changes until the power goes.
    changes_left: Option<u64>,
    changes: u64,
    failing_syncs: u64,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    pages: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes(u64, Vec<u8>),
    Length(u64),
    Hole(u64, u64),
}

#[derive(Debug, Default)]
struct Directory {
    current: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    unsynced: Vec<(String, Option<u64>)>,
}

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
            failing_syncs: 0,
        };
        MemoryDisk(Arc::new(Mutex::new(world)))
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

    /// The next syncs fail, and what they were to sync is lost, as on a real disk.
    pub fn fail_syncs(&self, count: u64) {
        self.world().failing_syncs = count;
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

impl Inode {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Bytes(offset, new) => {
                let (start, end) = (*offset as usize, *offset as usize + new.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Change::Length(length) => bytes.resize(*length as usize, 0),
            Change::Hole(offset, length) => {
                let end = (offset + length).min(bytes.len() as u64) as usize;
                if let Some(hole) = bytes.get_mut(*offset as usize..end) {
                    hole.fill(0);
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        Inode::apply(&mut self.current, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            Inode::apply(&mut self.durable, &change);
        }
    }

    /// Keeps a random part of what was not synced.
    fn lose(&mut self, random: &SeededRandom) {
        for change in std::mem::take(&mut self.unsynced) {
            match (random.below(3), change) {
                (0, _) => {}
                (1, Change::Bytes(offset, bytes)) => {
                    // Each sector by itself is old or new.
                    let mut at = 0;
                    while at < bytes.len() as u64 {
                        let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR - offset;
                        let end = sector_end.min(bytes.len() as u64);
                        if random.below(2) == 0 {
                            let part = bytes[at as usize..end as usize].to_vec();
                            let torn = Change::Bytes(offset + at, part);
                            Inode::apply(&mut self.durable, &torn);
                        }
                        at = end;
                    }
                }
                (_, change) => Inode::apply(&mut self.durable, &change),
            }
        }
        self.current = self.durable.clone();
        // Room that was reserved is given back by a crash; it is only an account here.
        self.pages = (0..(self.current.len() as u64).div_ceil(PAGE)).collect();
    }
}

impl World {
    fn restart(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.changes_left = None;
    }

    fn used(&self) -> u64 {
        self.inodes
            .values()
            .map(|i| i.pages.len() as u64 * PAGE)
            .sum()
    }

    /// Counts a change, and refuses it once the power is gone.
    fn begin_change(&mut self) -> io::Result<()> {
        self.powered()?;
        self.changes += 1;
        if let Some(left) = &mut self.changes_left {
            *left -= 1;
        }
        Ok(())
    }

    fn powered(&self) -> io::Result<()> {
        match self.changes_left {
            Some(0) => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    fn inode_at(&self, path: &Path) -> io::Result<u64> {
        let (directory, name) = split(path)?;
        let directory = self
            .directories
            .get(directory)
            .ok_or_else(|| not_found(path))?;
        directory
            .current
            .get(&name)
            .copied()
            .ok_or_else(|| not_found(path))
    }

    fn set_name(&mut self, path: &Path, inode: Option<u64>) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let parent = self
            .directories
            .get_mut(parent)
            .ok_or_else(|| not_found(path))?;
        set(&mut parent.current, name.clone(), inode);
        parent.unsynced.push((name, inode));
        Ok(())
    }

    /// Counts the pages of a range as used.
    fn allocate(&mut self, inode: u64, offset: u64, length: u64) -> io::Result<()> {
        let room = self.capacity.saturating_sub(self.used()) / PAGE;
        let inode = self.inodes.get_mut(&inode).unwrap();
        let pages = offset / PAGE..(offset + length).div_ceil(PAGE);
        let new = pages
            .clone()
            .filter(|page| !inode.pages.contains(page))
            .count() as u64;
        if new > room {
            return Err(io::Error::new(ErrorKind::StorageFull, "no space left"));
        }
        inode.pages.extend(pages);
        Ok(())
    }
}

fn set(names: &mut BTreeMap<String, u64>, name: String, inode: Option<u64>) {
    match inode {
        Some(inode) => names.insert(name, inode),
        None => names.remove(&name),
    };
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name.to_string_lossy().into_owned())),
        _ => Err(not_found(path)),
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::NotFound,
        format!("{}: not found", path.display()),
    )
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.powered()?;
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
        }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_change()?;
        for directory in path.ancestors() {
            world.directories.entry(directory.to_owned()).or_default();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_change()?;
        let inode = world.inode_at(from)?;
        world.set_name(to, Some(inode))?;
        world.set_name(from, None)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_change()?;
        let inode = world.inode_at(path)?;
        // Whatever the directory says after a crash, its room is free until then.
        world.inodes.get_mut(&inode).unwrap().pages.clear();
        world.set_name(path, None)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin_change()?;
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
        world.powered()?;
        let directory = world.directories.get(path).ok_or_else(|| not_found(path))?;
        let files = directory.current.iter().map(|(name, inode)| Entry {
            name: name.clone(),
            length: world.inodes[inode].current.len() as u64,
            is_directory: false,
        });
        let inner = world
            .directories
            .keys()
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

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    life: u64,
    inode: u64,
}

impl MemoryFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.powered()?;
        if world.life != self.life || !world.inodes.contains_key(&self.inode) {
            return Err(io::Error::other("opened before a restart"));
        }
        Ok(world)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut world = self.world()?;
        world.begin_change()?;
        world.inodes.get_mut(&self.inode).unwrap().change(change);
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.inodes[&self.inode].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let world = self.world()?;
        let bytes = &world.inodes[&self.inode].current;
        let range = offset as usize..offset as usize + buffer.len();
        let bytes = bytes.get(range).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = bytes.len() as u64;
        let room = self.world()?.allocate(self.inode, offset, length);
        if let Err(e) = room {
            // Some of it may be written before the disk is found full.
            let some = bytes.len() / 2;
            let room = self.world()?.allocate(self.inode, offset, some as u64);
            if room.is_ok() {
                self.change(Change::Bytes(offset, bytes[..some].to_vec()))?;
            }
            return Err(e);
        }
        self.change(Change::Bytes(offset, bytes.to_vec()))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))?;
        let mut world = self.world()?;
        let inode = world.inodes.get_mut(&self.inode).unwrap();
        inode.pages.retain(|page| page * PAGE < length);
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.world()?.allocate(self.inode, 0, length)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        self.change(Change::Hole(offset, length))?;
        let mut world = self.world()?;
        let inode = world.inodes.get_mut(&self.inode).unwrap();
        let hole = offset.div_ceil(PAGE)..(offset + length) / PAGE;
        inode.pages.retain(|page| !hole.contains(page));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world()?;
        world.begin_change()?;
        let failing = world.failing_syncs > 0;
        world.failing_syncs -= u64::from(failing);
        let inode = world.inodes.get_mut(&self.inode).unwrap();
        if failing {
            inode.unsynced.clear();
            return Err(io::Error::other("the disk failed to write"));
        }
        inode.sync();
        Ok(())
    }
}
