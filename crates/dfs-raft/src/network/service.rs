//! The serving half of RaftRpc.

use std::sync::Arc;

use futures::StreamExt;
use openraft::errors::RaftError;
use openraft::raft::AppendEntriesRequest;
use openraft::storage::Snapshot;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::connections::Seat;
use super::message::{
    Append, Appended, AskVote, Begun, End, Header, Join, PROTOCOL, Part, RaftRpc, Refusal,
    Transfer, Transferred, Voted, Welcome, WireVote,
};
use super::server;
use crate::env::BoxStream;
use crate::error::{Fatal, ReadError};
use crate::machine::{Rev, StateMachine};
use crate::replica::Inner;
use crate::replica::node::Node;
use crate::state::Digest;
use crate::storage::snapshot::SnapshotData;
use crate::types::{SnapshotMeta, TypeConfig};

/// Serves one connection until it ends or the replica stops.
pub(crate) async fn serve<M: StateMachine>(inner: Arc<Inner<M>>, stream: BoxStream) {
    let stopping = inner.stopping.clone();
    let seat = inner.connections.take();
    tokio::select! {
        () = answer(inner, stream, &seat) => {}
        () = seat.gives_way() => {}
        () = stopping.cancelled() => {}
    }
}

/// Answers requests, each in a task of its own, until the caller goes, is silent for long, or
/// does not take its answers.
async fn answer<M: StateMachine>(inner: Arc<Inner<M>>, stream: BoxStream, seat: &Seat) {
    let silence = inner.config.idle_timeout;
    let work = inner.config.snapshot_install_timeout;
    let requests = BaseChannel::with_defaults(server(stream))
        .max_concurrent_requests(inner.config.requests_per_connection_max)
        .execute(Service { inner }.serve());
    let mut requests = std::pin::pin!(requests);
    let mut running = JoinSet::new();
    let mut last = Instant::now();
    loop {
        let end = match running.is_empty() {
            true => last + silence,
            false => last + silence + work,
        };
        tokio::select! {
            next = timeout_at(end, requests.next()) => match next {
                Ok(Some(request)) => {
                    seat.used();
                    running.spawn(request);
                }
                Ok(None) => return running.detach_all(),
                Err(_) => {
                    tracing::debug!(?silence, "an idle connection is closed");
                    return;
                }
            },
            Some(_) = running.join_next() => {}
        }
        last = Instant::now();
    }
}

struct Service<M: StateMachine> {
    inner: Arc<Inner<M>>,
}

impl<M: StateMachine> Clone for Service<M> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        Service { inner }
    }
}

impl<M: StateMachine> Service<M> {
    /// The member that a request is for, if this is it.
    fn member(&self, header: &Header) -> Result<Arc<Node<M>>, Refusal> {
        if header.protocol != PROTOCOL {
            return Err(Refusal::Protocol(PROTOCOL));
        }
        let node = self.inner.node().ok_or(Refusal::NotMember)?;
        if header.cluster != node.identity.cluster {
            return Err(Refusal::OtherCluster);
        }
        if header.to != node.identity.member {
            return Err(Refusal::OtherMember);
        }
        if node.failure.reason().is_some() {
            return Err(Refusal::Stopped);
        }
        Ok(node)
    }
}

impl<M: StateMachine> Service<M> {
    /// The same, for one that asks what a member asks. One that was removed while it was away
    /// does not know it, and is told.
    fn member_asked(&self, header: &Header) -> Result<Arc<Node<M>>, Refusal> {
        let node = self.member(header)?;
        if node.has_member(header.from) {
            return Ok(node);
        }
        match node
            .state
            .was_removed(header.from)
            .map_err(stopped(&node))?
        {
            true => Err(Refusal::Removed),
            false => Ok(node),
        }
    }
}

fn stopped<M: StateMachine>(node: &Node<M>) -> impl Fn(Fatal) -> Refusal {
    let failure = node.failure.clone();
    move |fatal| {
        failure.stop(fatal);
        Refusal::Stopped
    }
}

fn raft_stopped(_: RaftError<TypeConfig>) -> Refusal {
    Refusal::Stopped
}

fn invalid(e: Fatal) -> Refusal {
    Refusal::Invalid(e.to_string())
}

impl<M: StateMachine> RaftRpc for Service<M> {
    async fn append(
        self,
        _: Context,
        header: Header,
        request: Append,
    ) -> Result<Appended, Refusal> {
        let node = self.member(&header)?;
        let request = AppendEntriesRequest::try_from(request).map_err(invalid)?;
        let response = node
            .raft
            .call(|raft| async move { raft.append_entries(request).await })
            .await;
        Ok(response.map_err(raft_stopped)?.into())
    }

    async fn vote(self, _: Context, header: Header, request: AskVote) -> Result<Voted, Refusal> {
        let node = self.member_asked(&header)?;
        let asked = Instant::now();
        let response = node
            .raft
            .call(|raft| async move { raft.vote(request.into()).await })
            .await;
        let (took, limit) = (asked.elapsed(), node.config.election_timeout_min);
        if took > limit {
            tracing::warn!(
                ?took,
                ?limit,
                "a vote took too long to count; the disk is too slow for the election timeouts"
            );
        }
        Ok(response.map_err(raft_stopped)?.into())
    }

    async fn pre_vote(
        self,
        _: Context,
        header: Header,
        request: AskVote,
    ) -> Result<Voted, Refusal> {
        let node = self.member_asked(&header)?;
        let response = node
            .raft
            .call(|raft| async move { raft.pre_vote(request.into()).await })
            .await;
        Ok(response.map_err(raft_stopped)?.into())
    }

    async fn transfer(
        self,
        _: Context,
        header: Header,
        request: Transfer,
    ) -> Result<Transferred, Refusal> {
        let node = self.member(&header)?;
        let handled = node
            .raft
            .call(|raft| async move { raft.handle_transfer_leader(request.into()).await });
        Ok(handled.await.map_err(|_| Refusal::Stopped)?.into())
    }

    async fn read_index(self, _: Context, header: Header) -> Result<Rev, Refusal> {
        let node = self.member(&header)?;
        node.read_index().await.map_err(|e| match e {
            ReadError::NotLeader(leader) => Refusal::NotLeader {
                leader: leader.map(|l| l.address),
            },
            ReadError::Unavailable(why) => Refusal::Unavailable(why),
            ReadError::Stopped(_) => Refusal::Stopped,
        })
    }

    async fn begin_snapshot(
        self,
        _: Context,
        header: Header,
        vote: WireVote,
    ) -> Result<Begun, Refusal> {
        let node = self.member(&header)?;
        let own = node.current_vote();
        if own.partial_cmp(&vote.open()) == Some(std::cmp::Ordering::Greater) {
            return Ok(Begun::HigherVote((&own).into()));
        }
        finish(async move {
            let begun = node.incoming.begin().await;
            Ok(Begun::Transfer(begun.map_err(stopped(&node))?))
        })
        .await
    }

    async fn snapshot_frame(self, _: Context, header: Header, part: Part) -> Result<(), Refusal> {
        let node = self.member(&header)?;
        finish(async move { node.incoming.frame(part).await.map_err(stopped(&node))? }).await
    }

    async fn end_snapshot(self, _: Context, header: Header, end: End) -> Result<WireVote, Refusal> {
        let node = self.member(&header)?;
        finish(async move {
            let vote = end.vote.open();
            let received = node.incoming.end(end).await.map_err(stopped(&node))??;
            let snapshot = Snapshot {
                meta: SnapshotMeta {
                    last_log_id: received.position.applied.map(crate::types::log_id),
                    last_membership: received.position.members.clone(),
                },
                snapshot: SnapshotData::Received(received),
            };
            let installed = node
                .raft
                .call(|raft| async move { raft.install_full_snapshot(vote, snapshot).await });
            let response = installed.await.map_err(|_| Refusal::Stopped)?;
            Ok((&response.vote).into())
        })
        .await
    }

    async fn digests(self, _: Context, header: Header) -> Result<Vec<(Rev, u128)>, Refusal> {
        let node = self.member_asked(&header)?;
        let kept = node.state.kept_digests();
        Ok(kept.into_iter().map(|(rev, d)| (rev, d.0)).collect())
    }

    async fn diverged(
        self,
        _: Context,
        header: Header,
        rev: Rev,
        majority: u128,
    ) -> Result<(), Refusal> {
        let node = self.member(&header)?;
        node.heed_majority(rev, Digest(majority)).await;
        Ok(())
    }

    async fn doubt(self, _: Context, header: Header, rev: Rev) -> Result<(), Refusal> {
        let node = self.member(&header)?;
        node.begin_doubt(rev);
        Ok(())
    }

    async fn join(self, _: Context, request: Join) -> Result<Welcome, Refusal> {
        if request.protocol != PROTOCOL {
            return Err(Refusal::Protocol(PROTOCOL));
        }
        let node = self.inner.node().ok_or(Refusal::NotMember)?;
        node.welcome().await
    }

    async fn admit(self, _: Context, header: Header, address: String) -> Result<(), Refusal> {
        if header.protocol != PROTOCOL {
            return Err(Refusal::Protocol(PROTOCOL));
        }
        let node = self.inner.node().ok_or(Refusal::NotMember)?;
        if header.cluster != node.identity.cluster {
            return Err(Refusal::OtherCluster);
        }
        // The one who asks knows an address, not which member answers there.
        node.admit(header.from, address).await
    }
}

/// Runs work to its end even if whoever asked for it went away.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::Stopped),
    }
}

#[cfg(test)]
mod tests;
