//! Masters as others meet them: at their port.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::time::Duration;

use tarpc::context;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::leader::room::Room;
use super::{Master, MasterConfig};
use crate::env::{BoxStream, Clock, Env};
use crate::node::Security;
use crate::proto::cluster::{ClusterRpcClient, Heartbeat, Registration};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::{GrantRequest, MetadataRpcClient, Proofs, Stamped};
use crate::proto::transport::messages;
use crate::testing::{MemoryDisk, test_env};
use crate::types::change::{NewAttr, Removal};
use crate::types::{
    Change, Changed, ClientId, ClusterId, DfsPath, Location, Mode, NodeEpoch, NodeId, NodeKey,
    ReplicationTarget, RequestId, Space, Timestamp, Topology,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A clock at a fixed time.
struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A master; what is left of its former life may hold the directory for a moment.
async fn start(directory: &TempDir) -> Master {
    start_in(directory, Env::real(), Security::Insecure).await
}

pub(super) async fn start_in(directory: &TempDir, env: Env, security: Security) -> Master {
    let mut config = MasterConfig::new(directory.path().join("m"));
    config.security = security;
    let start = async {
        loop {
            match Master::start(config.clone(), env.clone()).await {
                Ok(master) => return master,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, start).await.unwrap()
}

/// A cluster of one master that leads.
pub(super) async fn leader(directory: &TempDir) -> Master {
    founded(start(directory).await).await
}

async fn founded(master: Master) -> Master {
    master.found().await.unwrap();
    elected(&master).await;
    master
}

pub(super) async fn elected(master: &Master) {
    let leads = async {
        while !master.leads() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, leads).await.unwrap();
}

async fn call(
    master: &Master,
    service: Service,
    cluster: Option<ClusterId>,
) -> std::io::Result<BoxStream> {
    let hello = Hello::new(service, cluster);
    let network = Env::real().network;
    let called = hello::call(&*network, master.address(), hello, PATIENCE).await;
    called.map(|(stream, _)| stream)
}

async fn metadata(master: &Master) -> MetadataRpcClient {
    let stream = call(master, Service::Metadata, None).await.unwrap();
    MetadataRpcClient::new(Default::default(), messages(stream)).spawn()
}

pub(super) async fn cluster(master: &Master) -> ClusterRpcClient {
    let stream = call(master, Service::Cluster, None).await.unwrap();
    ClusterRpcClient::new(Default::default(), messages(stream)).spawn()
}

pub(super) fn registration(key: u128) -> Registration {
    Registration {
        key: NodeKey(key),
        node: None,
        address: format!("n{key}:1"),
        topology: Topology::default(),
        space: Space {
            total: 1 << 40,
            used: 0,
            available: 1 << 40,
        },
    }
}

pub(super) fn heartbeat(node: NodeId, epoch: NodeEpoch) -> Heartbeat {
    Heartbeat {
        node,
        epoch,
        space: registration(0).space,
        replicas: 0,
        streams: 0,
        failed: None,
        volumes: Vec::new(),
        peers: 0,
        down: Vec::new(),
    }
}

fn three_chunks() -> GrantRequest {
    GrantRequest {
        chunks: 3,
        chunk_size: 1 << 20,
        replicas: ReplicationTarget(1),
        replicas_min: ReplicationTarget(1),
        avoid: Vec::new(),
        stripe: None,
    }
}

fn at(path: &str) -> Location {
    path.parse::<DfsPath>().unwrap().into()
}

fn create(path: &str) -> Change {
    Change::Create {
        at: at(path),
        attr: NewAttr::of_mode(Mode::FILE),
        exclusive: true,
    }
}

/// A session, and its requests by number.
struct Caller {
    rpc: MetadataRpcClient,
    session: ClientId,
}

impl Caller {
    async fn of(master: &Master) -> Caller {
        let rpc = metadata(master).await;
        let opened = rpc.open_session(context::current()).await.unwrap();
        let session = opened.unwrap().value;
        Caller { rpc, session }
    }

    async fn change(&self, sequence: u64, change: Change) -> Result<Changed, RpcError> {
        let changed = self.stamped(sequence, change).await;
        changed.map(|stamped| stamped.value)
    }

    async fn stamped(&self, sequence: u64, change: Change) -> Result<Stamped<Changed>, RpcError> {
        let id = RequestId {
            client: self.session,
            sequence,
            answered_below: 1,
        };
        let none = Proofs::default();
        let changed = self.rpc.change(context::current(), id, change, none).await;
        changed.unwrap().map(|answered| answered.stamped)
    }
}

async fn wait_for_room(master: &Master, wanted: impl Fn(Room) -> bool) {
    let room = || master.shared.if_leading(|leading| leading.room);
    let waiting = async {
        while !room().is_some_and(&wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_caller_of_another_cluster_or_for_chunks_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    let other = Some(ClusterId(1));
    for (service, cluster) in [
        (Service::Raft, other),
        (Service::Metadata, other),
        (Service::ChunkStream, None),
    ] {
        let refused = call(&master, service, cluster).await.err();
        let kind = refused.map(|e| e.kind());
        assert_eq!(kind, Some(std::io::ErrorKind::ConnectionRefused));
    }
}

#[tokio::test]
async fn garbage_after_a_hello_ends_that_connection_alone() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    for service in [Service::Raft, Service::Metadata, Service::Cluster] {
        let mut stream = call(&master, service, None).await.unwrap();
        stream.write_all(&[0xff; 64]).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset, and not left open.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    let client = metadata(&master).await;
    assert!(
        client
            .open_session(context::current())
            .await
            .unwrap()
            .is_ok()
    );
}

/// The start of a request that its caller waits so long for, as postcard, and zeros.
fn waited_for(seconds: u64) -> Vec<u8> {
    let start = (0_u32, Duration::new(seconds, 0));
    let mut message = postcard::to_stdvec(&start).unwrap();
    message.resize(64, 0);
    [&64_u32.to_be_bytes()[..], &message].concat()
}

#[tokio::test]
async fn a_request_that_is_waited_for_without_end_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    // More than a clock can count, and more than a timer can.
    for seconds in [u64::MAX, 100 * 365 * 24 * 60 * 60] {
        let mut stream = call(&master, Service::Metadata, None).await.unwrap();
        stream.write_all(&waited_for(seconds)).await.unwrap();
        let mut length = [0; 4];
        let answered = timeout(PATIENCE, stream.read_exact(&mut length)).await;
        answered.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_the_entry_that_did_it() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    let caller = Caller::of(&master).await;
    let first = caller.stamped(1, create("/a")).await.unwrap();
    let refused = caller.stamped(2, create("/a")).await.unwrap_err();
    let RpcError::Refused { rev: Some(rev), .. } = refused.clone() else {
        panic!("{refused:?}");
    };
    assert!(rev > first.rev);
    assert_eq!(caller.stamped(1, create("/a")).await, Ok(first));
    assert_eq!(caller.stamped(2, create("/a")).await, Err(refused));
}

#[tokio::test]
async fn clients_leave_room_for_data_nodes_and_masters() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::new(directory.path().join("m"));
    config.security = Security::Insecure;
    config.connections_max = 16;
    let master = founded(Master::start(config, Env::real()).await.unwrap()).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(call(&master, Service::Metadata, None).await.unwrap());
    }
    let refused = call(&master, Service::Metadata, None).await.err();
    let refused = refused.map(|e| e.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    let client = cluster(&master).await;
    let node = client.register(context::current(), registration(1));
    assert!(node.await.unwrap().is_ok());
    assert!(call(&master, Service::Raft, None).await.is_ok());
    drop(clients);
    let freed = async {
        while call(&master, Service::Metadata, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn a_cluster_is_founded_once() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    assert!(master.found().await.is_err());
    let id = master.cluster();
    master.shutdown().await;
    let master = start(&directory).await;
    assert!(master.found().await.is_err());
    assert_eq!(master.cluster(), id);
}

#[tokio::test]
#[allow(clippy::panic, reason = "the panic is what is tested")]
async fn a_master_of_which_a_part_panics_stops_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    let mut failed = master.failed();
    let shared = std::sync::Arc::clone(&master.shared);
    super::shared::vital(shared, async { panic!("a defect") }).await;
    assert!(!master.leads());
    let reason = timeout(PATIENCE, failed.wait_for(Option::is_some)).await;
    let reason = reason.unwrap().unwrap().clone().unwrap().to_string();
    assert!(reason.contains("has panicked"), "{reason}");
    let stopped = async {
        while master.leadership().borrow().is_leader {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, stopped).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_of_a_master_that_stopped_in_order_outlives_the_loss_of_power() {
    // What is not synced is lost by chance.
    for seed in 0..8 {
        let (directory, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new(seed));
        let master = start_in(&directory, test_env(seed, &disk), Security::Insecure).await;
        let refused = call(&master, Service::Login, None).await;
        assert!(refused.is_err());
        master.shutdown().await;
        disk.cut_power();
        let lines = disk.get(directory.path().join("m/audit/audit-00000001.jsonl"));
        let lines = String::from_utf8_lossy(&lines);
        assert!(lines.contains("login"), "seed {seed}: {lines}");
    }
}

#[tokio::test]
async fn a_master_that_cannot_read_its_state_stops() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    let mut failed = master.failed();
    let shared = std::sync::Arc::clone(&master.shared);
    let reading = shared.read(dfs_raft::Consistency::Stale).await.unwrap();
    let look = |_: &dfs_raft::state::View| Err::<(), _>(dfs_raft::Fatal::new("damaged"));
    shared.look(reading, look).await.unwrap_err();
    let stopped = timeout(PATIENCE, failed.wait_for(Option::is_some)).await;
    assert!(stopped.unwrap().is_ok());
}

#[tokio::test]
async fn a_leader_whose_clock_is_behind_the_log_goes_by_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (early, late) = (Timestamp(1 << 40), Timestamp(1 << 50));
    let at = |time| Env {
        clock: std::sync::Arc::new(Stopped(time)),
        ..Env::real()
    };
    let master = founded(start_in(&directory, at(late), Security::Insecure).await).await;
    master.crash().await;
    let master = start_in(&directory, at(early), Security::Insecure).await;
    elected(&master).await;
    let knows = async {
        while master.shared.now() != late {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, knows).await.unwrap();
}

#[tokio::test]
async fn a_node_keeps_its_id_and_its_older_incarnations_are_fenced() {
    let directory = tempfile::tempdir().unwrap();
    let master = leader(&directory).await;
    let client = cluster(&master).await;
    let register = || client.register(context::current(), registration(7));
    let first = register().await.unwrap().unwrap();
    let second = register().await.unwrap().unwrap();
    assert_eq!(first.node, second.node);
    let old = heartbeat(first.node, first.epoch);
    let fenced = client.heartbeat(context::current(), old).await.unwrap();
    assert!(matches!(fenced, Err(RpcError::Fenced(_))), "{fenced:?}");
    let new = heartbeat(second.node, second.epoch);
    let reply = client.heartbeat(context::current(), new).await.unwrap();
    assert!(reply.unwrap().report, "a new incarnation is to report");
}

#[tokio::test]
async fn grants_never_name_one_chunk_twice_even_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let master = start(&directory).await;
        if !master.is_member() {
            master.found().await.unwrap();
        }
        let client = loop {
            if master.leads() {
                break cluster(&master).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let node = client.register(context::current(), registration(1));
        let node = node.await.unwrap().unwrap();
        let alive = heartbeat(node.node, node.epoch);
        client
            .heartbeat(context::current(), alive)
            .await
            .unwrap()
            .unwrap();
        let writer = metadata(&master).await;
        for _ in 0..5 {
            let grant = writer.grant(context::current(), three_chunks());
            for granted in grant.await.unwrap().unwrap().chunks {
                assert!(seen.insert(granted.chunk), "{} twice", granted.chunk);
            }
        }
        master.crash().await;
    }
}

#[tokio::test]
async fn a_master_outside_of_a_cluster_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let master = start(&directory).await;
    let client = metadata(&master).await;
    assert_eq!(
        client.leader(context::current()).await.unwrap().leader,
        None
    );
    let refused = client.open_session(context::current()).await.unwrap();
    assert!(
        matches!(refused, Err(RpcError::Unavailable(_))),
        "{refused:?}"
    );
    let refused = client.nodes(context::current()).await.unwrap();
    assert_eq!(refused, Err(RpcError::NotLeader { leader: None }));
}

#[tokio::test]
async fn a_leader_short_of_room_makes_nothing_new_and_still_removes_and_answers_again() {
    const RESERVE: u64 = 64 << 20;
    let disk = MemoryDisk::new(1);
    let env = Env {
        disk: std::sync::Arc::new(disk.clone()),
        ..Env::real()
    };
    let mut config = MasterConfig::new("/m");
    config.security = Security::Insecure;
    config.reserve = RESERVE;
    config.tick = Duration::from_millis(20);
    let master = founded(Master::start(config, env).await.unwrap()).await;
    let caller = Caller::of(&master).await;
    let first = caller.change(1, create("/a")).await;
    assert!(first.is_ok(), "{first:?}");

    disk.set_capacity(disk.used() + RESERVE / 2);
    wait_for_room(&master, |room| matches!(room, Room::Short { .. })).await;

    let refused = caller.change(2, create("/b")).await;
    let why = refused.unwrap_err().to_string();
    for part in ["out of space", master.address(), "/m", "64 MiB in reserve"] {
        assert!(why.contains(part), "no {part} in {why}");
    }
    let granted = caller.rpc.grant(context::current(), three_chunks()).await;
    let granted = granted.unwrap();
    assert!(
        matches!(granted, Err(RpcError::OutOfSpace(_))),
        "{granted:?}"
    );
    assert_eq!(caller.change(1, create("/a")).await, first);
    let other = Caller::of(&master).await;
    let removal = Change::Remove {
        at: at("/a"),
        what: Removal::File,
        skip_trash: true,
    };
    let removed = other.change(1, removal).await;
    assert!(removed.is_ok(), "{removed:?}");
    let closed = other.change(2, Change::CloseSession).await;
    assert!(closed.is_ok(), "{closed:?}");

    disk.set_capacity(disk.used() + 2 * RESERVE);
    wait_for_room(&master, |room| room == Room::Enough).await;
    // What was refused is not remembered.
    let again = caller.change(2, create("/b")).await;
    assert!(again.is_ok(), "{again:?}");
}
