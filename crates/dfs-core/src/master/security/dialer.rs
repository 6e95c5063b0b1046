//! The way to other masters, and who was met there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dfs_raft::Dial;
use futures::future::BoxFuture;
use tokio::sync::SetOnce;

use super::admission::is_revoked;
use crate::env::{BoxStream, Network};
use crate::master::shared::Shared;
use crate::proto::hello::{self, HELLO_TIMEOUT, Hello, Service};
use crate::security::{NodeIdentity, Peer};
use crate::types::NodeKey;

/// Connects masters with masters. One that was revoked is not talked to, as far as this master
/// knows.
#[derive(Clone)]
pub(in crate::master) struct RaftDialer {
    network: Arc<dyn Network>,
    /// Whose it is: set when it begins to run, which takes a dialer.
    master: Arc<SetOnce<Weak<Shared>>>,
}

impl RaftDialer {
    pub(in crate::master) fn new(network: Arc<dyn Network>) -> RaftDialer {
        RaftDialer {
            network,
            master: Arc::default(),
        }
    }

    /// Whose it is. It waits until then.
    pub(in crate::master) fn is_of(&self, master: &Arc<Shared>) {
        // Nobody sets it twice.
        let _ = self.master.set(Arc::downgrade(master));
    }

    async fn master(&self) -> io::Result<Arc<Shared>> {
        let master = self.master.wait().await.upgrade();
        master.ok_or_else(|| io::Error::other("this master has stopped"))
    }
}

impl Dial for RaftDialer {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (dialer, address) = (self.clone(), address.to_owned());
        Box::pin(async move {
            let cluster = dialer.master().await?.cluster();
            let hello = Hello::new(Service::Raft, cluster);
            let called = hello::call(&*dialer.network, &address, hello, HELLO_TIMEOUT).await;
            let (stream, _) = called?;
            let peer = stream.identity().and_then(|text| text.parse::<Peer>().ok());
            if let Some(NodeIdentity { node, .. }) = peer.and_then(|peer| peer.node) {
                let master = dialer.master().await?;
                if is_revoked(&master, node).await {
                    let what = format!("node {node}, which listens at {address}, was revoked");
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, what));
                }
                master.met.at(&address, node);
            }
            Ok(stream)
        })
    }
}

/// Which master was where when it was last met.
#[derive(Default)]
pub(in crate::master) struct Met(Mutex<BTreeMap<String, NodeKey>>);

impl Met {
    /// A master is there.
    pub(in crate::master) fn at(&self, address: &str, node: NodeKey) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.insert(address.to_owned(), node);
    }

    /// The master that was there.
    pub(in crate::master) fn node_at(&self, address: &str) -> Option<NodeKey> {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.get(address).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::Env;
    use crate::master::Master;
    use crate::master::tests::{elected, start_in};
    use crate::meta::{Command, Reply};
    use crate::node::{Papers, Security};
    use crate::proto::hello::HelloReply;
    use crate::types::node::MemberChange;
    use crate::types::{Caller, Change, NodeRole, RequestId};

    async fn revoke(master: &Master, node: NodeKey) {
        let caller = Caller::System;
        let opened = master.shared.propose(Command::OpenSession { caller });
        let Reply::Session(session) = opened.await.unwrap().value else {
            panic!("no session");
        };
        let revoked = master.shared.propose(Command::Client {
            caller,
            request: RequestId {
                client: session.unwrap(),
                sequence: 1,
                answered_below: 1,
            },
            change: Change::Member(MemberChange::RevokeNode { node }),
        });
        let Reply::Client { outcome, .. } = revoked.await.unwrap().value else {
            panic!("no outcome");
        };
        outcome.unwrap();
    }

    #[tokio::test]
    async fn a_master_that_was_revoked_is_not_talked_to() {
        let directory = tempfile::tempdir().unwrap();
        let master = start_in(&directory, Env::real(), Security::Found).await;
        master.found().await.unwrap();
        elected(&master).await;
        let token = master.create_token(NodeRole::Master, 1, Duration::from_secs(60));
        let token = token.await.unwrap();
        let (node, kept) = (NodeKey(9), tempfile::tempdir().unwrap());
        let who = (Some(node), NodeRole::Master);
        let joined = Papers::join(&Env::real(), kept.path(), who, &token, (&[], None)).await;
        // It runs a program of its own, which lets everybody in.
        let network = joined.unwrap().env(&Env::real()).unwrap().network;
        let mut listener = network.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        tokio::spawn(async move {
            while let Ok(mut connection) = listener.accept().await {
                let cluster = hello::hear(&mut connection.stream).await.unwrap().cluster;
                let welcome = HelloReply::Welcome { cluster };
                hello::answer(&mut connection.stream, &welcome)
                    .await
                    .unwrap();
            }
        });
        let dialer = RaftDialer::new(Arc::clone(&master.shared.env.network));
        dialer.is_of(&master.shared);
        dialer.dial(&address).await.unwrap();
        assert_eq!(master.shared.met.node_at(&address), Some(node));
        revoke(&master, node).await;
        let refused = dialer.dial(&address).await.err().unwrap();
        assert!(refused.to_string().contains("was revoked"), "{refused}");
    }
}
