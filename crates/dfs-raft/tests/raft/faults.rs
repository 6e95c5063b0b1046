//! A disk that fails or is slow when told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_raft::env::{Disk, DiskFile, DiskLock, Entry, Env, OpenMode, RealDisk, Space};

/// What a disk does wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Syncs fail.
    pub(crate) fails: AtomicBool,
    /// Every sync takes this many milliseconds more …
    pub(crate) sync_millis: AtomicU64,
    /// … in files whose path has this in it.
    pub(crate) slow_below: std::sync::Mutex<String>,
    /// How many syncs took longer.
    pub(crate) slow_syncs: AtomicU64,
}

impl Faults {
    /// The machine with a disk that has these faults.
    pub(crate) fn env(self: &Arc<Self>) -> Env {
        let mut env = Env::real();
        env.disk = Arc::new(FaultyDisk {
            disk: Arc::new(RealDisk),
            faults: self.clone(),
        });
        env
    }

    /// Makes syncs slow below a directory.
    pub(crate) fn slow(&self, below: &str, delay: Duration) {
        *self.slow_below.lock().unwrap() = below.to_owned();
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.sync_millis.store(millis, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct FaultyDisk {
    disk: Arc<dyn Disk>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    path: String,
    faults: Arc<Faults>,
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile {
            file: self.disk.open(path, mode)?,
            path: path.to_string_lossy().into_owned(),
            faults: self.faults.clone(),
        }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.file.reserve(length)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.punch_hole(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        let millis = self.faults.sync_millis.load(Ordering::SeqCst);
        if millis > 0 && self.path.contains(&*self.faults.slow_below.lock().unwrap()) {
            self.faults.slow_syncs.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(millis));
        }
        match self.faults.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("this disk fails")),
            false => self.file.sync(),
        }
    }
}
