//! Reading the state as a snapshot has it: old rows in front of those of today.
//!
//! At a snapshot a row is the old one with the smallest number not below the snapshot's, or that
//! of today if there is none. All that reads by [`ReadState`] reads a snapshot so.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use dfs_raft::Fatal;
use dfs_raft::state::{Direction, Key, RawScan, ReadState, Row as RawRow, Value};

use super::old::{Old, OldKey, Row, Which};
use super::{Snapshot, get};
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{CONCATS, OLD};
use crate::types::{InodeId, RefusalKind, SnapshotId};

/// The state of today, or as a snapshot has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a, S> {
    state: &'a S,
    view: Option<View>,
}

#[derive(Debug, Clone, Copy)]
struct View {
    number: SnapshotId,
    next_inode: InodeId,
}

impl<'a, S: ReadState> At<'a, S> {
    /// As a snapshot has it. The list of snapshots is of today.
    ///
    /// # Errors
    /// Refused if there is none of that number.
    pub(crate) fn of(state: &'a S, number: Option<SnapshotId>) -> Result<At<'a, S>, Stop> {
        let view = None;
        let Some(number) = number.filter(|number| *number != SnapshotId::LIST) else {
            return Ok(At { state, view });
        };
        match get(state, number)?.filter(|snapshot| !snapshot.leaving) {
            Some(snapshot) => Ok(At::view(state, number, &snapshot)),
            None => refuse(RefusalKind::NotFound, format!("the snapshot {number}")),
        }
    }

    /// As a snapshot has it, one that is being removed included.
    pub(crate) fn view(state: &'a S, number: SnapshotId, snapshot: &Snapshot) -> At<'a, S> {
        let next_inode = snapshot.next_inode;
        let view = Some(View { number, next_inode });
        At { state, view }
    }
}

impl<S: ReadState> ReadState for At<'_, S> {
    fn get_raw(&self, index: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Fatal> {
        let Some(view) = self.view else {
            return self.state.get_raw(index, key);
        };
        // None was being made when the snapshot was.
        if index == CONCATS.index() {
            return Ok(None);
        }
        let Some(which) = Which::at(index) else {
            return self.state.get_raw(index, key);
        };
        if is_later(view, key)? {
            return Ok(None);
        }
        let key = key.to_vec();
        let row = Row { which, key };
        let old = row.at(view.number)..=row.at(SnapshotId(u64::MAX));
        match self.state.scan(OLD, old)?.next().transpose()? {
            Some((_, old)) => Ok(old.row.map(Bytes::into)),
            None => self.state.get_raw(index, &row.key),
        }
    }

    fn scan_raw(
        &self,
        index: usize,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        direction: Direction,
    ) -> Result<RawScan<'_>, Fatal> {
        let Some(view) = self.view else {
            return self.state.scan_raw(index, bounds, direction);
        };
        if index == CONCATS.index() {
            return Ok(Box::new(std::iter::empty()));
        }
        let Some(which) = Which::at(index) else {
            return self.state.scan_raw(index, bounds, direction);
        };
        let old = self
            .state
            .scan_raw(OLD.index(), old_bounds(which, &bounds), direction)?;
        let live = self.state.scan_raw(index, bounds, direction)?;
        Ok(Box::new(Overlay {
            live: live.peekable(),
            old: OldRows {
                rows: old.peekable(),
                number: view.number,
            }
            .peekable(),
            view,
            direction,
        }))
    }
}

/// Whether whose a row is was made after the snapshot.
fn is_later(view: View, mut key: &[u8]) -> Result<bool, Fatal> {
    Ok(InodeId::decode(&mut key)? >= view.next_inode)
}

/// The bounds of the old rows of rows between two bounds.
fn old_bounds(
    which: Which,
    (first, last): &(Bound<Vec<u8>>, Bound<Vec<u8>>),
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let row = |key: &[u8]| Row {
        which,
        key: key.to_vec(),
    };
    let before = |key: &[u8]| row(key).to_bytes();
    let after = |key: &[u8]| row(key).at(SnapshotId(u64::MAX)).to_bytes();
    let first = match first {
        Bound::Included(key) => Bound::Included(before(key)),
        Bound::Excluded(key) => Bound::Excluded(after(key)),
        Bound::Unbounded => Bound::Included(before(&[])),
    };
    let last = match last {
        Bound::Included(key) => Bound::Included(after(key)),
        Bound::Excluded(key) => Bound::Excluded(before(key)),
        Bound::Unbounded => Bound::Excluded(vec![which as u8 + 1]),
    };
    (first, last)
}

/// A row as a snapshot has it, by its key; none if it has none.
type Kept = (Vec<u8>, Option<Vec<u8>>);

/// The old rows that a snapshot sees, each once.
struct OldRows<'a> {
    rows: Peekable<RawScan<'a>>,
    number: SnapshotId,
}

impl OldRows<'_> {
    fn advance(&mut self) -> Result<Option<Kept>, Fatal> {
        let mut found: Option<(SnapshotId, Kept)> = None;
        loop {
            let next = match self.rows.peek() {
                Some(Ok((key, _))) => Some(OldKey::from_bytes(key)?),
                Some(Err(_)) | None => None,
            };
            if let Some((_, (key, _))) = &found
                && next.as_ref().is_none_or(|next| next.row.key != *key)
            {
                return Ok(found.map(|(_, kept)| kept));
            }
            let Some((_, value)) = self.rows.next().transpose()? else {
                return Ok(None);
            };
            let Some(OldKey { row, number }) = next else {
                return Ok(None);
            };
            let is_nearer = found.as_ref().is_none_or(|(before, _)| number < *before);
            if number >= self.number && is_nearer {
                let old = Old::from_bytes(&value)?;
                found = Some((number, (row.key, old.row.map(Bytes::into))));
            }
        }
    }
}

impl Iterator for OldRows<'_> {
    type Item = Result<Kept, Fatal>;

    fn next(&mut self) -> Option<Result<Kept, Fatal>> {
        self.advance().transpose()
    }
}

/// Rows of today with old ones laid over them. Both come in the same order.
struct Overlay<'a> {
    live: Peekable<RawScan<'a>>,
    old: Peekable<OldRows<'a>>,
    view: View,
    direction: Direction,
}

impl Overlay<'_> {
    fn advance(&mut self) -> Result<Option<RawRow>, Fatal> {
        loop {
            let order = match (self.live.peek(), self.old.peek()) {
                (None, None) => return Ok(None),
                (Some(Err(_)), _) | (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) | (_, Some(Err(_))) => std::cmp::Ordering::Greater,
                (Some(Ok((live, _))), Some(Ok((old, _)))) => match self.direction {
                    Direction::Forward => live.cmp(old),
                    Direction::Backward => old.cmp(live),
                },
            };
            if order.is_lt() {
                let row = self.live.next().transpose()?;
                match row {
                    Some((key, _)) if is_later(self.view, &key)? => continue,
                    row => return Ok(row),
                }
            }
            if order.is_eq() {
                self.live.next().transpose()?;
            }
            if let Some((key, Some(row))) = self.old.next().transpose()? {
                return Ok(Some((key, row)));
            }
        }
    }
}

impl Iterator for Overlay<'_> {
    type Item = Result<RawRow, Fatal>;

    fn next(&mut self) -> Option<Result<RawRow, Fatal>> {
        self.advance().transpose()
    }
}
