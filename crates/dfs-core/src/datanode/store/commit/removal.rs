//! Taking replicas away: deletion and quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::queue::{Answer, Reply};
use super::{Committer, Removed};
use crate::datanode::store::condition::Change;
use crate::datanode::store::error::StoreError;
use crate::datanode::store::index::{Entry, Intent, Place};
use crate::datanode::store::quarantine;
use crate::types::ChunkId;

impl Committer {
    /// Takes replicas away: those found corrupt and those to be deleted.
    pub(super) fn remove(
        &mut self,
        quarantines: Vec<(ChunkId, String, Reply)>,
        deletions: Vec<(Vec<ChunkId>, Reply)>,
        answers: &mut Vec<Answer>,
    ) {
        let mut removals = Vec::new();
        let mut waiting = Vec::new();
        for (chunk, reason, reply) in quarantines {
            match self.failed_or(|this| this.set_aside(chunk, &reason)) {
                Ok(entry) => {
                    removals.push((chunk, entry, Change::Corrupt));
                    waiting.push(reply);
                }
                Err(e) => answers.push((reply, Err(e))),
            }
        }
        for (chunks, reply) in deletions {
            match self.failed_or(|this| this.find(&chunks)) {
                Ok(found) => {
                    removals.extend(found.into_iter().map(|(c, e)| (c, e, Change::Absent)));
                    waiting.push(reply);
                }
                Err(e) => answers.push((reply, Err(e))),
            }
        }
        let result = match removals.is_empty() {
            true => Ok(()),
            false => self.failed_or(|this| this.remove_all(&removals)),
        };
        answers.extend(waiting.into_iter().map(|reply| (reply, result.clone())));
    }

    fn find(&self, chunks: &[ChunkId]) -> Result<BTreeMap<ChunkId, Entry>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in chunks {
            if let Some(entry) = self.shared.index.get(*chunk)? {
                found.insert(*chunk, entry);
            }
        }
        Ok(found)
    }

    /// First the index forgets, durably, and notes which records are to be marked; then files go
    /// and records are marked. A crash in between leaves files that are found again, which is
    /// harmless, and records that recovery marks. On a full disk the index waits.
    fn remove_all(&mut self, removals: &[(ChunkId, Entry, Change)]) -> Result<(), StoreError> {
        let small = |(chunk, entry, _): &(ChunkId, Entry, Change)| match entry.place {
            Place::Large => None,
            Place::Small { segment, offset } => Some(Intent {
                segment,
                offset,
                chunk: *chunk,
            }),
        };
        let intents: Vec<Intent> = removals.iter().filter_map(small).collect();
        // Before anything is changed: there may be no handle for a file.
        let shared = Arc::clone(&self.shared);
        let mut removed = Removed::find(&shared, &intents)?;
        for (chunk, entry, _) in removals {
            self.shared.index.remove(*chunk, *entry);
        }
        for intent in &intents {
            self.segments.forget(intent.segment);
        }
        let forgotten = self.flush(&intents, false)?;
        if forgotten {
            removed.join();
        }
        let mut directories = BTreeSet::new();
        for (chunk, entry, change) in removals {
            if entry.place == Place::Large && *change == Change::Absent {
                self.remove_large(*chunk)?;
                directories.insert(self.shared.paths.chunk_directory(*chunk));
            }
        }
        removed.mark()?;
        self.sync_directories(directories)?;
        for (chunk, _, change) in removals {
            self.shared.condition.changed(*chunk, *change);
        }
        if removed.is_empty() {
            return Ok(());
        }
        // Holes take time; a whole file goes at once.
        self.segments.remove_empty()?;
        removed.punch(|segment| self.segments.exists(segment))?;
        self.segments.join_dead()
    }

    fn remove_large(&self, chunk: ChunkId) -> Result<(), StoreError> {
        let path = self.shared.paths.chunk(chunk);
        match self.shared.env.disk.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Failed(format!("{}: {e}", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Keeps the bytes of a corrupt replica, durably; its place is free afterwards, or will be.
    fn set_aside(&mut self, chunk: ChunkId, reason: &str) -> Result<Entry, StoreError> {
        let entry = self.shared.index.get(chunk)?;
        let entry = entry.ok_or(StoreError::NotFound(chunk))?;
        if matches!(entry.place, Place::Small { .. }) {
            quarantine::copy_record(&self.shared, chunk, entry, reason)?;
            return Ok(entry);
        }
        let path = self.shared.paths.chunk(chunk);
        let exists = self.shared.env.disk.exists(&path);
        if exists.map_err(|e| StoreError::from_write(&e, &path))? {
            quarantine::move_file(&self.shared, &path, reason)?;
            let directory = self.shared.paths.chunk_directory(chunk);
            self.sync_directories(BTreeSet::from([directory]))?;
        }
        Ok(entry)
    }
}
