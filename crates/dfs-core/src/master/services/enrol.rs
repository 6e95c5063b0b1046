//! Papers for nodes.

use std::sync::Arc;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tarpc::context::Context;

use crate::master::shared::{Shared, unexpected};
use crate::meta::query::{self, Secret};
use crate::meta::{Command, Reply};
use crate::proto::enrol::{EnrolRpc, IssuedPapers, JoinSecret};
use crate::proto::error::RpcError;
use crate::security::{
    Authority, Certificate, Fingerprint, KeyPair, NODE_CERTIFICATE_TTL, NodeIdentity, Peer,
    SecurityError,
};
use crate::types::node::TokenHash;
use crate::types::{NodeKey, NodeRole, Refusal, RefusalKind};

/// Serves [`EnrolRpc`] on one connection.
#[derive(Clone)]
pub(crate) struct EnrolService {
    shared: Arc<Shared>,
    /// Who is at the other end.
    peer: Peer,
}

impl EnrolService {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> EnrolService {
        EnrolService { shared, peer }
    }

    /// Refuses what is no token, so that nobody makes the log longer with guesses. One that was
    /// used up is known by the node that it has made.
    async fn require_known(
        &self,
        node: NodeKey,
        role: NodeRole,
        token: TokenHash,
    ) -> Result<(), RpcError> {
        let key = self.peer.key.0;
        let reading = self.shared.read(Consistency::Linearizable).await?;
        let look = move |view: &View| {
            let is_node = query::is_enrolled(view, (node, role, key))?;
            Ok(is_node || query::is_token_known(view, token)?)
        };
        match self.shared.look(reading, look).await? {
            true => Ok(()),
            false => {
                let what = "the join token is not good";
                Err(Refusal::new(RefusalKind::AccessDenied, what).into())
            }
        }
    }

    /// Papers for the key at the other end.
    async fn issue(&self, node: NodeKey, role: NodeRole) -> Result<IssuedPapers, RpcError> {
        let shared = &self.shared;
        let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
        let reading = shared.read(Consistency::Linearizable).await?;
        let key = self.peer.key.0;
        let look = move |view: &View| {
            let is_node = query::is_enrolled(view, (node, role, key))?;
            Ok((is_node, query::authority(view)?))
        };
        let (is_node, authority) = shared.look(reading, look).await?;
        if !is_node {
            return Err(
                Refusal::new(RefusalKind::AccessDenied, "not, or no longer, a node").into(),
            );
        }
        let Some(Secret { secret, public, .. }) = authority else {
            return Err(RpcError::Unavailable(
                "this cluster has no authority".to_owned(),
            ));
        };
        let key = KeyPair::from_secret(&secret.0).map_err(failed)?;
        let certificate = Certificate::from_der(public.clone());
        let authority = Authority::from_parts(cluster, key, certificate);
        let identity = NodeIdentity {
            cluster,
            role,
            node,
        };
        let env = &shared.env;
        let good = (env.clock.now(), NODE_CERTIFICATE_TTL);
        let issued = authority.issue(&identity, &self.peer.key, good, &*env.random);
        Ok(IssuedPapers {
            cluster,
            certificate: issued.map_err(failed)?.der().to_vec(),
            authority: public,
            masters: shared.masters(),
        })
    }
}

fn failed(error: SecurityError) -> RpcError {
    RpcError::Internal(format!("no certificate could be made: {error}"))
}

impl EnrolRpc for EnrolService {
    async fn enrol(
        self,
        _: Context,
        node: NodeKey,
        role: NodeRole,
        secret: JoinSecret,
    ) -> Result<IssuedPapers, RpcError> {
        self.shared.leading(|_| ())?;
        let token = TokenHash(Fingerprint::of(&secret.0).0);
        let key = self.peer.key.0;
        self.require_known(node, role, token).await?;
        let command = Command::Enrol {
            node,
            role,
            key,
            token,
        };
        match self.shared.propose(command).await?.value {
            Reply::Enrolled(enrolled) => enrolled?,
            other => return Err(unexpected(&other)),
        }
        self.issue(node, role).await
    }

    async fn renew(self, _: Context) -> Result<IssuedPapers, RpcError> {
        self.shared.leading(|_| ())?;
        match self.peer.node {
            Some(NodeIdentity { node, role, .. }) => self.issue(node, role).await,
            None => Err(Refusal::new(RefusalKind::AccessDenied, "only nodes renew").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::env::Env;
    use crate::master::Master;
    use crate::master::tests::{elected, start_in};
    use crate::node::{JoinError, NewCluster, Papers};
    use crate::proto::enrol::EnrolRpcClient;
    use crate::proto::hello::{self, Hello, Service};
    use crate::proto::transport::messages;
    use crate::security::JoinToken;
    use crate::types::node::MemberChange;
    use crate::types::{Caller, Change, ClusterId, RequestId};

    /// A cluster of one master with papers.
    struct World {
        master: Master,
        env: Env,
        cluster: ClusterId,
        authority: Certificate,
        sequence: u64,
        _directory: TempDir,
    }

    impl World {
        async fn new() -> World {
            let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
            let new = NewCluster::draw(&env).unwrap();
            let papers = Papers::found(&env, directory.path(), &new).await.unwrap();
            let master = start_in(&directory, papers.env(&env).unwrap()).await;
            // As if it had died before it noted that it was done.
            let kept = NewCluster::read(&env, directory.path()).await;
            for new in [new, kept.unwrap().unwrap()] {
                master.found_with(&new, papers.key()).await.unwrap();
            }
            NewCluster::remove(&env, directory.path()).await.unwrap();
            elected(&master).await;
            World {
                authority: Certificate::from_der(papers.authority().to_vec()),
                cluster: papers.identity().cluster,
                master,
                env,
                sequence: 0,
                _directory: directory,
            }
        }

        /// A token of the cluster, which the masters know.
        async fn token(&mut self, role: NodeRole, uses: u32) -> JoinToken {
            self.token_for(None, role, uses).await
        }

        async fn token_for(
            &mut self,
            node: Option<NodeKey>,
            role: NodeRole,
            uses: u32,
        ) -> JoinToken {
            let address = self.master.address().to_owned();
            let authority = self.authority.fingerprint();
            let token = JoinToken::generate(vec![address], authority, &*self.env.random);
            let change = MemberChange::CreateToken {
                hash: token.hash(),
                role,
                node,
                uses,
                ttl: Duration::from_secs(60),
                label: String::new(),
            };
            self.change(change).await;
            token
        }

        async fn change(&mut self, change: MemberChange) {
            let caller = Caller::System;
            let open = Command::OpenSession { caller };
            let Reply::Session(Ok(client)) = self.propose(open).await else {
                panic!("no session");
            };
            self.sequence += 1;
            let request = RequestId {
                client,
                sequence: self.sequence,
                answered_below: self.sequence,
            };
            let change = Change::Member(change);
            let command = Command::Client {
                caller,
                request,
                change,
            };
            match self.propose(command).await {
                Reply::Client { outcome: Ok(_), .. } => {}
                other => panic!("{other:?}"),
            }
        }

        async fn propose(&self, command: Command) -> Reply {
            self.master.shared.propose(command).await.unwrap().value
        }

        async fn join(
            &self,
            (node, role): (u128, NodeRole),
            token: &JoinToken,
        ) -> Result<(Papers, TempDir), JoinError> {
            let directory = tempfile::tempdir().unwrap();
            let who = (NodeKey(node), role);
            let papers = Papers::join(&self.env, directory.path(), who, token).await?;
            Ok((papers, directory))
        }

        /// Asks for new papers, showing those that a node has.
        async fn renew(&self, papers: &Papers) -> Result<IssuedPapers, RpcError> {
            let hello = Hello {
                service: Service::Enrol,
                cluster: Some(self.cluster),
            };
            let network = papers.env(&self.env).unwrap().network;
            let deadline = Duration::from_secs(10);
            let called = hello::call(&*network, self.master.address(), hello, deadline);
            let (stream, _) = called.await.unwrap();
            let client = EnrolRpcClient::new(Default::default(), messages(stream)).spawn();
            client.renew(tarpc::context::current()).await.unwrap()
        }
    }

    fn refusal(error: JoinError) -> RefusalKind {
        match error {
            JoinError::Refused(RpcError::Refused { refusal, .. }) => refusal.kind,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn who_shows_a_token_becomes_a_node_and_renews_its_papers() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 1).await;
        let token: JoinToken = token.reveal().unwrap().parse().unwrap();
        let joined = world.join((9, NodeRole::DataNode), &token).await;
        let (mut papers, directory) = joined.unwrap();
        let identity = NodeIdentity {
            cluster: world.cluster,
            role: NodeRole::DataNode,
            node: NodeKey(9),
        };
        assert_eq!(papers.identity(), identity);

        let issued = world.renew(&papers).await.unwrap();
        assert_eq!(issued.masters, [world.master.address()]);
        papers.renew(&world.env, issued).await.unwrap();
        let kept = Papers::open(&world.env, directory.path()).await;
        let kept = kept.unwrap().unwrap();
        world.renew(&kept).await.unwrap();
    }

    #[tokio::test]
    async fn a_token_that_is_not_good_makes_no_node() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 1).await;
        let as_master = world.join((9, NodeRole::Master), &token).await;
        assert_eq!(refusal(as_master.unwrap_err()), RefusalKind::AccessDenied);
        world.join((9, NodeRole::DataNode), &token).await.unwrap();
        let used_up = world.join((10, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(used_up.unwrap_err()), RefusalKind::AccessDenied);
        let unknown =
            JoinToken::generate(token.addresses.clone(), token.authority, &*world.env.random);
        let forged = world.join((11, NodeRole::DataNode), &unknown).await;
        assert_eq!(refusal(forged.unwrap_err()), RefusalKind::AccessDenied);
    }

    #[tokio::test]
    async fn a_spent_token_gives_papers_to_no_other_key() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 1).await;
        world.join((9, NodeRole::DataNode), &token).await.unwrap();
        let thief = world.join((9, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(thief.unwrap_err()), RefusalKind::AccessDenied);
    }

    #[tokio::test]
    async fn a_node_that_lost_its_papers_gets_others_with_a_token_that_names_it() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 3).await;
        let first = world.join((9, NodeRole::DataNode), &token).await;
        let (first, _directory) = first.unwrap();
        let other = world.join((9, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(other.unwrap_err()), RefusalKind::Exists);
        let named = world
            .token_for(Some(NodeKey(9)), NodeRole::DataNode, 1)
            .await;
        let wrong = world.join((10, NodeRole::DataNode), &named).await;
        assert_eq!(refusal(wrong.unwrap_err()), RefusalKind::AccessDenied);
        world.join((9, NodeRole::DataNode), &named).await.unwrap();
        // The former key is out.
        let renewed = world.renew(&first).await.unwrap_err();
        assert!(matches!(renewed, RpcError::Refused { .. }), "{renewed}");
    }

    #[tokio::test]
    async fn a_revoked_node_gets_no_papers() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 2).await;
        let joined = world.join((9, NodeRole::DataNode), &token).await;
        let (papers, _directory) = joined.unwrap();
        let node = NodeKey(9);
        world.change(MemberChange::RevokeNode { node }).await;
        let renewed = world.renew(&papers).await.unwrap_err();
        assert!(matches!(renewed, RpcError::Refused { .. }), "{renewed}");
        let again = world.join((9, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(again.unwrap_err()), RefusalKind::NotPermitted);
    }

    #[tokio::test]
    async fn who_has_only_a_key_renews_nothing() {
        let world = World::new().await;
        let key = KeyPair::generate(&*world.env.random).unwrap();
        let peer = Peer {
            key: key.public(),
            node: None,
        };
        let service = EnrolService::new(Arc::clone(&world.master.shared), peer);
        let renewed = service.renew(tarpc::context::current()).await.unwrap_err();
        assert!(matches!(renewed, RpcError::Refused { .. }), "{renewed}");
    }
}
