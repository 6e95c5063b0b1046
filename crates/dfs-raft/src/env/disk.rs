//! Files and directories.
//!
//! All calls block; run them through [`Env::run_blocking`](super::Env::run_blocking). Nothing is
//! durable until it is synced: a file's bytes by [`DiskFile::sync`], a name made, renamed or
//! removed by [`Disk::sync_directory`] on its parent.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; read only.
    Read,
    /// It must exist; read and write.
    ReadWrite,
    /// Read and write, made if it is not there.
    Create,
    /// Read and write; it must not be there yet.
    CreateNew,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its directory.
    pub name: String,
    /// Length in bytes; 0 for directories.
    pub length: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Room on the file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What an ordinary user may still write.
    pub available: u64,
}

/// A file system, or the part of one that we use.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when too many files are open: then nothing is known of
    /// this one.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and its missing parents, and syncs every directory it touched.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what had that name. Not durable before
    /// [`Disk::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted. A directory that cannot be read to its end is an error,
    /// never a shorter list.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Whether something has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Room on the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes the lock file at `path`, made if missing, until the guard is dropped or the process
    /// ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process, or another part of this one, has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Holding it is having the lock.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// An open file. Reads and writes may run in parallel on it.
#[allow(
    clippy::len_without_is_empty,
    reason = "a file length is not a collection's"
)]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before that.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file as needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the length; new bytes read as zero.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Reserves room for `length` bytes without changing the length, where the file system can.
    ///
    /// # Errors
    /// There is no such room.
    fn reserve(&self, length: u64) -> io::Result<()>;

    /// Gives a range back to the file system; it reads as zero afterwards.
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Has the next read of a range come from the disk itself, where the system can: what is kept
    /// of it in memory says nothing of the disk. A hint.
    fn forget_cached(&self, _offset: u64, _length: u64) {}

    /// Makes bytes and length durable. After an error nothing is known of what was written since
    /// the last success: stop using the file.
    fn sync(&self) -> io::Result<()>;
}
