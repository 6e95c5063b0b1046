//! Reading: one trait for a snapshot view and for a transaction being written.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadTransaction, TableDefinition};

use super::guard::{guarded, guarded_rows};
use super::seal::{Digest, unseal};
use super::{Key, Table, Value};
use crate::error::Fatal;

/// A row as bytes: key, value without its checksum.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows as bytes, in the order asked for.
pub type RawScan<'a> = Box<dyn Iterator<Item = Result<Row, Fatal>> + 'a>;

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// Reads rows of the state.
///
/// Every error is [`Fatal`]: the database cannot be read, or is damaged. A scan ends with it.
pub trait ReadState {
    /// The value at a key, as bytes.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn get_raw(&self, index: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Fatal>;

    /// The rows with keys between two bounds, as bytes.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn scan_raw(
        &self,
        index: usize,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        direction: Direction,
    ) -> Result<RawScan<'_>, Fatal>;

    /// The value at a key.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn get<K: Key, V: Value>(&self, table: Table<K, V>, key: &K) -> Result<Option<V>, Fatal> {
        self.get_raw(table.index, &key.to_bytes())?
            .map(|bytes| V::from_bytes(&bytes))
            .transpose()
    }

    /// The rows with keys in a range, smallest first.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn scan<K: Key, V: Value>(
        &self,
        table: Table<K, V>,
        range: impl RangeBounds<K>,
    ) -> Result<Scan<'_, K, V>, Fatal> {
        let bounds = encode_bounds(&range);
        Ok(Scan::new(self.scan_raw(
            table.index,
            bounds,
            Direction::Forward,
        )?))
    }

    /// The rows with keys in a range, largest first.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn scan_back<K: Key, V: Value>(
        &self,
        table: Table<K, V>,
        range: impl RangeBounds<K>,
    ) -> Result<Scan<'_, K, V>, Fatal> {
        let bounds = encode_bounds(&range);
        Ok(Scan::new(self.scan_raw(
            table.index,
            bounds,
            Direction::Backward,
        )?))
    }

    /// The rows whose keys begin with `prefix` (the first part or parts of `K`), smallest first.
    ///
    /// # Errors
    /// See [`ReadState`].
    fn scan_prefix<P: Key, K: Key, V: Value>(
        &self,
        table: Table<K, V>,
        prefix: &P,
    ) -> Result<Scan<'_, K, V>, Fatal> {
        let bounds = prefix_bounds(prefix.to_bytes());
        Ok(Scan::new(self.scan_raw(
            table.index,
            bounds,
            Direction::Forward,
        )?))
    }
}

/// The keys that begin with `prefix`.
fn prefix_bounds(prefix: Vec<u8>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut end = prefix.clone();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    let upper = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    (Bound::Included(prefix), upper)
}

fn encode_bounds<K: Key>(range: &impl RangeBounds<K>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (
        range.start_bound().map(Key::to_bytes),
        range.end_bound().map(Key::to_bytes),
    )
}

pub(crate) fn borrow_bounds(
    bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (
        bounds.0.as_ref().map(Vec::as_slice),
        bounds.1.as_ref().map(Vec::as_slice),
    )
}

/// Whether no key can lie between the bounds; redb and `BTreeMap` panic on such ranges.
pub(crate) fn is_empty_range(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match (&bounds.0, &bounds.1) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
        _ => false,
    }
}

/// Typed rows of a scan.
pub struct Scan<'a, K, V> {
    rows: RawScan<'a>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K, V> Scan<'a, K, V> {
    fn new(rows: RawScan<'a>) -> Scan<'a, K, V> {
        Scan {
            rows,
            types: PhantomData,
        }
    }
}

impl<K: Key, V: Value> Iterator for Scan<'_, K, V> {
    type Item = Result<(K, V), Fatal>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.and_then(|(key, value)| Ok((K::from_bytes(&key)?, V::from_bytes(&value)?))))
    }
}

impl<K, V> fmt::Debug for Scan<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

/// The names of all tables of a state, in the order of their indexes.
pub(crate) type Names = Arc<[&'static str]>;

pub(crate) type Bytes = &'static [u8];

pub(crate) fn definition(name: &'static str) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(name)
}

/// The state as it was at one moment, unchanged by later writes. Hold it briefly: while it
/// exists, redb keeps the pages it can see.
///
/// Clones share it.
#[derive(Clone)]
pub struct View {
    inner: Arc<Tables>,
}

struct Tables {
    names: Names,
    tables: Vec<ReadOnlyTable<Bytes, Bytes>>,
    /// redb ends all reads when a database is dropped, and a snapshot that is installed replaces
    /// it: so views keep theirs.
    _database: Arc<Database>,
}

impl View {
    pub(crate) fn open(
        txn: &ReadTransaction,
        names: Names,
        database: Arc<Database>,
    ) -> Result<View, Fatal> {
        let tables = names
            .iter()
            .map(|name| txn.open_table(definition(name)).map_err(Fatal::from))
            .collect::<Result<_, _>>()?;
        let inner = Arc::new(Tables {
            names,
            tables,
            _database: database,
        });
        Ok(View { inner })
    }

    pub(crate) fn names(&self) -> &[&'static str] {
        &self.inner.names
    }

    fn table(&self, index: usize) -> Result<(&'static str, &ReadOnlyTable<Bytes, Bytes>), Fatal> {
        match (self.inner.names.get(index), self.inner.tables.get(index)) {
            (Some(name), Some(table)) => Ok((name, table)),
            _ => Err(Fatal::new(format!(
                "table {index} is not among the state's tables"
            ))),
        }
    }

    /// The rows of a table as stored, checksums and all, from `start` on.
    pub(crate) fn sealed_rows(
        &self,
        index: usize,
        start: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Row, Fatal>> + use<>, Fatal> {
        let (_, table) = self.table(index)?;
        let rows = guarded(|| Ok(table.range::<&[u8]>((start, Bound::Unbounded))?))?;
        let view = self.clone();
        Ok(guarded_rows(rows.map(move |row| {
            let _kept = &view;
            let (key, sealed) = row?;
            Ok((key.value().to_vec(), sealed.value().to_vec()))
        })))
    }
}

impl ReadState for View {
    fn get_raw(&self, index: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Fatal> {
        let (name, table) = self.table(index)?;
        guarded(|| match table.get(key)? {
            Some(sealed) => Ok(Some(unseal(name, key, sealed.value())?.to_vec())),
            None => Ok(None),
        })
    }

    fn scan_raw(
        &self,
        index: usize,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        direction: Direction,
    ) -> Result<RawScan<'_>, Fatal> {
        if is_empty_range(&bounds) {
            return Ok(Box::new(std::iter::empty()));
        }
        let (name, table) = self.table(index)?;
        let rows = guarded(|| Ok(table.range::<&[u8]>(borrow_bounds(&bounds))?))?;
        let open = |row: Result<_, redb::StorageError>| unseal_row(name, row);
        Ok(match direction {
            Direction::Forward => Box::new(guarded_rows(rows.map(open))),
            Direction::Backward => Box::new(guarded_rows(rows.rev().map(open))),
        })
    }
}

type StoredRow<'a> = (redb::AccessGuard<'a, Bytes>, redb::AccessGuard<'a, Bytes>);

pub(crate) fn unseal_row(
    name: &str,
    row: Result<StoredRow<'_>, redb::StorageError>,
) -> Result<Row, Fatal> {
    let (key, sealed) = row?;
    let value = unseal(name, key.value(), sealed.value())?.to_vec();
    Ok((key.value().to_vec(), value))
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// How far the digest of all rows was computed from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct DigestCursor {
    table: usize,
    after: Option<Vec<u8>>,
    digest: Digest,
}

impl DigestCursor {
    /// Verifies and counts in about `bytes` more of rows; false when none are left.
    pub(crate) fn advance(&mut self, view: &View, bytes: u64) -> Result<bool, Fatal> {
        let mut left = i128::from(bytes);
        while let Some(name) = view.names().get(self.table) {
            let start = match &self.after {
                Some(key) => Bound::Excluded(key.as_slice()),
                None => Bound::Unbounded,
            };
            let mut last = None;
            for row in view.sealed_rows(self.table, start)? {
                let (key, sealed) = row?;
                unseal(name, &key, &sealed)?;
                self.digest.add(name, &key, &sealed);
                left -= (key.len() + sealed.len()) as i128;
                last = Some(key);
                if left <= 0 {
                    self.after = last;
                    return Ok(true);
                }
            }
            drop(last);
            self.table += 1;
            self.after = None;
        }
        Ok(false)
    }

    /// The digest of the rows counted in.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }
}
