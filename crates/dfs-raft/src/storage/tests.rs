//! openraft's own suite on our storage, and what it does not look at: durability.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use openraft::StorageError;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::directory::Directory;
use super::log::LogStore;
use super::log::file::LogFile;
use super::snapshot::{Cursor, FrameError, SnapshotData};
use super::state_machine::{State, StateStore};
use crate::config::ReplicaConfig;
use crate::env::{Env, Timestamp};
use crate::error::Fatal;
use crate::machine::{ApplyContext, Rev, StateMachine};
use crate::replica::failure::Failure;
use crate::replica::node::purge_gate;
use crate::state::{StateTxn, Value};
use crate::types::{self, DeterministicRuntime, Entry, MemberId, Proposal, TypeConfig, Vote};

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
    // Small segments, so that there are many of them.
    let random = Env::real().random;
    let (file, contents) = LogFile::open(directory.clone(), random, 4096).unwrap();
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

#[tokio::test]
async fn a_tail_that_was_truncated_does_not_come_back_after_a_crash() {
    let path = tempfile::tempdir().unwrap();
    let directory = Directory::open(Env::real().disk, path.path()).unwrap();
    let mut log = open_log(&directory, 0);
    log.blocking_append((0..10).map(|i| blank(3, i)))
        .await
        .unwrap();
    log.truncate_after(Some(types::log_id(Rev { term: 3, index: 5 })))
        .await
        .unwrap();

    let crashed = copy(&path);
    let directory = Directory::open(Env::real().disk, crashed.path()).unwrap();
    let mut log = open_log(&directory, 0);
    let last = log.get_log_state().await.unwrap().last_log_id;
    assert_eq!(last.map(|id| id.index), Some(5));
}

#[tokio::test]
async fn entries_for_one_message_end_soon_after_a_mebibyte() {
    for cache in [1 << 30, 0] {
        let path = tempfile::tempdir().unwrap();
        let directory = Directory::open(Env::real().disk, path.path()).unwrap();
        let mut log = open_log(&directory, cache);
        let entry = |index| Entry {
            log_id: types::log_id(Rev { term: 1, index }),
            payload: openraft::EntryPayload::Normal(Proposal::Command {
                time: Timestamp(1),
                command: Bytes::from(vec![7; 100_000]),
            }),
        };
        log.blocking_append((0..40).map(entry)).await.unwrap();
        let mut next = 0;
        while next < 40 {
            let piece = log.limited_get_log_entries(next, 40).await.unwrap();
            assert_eq!(piece[0].log_id.index, next);
            assert!(piece.len() <= 11, "{} entries, cache {cache}", piece.len());
            next += piece.len() as u64;
            assert!(piece.len() == 11 || next == 40);
        }
    }
}

fn open_state(path: &TempDir) -> Arc<State<Nothing>> {
    let env = Env::real();
    let directory = Directory::open(env.disk.clone(), path.path()).unwrap();
    let config = ReplicaConfig::new(path.path());
    let state = State::open(env, Nothing, directory, config, Failure::new(), true);
    Arc::new(state.unwrap())
}

async fn apply(state: &Arc<State<Nothing>>, indexes: std::ops::Range<u64>) {
    let entries = indexes.map(|i| Ok((blank(1, i), None)));
    let mut store = StateStore(state.clone());
    store.apply(futures::stream::iter(entries)).await.unwrap();
}

fn applied(path: &TempDir) -> Option<u64> {
    let applied = *open_state(path).applied().borrow();
    applied.map(|rev| rev.index)
}

#[tokio::test]
async fn the_log_is_not_purged_past_what_the_state_made_durable() {
    let path = tempfile::tempdir().unwrap();
    let state = open_state(&path);
    apply(&state, 0..10).await;
    assert_eq!(applied(&copy(&path)), None, "nothing is durable yet");
    let gate = purge_gate(state.clone());
    gate(5).await.unwrap();
    assert_eq!(applied(&copy(&path)), Some(9));
    assert!(gate(10).await.is_err(), "that is not applied");
}

#[tokio::test]
async fn a_crash_while_a_snapshot_is_installed_leaves_the_old_state_or_the_new() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = open_state(&from);
    apply(&source, 0..10).await;
    let view = source.snapshot().unwrap();
    let state = open_state(&to);
    apply(&state, 0..3).await;
    state.make_durable().await.unwrap();

    let mut receiver = state.receive_snapshot().unwrap();
    assert_eq!(applied(&copy(&to)), Some(2), "after the file was made");
    let mut cursor = Cursor::default();
    while let Some(frame) = view.next_frame(&mut cursor).unwrap() {
        receiver.frame(&frame).unwrap();
    }
    assert_eq!(applied(&copy(&to)), Some(2), "after all frames");
    let position = view.position.clone();
    let received = receiver.finish(cursor.rows, view.digest, position);
    assert_eq!(applied(&copy(&to)), Some(2), "after the end");
    let meta = crate::types::SnapshotMeta {
        last_log_id: view.position.applied.map(types::log_id),
        last_membership: view.position.members.clone(),
    };
    let data = SnapshotData::Received(received.unwrap());
    let mut store = StateStore(state.clone());
    store.install_snapshot(&meta, data).await.unwrap();
    assert_eq!(applied(&copy(&to)), Some(9), "after the switch");
    assert_eq!(state.digest().unwrap().1, source.digest().unwrap().1);
}

fn states(path: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(path.path()).unwrap();
    let names = files.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("state-")).collect()
}

#[tokio::test]
async fn a_snapshot_that_is_not_installed_leaves_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = open_state(&from);
    apply(&source, 0..10).await;
    let view = source.snapshot().unwrap();
    let state = open_state(&to);
    drop(state.receive_snapshot().unwrap());
    let receiver = state.receive_snapshot().unwrap();
    let received = receiver.finish(0, view.digest, view.position.clone());
    assert_eq!(states(&to).len(), 2);
    drop(received.unwrap());
    assert_eq!(states(&to), ["state-0.redb"]);
}

#[tokio::test]
async fn a_frame_that_is_damaged_or_out_of_turn_or_missing_is_refused() {
    let path = tempfile::tempdir().unwrap();
    let state = open_state(&path);
    let command = Bytes::from(7_u64.to_bytes().unwrap());
    let time = Timestamp(5);
    let entry = Entry {
        log_id: types::log_id(Rev { term: 1, index: 0 }),
        payload: openraft::EntryPayload::Normal(Proposal::Command { time, command }),
    };
    let mut store = StateStore(state.clone());
    let entries = futures::stream::iter([Ok((entry, None))]);
    store.apply(entries).await.unwrap();
    let view = state.snapshot().unwrap();
    let frame = view.next_frame(&mut Cursor::default()).unwrap().unwrap();

    let mut receiver = state.receive_snapshot().unwrap();
    let mut damaged = frame.clone();
    *damaged.first_mut().unwrap() ^= 1;
    assert!(matches!(
        receiver.frame(&damaged),
        Err(FrameError::Refused(_))
    ));
    receiver.frame(&frame).unwrap();
    assert!(
        matches!(receiver.frame(&frame), Err(FrameError::Refused(_))),
        "twice"
    );
    let lost = state.receive_snapshot().unwrap();
    let finished = lost.finish(1, view.digest, view.position.clone());
    assert!(matches!(finished, Err(FrameError::Refused(_))));
}
