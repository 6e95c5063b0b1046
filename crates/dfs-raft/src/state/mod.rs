//! Typed, checksummed tables over redb: what a state machine reads and writes.
//!
//! A [`Table`] maps a [`Key`] to a [`Value`], both encoded by us: keys so that their bytes sort
//! as they do, values with a version in front. Every stored value ends in a CRC-32C over its
//! table, key and bytes, checked on every read, because redb does not verify what it reads.
//!
//! ```text
//! redb table "inodes":   key bytes  ->  version, postcard bytes, CRC-32C(table, key, value)
//! redb table "_replica": name       ->  bytes, CRC-32C          applied index, digest; local
//! ```
//!
//! A [`StateTxn`] collects writes in memory and gives them to redb when its batch ends, so that
//! a row changed by many commands of one batch is written once, and so that
//! [`StateTxn::undo`] can take back what a refused command had begun.
//!
//! The database keeps a **digest** of all rows: a sum of one hash per row, so a write updates it
//! without reading the rest, and replicas with equal rows have equal digests whatever the order
//! in which those were written.
//!
//! Not done here: which entry is applied when (`storage::apply`), snapshots.

mod database;
mod guard;
mod key;
mod read;
mod seal;
mod value;
mod write;

use std::fmt;
use std::marker::PhantomData;

pub(crate) use database::ReadNotes;
pub use database::{LocalNotes, StateDb};
pub use key::Key;
pub(crate) use read::DigestCursor;
pub use read::{Direction, RawScan, ReadState, Row, Scan, View};
pub use seal::Digest;
pub(crate) use seal::{seal, unseal};
pub use value::{Value, decode_postcard, encode_postcard};
pub use write::StateTxn;

/// One ordered map of the state, from `K` to `V`.
///
/// Declared once as a constant; `index` is its place in [`StateMachine::TABLES`], where the name
/// stands again.
///
/// [`StateMachine::TABLES`]: crate::StateMachine::TABLES
pub struct Table<K, V> {
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table at `index` of the state machine's tables, called `name`.
    pub const fn new(index: usize, name: &'static str) -> Table<K, V> {
        Table {
            index,
            name,
            types: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its place among the state machine's tables.
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests;
