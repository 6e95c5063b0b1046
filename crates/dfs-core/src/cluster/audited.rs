//! What of all this is in the audit logs.
#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::Part;
use super::security::World;
use crate::client::{Access, Client, ClientConfig, NewUser, TokenRequest};
use crate::env::{Env, OpenMode};
use crate::error::ErrorKind;
use crate::node::Papers;
use crate::node::audit;
use crate::proto::chunk_stream::{ChunkPool, PoolConfig};
use crate::proto::hello::{self, Hello, Service};
use crate::security::{
    ApiKey, Authority, Credentials, JoinToken, KeyPair, NODE_CERTIFICATE_TTL, NodeIdentity,
    TlsNetwork, Trust,
};
use crate::types::account::UserChange;
use crate::types::{ByteRange, DfsPath, Mode, NodeKey, NodeRole};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
const MASTER: Part = Part::Master(0);
const DATA_NODE: Part = Part::DataNode(0);

impl World {
    /// The lines in the audit log of a part.
    pub(super) fn lines(&self, part: Part) -> Vec<Value> {
        let disk = Env::real().disk;
        let directory = self.cluster.directory_of(part).join(audit::DIRECTORY);
        let mut text = Vec::new();
        // There is none before the first line.
        for entry in disk.list(&directory).unwrap_or_default() {
            let file = disk
                .open(&directory.join(&entry.name), OpenMode::Read)
                .unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            text.extend(bytes);
        }
        let text = String::from_utf8(text).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The one line of an operation about this path or subject, as who asked and how it ended.
    fn line(&self, part: Part, operation: &str, about: &str) -> (String, String) {
        let lines = self.lines(part);
        let is_it = |line: &&Value| {
            line["operation"] == operation && (line["path"] == about || line["subject"] == about)
        };
        let found: Vec<&Value> = lines.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{operation} {about} in {lines:#?}");
        let text = |field: &str| found[0][field].as_str().unwrap_or_default().to_owned();
        assert!(text("source").starts_with("127.0.0.1:"), "{:?}", found[0]);
        (text("who"), text("outcome"))
    }

    /// How those lines ended that say so of an operation.
    pub(super) fn outcomes(&self, part: Part, operation: &str) -> Vec<String> {
        let lines = self.lines(part).into_iter();
        let of_it = lines.filter(|line| line["operation"] == operation);
        of_it
            .map(|line| line["outcome"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn ended(who: &str, outcome: &str) -> (String, String) {
    (who.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn who_changed_what_and_who_read_what_is_in_the_audit_log() {
    let world = World::new().await;
    let (admin, alice) = (&world.admin, world.user("alice").await);
    admin.create_dir_all("/all").await.unwrap();
    admin
        .set_permissions("/all", Mode::new(0o777))
        .await
        .unwrap();
    alice.write("/all/a", "a secret text").await.unwrap();
    let written = alice.last_change().unwrap();
    alice.rename("/all/a", "/all/b").await.unwrap();
    assert!(alice.last_change() > Some(written));
    alice.read("/all/b").await.unwrap();
    alice.remove_file("/all/b").await.unwrap();
    let who = format!("{} alice", alice.whoami().await.unwrap().id);
    for (operation, path) in [
        ("write", "/all/a"),
        ("rename", "/all/a"),
        ("read", "/all/b"),
        ("unlink", "/all/b"),
    ] {
        let line = world.line(MASTER, operation, path);
        assert_eq!(line, ended(&who, "done"), "{operation} {path}");
    }
    assert_eq!(world.line(MASTER, "mkdir", "/all").1, "done");
    assert_eq!(world.line(MASTER, "user-add", "alice").1, "done");
    assert_eq!(world.outcomes(MASTER, "user-key-add"), ["done", "done"]);
    assert!(
        world
            .outcomes(MASTER, "login")
            .iter()
            .all(|end| end == "done")
    );
    let all = world.lines(MASTER);
    let line = |name: &str| all.iter().find(|line| line["operation"] == name).unwrap();
    assert_eq!(line("write")["rev"], written.to_string());
    let rename = line("rename");
    assert_eq!(rename["to"], "/all/b");
    assert!(
        rename["rev"].is_string() && rename["request"].is_string(),
        "{rename}"
    );
    assert!(!format!("{all:?}").contains("a secret text"));
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_user_was_refused_is_in_the_audit_log() {
    let world = World::new().await;
    let (admin, alice) = (&world.admin, world.user("alice").await);
    let id = alice.whoami().await.unwrap().id;
    admin
        .write("/private", "of the administrator")
        .await
        .unwrap();
    admin
        .set_permissions("/private", Mode::new(0o600))
        .await
        .unwrap();
    admin.create_dir_all("/closed/a").await.unwrap();
    admin
        .set_permissions("/closed", Mode::new(0o700))
        .await
        .unwrap();
    for refused in [
        alice.read("/private").await.map(|_| ()),
        alice.metadata("/closed/a").await.map(|_| ()),
        alice.write("/b", "not hers").await.map(|_| ()),
        alice.remove_master(77).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    }
    let bob = world.user("bob").await;
    let disabled = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    let of_bob = bob.whoami().await.unwrap().id;
    admin.set_user(of_bob, disabled.clone()).await.unwrap();
    bob.create_dir_all("/first").await.unwrap_err();
    assert_eq!(world.outcomes(MASTER, "open-session"), ["refused"]);
    admin.set_user(id, disabled).await.unwrap();
    assert_eq!(alice.status().await.unwrap_err().kind(), ErrorKind::Denied);
    let who = format!("{id} alice");
    for (operation, about) in [("read", "/private"), ("stat", "/closed/a"), ("write", "/b")] {
        let line = world.line(MASTER, operation, about);
        assert_eq!(line, ended(&who, "refused"), "{operation} {about}");
    }
    for method in ["MetadataRpc.remove_master", "MetadataRpc.status"] {
        let outcomes = world.outcomes(MASTER, method);
        assert!(
            outcomes.contains(&"refused".to_owned()),
            "{method}: {outcomes:?}"
        );
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_confined_user_does_not_see_is_in_the_audit_log_and_what_nobody_has_is_not() {
    let world = World::new().await;
    world.admin.create_dir_all("/home").await.unwrap();
    world.admin.write("/outside", "of others").await.unwrap();
    let home: DfsPath = "/home".parse().unwrap();
    let confined = NewUser {
        root: Some(home.into()),
        ..NewUser::named("service".parse().unwrap())
    };
    let (service, alice) = (world.client_of(confined).await, world.user("alice").await);
    let who = format!("{} service", service.whoami().await.unwrap().id);
    for (user, path) in [(&service, "/outside"), (&alice, "/missing")] {
        let missing = user.metadata(path).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{path}");
    }
    let stats = world.lines(MASTER).into_iter();
    let stats: Vec<Value> = stats.filter(|line| line["operation"] == "stat").collect();
    assert_eq!(stats.len(), 1, "{stats:#?}");
    assert_eq!(
        (&stats[0]["who"], &stats[0]["outcome"]),
        (&who.into(), &"refused".into())
    );
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_was_not_let_in_is_in_the_audit_log() {
    let world = World::new().await;
    let access = world.access();
    let (stranger, authority) = (world.stranger(), access.authority());

    let key = ApiKey::generate(&*stranger.random);
    let wrong = Access::with_key(authority, access.user().clone(), key);
    let config = ClientConfig {
        access: Some(wrong),
        ..ClientConfig::new(world.cluster.addresses())
    };
    Client::connect(config, Env::real()).await.unwrap_err();
    let logins = world.outcomes(MASTER, "login");
    assert_eq!(logins.last().unwrap(), "refused", "{logins:?}");

    for service in [Service::Raft, Service::Cluster] {
        world.call(&stranger, service).await.err().unwrap();
        assert_eq!(world.outcomes(MASTER, service.name()), ["refused"]);
    }

    let forged = JoinToken::generate(world.cluster.addresses(), authority, &*stranger.random);
    let directory = tempfile::tempdir().unwrap();
    let who = (Some(NodeKey(9)), NodeRole::DataNode);
    let joined = Papers::join(&Env::real(), directory.path(), who, &forged, (&[], None)).await;
    joined.unwrap_err();
    let node = NodeKey(9).to_string();
    assert_eq!(world.line(MASTER, "enrol", &node).1, "refused");

    // Tokens that were good, and are no more.
    let request = |ttl| TokenRequest {
        role: NodeRole::DataNode,
        node: None,
        uses: 1,
        ttl,
        label: String::new(),
    };
    let (revoked, voided) = world
        .admin
        .create_token(request(60 * SECOND))
        .await
        .unwrap();
    world.admin.revoke_token(revoked).await.unwrap();
    let short = Duration::from_millis(1);
    let (_, expired) = world.admin.create_token(request(short)).await.unwrap();
    tokio::time::sleep(2 * short).await;
    for (node, token) in [(NodeKey(10), voided), (NodeKey(11), expired)] {
        let directory = tempfile::tempdir().unwrap();
        let who = (Some(node), NodeRole::DataNode);
        let joined = Papers::join(&Env::real(), directory.path(), who, &token, (&[], None)).await;
        joined.unwrap_err();
        let (_, outcome) = world.line(MASTER, "enrol", &node.to_string());
        assert_eq!(outcome, "refused", "{node}");
    }

    let address = &world.cluster.addresses()[0];
    let mut garbage = Env::real().network.connect(address).await.unwrap();
    garbage.write_all(&[0xff; 64]).await.unwrap();
    let written = async {
        while world.outcomes(MASTER, "connect").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_good_lets_nobody_in_and_is_in_the_audit_log() {
    let world = World::new().await;
    let (env, ours) = (Env::real(), world.access().authority());
    let identity = NodeIdentity {
        cluster: world.admin.cluster(),
        role: NodeRole::Master,
        node: NodeKey(9),
    };
    // Another authority says that this is a master of the cluster.
    let now = env.clock.now();
    let other = Authority::found(identity.cluster, &*env.random, now).unwrap();
    let key = KeyPair::generate(&*env.random).unwrap();
    let good_for = (now, NODE_CERTIFICATE_TTL);
    let certificate = other.issue(&identity, &key.public(), good_for, &*env.random);
    let shown = Credentials::of_node(&key, certificate.unwrap(), other.certificate().clone());
    let (shown, trust) = (Arc::new(shown.unwrap()), Trust::Fingerprint(ours));
    let network = TlsNetwork::new(&env, &shown, &trust).unwrap();
    let forged = Env {
        network: Arc::new(network),
        ..env
    };
    for part in [MASTER, DATA_NODE] {
        let address = match part {
            DATA_NODE => world.admin.nodes().await.unwrap()[0].address.clone(),
            _ => world.cluster.addresses()[0].clone(),
        };
        let hello = Hello::new(Service::Raft, None);
        let called = hello::call(&*forged.network, &address, hello, SECOND).await;
        called.err().unwrap();
        // The other end hears of it before it is written.
        let written = async {
            while world.outcomes(part, "connect").is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.unwrap();
        let lines = world.lines(part);
        let line = lines.iter().find(|line| line["operation"] == "connect");
        let why = line.unwrap()["why"].as_str().unwrap();
        assert!(why.contains("invalid peer certificate"), "{part}: {why}");
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_is_in_the_audit_log_of_whom_it_came_to() {
    let world = World::new().await;
    let nodes = world.admin.nodes().await.unwrap();
    let addresses = [&world.cluster.addresses()[0], &nodes[0].address];
    let network = Env::real().network;
    let mut silent = Vec::new();
    for address in addresses {
        silent.push(network.connect(address).await.unwrap());
    }
    let written = async |part| {
        while world.outcomes(part, "silence").is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for part in [MASTER, DATA_NODE] {
        tokio::time::timeout(PATIENCE, written(part)).await.unwrap();
        let lines = world.lines(part);
        let line = lines.iter().find(|line| line["operation"] == "silence");
        let why = line.unwrap()["why"].as_str().unwrap();
        assert!(why.contains("said nothing"), "{part}: {why}");
    }
    world.cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_permit_that_is_not_good_is_in_the_audit_log_of_the_data_node() {
    let world = World::new().await;
    world.admin.write("/a", vec![7; 100_000]).await.unwrap();
    let (chunk, length, target, permit) = world.chunk_of("/a").await;
    let thief = ChunkPool::new(
        world.stranger(),
        world.admin.cluster(),
        PoolConfig::default(),
    );
    let all = ByteRange::new(0, length);
    thief
        .read(&target, (chunk, &permit), all)
        .await
        .err()
        .unwrap();
    let (who, outcome) = world.line(DATA_NODE, "read", &chunk.to_string());
    assert!(who.starts_with("key:"), "{who}");
    assert_eq!(outcome, "refused");
    world.cluster.shutdown().await.unwrap();
}
