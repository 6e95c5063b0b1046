//! The files: numbered, of bounded length, the oldest go.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::env::{Disk, DiskFile, OpenMode};

/// How many files there are when they have all the room that they may have.
const FILES: u64 = 16;

/// The name of a file.
fn name(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

/// The number of a file; none of other things.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    digits.parse().ok()
}

/// Lines that may not be on stable storage.
#[derive(Debug, Default)]
pub(super) struct Unsynced(Vec<u8>);

/// All files of a node.
#[derive(Debug)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// What they may be together.
    bytes: u64,
    /// What is left on the disk for others.
    keep_free: u64,
    /// Whether the directory was there. It is not made again: where it has gone, so has its disk,
    /// and what is left is the mount point.
    has_directory: bool,
    /// The one that is written to; none if the last one cannot be trusted.
    current: Option<Arc<dyn DiskFile>>,
    /// Its number, or that of the last one; none before the first line.
    number: Option<u64>,
    length: u64,
    /// Written to the current one since its last sync began.
    unsynced: Unsynced,
}

impl Files {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        (bytes, keep_free): (u64, u64),
    ) -> Files {
        Files {
            disk,
            directory,
            bytes,
            keep_free,
            has_directory: false,
            current: None,
            number: None,
            length: 0,
            unsynced: Unsynced::default(),
        }
    }

    /// Makes durable what a former process wrote and did not sync, if it was killed.
    ///
    /// # Errors
    /// The disk cannot, or has no room for the directory. Lines are taken all the same once it
    /// can: a node whose disk is full starts.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.make_directory()?;
        match self.last()? {
            Some(last) => self
                .disk
                .open(&self.path(last), OpenMode::ReadWrite)?
                .sync(),
            None => Ok(()),
        }
    }

    /// Makes the directory, if it was never there.
    fn make_directory(&mut self) -> io::Result<()> {
        if !self.has_directory {
            self.disk.create_directory(&self.directory)?;
            self.has_directory = true;
        }
        Ok(())
    }

    /// The number of the last file.
    fn last(&self) -> io::Result<Option<u64>> {
        let entries = self.disk.list(&self.directory)?;
        Ok(entries.iter().filter_map(|entry| number(&entry.name)).max())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(name(number))
    }

    /// The file to write to.
    fn current(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        match (&self.current, self.number) {
            (Some(file), _) => Ok(Arc::clone(file)),
            (None, Some(last)) => self.begin(last + 1),
            (None, None) => {
                self.make_directory()?;
                match self.last()? {
                    Some(last) => self.go_on(last),
                    None => self.begin(1),
                }
            }
        }
    }

    /// Goes on where a former process stopped, perhaps in the middle of a line.
    fn go_on(&mut self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&self.path(number), OpenMode::ReadWrite)?;
        let mut length = file.len()?;
        let mut last = *b"\n";
        if let Some(end) = length.checked_sub(1) {
            file.read_at(&mut last, end)?;
        }
        if last != *b"\n" {
            file.write_at(b"\n", length)?;
            length += 1;
        }
        self.length = length;
        self.number = Some(number);
        self.current = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Begins a new file, with what of the former one may not be on stable storage.
    fn begin(&mut self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.remove_oldest()?;
        // An earlier attempt may have made it.
        let file = self.disk.open(&self.path(number), OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(&self.unsynced.0, 0)?;
        self.disk.sync_directory(&self.directory)?;
        self.number = Some(number);
        self.length = self.unsynced.0.len() as u64;
        self.current = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Makes room for one more file.
    fn remove_oldest(&self) -> io::Result<()> {
        let entries = self.disk.list(&self.directory)?;
        let files = entries
            .iter()
            .filter_map(|e| Some((number(&e.name)?, e.length)));
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, length)| length).sum();
        for (number, length) in files {
            let is_short = self.disk.space(&self.directory)?.available < self.keep_free;
            if total <= self.bytes - self.bytes / FILES && !is_short {
                break;
            }
            self.disk.remove_file(&self.path(number))?;
            total -= length;
        }
        Ok(())
    }

    /// Writes whole lines. After an error nothing of them is counted as written, and they are
    /// overwritten by what comes next.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let is_full = self.length + lines.len() as u64 > self.bytes / FILES;
        if is_full
            && self.length > 0
            && let Some(file) = self.current.take()
        {
            // What it may lack is written again to the next one.
            match file.sync() {
                Ok(()) => self.unsynced = Unsynced::default(),
                Err(error) => tracing::error!(%error, "a file of the audit log is not synced"),
            }
        }
        let file = self.current()?;
        if let Err(error) = file.write_at(lines, self.length) {
            // A part of it may be there. If it stays, what comes next is written over it.
            let _ = file.set_len(self.length);
            return Err(error);
        }
        self.length += lines.len() as u64;
        self.unsynced.0.extend_from_slice(lines);
        Ok(())
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.0.is_empty() && self.current.is_some()
    }

    /// What is to be synced, and which lines are on stable storage after that.
    pub(super) fn begin_sync(&mut self) -> Option<(Arc<dyn DiskFile>, Unsynced)> {
        let file = Arc::clone(self.current.as_ref()?);
        Some((file, std::mem::take(&mut self.unsynced)))
    }

    /// Whether more waits to be synced than one file should have.
    pub(super) fn is_behind(&self) -> bool {
        self.unsynced.0.len() as u64 > self.bytes / FILES
    }

    /// Uses the current file no longer, as its sync has failed: what it may lack is written again
    /// to the next one.
    pub(super) fn give_up(&mut self, lost: Unsynced) {
        let later = std::mem::replace(&mut self.unsynced, lost);
        self.unsynced.0.extend_from_slice(&later.0);
        self.current = None;
    }

    /// Makes durable what is not.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.unsynced.0.is_empty() {
            return Ok(());
        }
        self.current()?.sync()
    }
}
