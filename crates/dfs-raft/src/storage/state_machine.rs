//! The state as openraft sees it, and as readers do.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::storage::{
    ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot,
};
use openraft::{EntryPayload, SnapshotMeta as Meta};
use tokio::sync::watch;

use super::apply::{Position, apply_batch, may_be_member, was_removed};
use super::directory::{Directory, Uncounted, disk_failed, state_name};
use super::snapshot::{Cursor, FrameError, Received, Receiver, SnapshotData, SnapshotView};
use crate::config::ReplicaConfig;
use crate::env::{Env, OpenMode, Timestamp};
use crate::error::Fatal;
use crate::machine::{Rev, StateMachine};
use crate::planted::{self, Bug};
use crate::replica::failure::Failure;
use crate::state::{Digest, StateDb, View};
use crate::types::{
    self, Entry, LogId, MemberId, Proposal, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Digests kept, one for each of the last multiples of the interval.
const DIGESTS_KEPT: usize = 8;

/// How far the leader's clock may be ahead of a member's before the member warns.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);

/// The replicated state of one replica.
pub(crate) struct State<M> {
    env: Env,
    machine: M,
    directory: Arc<Directory>,
    config: ReplicaConfig,
    failure: Failure,
    current: Mutex<Current>,
    applied: watch::Sender<Option<Rev>>,
    durable: watch::Sender<Option<Rev>>,
    /// Bytes applied since the state was last made durable.
    unsynced: AtomicUsize,
    /// The view of the last applied entry, while nothing was applied since.
    view: Mutex<Option<(Option<Rev>, View)>>,
    digests: Mutex<VecDeque<(Rev, Digest)>>,
    /// Whether time in the log was too far ahead of the clock here when it was compared last.
    clocks_differ: AtomicBool,
}

struct Current {
    db: Arc<StateDb>,
    number: u64,
    /// The number of the next snapshot that arrives.
    next_number: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: StateMachine> State<M> {
    /// Opens the state that counts, or makes the first one. Blocks.
    pub(crate) fn open(
        env: Env,
        machine: M,
        directory: Arc<Directory>,
        config: ReplicaConfig,
        failure: Failure,
        check: bool,
    ) -> Result<State<M>, Fatal> {
        let number = directory.current_state()?;
        directory
            .remove_leftovers(number)
            .map_err(|e| disk_failed("state", e))?;
        let name = state_name(number.unwrap_or(0));
        let mode = match number {
            Some(_) => OpenMode::ReadWrite,
            None => OpenMode::CreateNew,
        };
        let file = directory
            .open_file(&name, mode)
            .map_err(|e| disk_failed(&name, e))?;
        let db = StateDb::open_checked(file, M::TABLES, config.state_cache_bytes, check)?;
        if number.is_none() {
            db.make_durable()?;
            directory.sync().map_err(|e| disk_failed(&name, e))?;
            directory.set_current_state(0)?;
        }
        let applied = Position::read(&db.view_with_notes()?.1)?.applied;
        let number = number.unwrap_or(0);
        Ok(State {
            env,
            machine,
            directory,
            config,
            failure,
            current: Mutex::new(Current {
                db: Arc::new(db),
                number,
                next_number: number + 1,
            }),
            applied: watch::Sender::new(applied),
            durable: watch::Sender::new(applied),
            unsynced: AtomicUsize::new(0),
            view: Mutex::new(None),
            digests: Mutex::new(VecDeque::new()),
            clocks_differ: AtomicBool::new(false),
        })
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    fn db(&self) -> Arc<StateDb> {
        lock(&self.current).db.clone()
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Option<Rev>> {
        self.applied.subscribe()
    }

    /// The state now and the entry it is at. Cheap while nothing is applied.
    pub(crate) fn view(&self) -> Result<(View, Rev), Fatal> {
        let mut cached = lock(&self.view);
        if let Some((applied, view)) = &*cached
            && *applied == *self.applied.borrow()
        {
            return Ok((view.clone(), applied.unwrap_or_default()));
        }
        let (view, notes) = self.db().view_with_notes()?;
        let applied = Position::read(&notes)?.applied;
        *cached = Some((applied, view.clone()));
        Ok((view, applied.unwrap_or_default()))
    }

    pub(crate) fn position(&self) -> Result<Position, Fatal> {
        Position::read(&self.db().view_with_notes()?.1)
    }

    /// The digest of all rows, with the entry it is at.
    pub(crate) fn digest(&self) -> Result<(Rev, Digest), Fatal> {
        let notes = self.db().view_with_notes()?.1;
        let applied = Position::read(&notes)?.applied.unwrap_or_default();
        Ok((applied, notes.digest()?))
    }

    /// The digests at the last multiples of the interval, oldest first.
    pub(crate) fn kept_digests(&self) -> Vec<(Rev, Digest)> {
        lock(&self.digests).iter().copied().collect()
    }

    pub(crate) fn may_be_member(&self, member: MemberId) -> Result<bool, Fatal> {
        may_be_member(&self.db(), member)
    }

    pub(crate) fn was_removed(&self, member: MemberId) -> Result<bool, Fatal> {
        was_removed(&self.db(), member)
    }

    /// Makes durable what is applied.
    pub(crate) async fn make_durable(&self) -> Result<(), Fatal> {
        let applied = self.applied.borrow().map_or(0, |rev| rev.index);
        self.make_durable_to(applied).await?;
        Ok(())
    }

    /// Makes the state durable up to an index if it is not, and returns up to where it is.
    pub(crate) async fn make_durable_to(&self, index: u64) -> Result<Option<Rev>, Fatal> {
        let durable = *self.durable.borrow();
        if durable.is_some_and(|rev| rev.index >= index) {
            return Ok(durable);
        }
        self.unsynced.store(0, Ordering::Relaxed);
        let db = self.db();
        // The position that becomes durable is the one in the transaction: it may be ahead of
        // what readers were told.
        let commit = move || db.write(true, |_, notes| Position::read_applied(notes));
        let result = self.env.run_blocking(commit).await;
        if let Err(fatal) = &result {
            self.failure.stop(fatal.clone());
        }
        Ok(self.advance_durable(result?))
    }

    fn advance_durable(&self, rev: Option<Rev>) -> Option<Rev> {
        self.durable.send_if_modified(|durable| {
            let ahead = rev > *durable;
            if ahead {
                *durable = rev;
            }
            ahead
        });
        *self.durable.borrow()
    }

    /// Says that entries are applied which may not be: a planted bug.
    pub(crate) fn claim(&self, applied: Option<Rev>) -> Result<(), Fatal> {
        let mut position = self.position()?;
        position.applied = position.applied.max(applied);
        self.db().write(true, |_, notes| position.write(notes))?;
        self.applied.send_replace(position.applied);
        self.durable.send_replace(position.applied);
        Ok(())
    }

    /// A snapshot of what is applied.
    pub(crate) fn snapshot(&self) -> Result<SnapshotView, Fatal> {
        let (view, notes) = self.db().view_with_notes()?;
        Ok(SnapshotView {
            view,
            digest: notes.digest()?,
            position: Position::read(&notes)?,
        })
    }

    /// Begins to receive a snapshot. Blocks.
    pub(crate) fn receive_snapshot(&self) -> Result<Receiver, Fatal> {
        let number = {
            let mut current = lock(&self.current);
            current.next_number += 1;
            current.next_number - 1
        };
        let directory = self.directory.clone();
        Receiver::create(directory, number, M::TABLES, self.config.state_cache_bytes)
    }

    /// Makes a received state the one that counts. Blocks.
    fn install(&self, received: Received) -> Result<(), Fatal> {
        let Received { db, file, position } = received;
        let number = file.keep();
        self.directory.set_current_state(number)?;
        // The old state is closed when nobody waits for the lock.
        let (closed, old) = {
            let mut current = lock(&self.current);
            (
                std::mem::replace(&mut current.db, db),
                std::mem::replace(&mut current.number, number),
            )
        };
        *lock(&self.view) = None;
        lock(&self.digests).clear();
        self.unsynced.store(0, Ordering::Relaxed);
        self.applied.send_replace(position.applied);
        self.durable.send_replace(position.applied);
        drop(closed);
        drop(Uncounted::new(self.directory.clone(), old));
        Ok(())
    }

    /// Copies a state that is open in this process into a file of ours. Blocks.
    fn copy(&self, from: &SnapshotView, position: Position) -> Result<Received, FrameError> {
        let mut receiver = self.receive_snapshot().map_err(FrameError::Fatal)?;
        let mut cursor = Cursor::default();
        while let Some(frame) = from.next_frame(&mut cursor).map_err(FrameError::Fatal)? {
            receiver.frame(&frame)?;
        }
        receiver.finish(cursor.rows, cursor.digest, position)
    }

    async fn apply_entries(
        self: &Arc<Self>,
        entries: Vec<Entry>,
        responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    ) -> Result<(), Fatal> {
        let Some(last) = entries.last().map(|e| types::rev(&e.log_id)) else {
            return Ok(());
        };
        let bytes: usize = entries.iter().map(weight).sum();
        let unsynced = self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let durable = unsynced >= self.config.durable_bytes;
        // Nobody gets the old view any more, so redb can reuse the pages it alone sees.
        *lock(&self.view) = None;
        let keep_digest = last.index.is_multiple_of(self.config.digest_interval);
        let state = self.clone();
        // Those who wait hear of it from the thread that applied, one switch of threads earlier.
        let work = move || {
            let db = state.db();
            let entries = match planted::active(Bug::ClockInApply) {
                true => at_time(entries, state.env.clock.now()),
                false => entries,
            };
            let outcomes = apply_batch(&db, &state.machine, entries, durable)?;
            if let Some(last) = outcomes.last() {
                state.compare_clock(last.time);
            }
            if keep_digest {
                state.keep_digest(last, db.digest()?);
            }
            state.applied.send_replace(Some(last));
            if durable {
                state.unsynced.store(0, Ordering::Relaxed);
                state.advance_durable(Some(last));
            }
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
            Ok(())
        };
        self.env.run_blocking(work).await
    }

    /// Warns, once, when time in the log is ahead of the clock here.
    fn compare_clock(&self, time: Timestamp) {
        let ahead = time.since(self.env.clock.now());
        let differ = ahead > CLOCK_AHEAD_MAX;
        if differ && !self.clocks_differ.load(Ordering::Relaxed) {
            tracing::warn!(
                ?ahead,
                "a leader's clock is ahead of the one here; one is wrong"
            );
        }
        self.clocks_differ.store(differ, Ordering::Relaxed);
    }

    fn keep_digest(&self, rev: Rev, digest: Digest) {
        let mut digests = lock(&self.digests);
        if digests.len() >= DIGESTS_KEPT {
            digests.pop_front();
        }
        digests.push_back((rev, digest));
    }

    fn failed(&self, fatal: Fatal) -> io::Error {
        self.failure.stop(fatal.clone());
        io::Error::other(fatal)
    }
}

fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => 64 + proposal.weight(),
        _ => 64,
    }
}

/// Gives commands another time than the leader did: a planted bug.
fn at_time(mut entries: Vec<Entry>, now: Timestamp) -> Vec<Entry> {
    for entry in &mut entries {
        if let EntryPayload::Normal(Proposal::Command { time, .. }) = &mut entry.payload {
            *time = now;
        }
    }
    entries
}

fn meta(position: &Position) -> SnapshotMeta {
    Meta {
        last_log_id: position.applied.map(types::log_id),
        last_membership: position.members.clone(),
    }
}

/// openraft's handle on a state.
pub(crate) struct StateStore<M>(pub(crate) Arc<State<M>>);

impl<M> Clone for StateStore<M> {
    fn clone(&self) -> Self {
        StateStore(self.0.clone())
    }
}

type TakenSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

impl<M: StateMachine> StateStore<M> {
    fn take(&self) -> io::Result<TakenSnapshot> {
        let view = self.0.snapshot().map_err(|e| self.0.failed(e))?;
        Ok(Snapshot {
            meta: meta(&view.position),
            snapshot: SnapshotData::View(view),
        })
    }
}

impl<M: StateMachine> RaftSnapshotBuilder<TypeConfig> for StateStore<M> {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<TakenSnapshot> {
        // What a snapshot includes may be cut from the log, so it must be on disk first.
        let snapshot = self.take()?;
        if let Some(last) = &snapshot.meta.last_log_id
            && !planted::active(Bug::LogPurgedPastDurableState)
        {
            let durable = self.0.make_durable_to(last.index).await;
            durable.map_err(io::Error::other)?;
        }
        Ok(snapshot)
    }
}

impl<M: StateMachine> RaftStateMachine<TypeConfig> for StateStore<M> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = StateStore<M>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.0.position().map_err(|e| self.0.failed(e))?;
        Ok((position.applied.map(types::log_id), position.members))
    }

    async fn apply<S>(&mut self, mut stream: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let state = &self.0;
        let mut ended = false;
        while !ended {
            let (mut entries, mut responders, mut bytes) = (Vec::new(), Vec::new(), 0);
            loop {
                let Some(next) = stream.next().await else {
                    ended = true;
                    break;
                };
                let (entry, responder) = next?;
                bytes += weight(&entry);
                let index = entry.log_id.index;
                entries.push(entry);
                responders.push(responder);
                // A batch ends where a digest is kept.
                if entries.len() >= state.config.apply_entries_max
                    || bytes >= state.config.apply_bytes_max
                    || index.is_multiple_of(state.config.digest_interval)
                {
                    break;
                }
            }
            state
                .apply_entries(entries, responders)
                .await
                .map_err(|e| state.failed(e))?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateStore<M> {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let state = self.0.clone();
        let position = Position {
            applied: meta.last_log_id.as_ref().map(types::rev),
            members: meta.last_membership.clone(),
        };
        let install = move || {
            let received = match snapshot {
                SnapshotData::Received(received) => received,
                SnapshotData::View(view) => match state.copy(&view, position) {
                    Ok(received) => received,
                    Err(FrameError::Fatal(fatal)) => return Err(fatal),
                    Err(FrameError::Refused(why)) => return Err(Fatal::new(why)),
                },
            };
            state.install(received)
        };
        let result = self.0.env.run_blocking(install).await;
        result.map_err(|e| self.0.failed(e))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<TakenSnapshot>> {
        let snapshot = self.take()?;
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}
