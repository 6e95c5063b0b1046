//! Where each entry of the log is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::segment::{Change, Place};
use crate::env::DiskFile;
use crate::error::Fatal;

/// The entries of the log, without a gap, and the segments they are in.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) segments: BTreeMap<u64, Arc<dyn DiskFile>>,
    /// The index of the first entry in `places`.
    first: u64,
    places: VecDeque<(u64, Place)>,
}

/// An entry to be read.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) index: u64,
    /// Holding it keeps the file from being used for another segment.
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) place: Place,
}

impl Index {
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub(super) fn entries(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.places.iter().map(|(_, p)| p.length as u64).sum()
    }

    /// Takes in a change that was written to a segment, an entry at `place`.
    pub(super) fn change(
        &mut self,
        change: &Change,
        segment: u64,
        place: Place,
    ) -> Result<(), Fatal> {
        match change {
            Change::Append { index, .. } => self.append(*index, segment, place)?,
            Change::Truncate { from } => self.truncate(*from),
            Change::Purge(rev) => self.purge(rev.index),
            Change::Begin { next } => self.begin(*next)?,
            Change::Vote(_) | Change::Committed(_) | Change::Stamp(_) => {}
        }
        Ok(())
    }

    /// Refuses what would leave a gap, before it is written.
    pub(super) fn check(&self, changes: &[Change]) -> Result<(), Fatal> {
        let mut next = self.next();
        for change in changes {
            match change {
                Change::Append { index, .. } if next == 0 => next = *index + 1,
                Change::Append { index, .. } if *index == next => next += 1,
                Change::Append { index, .. } => return Err(gap(*index, next)),
                Change::Truncate { from } => next = next.min(*from),
                Change::Purge(rev) => next = next.max(rev.index + 1),
                Change::Vote(_)
                | Change::Committed(_)
                | Change::Stamp(_)
                | Change::Begin { .. } => {}
            }
        }
        Ok(())
    }

    /// The first segment says where the log begins; the others must agree with those before.
    fn begin(&mut self, next: u64) -> Result<(), Fatal> {
        if self.segments.len() == 1 {
            self.first = next;
        }
        match self.next() {
            had if had == next => Ok(()),
            had => Err(Fatal::new(format!(
                "a segment of the log goes on with entry {next}, the one before it with {had}"
            ))),
        }
    }

    fn append(&mut self, index: u64, segment: u64, place: Place) -> Result<(), Fatal> {
        if self.next() == 0 {
            // An empty log may begin anywhere.
            self.first = index;
        }
        if index != self.next() {
            return Err(gap(index, self.next()));
        }
        self.places.push_back((segment, place));
        Ok(())
    }

    /// What is truncated may have begun in segments that are gone.
    fn truncate(&mut self, from: u64) {
        self.first = self.first.min(from);
        if from == self.first {
            self.places.clear();
        }
        let left = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.places.truncate(left);
    }

    fn purge(&mut self, upto: u64) {
        while self.first <= upto {
            if self.places.pop_front().is_none() {
                self.first = upto + 1;
                return;
            }
            self.first += 1;
        }
    }

    /// The oldest segment, if no entry is in it and it is older than `current`.
    pub(super) fn take_unused(&mut self, current: u64) -> Option<(u64, Arc<dyn DiskFile>)> {
        let oldest_used = self.places.front().map_or(current, |(segment, _)| *segment);
        let oldest = self.segments.first_entry()?;
        (*oldest.key() < oldest_used.min(current)).then(|| oldest.remove_entry())
    }

    /// The entries of a range, until their sizes exceed `bytes_max`.
    pub(super) fn locate(&self, range: RangeInclusive<u64>, bytes_max: usize) -> Vec<Located> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let from = (*range.start()).max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        for (index, (segment, place)) in (from..).zip(self.places.iter().skip(skip)) {
            let Some(file) = self.segments.get(segment) else {
                break;
            };
            if index > *range.end() {
                break;
            }
            bytes += place.length;
            found.push(Located {
                index,
                file: file.clone(),
                place: *place,
            });
            if bytes > bytes_max {
                break;
            }
        }
        found
    }
}

fn gap(index: u64, next: u64) -> Fatal {
    Fatal::new(format!(
        "entry {index} does not follow the log, which goes on with {next}"
    ))
}
