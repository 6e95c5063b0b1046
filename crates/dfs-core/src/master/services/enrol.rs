//! Papers for nodes.

use std::sync::Arc;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tarpc::context::Context;

use crate::master::security::papers;
use crate::master::shared::{Shared, unexpected};
use crate::meta::query;
use crate::meta::{Command, Reply};
use crate::node::audit::{Actor, Deed, Ending};
use crate::proto::enrol::{EnrolRpc, IssuedPapers, JoinSecret};
use crate::proto::error::RpcError;
use crate::security::{Fingerprint, Peer};
use crate::types::node::TokenHash;
use crate::types::{NodeKey, NodeRole, Refusal, RefusalKind};

/// Serves [`EnrolRpc`] on one connection.
#[derive(Clone)]
pub(crate) struct EnrolService {
    shared: Arc<Shared>,
    /// Who is at the other end.
    peer: Peer,
    /// The same, for the audit log.
    actor: Arc<Actor>,
}

impl EnrolService {
    pub(crate) fn new(shared: Arc<Shared>, actor: Arc<Actor>, peer: Peer) -> EnrolService {
        EnrolService {
            shared,
            peer,
            actor,
        }
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
        let whom = (node, role, self.peer.key);
        papers::issue(&self.shared, whom, Consistency::Linearizable).await
    }

    async fn admit(
        &self,
        node: NodeKey,
        role: NodeRole,
        secret: JoinSecret,
    ) -> Result<IssuedPapers, RpcError> {
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

    /// Writes down how it ended, before it is answered.
    async fn told(
        &self,
        deed: Deed,
        ending: impl Future<Output = Result<IssuedPapers, RpcError>>,
    ) -> Result<IssuedPapers, RpcError> {
        let audit = &self.shared.audit;
        // Whoever hangs up meanwhile may be a node all the same.
        let asked = audit.ask(&self.actor, deed.clone());
        let ended = ending.await;
        let written = match &ended {
            Ok(_) => asked.ended(Ending::done()).await,
            Err(refused @ RpcError::Refused { .. }) => {
                asked.forget();
                audit.not_let_in(&self.actor, deed, refused).await
            }
            Err(error) => asked.ended(Ending::unknown(error)).await,
        };
        written.map_err(|e| RpcError::Unavailable(e.to_string()))?;
        ended
    }
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
        let deed = Deed::new("enrol").about(node).with(format!("role={role}"));
        self.told(deed, self.admit(node, role, secret)).await
    }

    async fn renew(
        self,
        _: Context,
        node: NodeKey,
        role: NodeRole,
    ) -> Result<IssuedPapers, RpcError> {
        self.shared.leading(|_| ())?;
        let deed = Deed::new("renew").about(node).with(format!("role={role}"));
        self.told(deed, self.issue(node, role)).await
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
    use crate::node::{JoinError, Papers, Security};
    use crate::security::{JoinToken, KeyPair, NodeIdentity};
    use crate::types::node::MemberChange;
    use crate::types::{Caller, Change, ClusterId, RequestId};

    /// A cluster of one master with papers.
    struct World {
        master: Master,
        env: Env,
        cluster: ClusterId,
        authority: Fingerprint,
        sequence: u64,
        directory: TempDir,
    }

    impl World {
        async fn new() -> World {
            let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
            let master = start_in(&directory, env.clone(), Security::Found).await;
            // As if it had died before it noted that it was done.
            for _ in 0..2 {
                assert!(master.is_founding().await.unwrap());
                master.found().await.unwrap();
            }
            master.forget_founding().await.unwrap();
            assert!(!master.is_founding().await.unwrap());
            elected(&master).await;
            World {
                authority: master.authority().unwrap(),
                cluster: master.cluster().unwrap(),
                master,
                env,
                sequence: 0,
                directory,
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
            let authority = self.authority;
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
            let who = (Some(NodeKey(node)), role);
            let papers = Papers::join(&self.env, directory.path(), who, token, (&[], None)).await?;
            Ok((papers, directory))
        }

        /// What serves somebody who has a key.
        fn of_a_stranger(&self) -> EnrolService {
            let key = KeyPair::generate(&*self.env.random).unwrap();
            let peer = Peer {
                key: key.public(),
                node: None,
            };
            let actor = Arc::new(Actor::new(peer, ""));
            EnrolService::new(Arc::clone(&self.master.shared), actor, peer)
        }

        /// Asks for new papers for a node that has some.
        async fn renew(&self, papers: &mut Papers) -> Result<(), JoinError> {
            let masters = vec![self.master.address().to_owned()];
            papers.renew_at(&self.env, masters).await
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

        let before = papers.since();
        world.renew(&mut papers).await.unwrap();
        assert!(papers.since() > before);
        let kept = Papers::open(&world.env, directory.path()).await;
        let mut kept = kept.unwrap().unwrap();
        assert_eq!(kept.since(), papers.since());
        world.renew(&mut kept).await.unwrap();
    }

    #[tokio::test]
    async fn papers_are_not_renewed_under_the_mount_point_of_a_disk_that_is_gone() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 1).await;
        let token: JoinToken = token.reveal().unwrap().parse().unwrap();
        let joined = world.join((9, NodeRole::DataNode), &token).await;
        let (mut papers, directory) = joined.unwrap();
        let file = directory.path().join("papers");
        world.env.disk.remove_file(&file).unwrap();

        let error = world.renew(&mut papers).await.unwrap_err();

        assert!(
            error.to_string().contains("is the disk mounted?"),
            "{error}"
        );
        assert!(!world.env.disk.exists(&file).unwrap());
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
        let (mut first, _directory) = first.unwrap();
        let other = world.join((9, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(other.unwrap_err()), RefusalKind::Exists);
        let named = world
            .token_for(Some(NodeKey(9)), NodeRole::DataNode, 1)
            .await;
        let wrong = world.join((10, NodeRole::DataNode), &named).await;
        assert_eq!(refusal(wrong.unwrap_err()), RefusalKind::AccessDenied);
        world.join((9, NodeRole::DataNode), &named).await.unwrap();
        // The former key is out.
        let renewed = world.renew(&mut first).await.unwrap_err();
        assert_eq!(refusal(renewed), RefusalKind::AccessDenied);
    }

    #[tokio::test]
    async fn a_revoked_node_gets_no_papers() {
        let mut world = World::new().await;
        let token = world.token(NodeRole::DataNode, 2).await;
        let joined = world.join((9, NodeRole::DataNode), &token).await;
        let (mut papers, _directory) = joined.unwrap();
        let node = NodeKey(9);
        world.change(MemberChange::RevokeNode { node }).await;
        let renewed = world.renew(&mut papers).await.unwrap_err();
        assert_eq!(refusal(renewed), RefusalKind::AccessDenied);
        let again = world.join((9, NodeRole::DataNode), &token).await;
        assert_eq!(refusal(again.unwrap_err()), RefusalKind::NotPermitted);
    }

    #[tokio::test]
    async fn who_hangs_up_while_it_gets_papers_may_be_a_node_and_is_in_the_audit_log() {
        let world = World::new().await;
        let service = world.of_a_stranger();
        let deed = Deed::new("enrol").about(NodeKey(9));
        let endless = service.told(deed, std::future::pending());
        let hung_up = tokio::time::timeout(Duration::from_millis(10), endless).await;
        assert!(hung_up.is_err());
        let directory = world.directory.path().join("m/audit");
        world.master.shutdown().await;
        let mut lines = String::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            lines.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        let last = lines.lines().last().unwrap();
        assert!(last.contains(r#""operation":"enrol""#), "{last}");
        assert!(last.contains(r#""outcome":"unknown""#), "{last}");
    }

    #[tokio::test]
    async fn who_is_no_node_renews_nothing() {
        let world = World::new().await;
        let service = world.of_a_stranger();
        let context = tarpc::context::current();
        let renewed = service.renew(context, NodeKey(9), NodeRole::DataNode);
        let renewed = renewed.await.unwrap_err();
        assert!(matches!(renewed, RpcError::Refused { .. }), "{renewed}");
    }
}
