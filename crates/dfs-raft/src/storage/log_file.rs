//! The log as redb tables: what is written in one commit, and how it is read back.
//!
//! ```text
//! entries: index -> entry        meta: "vote" | "committed" | "purged" | "stamp" -> value
//! ```
//!
//! Entries up to `purged` may still be there; they do not count and are removed bit by bit.

use std::ops::{Bound, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::codec::{
    decode_entry, decode_rev, decode_stamp, decode_vote, encode_rev, encode_stamp, encode_vote,
};
use super::directory::Stamp;
use crate::env::{DatabaseFile, DiskFile};
use crate::error::Fatal;
use crate::machine::Rev;
use crate::types::{Entry, Vote};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const STAMP: &str = "stamp";

/// Purged entries removed in one commit at most, so that appends are not held up.
const REMOVED_PER_COMMIT: u64 = 1024;

/// One change of the log.
#[derive(Debug)]
pub(crate) enum Change {
    /// An entry, encoded.
    Append {
        index: u64,
        stored: Vec<u8>,
    },
    Vote(Vote),
    Committed(Option<Rev>),
    /// Entries from this index on are gone.
    Truncate {
        from: u64,
    },
    /// Entries up to this one are gone.
    Purge(Rev),
}

impl Change {
    /// Whether the commit it is in must reach the disk before anyone hears of it.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Change::Committed(_))
    }
}

/// What was in a log when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<Rev>,
    pub(crate) purged: Option<Rev>,
    pub(crate) last: Option<Rev>,
    pub(crate) stamp: Option<Stamp>,
    /// Bytes and number of its entries.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// The database of a log. All its methods block.
#[derive(Debug)]
pub(crate) struct LogFile {
    database: Database,
}

impl LogFile {
    pub(crate) fn open(
        file: Arc<dyn DiskFile>,
        cache: usize,
        check: bool,
    ) -> Result<LogFile, Fatal> {
        let open = || {
            Database::builder()
                .set_cache_size(cache)
                .set_check_integrity_on_open(check)
                .create_with_backend(DatabaseFile(file))
        };
        // A damaged file can make redb panic where it meets the damage.
        let database = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| Fatal::new("the log is damaged: opening it panicked"))??;
        let txn = database.begin_write()?;
        txn.open_table(ENTRIES)?;
        txn.open_table(META)?;
        txn.commit()?;
        Ok(LogFile { database })
    }

    pub(crate) fn contents(&self) -> Result<Contents, Fatal> {
        let txn = self.database.begin_read()?;
        let meta = txn.open_table(META)?;
        let mut contents = Contents::default();
        if let Some(stored) = meta.get(VOTE)? {
            contents.vote = Some(decode_vote(stored.value())?);
        }
        if let Some(stored) = meta.get(COMMITTED)? {
            contents.committed = decode_rev(COMMITTED, stored.value())?;
        }
        if let Some(stored) = meta.get(PURGED)? {
            contents.purged = decode_rev(PURGED, stored.value())?;
        }
        if let Some(stored) = meta.get(STAMP)? {
            contents.stamp = Some(decode_stamp(STAMP, stored.value())?);
        }
        contents.last = contents.purged;
        let first = contents.purged.map_or(0, |rev| rev.index + 1);
        let rows = txn.open_table(ENTRIES)?;
        for (expected, row) in (first..).zip(rows.range(first..)?) {
            let (index, stored) = row?;
            if index.value() != expected {
                return Err(Fatal::new(format!("the log lacks entry {expected}")));
            }
            let entry = decode_entry(expected, stored.value())?;
            contents.last = Some(crate::types::rev(&entry.log_id));
            contents.bytes += stored.value().len() as u64;
            contents.entries += 1;
        }
        Ok(contents)
    }

    pub(crate) fn set_stamp(&self, stamp: Stamp) -> Result<(), Fatal> {
        let txn = self.database.begin_write()?;
        txn.open_table(META)?
            .insert(STAMP, encode_stamp(STAMP, &stamp)?.as_slice())?;
        txn.commit()?;
        Ok(())
    }

    /// Writes changes in their order, in one commit.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Result<(), Fatal> {
        let mut txn = self.database.begin_write()?;
        let durable = changes.iter().any(Change::is_durable);
        txn.set_durability(match durable {
            true => Durability::Immediate,
            false => Durability::None,
        })?;
        {
            let mut entries = txn.open_table(ENTRIES)?;
            let mut meta = txn.open_table(META)?;
            for change in changes {
                match change {
                    Change::Append { index, stored } => {
                        entries.insert(index, stored.as_slice())?;
                    }
                    Change::Vote(vote) => {
                        meta.insert(VOTE, encode_vote(&vote)?.as_slice())?;
                    }
                    Change::Committed(rev) => {
                        meta.insert(COMMITTED, encode_rev(COMMITTED, rev)?.as_slice())?;
                    }
                    Change::Truncate { from } => {
                        entries.retain_in(from.., |_, _| false)?;
                    }
                    Change::Purge(rev) => {
                        meta.insert(PURGED, encode_rev(PURGED, Some(rev))?.as_slice())?;
                    }
                }
            }
            if durable {
                remove_purged(&mut entries, &meta)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    /// The entries of a range, each verified, until their sizes exceed `bytes_max`.
    pub(crate) fn read(
        &self,
        range: RangeInclusive<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, Fatal> {
        let txn = self.database.begin_read()?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for row in txn.open_table(ENTRIES)?.range(range)? {
            let (index, stored) = row?;
            bytes += stored.value().len();
            found.push(decode_entry(index.value(), stored.value())?);
            if bytes > bytes_max {
                break;
            }
        }
        Ok(found)
    }
}

fn remove_purged(
    entries: &mut redb::Table<'_, u64, &[u8]>,
    meta: &redb::Table<'_, &str, &[u8]>,
) -> Result<(), Fatal> {
    let purged = match meta.get(PURGED)? {
        Some(stored) => decode_rev(PURGED, stored.value())?,
        None => None,
    };
    let first = entries.first()?.map(|(index, _)| index.value());
    let (Some(purged), Some(first)) = (purged, first) else {
        return Ok(());
    };
    if first > purged.index {
        return Ok(());
    }
    let last = purged.index.min(first.saturating_add(REMOVED_PER_COMMIT));
    let range = (Bound::Included(first), Bound::Included(last));
    entries.retain_in(range, |_, _| false)?;
    Ok(())
}
