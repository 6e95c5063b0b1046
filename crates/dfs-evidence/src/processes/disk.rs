//! One file system a node, in a file: it loses power, fills up, and rots.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::os::unix::fs::FileExt;

use super::tool;

/// Which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Xfs,
    /// With few inodes, so that they can run out.
    Ext4,
}

/// A file system in a file.
#[derive(Debug)]
pub(super) struct Disk {
    format: Format,
    image: PathBuf,
    mount: PathBuf,
}

const IMAGE_LEN: u64 = 1 << 30;
const INODES: u32 = 8192;

impl Disk {
    /// Makes a file system in `directory` and mounts it there.
    pub(super) async fn make(directory: &Path, name: &str, format: Format) -> Result<Disk> {
        let disk = Disk {
            format,
            image: directory.join(format!("{name}.img")),
            mount: directory.join(name),
        };
        fs::create_dir_all(&disk.mount)?;
        File::create(&disk.image)?.set_len(IMAGE_LEN)?;
        let image = disk.image.display();
        let make = match format {
            Format::Xfs => format!("mkfs.xfs -q -f {image}"),
            Format::Ext4 => format!("mkfs.ext4 -q -F -m 0 -N {INODES} {image}"),
        };
        tool::run(&make).await?;
        disk.power_on().await?;
        Ok(disk)
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Where a daemon keeps its files.
    pub(super) fn directory(&self) -> PathBuf {
        self.mount.join("dfs")
    }

    /// Loses what was not synced. No process may use it any more.
    pub(super) async fn power_off(&self) -> Result<()> {
        let mount = self.mount.to_string_lossy();
        tool::run_with(&["xfs_io", "-x", "-c", "shutdown", &mount], "").await?;
        tool::run(&format!("umount {mount}")).await?;
        Ok(())
    }

    /// Mounts what is there.
    pub(super) async fn power_on(&self) -> Result<()> {
        let (image, mount) = (self.image.display(), self.mount.display());
        tool::run(&format!("mount -o loop {image} {mount}")).await?;
        Ok(())
    }

    /// Takes all room; there must be some.
    pub(super) fn fill(&self) -> Result<()> {
        let free = || Ok(statvfs(&self.mount)?.f_bavail);
        self.take_some(free, || self.take_room())
    }

    /// Takes until there is no more; some must have been there.
    fn take_some(
        &self,
        free: impl Fn() -> Result<u64>,
        take: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = free()?;
        until_full(take())?;
        match free()? < before {
            true => Ok(()),
            false => Err(Error::other("nothing was left to be taken")),
        }
    }

    fn take_room(&self) -> Result<()> {
        let ballast = self.mount.join("ballast");
        fs::create_dir_all(&ballast)?;
        for number in 0..64 {
            let free = statvfs(&self.mount)?;
            let free = free.f_bavail * free.f_frsize;
            let file = File::create(ballast.join(format!("room{number}")))?;
            let mut length = free;
            // Some of it is for what belongs to the file system.
            while length >= 4096 {
                match fallocate(&file, FallocateFlags::empty(), 0, length) {
                    Ok(()) => break,
                    Err(Errno::NOSPC) => length /= 2,
                    Err(error) => return Err(error.into()),
                }
            }
            if length < 4096 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes all inodes; there must be some.
    pub(super) fn fill_inodes(&self) -> Result<()> {
        let free = || Ok(statvfs(&self.mount)?.f_favail);
        self.take_some(free, || self.take_inodes())
    }

    fn take_inodes(&self) -> Result<()> {
        let ballast = self.mount.join("ballast");
        fs::create_dir_all(&ballast)?;
        for number in 0..2 * INODES {
            File::create(ballast.join(format!("inode{number}")))?;
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub(super) fn free(&self) -> Result<()> {
        match fs::remove_dir_all(self.mount.join("ballast")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Loses all that the daemon had.
    pub(super) fn wipe(&self) -> Result<()> {
        fs::remove_dir_all(self.directory())
    }

    /// Flips a bit in each of some places, so many at most, of the daemon's files that are wanted,
    /// and says in which.
    pub(super) fn rot(
        &self,
        pick: u64,
        places: u32,
        is_wanted: fn(&Path) -> bool,
    ) -> Result<String> {
        let mut random = StdRng::seed_from_u64(pick);
        let directory = self.directory();
        let mut files = files(&directory)?;
        files.retain(|(path, length)| *length > 0 && is_wanted(path));
        let mut rotten = BTreeSet::new();
        let places = random.random_range(1..=places);
        for _ in 0..places {
            let Some((path, length)) = files.choose(&mut random) else {
                return Err(Error::other("there is no such file yet"));
            };
            let file = File::options().read(true).write(true).open(path)?;
            let at = written_byte(&file, *length, &mut random)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << random.random_range(0..8);
            file.write_all_at(&byte, at)?;
            file.sync_all()?;
            let inside = path.strip_prefix(&directory).unwrap_or(path);
            rotten.insert(inside.display().to_string());
        }
        let shown = rotten.first().cloned().unwrap_or_default();
        let files = rotten.len();
        Ok(format!("{places} bits in {files} files, of them {shown}"))
    }
}

/// That there is no more to take is what was wanted.
fn until_full(taken: Result<()>) -> Result<()> {
    match taken {
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(()),
        other => other,
    }
}

/// A place in a file where something was written, if one is found: zeroes may be room that is
/// kept for later.
fn written_byte(file: &File, length: u64, random: &mut StdRng) -> Result<u64> {
    let mut at = 0;
    for _ in 0..200 {
        at = random.random_range(0..length);
        let mut near = vec![0; usize::try_from(length - at).unwrap_or(64).min(64)];
        file.read_exact_at(&mut near, at)?;
        if near.iter().any(|byte| *byte != 0) {
            break;
        }
    }
    Ok(at)
}

/// All files below a directory with their lengths, by name.
fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let (path, meta) = entry.and_then(|e| Ok((e.path(), e.metadata()?)))?;
            match meta.is_dir() {
                true => open.push(path),
                false => found.push((path, meta.len())),
            }
        }
    }
    found.sort();
    Ok(found)
}
