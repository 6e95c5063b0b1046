//! The operating system's file system.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the file that touches the disk"
)]

use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, statvfs};
use rustix::io::Errno;

use super::disk::{Disk, DiskFile, DiskLock, Entry, OpenMode, Space};

/// What is made here is for nobody else on the machine: it has users' bytes, and masters' keys.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Files of this machine, by absolute or relative path.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true).mode(FILE_MODE);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        let file = options.open(path).map_err(|e| with_path(e, path))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = parent_of(path);
        self.create_directory(parent)?;
        match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(with_path(e, path)),
            _ => {}
        }
        self.sync_directory(parent)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| with_path(e, from))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| with_path(e, path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)
            .and_then(|d| d.sync_all())
            .map_err(|e| with_path(e, path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| with_path(e, path))? {
            let entry = entry.map_err(|e| with_path(e, path))?;
            let metadata = entry.metadata().map_err(|e| with_path(e, &entry.path()))?;
            let is_directory = metadata.is_dir();
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                length: if is_directory { 0 } else { metadata.len() },
                is_directory,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path).map_err(|e| with_path(e, path))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = statvfs(path).map_err(|e| with_path(e.into(), path))?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)
            .map_err(|e| with_path(e, path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{}: locked by another process", path.display()),
            )),
            Err(TryLockError::Error(e)) => Err(with_path(e, path)),
        }
    }
}

/// Dropping the file gives the lock back.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        supported(fallocate(&self.0, FallocateFlags::KEEP_SIZE, 0, length))
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        supported(fallocate(&self.0, flags, offset, length))
    }

    fn forget_cached(&self, offset: u64, length: u64) {
        // Without it the read says what the disk was told, which is less, and no harm.
        let _ = fadvise(&self.0, offset, NonZero::new(length), Advice::DontNeed);
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A file system that cannot do it loses speed or space, nothing else.
fn supported(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn with_path(error: io::Error, path: &Path) -> io::Error {
    let short = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    let kind = match short.contains(&error.raw_os_error()) {
        true => io::ErrorKind::ResourceBusy,
        false => error.kind(),
    };
    io::Error::new(kind, format!("{}: {error}", path.display()))
}
