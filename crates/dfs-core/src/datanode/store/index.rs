//! Where each replica is: a redb table with the latest changes kept in memory above it.
//!
//! Replicas are durable without it, so it may lag: changes collect in memory and reach redb in
//! one durable commit now and then. After a crash recovery finds what it misses by reading what
//! was written since. A disk too full for that commit costs nothing but memory.
//!
//! Only the committer changes it; anyone reads it. All calls block.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::error::{StoreError, is_out_of_space};
use super::layout::{PAGE_LEN, file_name};
use super::replica::ReplicaSummary;
use crate::env::{DatabaseFile, Disk, OpenMode};
use crate::types::ChunkId;
use crate::types::checksum::crc32c;

const REPLICAS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("replicas");
const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");
const DELETIONS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("deletions");
const ROW_VERSION: u8 = 1;
const ROW_LEN: usize = 34;

/// Where a replica is and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) length: u64,
    pub(super) checksum: u32,
    /// Where the data begins, after the start of the file or record.
    pub(super) data_offset: u32,
}

/// A file of its own, or a record in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Large,
    Small { segment: u64, offset: u64 },
}

impl Entry {
    /// What it takes on disk.
    pub(super) fn stored_len(&self) -> u64 {
        let length = u64::from(self.data_offset).saturating_add(self.length);
        length.checked_next_multiple_of(PAGE_LEN).unwrap_or(length)
    }

    pub(super) fn summary(&self, chunk: ChunkId) -> ReplicaSummary {
        ReplicaSummary {
            chunk,
            length: self.length,
            checksum: self.checksum,
        }
    }

    pub(super) fn encode(&self, chunk: ChunkId) -> Vec<u8> {
        let (kind, segment, offset) = match self.place {
            Place::Large => (1, 0, 0),
            Place::Small { segment, offset } => (2, segment, offset),
        };
        let mut row = Vec::with_capacity(ROW_LEN + 4);
        row.extend_from_slice(&[ROW_VERSION, kind]);
        row.extend_from_slice(&self.length.to_le_bytes());
        row.extend_from_slice(&self.checksum.to_le_bytes());
        row.extend_from_slice(&u64::to_le_bytes(segment));
        row.extend_from_slice(&u64::to_le_bytes(offset));
        row.extend_from_slice(&self.data_offset.to_le_bytes());
        seal(&chunk.0.to_le_bytes(), row)
    }

    pub(super) fn decode(chunk: u64, sealed: &[u8]) -> Option<Entry> {
        let row = unseal(&chunk.to_le_bytes(), sealed)?;
        let row: &[u8; ROW_LEN] = row.try_into().ok()?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(*row.get(at..)?.first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(*row.get(at..)?.first_chunk()?));
        let place = match row.first_chunk::<2>()? {
            [ROW_VERSION, 1] => Place::Large,
            [ROW_VERSION, 2] => Place::Small {
                segment: u64_at(14)?,
                offset: u64_at(22)?,
            },
            _ => return None,
        };
        Some(Entry {
            place,
            length: u64_at(2)?,
            checksum: u32_at(10)?,
            data_offset: u32_at(30)?,
        })
    }
}

pub(super) fn seal(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&[key, row.as_slice()].concat());
    row.extend_from_slice(&crc.to_le_bytes());
    row
}

fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (row, crc) = sealed.split_last_chunk::<4>()?;
    (crc32c(&[key, row].concat()) == u32::from_le_bytes(*crc)).then_some(row)
}

/// How far recovery need not look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Scanned {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// A record that the index has forgotten and that is to be marked as deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) chunk: ChunkId,
}

/// What the index knew when it was opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) scanned: Scanned,
    pub(super) clean: bool,
    /// Records that may not have been marked yet.
    pub(super) intents: Vec<Intent>,
    /// Records in use, by segment.
    pub(super) segments: BTreeMap<u64, u64>,
}

/// What all replicas come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) replicas: u64,
    pub(super) bytes: u64,
}

pub(super) struct Index {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cache: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None after an error, which redb does not survive, until someone needs it again.
    database: Option<Arc<Database>>,
    closed: bool,
    pending: BTreeMap<ChunkId, Option<Entry>>,
    totals: Totals,
}

impl Index {
    /// Opens the index, or makes an empty one, and reads all of it.
    ///
    /// # Errors
    /// Why it cannot be used. It may be damaged: recovery then builds a new one.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        cache: usize,
    ) -> Result<(Index, Contents), StoreError> {
        let index = Index {
            disk,
            path,
            cache,
            inner: Mutex::new(Inner {
                database: None,
                closed: false,
                pending: BTreeMap::new(),
                totals: Totals::default(),
            }),
        };
        // Some damage makes redb panic instead of returning an error.
        let opened = catch_unwind(AssertUnwindSafe(|| index.read_all()));
        let contents = match opened {
            Ok(contents) => contents?,
            Err(_) => return Err(index.damaged("redb cannot make sense of it")),
        };
        Ok((index, contents))
    }

    fn read_all(&self) -> Result<Contents, StoreError> {
        let database = self.database()?;
        let mut contents = Contents::default();
        let mut totals = Totals::default();
        let txn = database.begin_read().map_err(|e| self.error(e))?;
        match txn.open_table(MARKS) {
            Ok(marks) => self.read_marks(&marks, &mut contents)?,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(contents),
            Err(e) => return Err(self.error(e)),
        }
        let deletions = txn.open_table(DELETIONS).map_err(|e| self.error(e))?;
        for row in deletions.iter().map_err(|e| self.error(e))? {
            let (key, sealed) = row.map_err(|e| self.error(e))?;
            let (segment, offset) = key.value();
            let chunk = unseal(&offset.to_le_bytes(), sealed.value())
                .and_then(|row| row.first_chunk().copied())
                .ok_or_else(|| self.damaged("a deletion fails its checksum"))?;
            contents.intents.push(Intent {
                segment,
                offset,
                chunk: ChunkId(u64::from_le_bytes(chunk)),
            });
        }
        let table = txn.open_table(REPLICAS).map_err(|e| self.error(e))?;
        for row in table.iter().map_err(|e| self.error(e))? {
            let (chunk, sealed) = row.map_err(|e| self.error(e))?;
            let entry = Entry::decode(chunk.value(), sealed.value())
                .ok_or_else(|| self.damaged("a row fails its checksum"))?;
            totals.replicas += 1;
            totals.bytes += entry.stored_len();
            if let Place::Small { segment, .. } = entry.place {
                *contents.segments.entry(segment).or_default() += 1;
            }
        }
        self.lock().totals = totals;
        Ok(contents)
    }

    fn read_marks(
        &self,
        marks: &impl ReadableTable<&'static str, &'static [u8]>,
        contents: &mut Contents,
    ) -> Result<(), StoreError> {
        let read = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
            match marks.get(name).map_err(|e| self.error(e))? {
                None => Ok(None),
                Some(sealed) => match unseal(name.as_bytes(), sealed.value()) {
                    Some(row) => Ok(Some(row.to_vec())),
                    None => Err(self.damaged("a mark fails its checksum")),
                },
            }
        };
        if let Some(row) = read("scanned")?
            && let Some((segment, rest)) = row.split_first_chunk()
            && let Some(offset) = rest.first_chunk()
        {
            contents.scanned = Scanned {
                segment: u64::from_le_bytes(*segment),
                offset: u64::from_le_bytes(*offset),
            };
        }
        contents.clean = read("clean")?.is_some_and(|row| row == [1]);
        Ok(())
    }

    /// Where a replica is, if it is here.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn get(&self, chunk: ChunkId) -> Result<Option<Entry>, StoreError> {
        if let Some(entry) = self.lock().pending.get(&chunk) {
            return Ok(*entry);
        }
        let Some(table) = self.replicas()? else {
            return Ok(None);
        };
        match table.get(chunk.0).map_err(|e| self.error(e))? {
            None => Ok(None),
            Some(sealed) => Entry::decode(chunk.0, sealed.value())
                .map(Some)
                .ok_or_else(|| self.damaged("a row fails its checksum")),
        }
    }

    /// Up to `limit` replicas with ids from `from` on, in order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn list(
        &self,
        from: ChunkId,
        limit: usize,
    ) -> Result<Vec<(ChunkId, Entry)>, StoreError> {
        // What is committed between the two steps is in both, and the same.
        let pending: BTreeMap<_, _> = {
            let inner = self.lock();
            inner.pending.range(from..).map(|(c, e)| (*c, *e)).collect()
        };
        let table = self.replicas()?;
        let mut found: BTreeMap<ChunkId, Entry> = pending
            .iter()
            .filter_map(|(chunk, entry)| Some((*chunk, (*entry)?)))
            .take(limit)
            .collect();
        if let Some(table) = table {
            let rows = table.range(from.0..).map_err(|e| self.error(e))?;
            let mut stored = 0;
            for row in rows {
                if stored == limit {
                    break;
                }
                let (chunk, sealed) = row.map_err(|e| self.error(e))?;
                let entry = Entry::decode(chunk.value(), sealed.value())
                    .ok_or_else(|| self.damaged("a row fails its checksum"))?;
                let chunk = ChunkId(chunk.value());
                if !pending.contains_key(&chunk) {
                    found.insert(chunk, entry);
                    stored += 1;
                }
            }
        }
        Ok(found.into_iter().take(limit).collect())
    }

    /// Notes that a replica is here, in memory.
    pub(super) fn insert(&self, chunk: ChunkId, entry: Entry, before: Option<Entry>) {
        let mut inner = self.lock();
        inner.pending.insert(chunk, Some(entry));
        inner.forget(before);
        inner.totals.replicas += 1;
        inner.totals.bytes += entry.stored_len();
    }

    /// Notes that a replica, which was at `before`, is gone, in memory.
    pub(super) fn remove(&self, chunk: ChunkId, before: Entry) {
        let mut inner = self.lock();
        inner.pending.insert(chunk, None);
        inner.forget(Some(before));
    }

    /// How many changes are in memory alone.
    pub(super) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// What all replicas come to.
    pub(super) fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Makes all changes durable, with `intents`; those of the commit before have been done.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`]: nothing is lost, try again later. Anything else: the disk has
    /// failed or the index is damaged.
    pub(super) fn flush(
        &self,
        scanned: Scanned,
        intents: &[Intent],
        clean: bool,
    ) -> Result<(), StoreError> {
        let result = self.commit(scanned, intents, clean);
        let mut inner = self.lock();
        match result {
            Ok(()) => inner.pending.clear(),
            // redb refuses to go on after an error; opened again it is at its last commit.
            Err(_) => inner.database = None,
        }
        result
    }

    fn commit(&self, scanned: Scanned, intents: &[Intent], clean: bool) -> Result<(), StoreError> {
        let database = self.database()?;
        let pending = self.lock().pending.clone();
        let mut txn = database.begin_write().map_err(|e| self.error(e))?;
        txn.set_durability(Durability::Immediate)
            .map_err(|e| self.error(e))?;
        // Saves what opening after a crash would otherwise find out by reading everything.
        txn.set_quick_repair(true);
        {
            let mut table = txn.open_table(REPLICAS).map_err(|e| self.error(e))?;
            for (chunk, entry) in pending {
                match entry {
                    Some(entry) => table.insert(chunk.0, entry.encode(chunk).as_slice()),
                    None => table.remove(chunk.0),
                }
                .map_err(|e| self.error(e))?;
            }
            txn.delete_table(DELETIONS).map_err(|e| self.error(e))?;
            let mut deletions = txn.open_table(DELETIONS).map_err(|e| self.error(e))?;
            for intent in intents {
                let row = intent.chunk.0.to_le_bytes().to_vec();
                let sealed = seal(&intent.offset.to_le_bytes(), row);
                let key = (intent.segment, intent.offset);
                let inserted = deletions.insert(key, sealed.as_slice());
                inserted.map_err(|e| self.error(e))?;
            }
            let mut marks = txn.open_table(MARKS).map_err(|e| self.error(e))?;
            let place = [scanned.segment.to_le_bytes(), scanned.offset.to_le_bytes()].concat();
            for (name, row) in [("scanned", place), ("clean", vec![u8::from(clean)])] {
                let sealed = seal(name.as_bytes(), row);
                marks
                    .insert(name, sealed.as_slice())
                    .map_err(|e| self.error(e))?;
            }
        }
        txn.commit().map_err(|e| self.error(e))
    }

    /// Lets go of the file.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.database = None;
    }

    fn replicas(&self) -> Result<Option<redb::ReadOnlyTable<u64, &'static [u8]>>, StoreError> {
        let txn = self.database()?.begin_read().map_err(|e| self.error(e))?;
        match txn.open_table(REPLICAS) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(self.error(e)),
        }
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut inner = self.lock();
        if let Some(database) = &inner.database {
            return Ok(Arc::clone(database));
        }
        if inner.closed {
            return Err(StoreError::Failed("the store is closed".into()));
        }
        let file = self
            .disk
            .open(&self.path, OpenMode::Create)
            .map_err(|e| StoreError::from_write(&e, &self.path))?;
        let database = Database::builder()
            .set_cache_size(self.cache)
            .create_with_backend(DatabaseFile(file))
            .map_err(|e| self.error(e))?;
        let database = Arc::new(database);
        inner.database = Some(Arc::clone(&database));
        Ok(database)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        let error = error.into();
        let message = format!("{}: {error}", file_name(&self.path));
        match error {
            redb::Error::Io(e) if is_out_of_space(&e) => StoreError::OutOfSpace(message),
            _ => StoreError::Failed(message),
        }
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Failed(format!("{}: {what}", file_name(&self.path)))
    }
}

impl Inner {
    fn forget(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.totals.replicas = self.totals.replicas.saturating_sub(1);
            self.totals.bytes = self.totals.bytes.saturating_sub(entry.stored_len());
        }
    }
}
