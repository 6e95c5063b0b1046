//! openraft's network: clients of the other members.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{BasicNode, type_config::alias::SnapshotOf};
use tarpc::client::RpcError;
use tokio::time::{Instant, timeout};

use super::message::{Header, PROTOCOL, RaftRpcClient, Refusal};
use super::outgoing::Outgoing;
use super::{Client, Dial, client, snapshots};
use crate::config::ReplicaConfig;
use crate::env::Env;
use crate::error::Fatal;
use crate::planted::{self, Bug};
use crate::replica::failure::Failure;
use crate::storage::directory::Stamp;
use crate::storage::snapshot::SnapshotData;
use crate::types::{MemberId, TypeConfig, Vote};

/// The pauses between tries to reach a member that does not answer.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// What a connection carries: each kind has its own, so that none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Entries,
    Control,
    Snapshots,
}

/// All connections of a replica to other members.
#[derive(Clone)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    dialer: Arc<dyn Dial>,
    config: ReplicaConfig,
    own: Stamp,
    failure: Failure,
    connections: Mutex<BTreeMap<(MemberId, String, Purpose), Arc<Connection>>>,
    /// Shared by requests for votes that are not answered yet: a candidate does not begin anew
    /// meanwhile, which would void the votes that slow disks are still writing.
    votes: tokio::sync::RwLock<()>,
    outgoing: Outgoing,
    /// Entries up to this index are not sent any more.
    cut: AtomicU64,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It was not sent: the member cannot be reached.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    /// It may have been carried out.
    #[error("{0} did not answer: {1}")]
    Broken(String, RpcError),
    #[error("{0} refused: {1}")]
    Refused(String, Refusal),
}

impl Peers {
    pub(crate) fn new(
        env: Env,
        dialer: Arc<dyn Dial>,
        config: ReplicaConfig,
        own: Stamp,
        failure: Failure,
    ) -> Peers {
        let connections = Mutex::new(BTreeMap::new());
        Peers {
            shared: Arc::new(Shared {
                env,
                dialer,
                config,
                own,
                failure,
                connections,
                votes: tokio::sync::RwLock::default(),
                outgoing: Outgoing::default(),
                cut: AtomicU64::new(0),
            }),
        }
    }

    /// The snapshots that other members are sent.
    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.shared.outgoing
    }

    /// Lets members that still need entries up to an index, which are about to be cut, have a
    /// snapshot instead: sending them those entries fails.
    pub(crate) fn send_nothing_up_to(&self, index: u64) {
        self.shared.cut.fetch_max(index, Ordering::Relaxed);
    }

    pub(crate) fn config(&self) -> &ReplicaConfig {
        &self.shared.config
    }

    pub(crate) fn failure(&self) -> &Failure {
        &self.shared.failure
    }

    pub(crate) fn env(&self) -> &Env {
        &self.shared.env
    }

    /// The connection to a member for one purpose; made when it is first used.
    pub(crate) fn connection(
        &self,
        member: MemberId,
        address: &str,
        purpose: Purpose,
    ) -> Arc<Connection> {
        let connections = &self.shared.connections;
        let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (member, address.to_owned(), purpose);
        let new = || {
            Arc::new(Connection {
                peers: Arc::downgrade(&self.shared),
                header: Header {
                    protocol: PROTOCOL,
                    cluster: self.shared.own.cluster,
                    from: self.shared.own.member,
                    to: member,
                },
                address: address.to_owned(),
                link: tokio::sync::Mutex::new(Link::default()),
            })
        };
        all.entry(key).or_insert_with(new).clone()
    }

    /// Forgets connections to all but these members.
    pub(crate) fn retain(&self, members: &BTreeMap<MemberId, String>) {
        let connections = &self.shared.connections;
        let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(member, address, _), _| members.get(member) == Some(address));
    }
}

/// A connection to one member, made again when it breaks.
pub(crate) struct Connection {
    peers: std::sync::Weak<Shared>,
    header: Header,
    address: String,
    link: tokio::sync::Mutex<Link>,
}

#[derive(Default)]
struct Link {
    client: Option<Client>,
    /// Failures in a row, and until when nothing is tried after the last.
    failures: u32,
    not_before: Option<Instant>,
}

impl Connection {
    /// Calls a method, with a deadline for connecting and for the answer.
    pub(crate) async fn call<T, F>(
        &self,
        deadline: Duration,
        method: impl FnOnce(RaftRpcClient, tarpc::context::Context, Header) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<Result<T, Refusal>, RpcError>>,
    {
        let who = || format!("{} at {}", self.header.to, self.address);
        let started = Instant::now();
        let connected = timeout(deadline, self.connect()).await;
        let client = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|e| CallError::Unreachable(who(), e))?;
        let left = deadline.saturating_sub(started.elapsed());
        match timeout(left, method(client, context(left), self.header)).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => {
                if matches!(refusal, Refusal::Removed) {
                    self.end();
                }
                Err(CallError::Refused(who(), refusal))
            }
            Ok(Err(e)) => {
                if !matches!(e, RpcError::DeadlineExceeded | RpcError::Server(_)) {
                    self.link.lock().await.client = None;
                }
                Err(CallError::Broken(who(), e))
            }
            Err(_) => {
                // It may hang for ever: the next call makes a new one.
                self.link.lock().await.client = None;
                Err(CallError::Broken(who(), RpcError::DeadlineExceeded))
            }
        }
    }

    /// This member is none any more, and never will be again.
    fn end(&self) {
        if let Some(peers) = self.peers.upgrade() {
            let member = self.header.from;
            let why = format!("{member} was removed from the group");
            peers.failure.stop(Fatal::new(why));
        }
    }

    async fn connect(&self) -> io::Result<RaftRpcClient> {
        let mut link = self.link.lock().await;
        if let Some(client) = &link.client
            && client.is_open()
        {
            return Ok(client.rpc.clone());
        }
        let Some(peers) = self.peers.upgrade() else {
            return Err(io::Error::other("this replica is stopping"));
        };
        if link.not_before.is_some_and(|t| Instant::now() < t) {
            return Err(io::Error::other("it did not answer a moment ago"));
        }
        let dialed = timeout(peers.config.rpc_timeout, peers.dialer.dial(&self.address)).await;
        match dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let client = client(stream);
                let rpc = client.rpc.clone();
                *link = Link {
                    client: Some(client),
                    failures: 0,
                    not_before: None,
                };
                Ok(rpc)
            }
            Err(e) => {
                let pause = BACKOFF_MIN * 2u32.saturating_pow(link.failures.min(8));
                let pause = pause.min(BACKOFF_MAX).as_micros() as u64;
                let pause = pause / 2 + peers.env.random.below(pause / 2 + 1);
                link.failures = link.failures.saturating_add(1);
                link.not_before = Some(Instant::now() + Duration::from_micros(pause));
                Err(e)
            }
        }
    }
}

/// By how much tarpc's deadline is later than ours.
const TARPC_SLACK: Duration = Duration::from_millis(250);

/// A tarpc context with a deadline.
pub(crate) fn context(deadline: Duration) -> tarpc::context::Context {
    let mut context = tarpc::context::current();
    #[allow(
        clippy::disallowed_methods,
        reason = "tarpc's deadlines are in this clock; ours are kept by tokio"
    )]
    let now = std::time::Instant::now();
    // A little later than ours, which is to decide: it is in the time that a simulator drives.
    context.deadline = now + deadline + TARPC_SLACK;
    context
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, node: &BasicNode) -> Peer {
        self.peer(target, node, Purpose::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, node: &BasicNode) -> Peer {
        self.peer(target, node, Purpose::Control)
    }

    async fn new_snapshot_client(&mut self, target: MemberId, node: &BasicNode) -> Peer {
        self.peer(target, node, Purpose::Snapshots)
    }
}

impl Peers {
    fn peer(&self, target: MemberId, node: &BasicNode, purpose: Purpose) -> Peer {
        Peer {
            purpose,
            append: self.connection(target, &node.addr, purpose),
            control: self.connection(target, &node.addr, Purpose::Control),
            peers: self.clone(),
        }
    }
}

/// openraft's client of one member.
pub(crate) struct Peer {
    purpose: Purpose,
    append: Arc<Connection>,
    control: Arc<Connection>,
    peers: Peers,
}

fn rpc_error(e: CallError) -> RPCError<TypeConfig> {
    match e {
        CallError::Broken(..) => RPCError::Network(NetworkError::new(&e)),
        _ => RPCError::Unreachable(Unreachable::new(&e)),
    }
}

pub(crate) fn streaming_error(e: CallError) -> StreamingError<TypeConfig> {
    StreamingError::from(rpc_error(e))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let from = request.prev_log_id.map_or(0, |id| id.index);
        let cut = self.peers.shared.cut.load(Ordering::Relaxed);
        if self.purpose == Purpose::Entries && from < cut {
            let e = io::Error::other("it is too far behind to be sent entries");
            return Err(RPCError::Unreachable(Unreachable::new(&e)));
        }
        // openraft proposes one heartbeat interval, which a slow disk exceeds.
        let config = self.peers.config();
        let hasty = planted::active(Bug::AcknowledgeBeforeQuorum) && !request.entries.is_empty();
        let deadline = match hasty {
            true => config.heartbeat_interval,
            false => config.rpc_timeout,
        };
        let answer = self
            .append
            .call(deadline, async move |client, context, header| {
                client.append(context, header, request.into()).await
            });
        match answer.await {
            Err(_) if hasty => Ok(AppendEntriesResponse::Success),
            answer => Ok(answer.map_err(rpc_error)?.into()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let deadline = option.hard_ttl();
        let _asked = self.peers.shared.votes.read().await;
        let answer = self
            .control
            .call(deadline, async move |client, context, header| {
                client.vote(context, header, request.into()).await
            });
        Ok(answer.await.map_err(rpc_error)?.into())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let deadline = option.hard_ttl();
        drop(self.peers.shared.votes.write().await);
        let answer = self
            .control
            .call(deadline, async move |client, context, header| {
                client.pre_vote(context, header, request.into()).await
            });
        Ok(answer.await.map_err(rpc_error)?.into())
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let deadline = option.hard_ttl();
        let answer = self
            .control
            .call(deadline, async move |client, context, header| {
                client.transfer(context, header, request.into()).await
            });
        Ok(answer.await.map_err(rpc_error)?.into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Snapshot { snapshot, meta } = snapshot;
        let view = match snapshot {
            SnapshotData::View(view) => view,
            SnapshotData::Received(_) => {
                let e = io::Error::other("a received snapshot is not for sending");
                return Err(StreamingError::Unreachable(Unreachable::new(&e)));
            }
        };
        let last = meta.last_log_id.map_or(0, |id| id.index);
        let outgoing = self.peers.outgoing();
        let sending = outgoing.begin(self.append.header.to, last);
        let send = snapshots::send(&self.peers, &self.append, vote, view);
        tokio::select! {
            sent = send => {
                let vote = sent?;
                sending.done();
                Ok(SnapshotResponse::new(vote))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses =
            (0..).map(|n: u32| (BACKOFF_MIN * 2u32.saturating_pow(n.min(8))).min(BACKOFF_MAX));
        Some(Backoff::new(pauses))
    }
}
