//! Strangers at every door of a secured cluster, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::{Cluster, ClusterBuilder, Part};
use crate::client::{Access, Client, ClientConfig, NewUser, TokenRequest};
use crate::env::{BoxStream, Env};
use crate::error::ErrorKind;
use crate::node::{JoinError, Papers};
use crate::proto::chunk_stream::{ChunkPool, PoolConfig, StreamErrorKind};
use crate::proto::cluster::{ClusterRpcClient, Registration};
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::NodeAddress;
use crate::proto::transport::messages;
use crate::security::{ApiKey, Credentials, JoinToken, KeyPair, Password, TlsNetwork, Trust};
use crate::types::account::{AccountName, UserChange};
use crate::types::change::{Commit, CommitTarget, NewAttr, Piece, WriteOffset};
use crate::types::query::LayoutSource;
use crate::types::{
    ByteRange, Change, ChunkId, DfsPath, InodeId, Mode, NewChunk, NodeKey, NodeRole, Permit,
    RefusalKind, Space, Topology,
};

mod clocks;
mod gossip;
mod nodes;
mod renewal;
mod rotation;
mod standing;
mod storm;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
const MASTER: Part = Part::Master(0);

/// Waits until something comes true.
async fn eventually<F: Future<Output = bool>>(mut is_true: impl FnMut() -> F) {
    let wait = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) admin: Client,
    _directory: TempDir,
}

impl World {
    pub(super) async fn new() -> World {
        World::with_data_nodes(1).await
    }

    pub(super) async fn with_data_nodes(count: usize) -> World {
        World::of(Cluster::builder().masters(1).data_nodes(count)).await
    }

    async fn of(builder: ClusterBuilder) -> World {
        let directory = tempfile::tempdir().unwrap();
        let cluster = builder.start(&directory).await.unwrap();
        let admin = cluster.client().await.unwrap();
        World {
            cluster,
            admin,
            _directory: directory,
        }
    }

    pub(super) fn access(&self) -> Access {
        self.cluster.client_config().access.unwrap()
    }

    /// The world of somebody who has a key, and believes the cluster's authority.
    pub(super) fn stranger(&self) -> Env {
        let env = Env::real();
        let key = KeyPair::generate(&*env.random).unwrap();
        self.with_key(&key)
    }

    pub(super) fn with_key(&self, key: &KeyPair) -> Env {
        let env = Env::real();
        let shown = Arc::new(Credentials::of_key(key, &env).unwrap());
        let trust = Trust::Fingerprint(self.access().authority());
        let network = TlsNetwork::new(&env, &shown, &trust).unwrap();
        Env {
            network: Arc::new(network),
            ..env
        }
    }

    /// A client of a new user.
    pub(super) async fn user(&self, name: &str) -> Client {
        self.client_of(NewUser::named(name.parse().unwrap())).await
    }

    pub(super) async fn client_of(&self, user: NewUser) -> Client {
        let name = user.name.clone();
        let user = self.admin.add_user(user).await.unwrap();
        let (_, key) = self.admin.add_key(user, "of a test").await.unwrap();
        let access = Access::with_key(self.access().authority(), name, key);
        let config = ClientConfig {
            access: Some(access),
            ..ClientConfig::new(self.cluster.addresses())
        };
        Client::connect(config, Env::real()).await.unwrap()
    }

    fn request(&self, role: NodeRole) -> TokenRequest {
        TokenRequest {
            role,
            node: None,
            uses: 1,
            ttl: Duration::from_secs(60),
            label: String::new(),
        }
    }

    pub(super) async fn token(&self, role: NodeRole) -> JoinToken {
        let created = self.admin.create_token(self.request(role)).await;
        created.unwrap().1
    }

    /// The papers of a new node of a role, which does not run.
    pub(super) async fn papers(&self, node: u128, role: NodeRole) -> (Papers, TempDir) {
        let token = self.token(role).await;
        let directory = tempfile::tempdir().unwrap();
        let who = (Some(NodeKey(node)), role);
        let joined = Papers::join(&Env::real(), directory.path(), who, &token, (&[], None)).await;
        (joined.unwrap(), directory)
    }

    pub(super) async fn call(&self, env: &Env, service: Service) -> std::io::Result<BoxStream> {
        let address = &self.cluster.addresses()[0];
        let hello = Hello::new(service, None);
        let called = hello::call(&*env.network, address, hello, SECOND).await;
        called.map(|(stream, _)| stream)
    }

    /// The first chunk of a file, where it is, and what lets the administrator read it.
    pub(super) async fn chunk_of(&self, path: &str) -> (ChunkId, u64, NodeAddress, Permit) {
        let all = ByteRange::new(0, u64::MAX);
        let layout = self.admin.layout(path, all).await.unwrap();
        let Some(LayoutSource::Chunk {
            chunk,
            length,
            replicas,
            ..
        }) = layout.extents.first().map(|extent| &extent.source)
        else {
            panic!("{path} has no chunk");
        };
        let nodes = self.admin.nodes().await.unwrap();
        let node = nodes.iter().find(|info| info.node == replicas[0]).unwrap();
        (*chunk, *length, node.target(), layout.permit)
    }
}

#[tokio::test]
async fn who_cannot_log_in_gets_nothing() {
    let world = World::new().await;
    let masters = world.cluster.addresses();
    let connect = |access| {
        let mut config = ClientConfig {
            access,
            ..ClientConfig::new(masters.clone())
        };
        config.deadlines.operation = SECOND;
        async move { Client::connect(config, Env::real()).await.unwrap_err() }
    };
    let plain = connect(None).await;
    assert!(
        matches!(plain.kind(), ErrorKind::Unavailable { .. }),
        "{plain}"
    );
    let access = world.access();
    let key = ApiKey::generate(&*Env::real().random);
    let wrong = Access::with_key(access.authority(), access.user().clone(), key.clone());
    assert_eq!(connect(Some(wrong)).await.kind(), ErrorKind::Denied);
    let other = crate::security::Fingerprint([7; 32]);
    let other = Access::with_key(other, access.user().clone(), key);
    let stranger = connect(Some(other)).await;
    assert!(
        matches!(stranger.kind(), ErrorKind::Unavailable { .. }),
        "{stranger}"
    );
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn each_service_is_for_those_it_is_meant_for() {
    let world = World::new().await;
    let (data_node, _kept) = world.papers(9, NodeRole::DataNode).await;
    let (master, _kept) = world.papers(10, NodeRole::Master).await;
    let stranger = world.stranger();
    let data_node = data_node.env(&Env::real()).unwrap();
    let master = master.env(&Env::real()).unwrap();
    for (env, service, is_welcome) in [
        (&stranger, Service::Raft, false),
        (&stranger, Service::Cluster, false),
        (&stranger, Service::Metadata, false),
        (&stranger, Service::ChunkStream, false),
        (&stranger, Service::Enrol, true),
        (&stranger, Service::Login, true),
        (&data_node, Service::Raft, false),
        (&data_node, Service::Cluster, true),
        (&data_node, Service::Metadata, false),
        (&data_node, Service::Peers, false),
        (&master, Service::Raft, true),
        (&master, Service::Cluster, false),
        (&master, Service::Metadata, false),
    ] {
        let called = world.call(env, service).await;
        assert_eq!(
            called.is_ok(),
            is_welcome,
            "{service:?}: {:?}",
            called.err()
        );
    }
    // Two of them have papers that are not for clients, one has no ticket.
    assert_eq!(world.outcomes(MASTER, "metadata"), ["refused"; 3]);
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_data_node_speaks_for_itself_alone() {
    let world = World::new().await;
    let (papers, _kept) = world.papers(9, NodeRole::DataNode).await;
    let env = papers.env(&Env::real()).unwrap();
    let stream = world.call(&env, Service::Cluster).await.unwrap();
    let client = ClusterRpcClient::new(Default::default(), messages(stream)).spawn();
    let register = |key| {
        let registration = Registration {
            key: NodeKey(key),
            node: None,
            address: "127.0.0.1:1".to_owned(),
            topology: Topology::default(),
            space: Space {
                total: 1 << 40,
                used: 0,
                available: 1 << 40,
            },
        };
        client.register(tarpc::context::current(), registration)
    };
    let refused = register(8).await.unwrap().unwrap_err();
    let RpcError::Refused { refusal, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(refusal.kind, RefusalKind::AccessDenied);
    assert!(register(9).await.unwrap().is_ok());
    // Nor does it say anything in the name of the one that runs.
    let other = world.admin.nodes().await.unwrap()[0].clone();
    let said = client.finished(
        tarpc::context::current(),
        other.node,
        other.epoch,
        Vec::new(),
    );
    assert!(matches!(said.await.unwrap(), Err(RpcError::Refused { .. })));
    assert_eq!(world.outcomes(MASTER, "speak-for"), ["refused"; 2]);
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_permit_is_of_no_use_to_others_elsewhere_or_for_anything_else() {
    let world = World::new().await;
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    world.admin.write("/b", vec![8; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    let (other, _, _, permit_of_other) = world.chunk_of("/b").await;
    let all = ByteRange::new(0, length);
    let cluster = world.admin.cluster();
    let own = world.admin.pool();
    let thief = ChunkPool::new(world.stranger(), cluster, PoolConfig::default());
    let mut forged = permit.0.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = Permit(forged.into());
    let none = Permit::default();
    for (pool, chunk, permit) in [
        (&thief, chunk, &permit),
        (own, other, &permit),
        (own, chunk, &permit_of_other),
        (own, chunk, &forged),
        (own, chunk, &none),
        (&thief, chunk, &none),
    ] {
        let refused = pool.read(&target, (chunk, permit), all).await;
        let kind = refused.err().map(|error| error.kind);
        assert_eq!(kind, Some(StreamErrorKind::Denied), "{chunk} {permit:?}");
    }
    // A permit to read is none to write.
    let mut writer = own
        .write(std::slice::from_ref(&target), (chunk, &permit), 10)
        .await
        .unwrap();
    let sent = writer.send("bytes".into()).await;
    let ended = match sent {
        Ok(()) => writer.finish().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(ended.err().map(|e| e.kind), Some(StreamErrorKind::Denied));
    let mut reader = own.read(&target, (chunk, &permit), all).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_number_of_an_inode_opens_nothing() {
    let world = World::new().await;
    let admin = &world.admin;
    admin.write("/a", "of the administrator").await.unwrap();
    let attr = admin.metadata("/a").await.unwrap();
    assert_eq!(admin.read(&attr).await.unwrap(), "of the administrator");
    // Not to the administrator either, unless it was led there.
    let by_number = admin.read(attr.inode).await.unwrap_err();
    assert_eq!(by_number.kind(), ErrorKind::NotFound);
    let missing = admin.read(InodeId(u64::MAX)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let reads = world.outcomes(MASTER, "read");
    assert_eq!(reads.last().unwrap(), "refused", "{reads:?}");
    // A handle is of one inode,
    let mut other = admin.create_file("/b", true).await.unwrap();
    other.handle = attr.handle;
    let wrong = admin.read(&other).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::NotFound);
    // and of one user.
    let alice = world.user("alice").await;
    let stolen = alice.read(&attr).await.unwrap_err();
    assert_eq!(stolen.kind(), ErrorKind::NotFound);
    let led = alice.metadata("/a").await.unwrap();
    assert!(led.handle != attr.handle);
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_is_shut_out_or_may_only_read_gets_no_grant() {
    let world = World::new().await;
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let bytes = vec![7; 100_000];
    world.admin.create_dir_all("/all").await.unwrap();
    let all = Mode::new(0o777);
    world.admin.set_permissions("/all", all).await.unwrap();
    alice.write("/all/a", bytes.clone()).await.unwrap();
    let id = |client: &Client| {
        let client = client.clone();
        async move { client.whoami().await.unwrap().id }
    };
    let read_only = UserChange {
        read_only: Some(true),
        ..UserChange::default()
    };
    world
        .admin
        .set_user(id(&alice).await, read_only)
        .await
        .unwrap();
    let refused = alice.write("/all/b", bytes.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert_eq!(alice.read("/all/a").await.unwrap(), bytes);
    let disabled = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    world
        .admin
        .set_user(id(&bob).await, disabled)
        .await
        .unwrap();
    for refused in [
        bob.status().await.map(|_| ()),
        bob.nodes().await.map(|_| ()),
        bob.write("/all/c", bytes).await.map(|_| ()),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_chunk_is_committed_by_whom_it_was_granted_to() {
    let world = World::new().await;
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    let commit = |permit: Permit| {
        Change::Commit(Commit {
            target: CommitTarget::New {
                at: "/stolen".parse::<DfsPath>().unwrap().into(),
                attr: NewAttr::of_mode(Mode::FILE),
                replace: false,
            },
            offset: WriteOffset::At(0),
            pieces: vec![Piece::Chunk {
                chunk,
                offset: 0,
                length,
            }],
            chunks: vec![NewChunk {
                chunk,
                length,
                checksum: 0,
                replicas: vec![target.node],
                permit,
            }],
            revision: None,
            stripes: Vec::new(),
        })
    };
    // Without a permit, and with one to read.
    for permit in [Permit::default(), permit] {
        let refused = world.admin.submit(commit(permit)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
        assert!(refused.to_string().contains("not granted"), "{refused}");
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_revoked_is_cut_off_and_does_not_come_back() {
    let world = World::new().await;
    let node = world.admin.nodes().await.unwrap()[0].clone();
    world.admin.revoke_node(node.key).await.unwrap();
    let gone = async {
        loop {
            let nodes = world.admin.nodes().await.unwrap();
            if nodes[0].liveness != crate::client::Liveness::Live {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let cut_off = async || world.outcomes(MASTER, "stay") == ["refused"];
    eventually(cut_off).await;
    let down = world.cluster.faults().crash(Part::DataNode(0)).await;
    down.restart().await.unwrap();
    tokio::time::sleep(SECOND).await;
    let nodes = world.admin.nodes().await.unwrap();
    assert!(
        nodes[0].liveness != crate::client::Liveness::Live,
        "{nodes:?}"
    );
    world
        .cluster
        .faults()
        .crash(Part::DataNode(0))
        .await
        .forget();
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_cluster_joins_nothing() {
    let (ours, theirs) = (World::new().await, World::new().await);
    let request = TokenRequest {
        role: NodeRole::DataNode,
        node: None,
        uses: 1,
        ttl: Duration::from_secs(60),
        label: String::new(),
    };
    let (_, mut token) = ours.admin.create_token(request).await.unwrap();
    token.addresses = theirs.cluster.addresses();
    let directory = tempfile::tempdir().unwrap();
    let who = (None, NodeRole::DataNode);
    let joined = Papers::join(&Env::real(), directory.path(), who, &token, (&[], None)).await;
    assert!(
        matches!(joined, Err(JoinError::Unavailable(_))),
        "{joined:?}"
    );
    // It hung up on masters that it does not believe.
    eventually(async || !theirs.outcomes(MASTER, "connect").is_empty()).await;
    ours.cluster.shutdown().await.unwrap();
    theirs.cluster.shutdown().await.unwrap();
}
