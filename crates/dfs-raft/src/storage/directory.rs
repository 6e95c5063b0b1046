//! The files of a replica: lock, identity, which state counts, and how the last run ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::codec::{decode_stamp, encode_stamp};
use crate::env::{Disk, DiskFile, DiskLock, OpenMode};
use crate::error::Fatal;
use crate::planted::{self, Bug};
use crate::types::{ClusterId, MemberId};

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const CURRENT: &str = "CURRENT";
const CLEAN: &str = "clean";
const CONDEMNED: &str = "condemned";
const SEGMENT: &str = "log-";
const FORMER_LOG: &str = "log.redb";
const STATE: &str = "state-";

/// What a file's name ends in until the file is whole.
const UNNAMED: &str = ".tmp";

/// Small files are read whole; anything larger is not one of ours.
const SMALL_FILE_MAX: u64 = 4096;

/// Who a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
    pub(crate) phase: Phase,
}

/// How far a replica got in becoming a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// It has its identity and never answered a vote: its log may not be there yet. The address
    /// is that of a founder, which is the first voter.
    Starting { founder_address: Option<String> },
    /// It may have voted: without its log it must not run again.
    Member,
}

/// What ties a log to its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) cluster: ClusterId,
    pub(crate) member: MemberId,
}

impl Identity {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            cluster: self.cluster,
            member: self.member,
        }
    }
}

/// A locked directory. All its methods block.
#[derive(Debug)]
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    open_files: watch::Sender<usize>,
    _lock: Box<dyn DiskLock>,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Arc<Directory>> {
        disk.create_directory(path)?;
        let lock = disk.lock(&path.join(LOCK))?;
        Ok(Arc::new(Directory {
            disk,
            path: path.to_owned(),
            open_files: watch::Sender::new(0),
            _lock: lock,
        }))
    }

    /// Opens a file of the log or a state. The lock outlives it.
    pub(crate) fn open_file(
        self: &Arc<Self>,
        name: &str,
        mode: OpenMode,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&self.path.join(name), mode)?;
        self.open_files.send_modify(|count| *count += 1);
        Ok(Arc::new(LockedFile {
            file,
            directory: self.clone(),
        }))
    }

    /// How many such files are open.
    pub(crate) fn open_files(&self) -> watch::Receiver<usize> {
        self.open_files.subscribe()
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if planted::active(Bug::LogDirectoryNotSynced) {
            return Ok(());
        }
        self.disk.sync_directory(&self.path)
    }

    /// Whether anything of a replica is in it, whole or not. (An identity that never got its name
    /// was nobody's. Files of others, such as the key of a member, may be there.)
    pub(crate) fn has_any_state(&self) -> io::Result<bool> {
        const OWN: [&str; 7] = [
            IDENTITY, CURRENT, CLEAN, CONDEMNED, SEGMENT, FORMER_LOG, STATE,
        ];
        let entries = self.disk.list(&self.path)?;
        let is_own = |name: &str| OWN.iter().any(|own| name.starts_with(own));
        let unnamed = unnamed(IDENTITY);
        Ok(entries.iter().any(|e| is_own(&e.name) && e.name != unnamed))
    }

    /// Whether the log is of the time when it was a redb database.
    pub(crate) fn has_former_log(&self) -> io::Result<bool> {
        self.disk.exists(&self.path.join(FORMER_LOG))
    }

    /// The numbers of the log's segments, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        let entries = self.disk.list(&self.path)?;
        let number = |name: &str| name.strip_prefix(SEGMENT)?.parse().ok();
        let numbers = entries.iter().filter_map(|e| Some((number(&e.name)?, e)));
        let numbers = numbers.filter(|(number, e)| segment_name(*number) == e.name);
        let mut numbers: Vec<u64> = numbers.map(|(number, _)| number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn identity(&self) -> Result<Option<Identity>, Fatal> {
        self.read_small(IDENTITY)?
            .map(|bytes| decode_stamp(IDENTITY, &bytes))
            .transpose()
    }

    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), Fatal> {
        self.replace_small(IDENTITY, &encode_stamp(IDENTITY, identity)?)
    }

    /// The number of the state that counts.
    pub(crate) fn current_state(&self) -> Result<Option<u64>, Fatal> {
        self.read_small(CURRENT)?
            .map(|bytes| decode_stamp(CURRENT, &bytes))
            .transpose()
    }

    /// Makes another state count. Before the rename it is the old one, after it the new one.
    pub(crate) fn set_current_state(&self, number: u64) -> Result<(), Fatal> {
        self.replace_small(CURRENT, &encode_stamp(CURRENT, &number)?)
    }

    /// Removes states that do not count, and what a crash left of small files.
    pub(crate) fn remove_leftovers(&self, current: Option<u64>) -> io::Result<()> {
        let current = current.map(state_name);
        for entry in self.disk.list(&self.path)? {
            let other_state = is_state_name(&entry.name) && Some(&entry.name) != current.as_ref();
            if other_state || entry.name.ends_with(UNNAMED) {
                self.disk.remove_file(&self.path.join(&entry.name))?;
            }
        }
        Ok(())
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path.join(from), &self.path.join(to))
    }

    pub(crate) fn remove_if_there(&self, name: &str) -> io::Result<()> {
        match self.disk.exists(&self.path.join(name))? {
            true => self.remove(name),
            false => Ok(()),
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove_file(&self.path.join(name))
    }

    /// Whether the last run ended well. The next call says no, unless this run does too.
    pub(crate) fn take_clean_mark(&self) -> io::Result<bool> {
        let path = self.path.join(CLEAN);
        let clean = self.disk.exists(&path)?;
        if clean {
            self.disk.remove_file(&path)?;
            self.sync()?;
        }
        Ok(clean)
    }

    /// Notes that this run ended well: all files are closed.
    pub(crate) fn mark_clean(&self) -> io::Result<()> {
        self.disk
            .open(&self.path.join(CLEAN), OpenMode::Create)?
            .sync()?;
        self.sync()
    }

    /// Why this replica must not run again, if it must not.
    pub(crate) fn condemned(&self) -> Result<Option<String>, Fatal> {
        self.read_small(CONDEMNED)?
            .map(|bytes| decode_stamp(CONDEMNED, &bytes))
            .transpose()
    }

    /// Notes that this replica must not run again.
    pub(crate) fn condemn(&self, why: &str) -> Result<(), Fatal> {
        self.replace_small(CONDEMNED, &encode_stamp(CONDEMNED, &why)?)
    }

    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, Fatal> {
        let read = || {
            let path = self.path.join(name);
            if !self.disk.exists(&path)? {
                return Ok(None);
            }
            let file = self.disk.open(&path, OpenMode::Read)?;
            let length = file.len()?.min(SMALL_FILE_MAX) as usize;
            let mut bytes = vec![0; length];
            file.read_at(&mut bytes, 0)?;
            Ok(Some(bytes))
        };
        read().map_err(|e| disk_failed(name, e))
    }

    fn replace_small(&self, name: &str, bytes: &[u8]) -> Result<(), Fatal> {
        let write = || {
            let (path, new) = (self.path.join(name), self.path.join(unnamed(name)));
            let file = self.disk.open(&new, OpenMode::Create)?;
            file.set_len(0)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            self.disk.rename(&new, &path)?;
            self.sync()
        };
        write().map_err(|e| disk_failed(name, e))
    }
}

fn unnamed(name: &str) -> String {
    format!("{name}{UNNAMED}")
}

pub(crate) fn state_name(number: u64) -> String {
    format!("{STATE}{number}.redb")
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{SEGMENT}{number}")
}

fn is_state_name(name: &str) -> bool {
    name.starts_with("state-") && name.ends_with(".redb")
}

pub(crate) fn disk_failed(name: &str, error: io::Error) -> Fatal {
    Fatal::with_source(
        format!("the file `{name}` cannot be read or written"),
        error,
    )
}

/// The file of a state that does not count: removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Uncounted {
    directory: Arc<Directory>,
    number: u64,
    kept: bool,
}

impl Uncounted {
    pub(crate) fn new(directory: Arc<Directory>, number: u64) -> Uncounted {
        Uncounted {
            directory,
            number,
            kept: false,
        }
    }

    /// Keeps the file, because it is about to count, and returns its number.
    pub(crate) fn keep(mut self) -> u64 {
        self.kept = true;
        self.number
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(e) = self.directory.remove(&state_name(self.number)) {
            tracing::warn!(error = %e, "a state that does not count cannot be removed");
        }
    }
}

/// A file of the log or a state: as long as it is open the directory is locked.
#[derive(Debug)]
struct LockedFile {
    file: Arc<dyn DiskFile>,
    directory: Arc<Directory>,
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        self.directory.open_files.send_modify(|count| *count -= 1);
    }
}

impl DiskFile for LockedFile {
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
        self.file.sync()
    }
}
