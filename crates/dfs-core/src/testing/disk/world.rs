//! All that is on the disk, and whether it has power.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::PAGE;
use super::inode::Inode;
use crate::env::SeededRandom;

#[derive(Debug)]
pub(super) struct World {
    pub(super) random: SeededRandom,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: u64,
    /// Files opened in an earlier life of the machine are of no use.
    pub(super) life: u64,
    /// Changes until the power goes.
    pub(super) changes_left: Option<u64>,
    pub(super) changes: u64,
    /// A number that all bytes written so far decide on.
    pub(super) written: u64,
    pub(super) faults: Faults,
}

/// What is to fail next.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) syncs: u64,
    pub(super) directory_syncs: u64,
    pub(super) writes: u64,
    pub(super) panics: u64,
    /// No file can be opened.
    pub(super) opens: bool,
    /// Directories whose disk is broken.
    pub(super) broken: BTreeSet<PathBuf>,
}

impl Faults {
    /// Fails if the disk that this is on is broken.
    pub(super) fn check(&self, path: &Path) -> io::Result<()> {
        match self.broken.iter().any(|broken| path.starts_with(broken)) {
            true => Err(io::Error::other("the disk is broken")),
            false => Ok(()),
        }
    }
}

/// Whether it is to fail this time.
pub(super) fn strike(left: &mut u64) -> bool {
    let failing = *left > 0;
    *left -= u64::from(failing);
    failing
}

#[derive(Debug, Default, Clone)]
pub(super) struct Directory {
    pub(super) current: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    pub(super) unsynced: Vec<(String, Option<u64>)>,
}

impl World {
    pub(super) fn restart(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.changes_left = None;
    }

    pub(super) fn used(&self) -> u64 {
        self.inodes
            .values()
            .map(|i| i.pages.len() as u64 * PAGE)
            .sum()
    }

    /// Counts a change, and refuses it once the power is gone.
    pub(super) fn begin_change(&mut self) -> io::Result<()> {
        self.powered()?;
        self.changes += 1;
        if let Some(left) = &mut self.changes_left {
            *left -= 1;
        }
        Ok(())
    }

    /// Adds what is written to the number that tells runs apart.
    pub(super) fn note(&mut self, offset: u64, bytes: &[u8]) {
        let mut add = |word: u64| {
            self.written = (self.written.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        };
        add(offset);
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            add(u64::from_le_bytes(word));
        }
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        match self.changes_left {
            Some(0) => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    pub(super) fn inode_at(&self, path: &Path) -> io::Result<u64> {
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

    pub(super) fn set_name(&mut self, path: &Path, inode: Option<u64>) -> io::Result<()> {
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
    pub(super) fn allocate(&mut self, inode: u64, offset: u64, length: u64) -> io::Result<()> {
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

pub(super) fn set(names: &mut BTreeMap<String, u64>, name: String, inode: Option<u64>) {
    match inode {
        Some(inode) => names.insert(name, inode),
        None => names.remove(&name),
    };
}

pub(super) fn split(path: &Path) -> io::Result<(&Path, String)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name.to_string_lossy().into_owned())),
        _ => Err(not_found(path)),
    }
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::NotFound,
        format!("{}: not found", path.display()),
    )
}
