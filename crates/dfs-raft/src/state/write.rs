//! Writing: a batch of changes, each of which can be taken back.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;

use redb::{ReadableTable, Table as RedbTable, WriteTransaction};

use super::read::{
    Bytes, Direction, Names, RawScan, ReadState, Row, borrow_bounds, definition, is_empty_range,
    unseal_row,
};
use super::seal::{Digest, seal, unseal};
use super::{Key, Table, Value};
use crate::error::Fatal;

/// What a batch has written to one table and redb does not have yet; `None` is a removal.
type Pending = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// How to take back one write: table, key, and what was pending at that key before.
type Undo = (usize, Vec<u8>, Option<Option<Vec<u8>>>);

/// The state while a batch of commands is applied to it.
pub struct StateTxn<'txn> {
    names: Names,
    tables: Vec<RedbTable<'txn, Bytes, Bytes>>,
    pending: Vec<Pending>,
    undo: Vec<Undo>,
}

impl<'txn> StateTxn<'txn> {
    pub(crate) fn open(
        txn: &'txn WriteTransaction,
        names: &Names,
    ) -> Result<StateTxn<'txn>, Fatal> {
        let tables = names
            .iter()
            .map(|name| txn.open_table(definition(name)).map_err(Fatal::from))
            .collect::<Result<Vec<_>, _>>()?;
        let pending = names.iter().map(|_| Pending::new()).collect();
        Ok(StateTxn {
            names: names.clone(),
            tables,
            pending,
            undo: Vec::new(),
        })
    }

    /// Sets the value at a key. Key and value must stay below three mebibytes together: a snapshot
    /// with a larger row cannot be sent.
    ///
    /// # Errors
    /// The value cannot be encoded; this is a defect of the program.
    pub fn put<K: Key, V: Value>(
        &mut self,
        table: Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), Fatal> {
        self.write_raw(table.index, key.to_bytes(), Some(value.to_bytes()?))
    }

    /// Removes a key; a missing one is no error.
    ///
    /// # Errors
    /// The table is not one of the state's; this is a defect of the program.
    pub fn remove<K: Key, V: Value>(&mut self, table: Table<K, V>, key: &K) -> Result<(), Fatal> {
        self.write_raw(table.index, key.to_bytes(), None)
    }

    fn write_raw(
        &mut self,
        index: usize,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<(), Fatal> {
        let pending = self
            .pending
            .get_mut(index)
            .ok_or_else(|| no_such_table(index))?;
        let before = pending.insert(key.clone(), value);
        self.undo.push((index, key, before));
        Ok(())
    }

    /// Keeps everything written so far; a later [`undo`](Self::undo) goes back to here. A replica
    /// calls this before each command.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back everything written since the batch began or the last [`keep`](Self::keep): what
    /// a state machine does with a command that it refuses half-way.
    pub fn undo(&mut self) {
        while let Some((index, key, before)) = self.undo.pop() {
            let Some(pending) = self.pending.get_mut(index) else {
                continue;
            };
            match before {
                Some(before) => pending.insert(key, before),
                None => pending.remove(&key),
            };
        }
    }

    /// Gives redb what is pending and brings `digest` up to it.
    pub(crate) fn flush(&mut self, digest: &mut Digest) -> Result<(), Fatal> {
        self.undo.clear();
        let tables = self
            .names
            .iter()
            .zip(&mut self.tables)
            .zip(&mut self.pending);
        for ((name, table), pending) in tables {
            for (key, value) in std::mem::take(pending) {
                let before = match value {
                    Some(value) => {
                        let sealed = seal(name, &key, value);
                        digest.add(name, &key, &sealed);
                        table.insert(key.as_slice(), sealed.as_slice())?
                    }
                    None => table.remove(key.as_slice())?,
                };
                if let Some(before) = before {
                    digest.subtract(name, &key, before.value());
                }
            }
        }
        Ok(())
    }

    /// Writes a row as it is stored, as a snapshot has it. Whoever took it in has verified it.
    pub(crate) fn put_sealed(
        &mut self,
        index: usize,
        key: &[u8],
        sealed: &[u8],
        digest: &mut Digest,
    ) -> Result<(), Fatal> {
        let name = self.names.get(index).ok_or_else(|| no_such_table(index))?;
        let table = self
            .tables
            .get_mut(index)
            .ok_or_else(|| no_such_table(index))?;
        if table.insert(key, sealed)?.is_some() {
            return Err(Fatal::new(format!(
                "table `{name}`: a snapshot has one key twice"
            )));
        }
        digest.add(name, key, sealed);
        Ok(())
    }
}

fn no_such_table(index: usize) -> Fatal {
    Fatal::new(format!("table {index} is not among the state's tables"))
}

impl ReadState for StateTxn<'_> {
    fn get_raw(&self, index: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Fatal> {
        let pending = self
            .pending
            .get(index)
            .ok_or_else(|| no_such_table(index))?;
        if let Some(value) = pending.get(key) {
            return Ok(value.clone());
        }
        let (Some(name), Some(table)) = (self.names.get(index), self.tables.get(index)) else {
            return Err(no_such_table(index));
        };
        match table.get(key)? {
            Some(sealed) => Ok(Some(unseal(name, key, sealed.value())?.to_vec())),
            None => Ok(None),
        }
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
        let (Some(name), Some(table), Some(pending)) = (
            self.names.get(index),
            self.tables.get(index),
            self.pending.get(index),
        ) else {
            return Err(no_such_table(index));
        };
        let stored = table.range::<&[u8]>(borrow_bounds(&bounds))?;
        let stored = stored.map(move |row| unseal_row(name, row));
        let pending = pending.range::<[u8], _>(borrow_bounds(&bounds));
        Ok(match direction {
            Direction::Forward => Box::new(merge(stored, pending, Ordering::Less)),
            Direction::Backward => Box::new(merge(stored.rev(), pending.rev(), Ordering::Greater)),
        })
    }
}

/// Rows of redb with pending writes laid over them. Both sides come in the same order, in which
/// a key goes before another if it compares to it as `first` says.
fn merge<'a, S, P>(stored: S, pending: P, first: Ordering) -> Merge<'a, S, P>
where
    S: Iterator<Item = Result<Row, Fatal>> + 'a,
    P: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> + 'a,
{
    Merge {
        stored: stored.peekable(),
        pending: pending.peekable(),
        first,
    }
}

struct Merge<'a, S, P>
where
    S: Iterator<Item = Result<Row, Fatal>>,
    P: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
{
    stored: Peekable<S>,
    pending: Peekable<P>,
    first: Ordering,
}

impl<'a, S, P> Iterator for Merge<'a, S, P>
where
    S: Iterator<Item = Result<Row, Fatal>>,
    P: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
{
    type Item = Result<Row, Fatal>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let pending_next = match (self.stored.peek(), self.pending.peek()) {
                (Some(Err(_)) | Some(Ok(_)), None) => return self.stored.next(),
                (Some(Err(_)), Some(_)) => return self.stored.next(),
                (None, None) => return None,
                (None, Some(_)) => true,
                (Some(Ok((stored, _))), Some((pending, _))) => match stored.cmp(pending) {
                    Ordering::Equal => {
                        self.stored.next();
                        true
                    }
                    order => order != self.first,
                },
            };
            if !pending_next {
                return self.stored.next();
            }
            if let Some((key, Some(value))) = self.pending.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

impl fmt::Debug for StateTxn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateTxn").finish_non_exhaustive()
    }
}
