//! openraft's own suite on our storage, and what it does not look at: durability.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::StorageError;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::directory::{Directory, LOG};
use super::log::LogStore;
use super::log_file::LogFile;
use super::state_machine::{State, StateStore};
use crate::config::ReplicaConfig;
use crate::env::{Env, OpenMode};
use crate::error::Fatal;
use crate::machine::{ApplyContext, Rev, StateMachine};
use crate::replica::failure::Failure;
use crate::state::StateTxn;
use crate::types::{self, DeterministicRuntime, Entry, MemberId, TypeConfig, Vote};

struct Nothing;

impl StateMachine for Nothing {
    const TABLES: &'static [&'static str] = &["nothing"];
    type Command = u64;
    type Reply = ();

    fn apply(&self, _: &mut StateTxn<'_>, _: ApplyContext, _: u64) -> Result<(), Fatal> {
        Ok(())
    }
}

fn open_log(directory: &Arc<Directory>, cache: usize) -> LogStore {
    let file = directory.open_file(LOG, OpenMode::Create).unwrap();
    let file = LogFile::open(file, 1 << 20, true).unwrap();
    let contents = file.contents().unwrap();
    let gate = Arc::new(|_| Box::pin(std::future::ready(Ok(()))) as _);
    let failure = Failure::new();
    LogStore::new(Env::real(), Arc::new(file), &contents, cache, failure, gate)
}

struct Stores {
    cache: usize,
}

impl StoreBuilder<TypeConfig, LogStore, StateStore<Nothing>, TempDir> for Stores {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore, StateStore<Nothing>), StorageError<TypeConfig>> {
        let env = Env::real();
        let path = tempfile::tempdir().unwrap();
        let directory = Directory::open(env.disk.clone(), path.path()).unwrap();
        let log = open_log(&directory, self.cache);
        let config = ReplicaConfig::new(path.path());
        let state = State::open(env, Nothing, directory, config, Failure::new(), true).unwrap();
        Ok((path, log, StateStore(Arc::new(state))))
    }
}

#[tokio::test]
async fn openrafts_suite_passes_with_entries_in_memory_and_in_the_file() {
    for cache in [1 << 20, 0] {
        let suite = Suite::<TypeConfig, _, _, _, _>::test_all(Stores { cache });
        let result = DeterministicRuntime::scope(7, suite).await;
        assert!(result.is_ok(), "cache {cache}: {result:?}");
    }
}

fn blank(term: u64, index: u64) -> Entry {
    Entry {
        log_id: types::log_id(Rev { term, index }),
        payload: openraft::EntryPayload::Blank,
    }
}

/// What is in a directory now, as a crash would leave it: files that are still open, copied.
fn copy(from: &TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let files: BTreeMap<_, _> = std::fs::read_dir(from.path())
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name(), e.path()))
        .collect();
    for (name, path) in files {
        std::fs::copy(path, to.path().join(name)).unwrap();
    }
    to
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_crash() {
    let path = tempfile::tempdir().unwrap();
    let env = Env::real();
    let directory = Directory::open(env.disk.clone(), path.path()).unwrap();
    let mut log = open_log(&directory, 0);
    let vote = Vote::new_committed(3, MemberId(2));
    log.save_vote(&vote).await.unwrap();
    log.blocking_append((0..10).map(|i| blank(3, i)))
        .await
        .unwrap();
    log.truncate_after(Some(types::log_id(Rev { term: 3, index: 5 })))
        .await
        .unwrap();
    log.blocking_append([blank(4, 6)]).await.unwrap();

    let crashed = copy(&path);
    let directory = Directory::open(env.disk, crashed.path()).unwrap();
    let mut log = open_log(&directory, 0);
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    let entries = log.try_get_log_entries(0..100).await.unwrap();
    let found: Vec<_> = entries.iter().map(|e| types::rev(&e.log_id)).collect();
    let expected = (0..6)
        .map(|index| Rev { term: 3, index })
        .chain([Rev { term: 4, index: 6 }]);
    assert_eq!(found, expected.collect::<Vec<_>>());
}
