//! Becoming a member: once, in steps that a crash may interrupt.
//!
//! ```text
//! identity (starting) ──▶ log and state, stamped ──▶ [first membership] ──▶ identity (member)
//! ```
//!
//! A replica whose identity says *starting* has answered no vote, so its log may be made anew. One
//! that says *member* has, so without its log it must not run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::BasicNode;
use openraft::errors::{InitializeError, RaftError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::node::{Node, Parts, raft_failed};
use super::{Empty, Inner, Phase, Replica, leadership, reads, upkeep};
use crate::error::{ChangeError, Fatal};
use crate::machine::StateMachine;
use crate::network::client;
use crate::network::message::{Header, Join, PROTOCOL, RaftRpcClient, Refusal, Welcome};
use crate::network::peers::context;
use crate::storage::directory::{self, Identity, disk_failed};
use crate::types::{ClusterId, MemberId};

/// The founder of every cluster.
const FOUNDER: MemberId = MemberId(1);

/// The pause after a round of seeds that led nowhere.
const JOIN_PAUSE: Duration = Duration::from_millis(100);

/// What a seed answers.
type Asked<T> = Result<Result<T, Refusal>, tarpc::client::RpcError>;

/// A question to a seed. (Not an `AsyncFn`: its futures cannot be shown to be `Send`, and joining
/// must be possible in a task of its own.)
trait Ask<T>:
    Fn(RaftRpcClient, tarpc::context::Context) -> BoxFuture<'static, Asked<T>> + Sync
{
}

impl<T, F> Ask<T> for F where
    F: Fn(RaftRpcClient, tarpc::context::Context) -> BoxFuture<'static, Asked<T>> + Sync
{
}

impl<M: StateMachine> Replica<M> {
    /// Founds a cluster with this replica, reached at `address`, as its only member. Dropping the
    /// future does not interrupt it.
    ///
    /// # Errors
    /// There is a replica in the directory already, whole or not: a cluster is founded once. Or
    /// the directory cannot be written: the replica has stopped, and goes on where it was when it
    /// is started again.
    pub async fn bootstrap(&self, address: &str) -> Result<ClusterId, ChangeError> {
        let cluster = ClusterId(self.inner().env.random.next_u128());
        self.bootstrap_as(cluster, address).await
    }

    /// The same with an id that the caller has drawn: at random, as no two clusters may have the
    /// same.
    ///
    /// # Errors
    /// As [`bootstrap`](Replica::bootstrap).
    pub async fn bootstrap_as(
        &self,
        cluster: ClusterId,
        address: &str,
    ) -> Result<ClusterId, ChangeError> {
        let founding = self.inner().clone().bootstrap(cluster, address.to_owned());
        founding.await
    }
}

impl<M: StateMachine> Inner<M> {
    /// Runs a step into membership to its end even if whoever asked for it went away, unless the
    /// replica stops. A fault stops it: what is on disk then is unknown.
    async fn enter<T: Send + 'static>(
        self: Arc<Self>,
        step: BoxFuture<'static, Result<T, ChangeError>>,
    ) -> Result<T, ChangeError> {
        let stopping = || ChangeError::Unavailable("it is stopping".to_owned());
        let entered = tokio::spawn(async move {
            tokio::select! {
                result = step => result,
                () = self.entering.cancelled() => Err(stopping()),
            }
        });
        entered.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn stop(&self, fatal: Fatal) -> ChangeError {
        self.failure.stop(fatal.clone());
        ChangeError::Stopped(fatal)
    }

    pub(super) async fn bootstrap(
        self: Arc<Self>,
        cluster: ClusterId,
        address: String,
    ) -> Result<ClusterId, ChangeError> {
        let inner = self.clone();
        let found = async move { inner.found(cluster, address).await };
        self.enter(Box::pin(found)).await
    }

    pub(super) async fn join(
        self: Arc<Self>,
        seeds: Vec<String>,
        own_address: String,
    ) -> Result<MemberId, ChangeError> {
        let inner = self.clone();
        let join = async move { inner.enter_cluster(&seeds, &own_address).await };
        self.enter(Box::pin(join)).await
    }

    async fn found(&self, cluster: ClusterId, address: String) -> Result<ClusterId, ChangeError> {
        let _setup = self.setup.lock().await;
        let empty = self.take_empty().await?;
        let identity = Identity {
            cluster,
            member: FOUNDER,
            phase: directory::Phase::Starting {
                founder_address: Some(address),
            },
        };
        self.write_identity(&empty, &identity).await?;
        let resumed = self.resume(empty, identity).await;
        resumed.map_err(|fatal| self.stop(fatal))?;
        Ok(cluster)
    }

    /// Takes the replica as it is before it becomes a member, if the directory is empty.
    async fn take_empty(&self) -> Result<Empty<M>, ChangeError> {
        if let Some(fatal) = self.failure.reason() {
            return Err(ChangeError::Stopped(fatal));
        }
        let empty = {
            let mut phase = self.phase();
            match std::mem::replace(&mut *phase, Phase::Starting) {
                Phase::Empty(empty) => empty,
                other => {
                    *phase = other;
                    return Err(ChangeError::Refused("it is a member already".to_owned()));
                }
            }
        };
        let directory = empty.directory.clone();
        let found = self.env.run_blocking(move || directory.has_any_state());
        match found.await {
            Ok(false) => Ok(empty),
            Ok(true) => {
                self.settle(Phase::Empty(empty));
                let why = "the directory has remains of a replica";
                Err(ChangeError::Refused(why.to_owned()))
            }
            Err(e) => Err(self.stop(disk_failed("directory", e))),
        }
    }

    async fn write_identity(
        &self,
        empty: &Empty<M>,
        identity: &Identity,
    ) -> Result<(), ChangeError> {
        let (directory, identity) = (empty.directory.clone(), identity.clone());
        let write = move || directory.set_identity(&identity);
        let written = self.env.run_blocking(write).await;
        written.map_err(|fatal| self.stop(fatal))
    }

    /// Runs as a member from now on.
    async fn become_member(
        &self,
        empty: Empty<M>,
        identity: Identity,
    ) -> Result<Arc<Node<M>>, Fatal> {
        let directory = empty.directory;
        let parts = Parts {
            env: self.env.clone(),
            dialer: self.dialer.clone(),
            config: self.config.clone(),
            directory: directory.clone(),
            machine: empty.machine,
            identity,
            failure: self.failure.clone(),
            clean: empty.clean,
        };
        let (node, waiting) = Node::open(parts).await?;
        let mut tasks = JoinSet::new();
        let leadership = self.leadership.clone();
        let mut upkeep = upkeep::tasks(&node);
        upkeep.push(Box::pin(reads::serve(node.clone(), waiting)));
        upkeep.push(Box::pin(leadership::follow(node.clone(), leadership)));
        for task in upkeep {
            tasks.spawn(self.failure.clone().guard(task));
        }
        self.settle(Phase::Member {
            node: node.clone(),
            directory,
            tasks,
        });
        Ok(node)
    }

    /// Ends a start, unless the replica was stopped meanwhile.
    pub(super) fn settle(&self, phase: Phase<M>) {
        let mut now = self.phase();
        if matches!(*now, Phase::Starting) {
            *now = phase;
        }
    }

    /// Goes on from an identity to being a member.
    pub(super) async fn resume(&self, empty: Empty<M>, identity: Identity) -> Result<(), Fatal> {
        let directory = empty.directory.clone();
        let phase = identity.phase.clone();
        let node = self.become_member(empty, identity.clone()).await?;
        let directory::Phase::Starting { founder_address } = phase else {
            return Ok(());
        };
        if let Some(address) = founder_address {
            node.found(address).await?;
        }
        let member = Identity {
            phase: directory::Phase::Member,
            ..identity
        };
        let write = move || directory.set_identity(&member);
        self.env.run_blocking(write).await
    }

    async fn enter_cluster(
        &self,
        seeds: &[String],
        own_address: &str,
    ) -> Result<MemberId, ChangeError> {
        let _setup = self.setup.lock().await;
        let deadline = Instant::now() + self.config.join_timeout;
        if self.node().is_none() {
            let empty = self.take_empty().await?;
            let welcome = match self.ask_welcome(seeds, deadline).await {
                Ok(welcome) => welcome,
                Err(e) => {
                    self.settle(Phase::Empty(empty));
                    return Err(e);
                }
            };
            let identity = Identity {
                cluster: welcome.cluster,
                member: welcome.member,
                phase: directory::Phase::Starting {
                    founder_address: None,
                },
            };
            self.write_identity(&empty, &identity).await?;
            let resumed = self.resume(empty, identity).await;
            resumed.map_err(|fatal| self.stop(fatal))?;
        }
        let Some(node) = self.node() else {
            return Err(ChangeError::Unavailable("it is stopping".to_owned()));
        };
        if node.is_in_membership() {
            return Err(ChangeError::Refused("it is a member already".to_owned()));
        }
        self.ask_admission(&node, seeds, own_address, deadline)
            .await?;
        // A process that ends before it has heard of it would have to be let join again. A
        // snapshot may come first, however long that takes.
        let mut failed = self.failure.watch();
        tokio::select! {
            true = node.hear_of_membership() => return Ok(node.identity.member),
            _ = failed.wait_for(Option::is_some) => {}
            else => {}
        }
        let stopping = || ChangeError::Unavailable("it is stopping".to_owned());
        Err(self
            .failure
            .reason()
            .map_or_else(stopping, ChangeError::Stopped))
    }

    async fn ask_welcome(
        &self,
        seeds: &[String],
        deadline: Instant,
    ) -> Result<Welcome, ChangeError> {
        let protocol = PROTOCOL;
        self.ask_leader(seeds, deadline, move |client, context| {
            Box::pin(async move { client.join(context, Join { protocol }).await })
        })
        .await
    }

    async fn ask_admission(
        &self,
        node: &Arc<Node<M>>,
        seeds: &[String],
        own_address: &str,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let header = Header {
            protocol: PROTOCOL,
            cluster: node.identity.cluster,
            from: node.identity.member,
            to: MemberId::default(),
        };
        self.ask_leader(seeds, deadline, |client, context| {
            let address = own_address.to_owned();
            Box::pin(async move { client.admit(context, header, address).await })
        })
        .await
    }

    /// Asks seeds, and the leader that they name, until one answers.
    async fn ask_leader<T>(
        &self,
        seeds: &[String],
        deadline: Instant,
        ask: impl Ask<T>,
    ) -> Result<T, ChangeError> {
        let mut why = "no seeds are given".to_owned();
        while Instant::now() < deadline {
            let mut addresses: Vec<String> = seeds.to_vec();
            addresses.reverse();
            // Each seed may name one leader, and that one another.
            let mut left = 3 * seeds.len();
            while let (Some(address), 1..) = (addresses.pop(), left) {
                left -= 1;
                let limit = self.config.propose_timeout + self.config.rpc_timeout;
                let answer = timeout(limit, self.ask_one(&address, &ask));
                match timeout_at(deadline, answer).await {
                    Ok(Ok(Ok(Ok(answer)))) => return Ok(answer),
                    Ok(Ok(Ok(Err(Refusal::NotLeader { leader })))) => {
                        why = format!("{address} is not the leader");
                        addresses.extend(leader);
                    }
                    Ok(Ok(Ok(Err(
                        refusal @ (Refusal::OtherCluster
                        | Refusal::Protocol(_)
                        | Refusal::Invalid(_)),
                    )))) => {
                        return Err(ChangeError::Refused(format!("{address}: {refusal}")));
                    }
                    Ok(Ok(Ok(Err(refusal)))) => why = format!("{address}: {refusal}"),
                    Ok(Ok(Err(e))) => why = format!("{address}: {e}"),
                    Ok(Err(_)) | Err(_) => why = format!("{address} did not answer"),
                }
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
        Err(ChangeError::Unavailable(why))
    }

    async fn ask_one<T>(
        &self,
        address: &str,
        ask: &impl Ask<T>,
    ) -> std::io::Result<Result<T, Refusal>> {
        let dialed = timeout(self.config.rpc_timeout, self.dialer.dial(address)).await;
        let stream = dialed.map_err(std::io::Error::other)??;
        let limit = self.config.propose_timeout;
        let answer = ask(client(stream).rpc, context(limit)).await;
        answer.map_err(std::io::Error::other)
    }
}

impl<M: StateMachine> Node<M> {
    /// Writes the first membership, unless an earlier run did.
    async fn found(&self, address: String) -> Result<(), Fatal> {
        let member = self.identity.member;
        let members = BTreeMap::from([(member, BasicNode { addr: address })]);
        let initialized = self
            .raft
            .call(|raft| async move { raft.initialize(members).await });
        match initialized.await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(e)) => {
                Err(Fatal::with_source("the cluster cannot be founded", e))
            }
            Err(RaftError::Fatal(e)) => Err(raft_failed(e)),
        }
    }
}
