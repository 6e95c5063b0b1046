//! The database that holds a state: its tables, its digest, and a replica's local notes.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use super::Table;
use super::guard::guarded;
use super::read::{Names, View, definition};
use super::seal::{Digest, seal, unseal};
use super::write::StateTxn;
use crate::env::{DatabaseFile, DiskFile};
use crate::error::Fatal;

/// Rows about this replica alone: in no digest and in no snapshot.
const LOCAL: &str = "_replica";
/// Rows that the replica itself replicates, after the state machine's tables: member ids, time.
const SYSTEM: &str = "_system";
const DIGEST: &str = "digest";

/// A redb database with a state in it.
pub struct StateDb {
    database: Arc<Database>,
    names: Names,
}

impl StateDb {
    /// Opens the database in `file`, or makes one in it if it is empty. `cache` is in bytes.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not such a database, or is damaged.
    pub fn open(
        file: Arc<dyn DiskFile>,
        names: &'static [&'static str],
        cache: usize,
    ) -> Result<StateDb, Fatal> {
        StateDb::open_checked(file, names, cache, false)
    }

    /// As [`open`](StateDb::open); with `check` every page is verified first, as after a stop
    /// that was not clean.
    ///
    /// # Errors
    /// As [`open`](StateDb::open).
    pub fn open_checked(
        file: Arc<dyn DiskFile>,
        names: &'static [&'static str],
        cache: usize,
        check: bool,
    ) -> Result<StateDb, Fatal> {
        guarded(|| {
            let database = Database::builder()
                .set_cache_size(cache)
                .set_check_integrity_on_open(check)
                .create_with_backend(DatabaseFile(file))?;
            StateDb::with_tables(database, names)
        })
    }

    /// A database in memory, for tests of a state machine.
    ///
    /// # Errors
    /// None that is known.
    pub fn in_memory(names: &'static [&'static str]) -> Result<StateDb, Fatal> {
        let backend = redb::backends::InMemoryBackend::new();
        StateDb::with_tables(Database::builder().create_with_backend(backend)?, names)
    }

    fn with_tables(database: Database, names: &'static [&'static str]) -> Result<StateDb, Fatal> {
        let names: Names = names.iter().copied().chain([SYSTEM]).collect();
        let database = Arc::new(database);
        let db = StateDb { database, names };
        let missing = {
            let txn = db.database.begin_read()?;
            let mut all = db.names.iter().chain([&LOCAL]);
            !all.all(|name| txn.open_table(definition(name)).is_ok())
        };
        if missing {
            let txn = db.database.begin_write()?;
            StateTxn::open(&txn, &db.names)?;
            txn.open_table(definition(LOCAL))?;
            txn.commit()?;
        }
        Ok(db)
    }

    /// Applies a batch: everything `batch` writes is seen by readers at once when this returns,
    /// or not at all. Without `durable` it is on disk only after a later durable one; either way
    /// a crash leaves all of a batch or none of it.
    ///
    /// # Errors
    /// What `batch` returned, or it panicked, or the database failed. Nothing was changed.
    pub fn write<T>(
        &self,
        durable: bool,
        batch: impl FnOnce(&mut StateTxn<'_>, &mut LocalNotes<'_>) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        guarded(|| self.commit(durable, batch))
    }

    fn commit<T>(
        &self,
        durable: bool,
        batch: impl FnOnce(&mut StateTxn<'_>, &mut LocalNotes<'_>) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        let mut txn = self.database.begin_write()?;
        if durable {
            txn.set_durability(Durability::Immediate)?;
            // Saves the allocator's state, so that opening after a crash needs no full scan.
            txn.set_quick_repair(true);
        } else {
            txn.set_durability(Durability::None)?;
        }
        let result = {
            let mut notes = LocalNotes {
                txn: &txn,
                restored: None,
            };
            let mut digest = notes.digest()?;
            let mut state = StateTxn::open(&txn, &self.names)?;
            let result = batch(&mut state, &mut notes)?;
            if let Some(restored) = notes.restored {
                digest = restored;
            }
            state.flush(&mut digest)?;
            drop(state);
            notes.set(DIGEST, &digest.0.to_le_bytes())?;
            result
        };
        txn.commit()?;
        Ok(result)
    }

    /// Makes durable what was written so far.
    ///
    /// # Errors
    /// The database failed.
    pub fn make_durable(&self) -> Result<(), Fatal> {
        self.write(true, |_, _| Ok(()))
    }

    /// The table of the rows that the replica itself replicates.
    pub(crate) fn system_table<K, V>(&self) -> Table<K, V> {
        Table::new(self.names.len().saturating_sub(1), SYSTEM)
    }

    /// The place of a table among the state's tables.
    pub(crate) fn table_index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| *n == name)
    }

    /// Writes rows of a snapshot as they were stored. `durable` as in [`write`](StateDb::write).
    pub(crate) fn restore<'a>(
        &self,
        durable: bool,
        rows: impl IntoIterator<Item = (usize, &'a [u8], &'a [u8])>,
    ) -> Result<(), Fatal> {
        let mut restored = Digest::default();
        self.write(durable, |state, notes| {
            for (index, key, sealed) in rows {
                state.put_sealed(index, key, sealed, &mut restored)?;
            }
            let before = notes.digest()?;
            notes.restored = Some(Digest(before.0.wrapping_add(restored.0)));
            Ok(())
        })
    }

    /// The state now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn view(&self) -> Result<View, Fatal> {
        Ok(self.view_with_notes()?.0)
    }

    /// The state now, and what the notes say of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn view_with_notes(&self) -> Result<(View, ReadNotes), Fatal> {
        guarded(|| {
            let txn = self.database.begin_read()?;
            let view = View::open(&txn, self.names.clone(), self.database.clone())?;
            let _database = self.database.clone();
            Ok((view, ReadNotes { txn, _database }))
        })
    }

    /// The digest as kept with every write.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn digest(&self) -> Result<Digest, Fatal> {
        self.view_with_notes()?.1.digest()
    }

    /// The digest computed from every row, each with its checksum verified.
    ///
    /// # Errors
    /// A row is damaged, or the database cannot be read.
    pub fn recompute_digest(view: &View) -> Result<Digest, Fatal> {
        let mut digest = Digest::default();
        for (index, name) in view.names().iter().enumerate() {
            for row in view.sealed_rows(index, Bound::Unbounded)? {
                let (key, sealed) = row?;
                unseal(name, &key, &sealed)?;
                digest.add(name, &key, &sealed);
            }
        }
        Ok(digest)
    }
}

impl fmt::Debug for StateDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateDb").finish_non_exhaustive()
    }
}

/// A replica's notes, written in the same transaction as the state they are about.
pub struct LocalNotes<'txn> {
    txn: &'txn WriteTransaction,
    /// The digest after rows were restored past the digest's usual bookkeeping.
    restored: Option<Digest>,
}

impl LocalNotes<'_> {
    /// Reads a note.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Fatal> {
        read_note(&self.txn.open_table(definition(LOCAL))?, name)
    }

    /// Writes a note.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Fatal> {
        let mut table = self.txn.open_table(definition(LOCAL))?;
        let sealed = seal(LOCAL, name.as_bytes(), value.to_vec());
        table.insert(name.as_bytes(), sealed.as_slice())?;
        Ok(())
    }

    fn digest(&self) -> Result<Digest, Fatal> {
        decode_digest(read_note(&self.txn.open_table(definition(LOCAL))?, DIGEST)?)
    }
}

impl fmt::Debug for LocalNotes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNotes").finish_non_exhaustive()
    }
}

/// A replica's notes as they were when a view was opened.
pub(crate) struct ReadNotes {
    txn: redb::ReadTransaction,
    /// As in a [`View`].
    _database: Arc<Database>,
}

impl ReadNotes {
    /// Reads a note.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Fatal> {
        guarded(|| read_note(&self.txn.open_table(definition(LOCAL))?, name))
    }

    pub(crate) fn digest(&self) -> Result<Digest, Fatal> {
        decode_digest(self.get(DIGEST)?)
    }
}

fn read_note(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &str,
) -> Result<Option<Vec<u8>>, Fatal> {
    match table.get(name.as_bytes())? {
        Some(sealed) => Ok(Some(
            unseal(LOCAL, name.as_bytes(), sealed.value())?.to_vec(),
        )),
        None => Ok(None),
    }
}

fn decode_digest(note: Option<Vec<u8>>) -> Result<Digest, Fatal> {
    match note.as_deref().map(<[u8; 16]>::try_from) {
        None => Ok(Digest::default()),
        Some(Ok(bytes)) => Ok(Digest(u128::from_le_bytes(bytes))),
        Some(Err(_)) => Err(Fatal::new("the stored digest is damaged")),
    }
}
