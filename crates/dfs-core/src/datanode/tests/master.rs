//! A master that remembers what it was told and says what the test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::env::{BoxStream, Env};
use crate::proto::cluster::{
    ChunkReport, ClusterRpc, Heartbeat, HeartbeatReply, Registered, Registration, ReportReply,
    Signing, Task, TaskResult,
};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, HelloReply, Service};
use crate::proto::metadata::NodeAddress;
use crate::proto::peers::PeerList;
use crate::proto::transport::messages;
use crate::types::{ClusterId, NodeEpoch, NodeId, NodeKey, Refusal, RefusalKind};

/// What it knows, and what it is told to do.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeKey, NodeId>,
    pub(super) epochs: BTreeMap<NodeId, NodeEpoch>,
    pub(super) registrations: Vec<Registration>,
    pub(super) heartbeats: Vec<Heartbeat>,
    pub(super) reports: Vec<ChunkReport>,
    pub(super) finished: Vec<TaskResult>,
    /// Given with every heartbeat until they are finished.
    pub(super) tasks: BTreeMap<NodeId, Vec<Task>>,
    pub(super) term: u64,
    /// It does not lead; who does.
    pub(super) follows: Option<String>,
    /// It refuses registrations.
    pub(super) refuses: bool,
    /// It loses this many acknowledgements of finished tasks.
    pub(super) deaf: usize,
    pub(super) masters: Vec<String>,
    /// It answers nothing any more, as a process that is stopped.
    pub(super) hangs: bool,
    /// How long it takes to take a report in.
    pub(super) report_takes: Duration,
}

impl State {
    /// All data nodes that have registered.
    fn peers(&self) -> PeerList {
        let mut nodes = BTreeMap::new();
        for Registration { key, address, .. } in &self.registrations {
            let (node, key, address) = (self.nodes[key], *key, address.clone());
            nodes.insert(node, NodeAddress { node, key, address });
        }
        PeerList::new(nodes.into_values().collect())
    }
}

pub(super) struct FakeMaster {
    pub(super) address: String,
    state: Arc<Mutex<State>>,
    _serving: AbortOnDropHandle<()>,
}

impl FakeMaster {
    pub(super) async fn start(cluster: ClusterId) -> FakeMaster {
        let mut listener = Env::real().network.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let state = Arc::new(Mutex::new(State {
            term: 1,
            ..State::default()
        }));
        let handle = Handle {
            cluster,
            state: Arc::clone(&state),
        };
        let serving: JoinHandle<()> = tokio::spawn(async move {
            // Dropped with the listener: a master that is gone has no connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok(connection) = listener.accept().await {
                connections.spawn(serve(handle.clone(), connection.stream));
            }
        });
        FakeMaster {
            address,
            state,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has a node do something, until it says that it has.
    pub(super) fn give(&self, node: NodeId, task: Task) {
        self.state().tasks.entry(node).or_default().push(task);
    }

    /// How a task ended, once it has.
    pub(super) fn result_of(&self, task: &Task) -> Option<Result<(), String>> {
        let state = self.state();
        state
            .finished
            .iter()
            .find(|r| r.task == *task)
            .map(|r| r.result.clone())
    }
}

async fn serve(handle: Handle, mut stream: BoxStream) {
    handle.wake().await;
    let hello = hello::hear(&mut stream).await.unwrap();
    assert_eq!(hello.service, Service::Cluster);
    let welcome = HelloReply::Welcome {
        cluster: Some(handle.cluster),
    };
    hello::answer(&mut stream, &welcome).await.unwrap();
    let requests = BaseChannel::with_defaults(messages(stream)).execute(handle.serve());
    requests.for_each_concurrent(None, |answer| answer).await;
}

#[derive(Clone)]
struct Handle {
    cluster: ClusterId,
    state: Arc<Mutex<State>>,
}

impl Handle {
    async fn wake(&self) {
        let hangs = self.state.lock().unwrap().hangs;
        if hangs {
            std::future::pending::<()>().await;
        }
    }

    fn leading(&self) -> Result<MutexGuard<'_, State>, RpcError> {
        let state = self.state.lock().unwrap();
        match &state.follows {
            Some(leader) => Err(RpcError::NotLeader {
                leader: Some(leader.clone()),
            }),
            None => Ok(state),
        }
    }

    fn known(&self, node: NodeId, epoch: NodeEpoch) -> Result<MutexGuard<'_, State>, RpcError> {
        let state = self.leading()?;
        match state.epochs.get(&node) {
            Some(current) if *current == epoch => Ok(state),
            _ => Err(RpcError::Fenced("unknown".to_owned())),
        }
    }
}

impl ClusterRpc for Handle {
    async fn register(
        self,
        _: Context,
        registration: Registration,
    ) -> Result<Registered, RpcError> {
        self.wake().await;
        let mut state = self.leading()?;
        if state.refuses {
            return Err(Refusal::new(RefusalKind::NotFound, "not you").into());
        }
        let next = NodeId(state.nodes.len() as u32 + 1);
        let node = *state.nodes.entry(registration.key).or_insert(next);
        let epoch = NodeEpoch(state.registrations.len() as u32 + 1);
        state.epochs.insert(node, epoch);
        state.registrations.push(registration);
        Ok(Registered {
            signing: Signing::default(),
            cluster: self.cluster,
            node,
            epoch,
            heartbeat_interval_ms: 20,
            masters: state.masters.clone(),
            peers: Vec::new(),
        })
    }

    async fn heartbeat(self, _: Context, heartbeat: Heartbeat) -> Result<HeartbeatReply, RpcError> {
        self.wake().await;
        let mut state = self.known(heartbeat.node, heartbeat.epoch)?;
        let tasks = state
            .tasks
            .get(&heartbeat.node)
            .cloned()
            .unwrap_or_default();
        let has = heartbeat.peers;
        state.heartbeats.push(heartbeat);
        let list = state.peers();
        let masters = state.masters.clone();
        Ok(HeartbeatReply {
            rewrites: Vec::new(),
            peers: (list.version != has).then_some(list),
            permits: Vec::new(),
            signing: Signing::default(),
            term: state.term,
            report: false,
            tasks,
            masters,
        })
    }

    async fn report(self, _: Context, report: ChunkReport) -> Result<ReportReply, RpcError> {
        self.wake().await;
        let takes = self.state.lock().unwrap().report_takes;
        tokio::time::sleep(takes).await;
        let mut state = self.known(report.node, report.epoch)?;
        state.reports.push(report);
        Ok(ReportReply { term: state.term })
    }

    async fn finished(
        self,
        _: Context,
        node: NodeId,
        epoch: NodeEpoch,
        tasks: Vec<TaskResult>,
    ) -> Result<(), RpcError> {
        self.wake().await;
        let mut state = self.known(node, epoch)?;
        if state.deaf > 0 {
            state.deaf -= 1;
            return Err(RpcError::Unavailable("deaf".to_owned()));
        }
        for result in &tasks {
            if let Some(given) = state.tasks.get_mut(&node) {
                given.retain(|t| *t != result.task);
            }
        }
        state.finished.extend(tasks);
        Ok(())
    }
}
