//! An open file.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::MutexGuard;

use super::inode::{Change, Inode};
use super::world::{World, strike};
use super::{MemoryDisk, PAGE};
use crate::env::DiskFile;

#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) disk: MemoryDisk,
    pub(super) life: u64,
    pub(super) inode: u64,
    /// Where it was opened.
    pub(super) path: PathBuf,
}

impl MemoryFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.powered()?;
        world.faults.check(&self.path)?;
        if world.life != self.life || !world.inodes.contains_key(&self.inode) {
            return Err(io::Error::other("opened before a restart"));
        }
        Ok(world)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut world = self.world()?;
        world.begin_change()?;
        if let Change::Bytes(offset, bytes) = &change {
            world.note(*offset, bytes);
        }
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
        let Inode {
            current: bytes,
            unreadable,
            ..
        } = &world.inodes[&self.inode];
        let end = offset + buffer.len() as u64;
        if offset < unreadable.end && unreadable.start < end {
            return Err(io::Error::other("the disk failed to read"));
        }
        let range = offset as usize..offset as usize + buffer.len();
        let bytes = bytes.get(range).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let panics = strike(&mut self.world()?.faults.panics);
        assert!(!panics, "the program has a bug");
        let failing = strike(&mut self.world()?.faults.writes);
        if failing {
            let some = bytes.len() / 2;
            self.change(Change::Bytes(offset, bytes[..some].to_vec()))?;
            return Err(io::Error::other("the disk failed to write"));
        }
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
        let failing = strike(&mut world.faults.syncs);
        let inode = world.inodes.get_mut(&self.inode).unwrap();
        if failing {
            inode.unsynced.clear();
            return Err(io::Error::other("the disk failed to write"));
        }
        inode.sync();
        Ok(())
    }
}
