//! Who is let in, and who is not.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::env::{SeededRandom, Timestamp};
use crate::security::{Authority, NODE_CERTIFICATE_TTL, NodeIdentity, Peer};
use crate::types::{ClusterId, NodeKey, NodeRole};

/// Midnight of a day, in microseconds.
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Wall(Mutex<Timestamp>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A clock, and a cluster's authority.
struct World {
    wall: Arc<Wall>,
    env: Env,
    authority: Authority,
}

impl World {
    fn new(seed: u64) -> World {
        let wall = Arc::new(Wall(Mutex::new(NOW)));
        let env = Env {
            clock: wall.clone(),
            random: Arc::new(SeededRandom::new(seed)),
            ..Env::real()
        };
        let cluster = ClusterId(u128::from(seed));
        let authority = Authority::found(cluster, &*env.random, NOW).unwrap();
        World {
            wall,
            env,
            authority,
        }
    }

    fn key(&self) -> KeyPair {
        KeyPair::generate(&*self.env.random).unwrap()
    }

    fn identity(&self, role: NodeRole) -> NodeIdentity {
        NodeIdentity {
            cluster: ClusterId(1),
            role,
            node: NodeKey(7),
        }
    }

    fn trust(&self) -> Trust {
        Trust::Authorities(vec![self.authority.certificate().clone()])
    }

    /// A node of the cluster, its certificate of this authority.
    fn node_of(&self, authority: &Authority, role: NodeRole) -> TlsNetwork {
        let key = self.key();
        let now = (self.wall.now(), NODE_CERTIFICATE_TTL);
        let identity = self.identity(role);
        let certificate = authority.issue(&identity, &key.public(), now, &*self.env.random);
        let root = authority.certificate().clone();
        let shown = Credentials::of_node(&key, certificate.unwrap(), root).unwrap();
        TlsNetwork::new(&self.env, &Arc::new(shown), &self.trust()).unwrap()
    }

    fn node(&self, role: NodeRole) -> TlsNetwork {
        self.node_of(&self.authority, role)
    }

    /// Whoever has a key.
    fn client(&self, key: &KeyPair, trust: &Trust) -> TlsNetwork {
        let shown = Credentials::of_key(key, &self.env).unwrap();
        TlsNetwork::new(&self.env, &Arc::new(shown), trust).unwrap()
    }

    fn after(&self, time: Duration) {
        let mut now = self.wall.0.lock().unwrap();
        *now = now.saturating_add(time);
    }
}

/// Connects, sends a word there and back; gives whom each end has found at the other.
async fn meet(
    server: &TlsNetwork,
    client: &TlsNetwork,
) -> Result<(Option<Peer>, Option<Peer>), (String, String)> {
    let mut listener = server.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    let serve = tokio::spawn(async move {
        let mut stream = listener.accept().await?.stream;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await?;
        Ok::<_, io::Error>(stream.identity())
    });
    let call = async {
        let mut stream = client.connect(&address).await?;
        stream.write_all(b"word").await?;
        stream.flush().await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        Ok::<_, io::Error>(stream.identity())
    };
    let called = tokio::time::timeout(Duration::from_secs(10), call).await;
    let (called, served) = (called.unwrap(), serve.await.unwrap());
    let peer = |identity: Option<Arc<str>>| identity.map(|text| text.parse().unwrap());
    match (served, called) {
        (Ok(served), Ok(called)) => Ok((peer(served), peer(called))),
        (served, called) => {
            let text =
                |result: io::Result<_>| result.err().map_or(String::new(), |e| e.to_string());
            Err((text(served), text(called)))
        }
    }
}

#[tokio::test]
async fn nodes_find_each_other() {
    let world = World::new(1);
    let (master, data) = (world.node(NodeRole::Master), world.node(NodeRole::DataNode));
    let found = meet(&master, &data).await.unwrap();
    let node = |peer: Option<Peer>| peer.unwrap().node.unwrap();
    assert_eq!(node(found.0), world.identity(NodeRole::DataNode));
    assert_eq!(node(found.1), world.identity(NodeRole::Master));
}

#[tokio::test]
async fn who_has_a_key_is_known_by_it() {
    let world = World::new(1);
    let key = world.key();
    let client = world.client(&key, &world.trust());
    let (found, _) = meet(&world.node(NodeRole::Master), &client).await.unwrap();
    let key = key.public();
    assert_eq!(found, Some(Peer { key, node: None }));
}

#[tokio::test]
async fn who_listens_must_be_a_node() {
    let world = World::new(1);
    let impostor = world.client(&world.key(), &world.trust());
    let (_, called) = meet(&impostor, &world.node(NodeRole::DataNode))
        .await
        .unwrap_err();
    assert!(called.contains("invalid peer certificate"), "{called}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let (world, other) = (World::new(1), World::new(2));
    let stranger = world.node_of(&other.authority, NodeRole::Master);
    let (served, _) = meet(&world.node(NodeRole::Master), &stranger)
        .await
        .unwrap_err();
    assert!(served.contains("UnknownIssuer"), "{served}");
    let (_, called) = meet(&stranger, &world.node(NodeRole::Master))
        .await
        .unwrap_err();
    assert!(called.contains("UnknownIssuer"), "{called}");
}

#[tokio::test]
async fn a_certificate_that_a_node_has_issued_is_refused() {
    let world = World::new(1);
    let key = world.key();
    let now = (NOW, NODE_CERTIFICATE_TTL);
    let identity = world.identity(NodeRole::DataNode);
    let random = &*world.env.random;
    let issued = world.authority.issue(&identity, &key.public(), now, random);
    // As if a data node's certificate were that of an authority.
    let fake = Authority::from_parts(ClusterId(1), key, issued.unwrap());
    let forged = world.node_of(&fake, NodeRole::Master);
    let (served, _) = meet(&world.node(NodeRole::Master), &forged)
        .await
        .unwrap_err();
    assert!(served.contains("invalid peer certificate"), "{served}");
}

#[tokio::test]
async fn a_certificate_is_good_for_its_time() {
    let world = World::new(1);
    let old = world.node(NodeRole::DataNode);
    world.after(NODE_CERTIFICATE_TTL - DAY);
    let master = world.node(NodeRole::Master);
    meet(&master, &old).await.unwrap();
    world.after(DAY + Duration::from_secs(1));
    let (served, _) = meet(&master, &old).await.unwrap_err();
    assert!(served.contains("expired"), "{served}");
}

#[tokio::test]
async fn a_certificate_is_renewed_while_it_is_used() {
    let world = World::new(1);
    let (key, identity) = (world.key(), world.identity(NodeRole::DataNode));
    let issue = || {
        let now = (world.wall.now(), NODE_CERTIFICATE_TTL);
        let issued = world
            .authority
            .issue(&identity, &key.public(), now, &*world.env.random);
        (issued.unwrap(), world.authority.certificate().clone())
    };
    let (certificate, root) = issue();
    let shown = Arc::new(Credentials::of_node(&key, certificate, root).unwrap());
    let node = TlsNetwork::new(&world.env, &shown, &world.trust()).unwrap();
    world.after(NODE_CERTIFICATE_TTL + DAY);
    let master = world.node(NodeRole::Master);
    assert!(meet(&master, &node).await.is_err());
    let (certificate, root) = issue();
    shown.renew(&key, certificate, root).unwrap();
    meet(&master, &node).await.unwrap();
    // A certificate of another's key is not shown.
    let (certificate, root) = issue();
    assert!(shown.renew(&world.key(), certificate, root).is_err());
    meet(&master, &node).await.unwrap();
}

#[tokio::test]
async fn a_fingerprint_is_enough_to_find_the_cluster_and_no_other() {
    let (world, other) = (World::new(1), World::new(2));
    let trust = Trust::Fingerprint(world.authority.certificate().fingerprint());
    let joining = world.client(&world.key(), &trust);
    meet(&world.node(NodeRole::Master), &joining).await.unwrap();
    let (_, called) = meet(&other.node(NodeRole::Master), &joining)
        .await
        .unwrap_err();
    assert!(called.contains("UnknownIssuer"), "{called}");
}

#[tokio::test]
async fn what_is_no_tls_is_refused_and_nobody_waits_for_it() {
    let world = World::new(1);
    let master = world.node(NodeRole::Master);
    let mut listener = master.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address();
    // One that says nothing, one that speaks something else.
    let _silent = world.env.network.connect(&address).await.unwrap();
    let mut stranger = world.env.network.connect(&address).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut silent = listener.accept().await.unwrap().stream;
    let mut strange = listener.accept().await.unwrap().stream;
    let mut byte = [0];
    let error = strange.read_exact(&mut byte).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let waiting = silent.read_exact(&mut byte);
    let waited = tokio::time::timeout(Duration::from_millis(50), waiting).await;
    assert!(
        waited.is_err(),
        "the handshake of one does not end another's"
    );
    assert_eq!(silent.identity(), None);
}
