//! Leader-side logic around the metadata: translate, decide, act.
//!
//! ```text
//! client ────▶ services::metadata ─┬──▶ Replica (log, state)        changes and questions
//!                                  └──▶ grants ─▶ planners::placement
//! data node ─▶ services::cluster ─────▶ leader (soft: view, tasks) ◀───┐
//! tick ──────▶ leader::driver ─▶ planners::{repair, surplus, reclaim} ─┘ ─▶ recorder ─▶ log
//! ```
//!
//! - **The map is replicated, the view is soft.** Where replicas are meant to be is in the
//!   state machine ([`crate::meta`]); what data nodes say is in the leader's memory and is
//!   forgotten with its leadership. Nothing soft is needed for safety.
//! - **Deciding is pure.** [`liveness`] and [`planners`] have no clock and no socket.
//! - **Nothing is deleted on suspicion.** A copy goes by a committed command that checks the map
//!   again, after enough other copies were read through, and after a grace.
//! - **Bounded.** Differences, queues, tasks and commands a tick have limits; what is beyond is
//!   found again.
//!
//! - **Nobody is believed for nothing.** Who connects is judged before it is served, in `security`.
//!
//! Not done here: erasure coding.

mod config;
mod grants;
mod leader;
mod listener;
pub mod liveness;
pub mod planners;
mod security;
mod services;
mod shared;
pub mod tasks;
pub mod view;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dfs_raft::{ChangeError, Consistency, Fatal, Leadership, ReplicaStatus, Role, StartError};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub use config::MasterConfig;

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::meta::{MetaMachine, Violation};
use crate::node::audit::Audit;
use crate::node::{self, JoinError, Papers};
use crate::proto::error::RpcError;
use crate::proto::metadata::Liveness;
use crate::security::{Fingerprint, PublicKey};
use crate::types::{AdminState, ChunkId, ClusterId, NodeId, NodeRole, Rev};
pub use leader::map::ChunkMap;
use leader::{driver, group, map};
use security::dialer::RaftDialer;
use security::papers;
pub use security::recovery::{Recovered, recover};
pub use security::restoring::{Restored, restore, verify_backup};
use shared::{Replica, Shared};

/// A running master. Dropping it stops it at once, as a crash would; [`Master::shutdown`] is
/// gentler.
pub struct Master {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// Writes the audit log, longer than the others run who have something to tell.
    auditing: AbortOnDropHandle<()>,
    /// Whom it believes; nobody in a cluster without security.
    authority: Option<Fingerprint>,
    /// The key of its papers.
    key: Option<PublicKey>,
}

impl Master {
    /// Opens its replica of the metadata, listens, and takes part from then on if it was a
    /// member before. A new one waits for [`found`](Master::found) or [`join`](Master::join).
    ///
    /// # Errors
    /// The settings, the directory or the address cannot be used, or what is in the directory
    /// must not run.
    pub async fn start(config: MasterConfig, env: Env) -> Result<Master> {
        config.validate()?;
        let world = env;
        let directory = config.replica.directory.clone();
        let own = (None, NodeRole::Master);
        let belongs_to = dfs_raft::cluster_in(&world, &directory).await;
        let belongs_to = belongs_to.map_err(|e| start_error(&directory, e))?;
        let known = (&[][..], belongs_to.map(|raft| ClusterId(raft.0)));
        let papers = node::prepare(&world, &directory, own, &config.security, known).await;
        let mut papers = papers.map_err(|e| papers_error(&directory, e))?;
        let env = match &papers {
            Some(papers) => papers.env(&world),
            None => Ok(world.clone()),
        };
        let env = env.map_err(|e| papers_error(&directory, e.into()))?;
        let listener = env.network.listen(&config.listen).await.map_err(|e| {
            let what = format!("cannot listen at {}", config.listen);
            Error::with_source(ErrorKind::Invalid, what, e)
        })?;
        let address = config
            .advertise
            .clone()
            .unwrap_or_else(|| listener.local_address());
        let dialer = RaftDialer::new(Arc::clone(&env.network));
        let (replica, dial) = (config.replica.clone(), Arc::new(dialer.clone()));
        let replica = Replica::start(replica, env.clone(), dial, MetaMachine);
        let replica = replica.await.map_err(|e| start_error(&directory, e))?;
        let (audit, writing) = Audit::new(&env, &directory, (config.audit_bytes, config.reserve));
        let replica = (replica, audit);
        let shared = Arc::new(Shared::new(config, env, replica, address));
        if let Some(papers) = &papers {
            shared.met.at(&shared.address, papers.identity().node);
        }
        dialer.is_of(&shared);
        let mut tasks = JoinSet::new();
        let authority = papers.as_ref().map(|p| p.authority().fingerprint());
        let key = papers.as_ref().map(Papers::key);
        if let Some(mut papers) = papers.take() {
            // Before it listens, so that it shows none that are void.
            if let Err(error) = papers::renew_if_due(&shared, &mut papers, &world).await {
                tracing::warn!(%error, "the papers of this master could not be renewed yet");
            }
            tasks.spawn(papers::keep_good(Arc::clone(&shared), papers, world));
        }
        let auditing = tokio::spawn(shared::vital(Arc::clone(&shared), writing));
        let serving = listener::run(Arc::clone(&shared), listener);
        tasks.spawn(shared::vital(Arc::clone(&shared), serving));
        let leading = driver::run(Arc::clone(&shared));
        tasks.spawn(shared::vital(Arc::clone(&shared), leading));
        let grouping = group::run(Arc::clone(&shared));
        tasks.spawn(shared::vital(Arc::clone(&shared), grouping));
        Ok(Master {
            shared,
            tasks,
            auditing: AbortOnDropHandle::new(auditing),
            authority,
            key,
        })
    }

    /// Joins the cluster that masters at some of `seeds` belong to. The leader gives it a vote
    /// once it has caught up, if the group is not whole; a member at the same address, of which
    /// this is the successor with an empty directory, gives way.
    ///
    /// After an error it may be called again and goes on where it stopped.
    ///
    /// # Errors
    /// It is a member already, or no seed leads to a leader.
    pub fn join(&self, seeds: &[String]) -> BoxFuture<'static, Result<()>> {
        let (shared, seeds) = (Arc::clone(&self.shared), seeds.to_vec());
        Box::pin(async move {
            let joined = shared.replica.join(&seeds, &shared.address).await;
            joined.map_err(change_error)?;
            shared.cluster();
            Ok(())
        })
    }

    /// Whether it belongs to a cluster.
    pub fn is_member(&self) -> bool {
        self.shared.cluster().is_some()
    }

    /// Whether the other masters have taken it in, as far as it knows. One that was interrupted
    /// while it joined belongs to a cluster and is not taken in: it must [`join`](Master::join)
    /// again.
    pub async fn is_admitted(&self) -> bool {
        self.shared.replica.is_admitted().await
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.cluster()
    }

    /// The fingerprint of the authority that it believes; none in a cluster without security.
    pub fn authority(&self) -> Option<Fingerprint> {
        self.authority
    }

    /// Where others reach it, `host:port`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Who leads, as this master sees it, now and whenever it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.replica.leadership()
    }

    /// Whether this master leads and answers.
    pub fn leads(&self) -> bool {
        self.shared.if_leading(|_| ()).is_some()
    }

    /// Why the master stopped, once it does.
    pub fn failed(&self) -> watch::Receiver<Option<Fatal>> {
        self.shared.replica.failed()
    }

    /// What there is to know of its replica; none if it belongs to no cluster.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn status(&self) -> Result<Option<ReplicaStatus>> {
        self.shared.replica.status().map_err(fatal)
    }

    /// Asks for an election now, for a cluster that starts.
    ///
    /// # Errors
    /// It belongs to no cluster, or has stopped.
    pub async fn trigger_election(&self) -> Result<()> {
        let triggered = self.shared.replica.trigger_election().await;
        triggered.map_err(change_error)
    }

    /// Verifies every invariant of the state this master has, and says as of which entry and
    /// with which digest.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn check(&self) -> Result<Checked> {
        let reading = self.shared.read(Consistency::Stale).await;
        let reading = reading.map_err(rpc_error)?;
        let applied = reading.applied;
        let check = |view: &dfs_raft::state::View| crate::meta::check(view);
        let violations = self.shared.look(reading, check).await;
        Ok(Checked {
            applied,
            violations: violations.map_err(rpc_error)?,
        })
    }

    /// As the leader, says how many masters vote and how many data nodes are live.
    pub fn strength(&self) -> Option<(usize, usize)> {
        let live = self.shared.if_leading(|leading| {
            let nodes = leading.view.nodes();
            nodes
                .filter(|node| node.heard && node.liveness == Liveness::Live)
                .count()
        })?;
        let members = self.shared.replica.status().ok()??.members;
        let voters = members.iter().filter(|m| m.role == Role::Voter);
        Some((voters.count(), live))
    }

    /// Where the data nodes were that are such no more, as of all that was decided before.
    pub(crate) async fn removed_nodes(&self) -> Result<Vec<String>> {
        let reading = self.shared.read(Consistency::Linearizable).await;
        let look = |view: &dfs_raft::state::View| map::nodes(view);
        let nodes = self.shared.look(reading.map_err(rpc_error)?, look).await;
        let nodes = nodes.map_err(rpc_error)?;
        let (removed, others): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .partition(|row| row.admin == AdminState::Removed);
        let is_taken = |address: &String| others.iter().any(|row| row.address == *address);
        let removed = removed.into_iter().map(|row| row.address);
        Ok(removed.filter(|address| !is_taken(address)).collect())
    }

    /// The map of chunks as this master has it now. It reads all of it, on the spot: for tests
    /// and checks.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn chunk_map(&self) -> Result<ChunkMap> {
        let reading = self.shared.replica.read_stale();
        let reading = reading.map_err(|e| Error::unavailable(e.to_string()))?;
        map::whole(&reading.view, self.shared.now()).map_err(fatal)
    }

    /// As the leader, has a data node read a replica through that someone doubts.
    pub fn doubt(&self, node: NodeId, chunk: ChunkId) {
        self.shared.if_leading(|leading| leading.doubt(node, chunk));
    }

    /// As the leader, says of every chunk with fewer confirmed replicas than wanted how it is,
    /// and whether its own list of them may still be short. It reads the whole map: for tests
    /// and checks.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn unhealthy_chunks(&self) -> Result<Option<Vec<String>>> {
        if !self.leads() {
            return Ok(None);
        }
        let reading = self.shared.read(Consistency::Stale).await;
        let reading = reading.map_err(rpc_error)?;
        let mut unhealthy = Vec::new();
        let mut after = None;
        loop {
            let look = move |view: &dfs_raft::state::View| map::page(view, after);
            let page = self.shared.look(reading.clone(), look).await;
            let page = page.map_err(rpc_error)?;
            let Some((last, _)) = page.last() else {
                let surveyed = self.shared.if_leading(|leading| leading.has_surveyed());
                if surveyed == Some(false) {
                    unhealthy.push("the leader has not looked at every chunk yet".to_owned());
                }
                return Ok(surveyed.map(|_| unhealthy));
            };
            after = Some(*last);
            let judged = self.shared.if_leading(|leading| {
                let judge = |(id, chunk)| leading.ailment(id, &chunk);
                page.into_iter().filter_map(judge).collect::<Vec<_>>()
            });
            match judged {
                Some(judged) => unhealthy.extend(judged),
                None => return Ok(None),
            }
        }
    }

    /// Stops in order: nothing new is accepted, the state and the audit log are made durable.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.shared.replica.shutdown().await;
        self.shared.audit.close();
        if let Err(error) = self.auditing.await {
            tracing::error!(%error, "the audit log may lack its last lines");
        }
    }

    /// Stops at once, as a crash of the process would. Its directory may be held for a moment
    /// longer.
    pub async fn crash(mut self) {
        self.tasks.shutdown().await;
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master")
            .field("address", &self.shared.address)
            .finish_non_exhaustive()
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The last entry the state had.
    pub applied: Rev,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
}

fn papers_error(directory: &Path, error: JoinError) -> Error {
    let kind = match error {
        JoinError::Unavailable(_) => return Error::unavailable(error.to_string()),
        JoinError::Refused(_) => ErrorKind::Denied,
        JoinError::NoPapers(_) | JoinError::Papers(_) => ErrorKind::Invalid,
    };
    let what = format!(
        "the master in {} cannot prove who it is",
        directory.display()
    );
    Error::with_source(kind, what, error)
}

fn start_error(directory: &Path, error: StartError) -> Error {
    let (kind, what) = match error {
        StartError::Config(_) | StartError::Directory(_) => (ErrorKind::Invalid, "cannot start"),
        StartError::Fatal(_) => (ErrorKind::Internal, "must not run"),
    };
    let message = format!("the master in {} {what}", directory.display());
    Error::with_source(kind, message, error)
}

fn change_error(error: ChangeError) -> Error {
    match error {
        ChangeError::Refused(_) => Error::invalid(error.to_string()),
        ChangeError::Unknown(_) => Error::outcome_unknown(error),
        ChangeError::NotLeader(_) | ChangeError::Unavailable(_) => {
            Error::unavailable(error.to_string())
        }
        ChangeError::Stopped(reason) => fatal(reason),
    }
}

fn fatal(error: Fatal) -> Error {
    Error::with_source(ErrorKind::Internal, "the master has stopped", error)
}

fn rpc_error(error: RpcError) -> Error {
    match error {
        RpcError::Refused { refusal, .. } => refusal.into(),
        RpcError::Internal(_) => Error::new(ErrorKind::Internal, error.to_string()),
        _ => Error::unavailable(error.to_string()),
    }
}
