//! A replica that is a member: openraft running over its log and state.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, Fatal as RaftFatal, ForwardToLeader, RaftError};
use openraft::{Config, Raft, SnapshotPolicy};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::failure::Failure;
use super::raft::Core;
use super::reads::Waiting;
use crate::config::ReplicaConfig;
use crate::env::Env;
use crate::error::{Fatal, LeaderHint, ProposeError};
use crate::machine::{Rev, StateMachine};
use crate::network::Dial;
use crate::network::peers::Peers;
use crate::network::snapshots::Incoming;
use crate::planted::{self, Bug};
use crate::storage::directory::{Directory, Identity, Phase, disk_failed};
use crate::storage::log::file::{Contents, LogFile};
use crate::storage::log::segment::Change;
use crate::storage::log::{LogStore, PurgeGate};
use crate::storage::state_machine::{State, StateStore};
use crate::types::{self, DeterministicRuntime, Outcome, Proposal, TypeConfig};

/// Readers waiting for a round; more wait to be queued.
const READERS_MAX: usize = 4096;

/// A member of a cluster.
pub(crate) struct Node<M: StateMachine> {
    pub(crate) identity: Identity,
    pub(crate) raft: Core<M>,
    pub(crate) state: Arc<State<M>>,
    pub(crate) log: LogStore,
    pub(crate) peers: Peers,
    pub(crate) incoming: Incoming<M>,
    pub(crate) env: Env,
    pub(crate) config: ReplicaConfig,
    pub(crate) failure: Failure,
    pub(crate) readers: mpsc::Sender<Waiting>,
    /// One change of members at a time.
    pub(crate) change: tokio::sync::Mutex<()>,
    /// An entry at which members differ and no majority says who is wrong.
    pub(crate) doubt: watch::Sender<Option<Rev>>,
    bytes_in_flight: Semaphore,
}

/// All that a node is made of.
pub(super) struct Parts<M> {
    pub(super) env: Env,
    pub(super) dialer: Arc<dyn Dial>,
    pub(super) config: ReplicaConfig,
    pub(super) directory: Arc<Directory>,
    pub(super) machine: M,
    pub(super) identity: Identity,
    pub(super) failure: Failure,
    /// Whether the last run ended well.
    pub(super) clean: bool,
}

impl<M: StateMachine> Node<M> {
    /// Opens log and state and starts openraft.
    pub(super) async fn open(
        parts: Parts<M>,
    ) -> Result<(Arc<Node<M>>, mpsc::Receiver<Waiting>), Fatal> {
        let Parts {
            env,
            dialer,
            config,
            directory,
            machine,
            identity,
            failure,
            clean,
        } = parts;
        let open = {
            let (env, config) = (env.clone(), config.clone());
            let (identity, failure) = (identity.clone(), failure.clone());
            move || open_files(env, config, directory, machine, identity, failure, clean)
        };
        let (file, contents, state) = env.run_blocking(open).await?;
        let cache = config.log_cache_bytes;
        let gate = purge_gate(state.clone());
        let log = LogStore::new(env.clone(), file, &contents, cache, failure.clone(), gate);
        let (own, stops) = (identity.stamp(), failure.clone());
        let peers = Peers::new(env.clone(), dialer, config.clone(), own, stops);
        let seed = env.random.next_u64();
        let start = Raft::new(
            identity.member,
            Arc::new(raft_config(&config, &identity)?),
            peers.clone(),
            log.clone(),
            StateStore(state.clone()),
        );
        let raft = DeterministicRuntime::scope(seed, start)
            .await
            .map_err(|e| failure.reason().unwrap_or_else(|| raft_failed(e)))?;
        let (readers, waiting) = mpsc::channel(READERS_MAX);
        let node = Node {
            identity,
            raft: Core::new(raft, env.random.clone()),
            incoming: Incoming::new(state.clone()),
            state,
            log,
            peers,
            bytes_in_flight: Semaphore::new(config.proposal_bytes_in_flight_max),
            env,
            config,
            failure,
            readers,
            change: tokio::sync::Mutex::default(),
            doubt: watch::Sender::new(None),
        };
        Ok((Arc::new(node), waiting))
    }

    /// Where the leader is, if openraft said so.
    pub(super) fn hint(&self, forward: &ForwardToLeader<TypeConfig>) -> Option<LeaderHint> {
        Some(LeaderHint {
            member: forward.leader_id?,
            address: forward.leader_node.as_ref()?.addr.clone(),
        })
    }

    /// Proposes an entry and waits until it is applied here.
    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<(Rev, Outcome), ProposeError> {
        if let Some(fatal) = self.failure.reason() {
            return Err(ProposeError::Stopped(fatal));
        }
        let deadline = tokio::time::Instant::now() + self.config.propose_timeout;
        let weight = u32::try_from(proposal.weight()).unwrap_or(u32::MAX);
        let room = self.bytes_in_flight.acquire_many(weight);
        let _room = match tokio::time::timeout_at(deadline, room).await {
            Ok(Ok(room)) => room,
            _ => {
                let why = "too many proposals are in flight";
                return Err(ProposeError::Unavailable(why.to_owned()));
            }
        };
        let write = self
            .raft
            .call(|raft| async move { raft.client_write(proposal).await });
        match tokio::time::timeout_at(deadline, write).await {
            Ok(Ok(response)) => Ok((types::rev(&response.log_id), response.data)),
            Ok(Err(e)) => Err(self.propose_error(e)),
            Err(_) => Err(ProposeError::Unknown("the deadline passed".to_owned())),
        }
    }

    fn propose_error(
        &self,
        e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
    ) -> ProposeError {
        match e {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ProposeError::NotLeader(self.hint(&forward))
            }
            // It may have been appended before the fault.
            other => ProposeError::Unknown(other.to_string()),
        }
    }

    /// Ends openraft and closes the files, as far as this owns them.
    pub(super) async fn stop(&self, deadline: Duration) {
        if let Err(fatal) = self.state.make_durable().await {
            tracing::error!(error = ?fatal, "the state was not made durable at the end");
        }
        match timeout(deadline, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(error = %e, "raft ended badly"),
            Err(_) => tracing::error!("raft did not end in time"),
        }
    }
}

pub(super) fn raft_failed(e: RaftFatal<TypeConfig>) -> Fatal {
    Fatal::with_source("raft failed", e)
}

type Files<M> = (Arc<LogFile>, Contents, Arc<State<M>>);

fn open_files<M: StateMachine>(
    env: Env,
    config: ReplicaConfig,
    directory: Arc<Directory>,
    machine: M,
    identity: Identity,
    failure: Failure,
    clean: bool,
) -> Result<Files<M>, Fatal> {
    let segments = directory.segments().map_err(|e| disk_failed("log", e))?;
    if directory
        .has_former_log()
        .map_err(|e| disk_failed("log", e))?
    {
        return Err(Fatal::new(
            "its log is in `log.redb`, a former format that this program does not read: use the \
             program that wrote it, or join as a new member with an empty directory while the \
             others run",
        ));
    }
    if segments.is_empty() && identity.phase == Phase::Member {
        return Err(Fatal::new(format!(
            "the log of {} is gone, and with it what it voted for: clear the directory and join \
             as a new member",
            identity.member
        )));
    }
    if identity.phase == Phase::Member && directory.current_state()?.is_none() {
        return Err(Fatal::new(format!(
            "`CURRENT` is gone, which says what the state of {} is: clear the directory and join \
             as a new member",
            identity.member
        )));
    }
    let random = env.random.clone();
    let (log, contents) = LogFile::open(directory.clone(), random, config.log_segment_bytes)?;
    match contents.notes.stamp {
        Some(stamp) if stamp == identity.stamp() => {}
        None if identity.phase != Phase::Member => {
            log.commit(&[Change::Stamp(identity.stamp())])?;
        }
        _ => {
            return Err(Fatal::new(
                "the log belongs to another member or cluster than the identity beside it",
            ));
        }
    }
    let state = State::open(env, machine, directory, config, failure, !clean)?;
    if planted::active(Bug::UncleanStartTrustsState) && !clean {
        state.claim(contents.notes.committed)?;
    }
    Ok((Arc::new(log), contents, Arc::new(state)))
}

/// The log keeps what the state has not made durable.
pub(crate) fn purge_gate<M: StateMachine>(state: Arc<State<M>>) -> PurgeGate {
    Arc::new(move |index| {
        let state = state.clone();
        Box::pin(async move {
            if planted::active(Bug::LogPurgedPastDurableState) {
                return Ok(());
            }
            let durable = state.make_durable_to(index).await;
            let durable = durable.map_err(io::Error::other)?;
            match durable.is_some_and(|rev| rev.index >= index) {
                true => Ok(()),
                false => Err(io::Error::other(format!(
                    "the log was to lose entries up to {index}, the state is durable up to \
                     {durable:?}"
                ))),
            }
        })
    })
}

fn raft_config(config: &ReplicaConfig, identity: &Identity) -> Result<Config, Fatal> {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let election_max = ms(config.election_timeout_max);
    let raft = Config {
        cluster_name: identity.cluster.to_string(),
        heartbeat_interval: ms(config.heartbeat_interval),
        election_timeout_min: ms(config.election_timeout_min),
        election_timeout_max: election_max,
        // What is kept of the log is decided in `retention`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1024,
        enable_pre_vote: Some(true),
        // A restarted leader would serve reads from a state it has not caught up to.
        enable_leader_restore: Some(planted::active(Bug::LeaderRestore)),
        // The lease is as long as the longest election timeout.
        quorum_loss_probe_interval: Some(2 * election_max + 100),
        ..Config::default()
    };
    raft.validate()
        .map_err(|e| Fatal::with_source("the configuration does not suit raft", e))
}
