//! Fake masters: they agree at once, and fail as a script says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::group::Group;
use super::network::MemoryNetwork;
use crate::env::{BoxStream, Network};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, HelloReply};
use crate::proto::metadata::{
    Answered, ClusterStatus, GrantRequest, LeaderInfo, Liveness, MetadataRpc, NodeInfo, Proofs,
    ReadConsistency, Stamped, WriteGrant,
};
use crate::proto::transport;
use crate::types::{
    AdminState, Answer, Change, Changed, ChunkId, ClientId, ClusterId, NodeEpoch, NodeId, Query,
    RequestId, Rev, Space, Topology,
};

/// The cluster of all tests.
pub(super) const CLUSTER: ClusterId = ClusterId(0xc1);

/// What happens to a change that reaches the leader.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// It is carried out, and the answer is lost.
    LoseReply,
    /// It is not carried out, and there is no answer.
    LoseRequest,
    /// It is not carried out; this is the answer.
    Answer(RpcError),
    /// It is carried out after this time.
    Slow(Duration),
}

/// A running master. Dropping it kills it.
pub(super) struct Master {
    pub(super) address: String,
    hung: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Master {
    pub(super) async fn start(
        network: &Arc<MemoryNetwork>,
        address: &str,
        masters: &[String],
        group: &Arc<Mutex<Group>>,
        faults: &Arc<Mutex<VecDeque<Fault>>>,
    ) -> Master {
        let mut listener = network.listen(address).await.unwrap();
        let (hung, is_hung) = watch::channel(false);
        let server = Server {
            address: address.to_owned(),
            masters: masters.to_vec(),
            group: group.clone(),
            faults: faults.clone(),
            hung: is_hung,
        };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok(connection) = listener.accept().await {
                connections.spawn(server.clone().serve_connection(connection.stream));
            }
        });
        Master {
            address: address.to_owned(),
            hung,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Stops it as SIGSTOP does.
    pub(super) fn hang(&self) {
        self.hung.send_replace(true);
    }
}

#[derive(Clone)]
struct Server {
    address: String,
    masters: Vec<String>,
    group: Arc<Mutex<Group>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    hung: watch::Receiver<bool>,
}

impl Server {
    async fn serve_connection(self, mut stream: BoxStream) {
        self.run().await;
        if hello::hear(&mut stream).await.is_err() {
            return;
        }
        let cluster = Some(CLUSTER);
        let lets_in = self.group.lock().unwrap().shuts_out.as_ref() != Some(&self.address);
        let reply = match lets_in {
            true => HelloReply::Welcome { cluster },
            false => HelloReply::LoginRequired,
        };
        hello::answer(&mut stream, &reply).await.unwrap();
        let channel = BaseChannel::with_defaults(transport::messages(stream));
        let requests = channel.execute(self.serve());
        requests.for_each_concurrent(None, |reply| reply).await;
    }

    /// Waits while it is stopped.
    async fn run(&self) {
        let mut hung = self.hung.clone();
        if hung.wait_for(|hung| !hung).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Does something as the leader.
    async fn lead<T>(
        &self,
        act: impl FnOnce(&mut Group) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.run().await;
        let mut group = self.group.lock().unwrap();
        if group.leader.as_ref() != Some(&self.address) {
            let leader = group.leader.clone();
            return Err(RpcError::NotLeader { leader });
        }
        act(&mut group)
    }

    /// Does something as the leader, as the next fault says.
    async fn change_with_faults<T>(
        &self,
        act: impl FnOnce(&mut Group) -> Result<T, RpcError>,
    ) -> Result<T, RpcError> {
        self.lead(|_| Ok(())).await?;
        let fault = self.faults.lock().unwrap().pop_front();
        match &fault {
            Some(Fault::LoseRequest) => std::future::pending().await,
            Some(Fault::Answer(error)) => return Err(error.clone()),
            Some(Fault::Slow(time)) => tokio::time::sleep(*time).await,
            Some(Fault::LoseReply) | None => {}
        }
        let outcome = self.lead(act).await;
        if matches!(fault, Some(Fault::LoseReply)) {
            std::future::pending::<()>().await;
        }
        outcome
    }
}

fn answered<T>(value: T) -> Answered<T> {
    Answered {
        stamped: stamped(value),
        handle: None,
    }
}

fn stamped<T>(value: T) -> Stamped<T> {
    let rev = Rev { term: 1, index: 1 };
    Stamped { rev, value }
}

impl MetadataRpc for Server {
    async fn leader(self, _: Context) -> LeaderInfo {
        self.run().await;
        LeaderInfo {
            cluster: Some(CLUSTER),
            leader: self.group.lock().unwrap().leader.clone(),
            masters: self.masters.clone(),
        }
    }

    async fn open_session(self, _: Context) -> Result<Stamped<ClientId>, RpcError> {
        self.lead(|group| Ok(stamped(group.open_session()))).await
    }

    async fn change(
        self,
        _: Context,
        request: RequestId,
        change: Change,
        _: Proofs,
    ) -> Result<Answered<Changed>, RpcError> {
        let made = self.change_with_faults(|group| Ok(group.change(request, change)?));
        made.await.map(answered)
    }

    async fn query(
        self,
        _: Context,
        query: Query,
        _: ReadConsistency,
        _: Proofs,
    ) -> Result<Answered<Answer>, RpcError> {
        let answer = self.lead(|group| Ok(group.query(query)?)).await;
        answer.map(answered)
    }

    async fn grant(self, _: Context, request: GrantRequest) -> Result<WriteGrant, RpcError> {
        self.lead(|group| group.grant(request)).await
    }

    async fn report_corrupt(
        self,
        _: Context,
        chunk: ChunkId,
        node: NodeId,
    ) -> Result<(), RpcError> {
        self.lead(|group| {
            group.corrupt.push((chunk, node));
            Ok(())
        })
        .await
    }

    async fn nodes(self, _: Context) -> Result<Vec<NodeInfo>, RpcError> {
        let info = |node: &crate::proto::metadata::NodeAddress| NodeInfo {
            key: node.key,
            node: node.node,
            address: node.address.clone(),
            epoch: NodeEpoch(1),
            topology: Topology::default(),
            admin: AdminState::InService,
            liveness: Liveness::Live,
            space: Space::default(),
            replicas: 0,
            bytes: 0,
            volumes: Vec::new(),
            rests_until: None,
            held_down_by: Vec::new(),
        };
        self.lead(|group| Ok(group.nodes.iter().map(info).collect()))
            .await
    }

    async fn status(self, _: Context) -> Result<ClusterStatus, RpcError> {
        Err(RpcError::Unavailable("not part of the tests".to_owned()))
    }

    async fn backup(self, _: Context, _: u64) -> Result<Option<bytes::Bytes>, RpcError> {
        Err(RpcError::Unavailable("not part of the tests".to_owned()))
    }

    async fn exchange_signing_key(self, _: Context, _: bool) -> Result<(), RpcError> {
        self.change_with_faults(|group| {
            group.exchanges += 1;
            Ok(())
        })
        .await
    }

    async fn scrub_node(self, _: Context, node: NodeId) -> Result<(), RpcError> {
        self.change_with_faults(|group| {
            group.scrubbed.push(node);
            Ok(())
        })
        .await
    }

    async fn remove_master(self, _: Context, member: u64) -> Result<(), RpcError> {
        self.change_with_faults(|group| {
            group.removed.insert(member);
            Ok(())
        })
        .await
    }
}
