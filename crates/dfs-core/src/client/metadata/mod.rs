//! Requests to the masters: finds the leader, follows it when it changes, repeats what was lost.
//!
//! ```text
//! change ─ request id s7/12 ─▶ m1 leader ✗ connection broken
//!                          └─▶ m2: not the leader, ask m3
//!                          └─▶ m3: done          one request id, so done once, whoever did it
//! ```
//!
//! Rules:
//! - An operation has one deadline; its attempts have their own, and a broken connection ends an
//!   attempt at once.
//! - All attempts of a change carry one request id. If the session expires while the outcome of
//!   an attempt is unknown, that is the answer: a change is never made again under another id.
//! - A master that is silent for a while is left as soon as another proves to lead.
//!
//! Not done here: what changes mean, and anything about chunks.

mod call;
mod connection;
mod masters;
mod retry;
mod session;
mod tickets;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tarpc::context::Context;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::config::{ClientConfig, Deadlines};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::proto::error::RpcError;
use crate::proto::metadata::{
    Answered, ClusterStatus, GrantRequest, MetadataRpcClient, NodeInfo, Proofs, ReadConsistency,
    Stamped, WriteGrant,
};
use crate::types::{
    Answer, Change, Changed, ChunkId, ClusterId, Handle, InodeId, Location, NodeId, Permit, Query,
    RefusalKind,
};
use call::{Reply, failure, failure_unremembered};
use connection::Connections;
use masters::Masters;
pub(super) use retry::backoff;
use retry::{Attempt, Attempts, Next};
use session::Session;

/// How long closing a session may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The way to the masters.
pub(super) struct Metadata {
    env: Env,
    deadlines: Deadlines,
    connections: Connections,
    masters: Mutex<Masters>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// Held by the one who asks around for another leader.
    asking: tokio::sync::Mutex<()>,
}

impl Metadata {
    pub(super) fn new(config: &ClientConfig, env: Env) -> Arc<Metadata> {
        let first = env.random.below(config.masters.len() as u64);
        let first = usize::try_from(first).unwrap_or(0);
        Arc::new(Metadata {
            deadlines: config.deadlines,
            connections: Connections::new(config, env.clone()),
            masters: Mutex::new(Masters::new(&config.masters, first)),
            session: tokio::sync::Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            env,
        })
    }

    /// The cluster, as soon as any master has been reached.
    pub(super) async fn discover(&self) -> Result<ClusterId> {
        let mut attempts = self.attempts();
        loop {
            let address = self.masters().target(Instant::now());
            let timeout = attempts.timeout(self.deadlines.attempt);
            let answer = self.leader_at(&address, timeout).await;
            let failed = match answer {
                Ok(info) => {
                    self.masters().learn(&info, Instant::now());
                    match info.cluster.or(self.connections.cluster()) {
                        Some(cluster) => return Ok(cluster),
                        None => Attempt::Answered(RpcError::Unavailable(format!(
                            "{address} has no cluster yet"
                        ))),
                    }
                }
                Err(failed) => failed,
            };
            self.masters().failed(&address, Instant::now());
            self.pause(&mut attempts, failed, false).await?;
        }
    }

    /// Makes one change, once.
    pub(super) async fn change(self: &Arc<Self>, change: Change) -> Result<Stamped<Changed>> {
        let deadline = Instant::now() + self.deadlines.operation;
        loop {
            let session = self.session(deadline).await?;
            let mut attempts = Attempts::new(deadline);
            let failed = match self.change_in(&session, &mut attempts, &change).await? {
                Ok(changed) => return Ok(changed),
                Err(failed) => failed,
            };
            match &failed {
                Attempt::Answered(RpcError::Refused { refusal, .. })
                    if refusal.kind == RefusalKind::SessionExpired =>
                {
                    self.forget(&session).await;
                    if attempts.is_uncertain() {
                        return Err(Error::outcome_unknown(refusal));
                    }
                    // Nothing was done: in another session it is another request.
                    if Instant::now() >= deadline {
                        return Err(failure(failed, false));
                    }
                }
                _ => return Err(failure(failed, attempts.is_uncertain())),
            }
        }
    }

    /// Sends a change under one request id until it is answered.
    async fn change_in(
        self: &Arc<Self>,
        session: &Arc<Session>,
        attempts: &mut Attempts,
        change: &Change,
    ) -> Result<std::result::Result<Stamped<Changed>, Attempt>> {
        let ticket = timeout_at(attempts.deadline(), session.begin())
            .await
            .map_err(|_| Error::unavailable("too many requests are without an answer"))?;
        debug_assert!(Arc::ptr_eq(ticket.session(), session));
        let send = |rpc: MetadataRpcClient, context| {
            let (id, change) = (ticket.id(), change.clone());
            let proofs = proofs_of(&change);
            async move { rpc.change(context, id, change, proofs).await }
        };
        let answered = self.call(attempts, send).await;
        Ok(answered.map(
            |Answered {
                 mut stamped,
                 handle,
             }| {
                if let Some(attr) = &mut stamped.value.attr {
                    attr.handle = handle;
                }
                stamped
            },
        ))
    }

    /// Answers one question.
    pub(super) async fn query(self: &Arc<Self>, query: Query) -> Result<Stamped<Answer>> {
        let asked = self.ask(|rpc, context| {
            let query = query.clone();
            let handles = handles_of(query.location());
            let proofs = Proofs {
                handles,
                permits: Vec::new(),
            };
            async move {
                rpc.query(context, query, ReadConsistency::Linearizable, proofs)
                    .await
            }
        });
        let Answered {
            mut stamped,
            handle,
        } = asked.await?;
        if let Some(attr) = stamped.value.attr_mut() {
            attr.handle = handle;
        }
        Ok(stamped)
    }

    /// Gets chunk ids and data nodes to write to, in `within`.
    pub(super) async fn grant(
        self: &Arc<Self>,
        request: GrantRequest,
        within: Duration,
    ) -> Result<WriteGrant> {
        let mut attempts = Attempts::new(Instant::now() + within.min(self.deadlines.operation));
        let send = |rpc: MetadataRpcClient, context| {
            let request = request.clone();
            async move { rpc.grant(context, request).await }
        };
        let result = self.call(&mut attempts, send).await;
        result.map_err(|failed| failure(failed, false))
    }

    /// Says that a replica fails its checksums.
    pub(super) async fn report_corrupt(
        self: &Arc<Self>,
        chunk: ChunkId,
        node: NodeId,
    ) -> Result<()> {
        self.ask(|rpc, context| async move { rpc.report_corrupt(context, chunk, node).await })
            .await
    }

    /// Where data nodes are.
    pub(super) async fn nodes(self: &Arc<Self>) -> Result<Vec<NodeInfo>> {
        self.ask(|rpc, context| async move { rpc.nodes(context).await })
            .await
    }

    /// The state of the cluster.
    pub(super) async fn status(self: &Arc<Self>) -> Result<ClusterStatus> {
        self.ask(|rpc, context| async move { rpc.status(context).await })
            .await
    }

    /// A piece of a backup.
    pub(super) async fn backup_piece(self: &Arc<Self>, number: u64) -> Result<Option<Bytes>> {
        self.ask(move |rpc, context| async move { rpc.backup(context, number).await })
            .await
    }

    /// Takes a master out of the group.
    pub(super) async fn remove_master(self: &Arc<Self>, member: u64) -> Result<()> {
        let send = |rpc: MetadataRpcClient, context| async move {
            rpc.remove_master(context, member).await
        };
        let mut attempts = self.attempts();
        let removed = self.call(&mut attempts, send).await;
        removed.map_err(|failed| failure_unremembered(failed, attempts.is_uncertain()))
    }

    /// Has a data node read all of its replicas through.
    pub(super) async fn scrub_node(self: &Arc<Self>, node: NodeId) -> Result<()> {
        let send =
            |rpc: MetadataRpcClient, context| async move { rpc.scrub_node(context, node).await };
        let mut attempts = self.attempts();
        let asked = self.call(&mut attempts, send).await;
        asked.map_err(|failed| failure_unremembered(failed, attempts.is_uncertain()))
    }

    /// Exchanges the key that the masters sign with, once: masters do not remember that they did.
    pub(super) async fn exchange_signing_key(self: &Arc<Self>, void_former: bool) -> Result<()> {
        let send = |rpc: MetadataRpcClient, context| async move {
            rpc.exchange_signing_key(context, void_former).await
        };
        let mut attempts = Attempts::until_sent(Instant::now() + self.deadlines.operation);
        let exchanged = self.call(&mut attempts, send).await;
        exchanged.map_err(|failed| failure_unremembered(failed, attempts.is_uncertain()))
    }

    /// Ends the session, if there is one and a master can be reached soon.
    pub(super) async fn close(self: &Arc<Self>) {
        let Some(session) = self.session.lock().await.take() else {
            return;
        };
        let mut attempts = Attempts::new(Instant::now() + CLOSE_DEADLINE);
        let closed = self
            .change_in(&session, &mut attempts, &Change::CloseSession)
            .await;
        if !matches!(closed, Ok(Ok(_))) {
            debug!(session = %session.client(), "session not closed; it will expire");
        }
    }

    async fn ask<T, F, Fut>(self: &Arc<Self>, send: F) -> Result<T>
    where
        F: Fn(MetadataRpcClient, Context) -> Fut,
        Fut: Future<Output = Reply<T>>,
    {
        let result = self.call(&mut self.attempts(), send).await;
        result.map_err(|failed| failure(failed, false))
    }

    /// The session, opened if there is none. Callers at the same time wait for one.
    async fn session(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Session>> {
        let opening = async {
            let mut current = self.session.lock().await;
            if let Some(session) = current.as_ref() {
                return Ok(session.clone());
            }
            let send =
                |rpc: MetadataRpcClient, context| async move { rpc.open_session(context).await };
            let opened = self.call(&mut Attempts::new(deadline), send).await;
            let opened = opened.map_err(|failed| failure(failed, false))?;
            let session = Session::new(opened.value);
            *current = Some(session.clone());
            Ok(session)
        };
        timeout_at(deadline + self.deadlines.attempt, opening)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("no session could be opened")))
    }

    async fn forget(&self, expired: &Arc<Session>) {
        let mut current = self.session.lock().await;
        if current.as_ref().is_some_and(|s| Arc::ptr_eq(s, expired)) {
            *current = None;
        }
    }

    async fn pause(&self, attempts: &mut Attempts, failed: Attempt, mutates: bool) -> Result<()> {
        let (masters, now) = (self.masters().count(), Instant::now());
        match attempts.ended(&failed, masters, now, &*self.env.random) {
            Next::Stop => Err(failure(failed, mutates)),
            Next::Again(delay) => {
                sleep(delay).await;
                Ok(())
            }
        }
    }

    fn attempts(&self) -> Attempts {
        Attempts::new(Instant::now() + self.deadlines.operation)
    }

    fn masters(&self) -> MutexGuard<'_, Masters> {
        self.masters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What vouches for where a request starts.
fn handles_of<'a>(locations: impl IntoIterator<Item = &'a Location>) -> Vec<(InodeId, Handle)> {
    let handle = |at: &Location| Some((at.base, at.handle?));
    locations.into_iter().filter_map(handle).collect()
}

/// What is to be shown with a change.
fn proofs_of(change: &Change) -> Proofs {
    let mut permits: Vec<Permit> = Vec::new();
    if let Change::Commit(commit) = change {
        for chunk in &commit.chunks {
            if !chunk.permit.is_empty() && !permits.contains(&chunk.permit) {
                permits.push(chunk.permit.clone());
            }
        }
    }
    Proofs {
        handles: handles_of(change.locations()),
        permits,
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("masters", &self.masters())
            .finish_non_exhaustive()
    }
}
