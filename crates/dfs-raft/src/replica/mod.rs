//! A replica: the handle a program holds.
//!
//! ```text
//! start ──▶ empty ──bootstrap | join──▶ member ──▶ shutdown
//!   └── a directory of a member ──────────┘
//! ```

pub(crate) mod failure;
mod founding;
pub(crate) mod leadership;
mod membership;
pub(crate) mod node;
mod raft;
mod reads;
mod shutdown;
pub(crate) mod status;
mod upkeep;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::ReplicaConfig;
use crate::env::{BoxStream, Env, Listener, Timestamp};
use crate::error::{ChangeError, Fatal, ProposeError, ReadError, StartError};
use crate::machine::{Rev, StateMachine};
use crate::network::connections::Connections;
use crate::network::{Dial, service};
use crate::state::{Value, View};
use crate::storage::directory::{Directory, disk_failed};
use crate::types::{Answer, ClusterId, MemberId, Proposal};
use failure::Failure;
use leadership::Leadership;
use node::Node;
use status::ReplicaStatus;

/// The pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied<R> {
    /// The entry it was.
    pub rev: Rev,
    /// The time at which it happened, as the state machine was told.
    pub time: Timestamp,
    /// The state machine's reply.
    pub reply: R,
}

/// How current a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It sees everything that was acknowledged before it began.
    Linearizable,
    /// It sees what this replica has, which may be old.
    Stale,
}

/// A state to read from.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The state.
    pub view: View,
    /// The last entry it includes.
    pub applied: Rev,
}

/// One copy of a replicated state machine. Clones are handles on the same replica, which stops
/// when the last of them is dropped; [`shutdown`](Replica::shutdown) stops it in order.
pub struct Replica<M: StateMachine> {
    handle: Arc<Handle<M>>,
}

impl<M: StateMachine> Clone for Replica<M> {
    fn clone(&self) -> Self {
        let handle = self.handle.clone();
        Replica { handle }
    }
}

impl<M: StateMachine> fmt::Debug for Replica<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = &self.handle.inner.config.directory;
        f.debug_struct("Replica")
            .field("directory", directory)
            .finish_non_exhaustive()
    }
}

/// What the handles share; its end is the replica's.
struct Handle<M: StateMachine> {
    inner: Arc<Inner<M>>,
}

impl<M: StateMachine> Drop for Handle<M> {
    fn drop(&mut self) {
        self.inner.abandon();
    }
}

/// What the handles and the connections being served share.
pub(crate) struct Inner<M: StateMachine> {
    pub(crate) config: ReplicaConfig,
    pub(crate) stopping: CancellationToken,
    pub(crate) connections: Arc<Connections>,
    env: Env,
    dialer: Arc<dyn Dial>,
    failure: Failure,
    leadership: watch::Sender<Leadership>,
    /// One of bootstrap, join and shutdown at a time.
    setup: tokio::sync::Mutex<()>,
    /// Ends a founding or joining that is under way.
    entering: CancellationToken,
    phase: Mutex<Phase<M>>,
}

enum Phase<M: StateMachine> {
    Empty(Empty<M>),
    /// Between the two; nobody looks meanwhile. If that fails it stays so, and the reason is told.
    Starting,
    Member {
        node: Arc<Node<M>>,
        directory: Arc<Directory>,
        tasks: JoinSet<()>,
    },
    Stopped,
}

/// What a replica has before it is a member.
struct Empty<M> {
    directory: Arc<Directory>,
    machine: M,
    clean: bool,
}

impl<M: StateMachine> Inner<M> {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase<M>> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node(&self) -> Option<Arc<Node<M>>> {
        match &*self.phase() {
            Phase::Member { node, .. } => Some(node.clone()),
            _ => None,
        }
    }

    fn abandon(&self) {
        self.stopping.cancel();
        drop(std::mem::replace(&mut *self.phase(), Phase::Stopped));
    }
}

/// The cluster that the replica in a directory belongs to; none if there is no replica. The
/// directory is locked meanwhile, and made if it is not there.
///
/// # Errors
/// The directory is in use, or cannot be read.
pub async fn cluster_in(env: &Env, directory: &Path) -> Result<Option<ClusterId>, StartError> {
    let (disk, path) = (env.disk.clone(), directory.to_owned());
    let look = move || {
        let directory = Directory::open(disk, &path).map_err(StartError::Directory)?;
        let identity = directory.identity().map_err(StartError::Fatal)?;
        Ok(identity.map(|identity| identity.cluster))
    };
    env.run_blocking(look).await
}

impl<M: StateMachine> Replica<M> {
    /// Opens a replica in its directory. One that was a member is a member again, and takes part
    /// from now on; its connections are for the caller to accept and [`serve`](Self::serve).
    ///
    /// # Errors
    /// The settings are wrong, the directory is in use, or what is in it must not run.
    pub async fn start(
        config: ReplicaConfig,
        env: Env,
        dialer: Arc<dyn Dial>,
        machine: M,
    ) -> Result<Replica<M>, StartError> {
        config.validate()?;
        let (disk, path) = (env.disk.clone(), config.directory.clone());
        let directory = env
            .run_blocking(move || Directory::open(disk, &path))
            .await
            .map_err(StartError::Directory)?;
        let opened = directory.clone();
        let look = move || {
            if let Some(why) = opened.condemned()? {
                return Err(Fatal::of_state(format!(
                    "it was stopped for good, because {why}. Its state must not be used again: \
                     clear the directory and join as a new member"
                )));
            }
            let clean = opened
                .take_clean_mark()
                .map_err(|e| disk_failed("clean", e))?;
            let identity = opened.identity()?;
            Ok::<_, Fatal>((clean, identity))
        };
        let (clean, identity) = env.run_blocking(look).await?;
        let stopping = CancellationToken::new();
        let inner = Arc::new(Inner {
            connections: Connections::new(config.connections_max),
            config,
            entering: stopping.child_token(),
            stopping,
            env,
            dialer,
            failure: Failure::new(),
            leadership: watch::Sender::new(Leadership::default()),
            setup: tokio::sync::Mutex::default(),
            phase: Mutex::new(Phase::Starting),
        });
        let empty = Empty {
            directory,
            machine,
            clean,
        };
        match identity {
            // In a box: openraft is deep, and the futures of callers hold this.
            Some(identity) => Box::pin(inner.resume(empty, identity)).await?,
            None => inner.settle(Phase::Empty(empty)),
        }
        let handle = Arc::new(Handle { inner });
        Ok(Replica { handle })
    }

    fn inner(&self) -> &Arc<Inner<M>> {
        &self.handle.inner
    }

    /// Serves a connection from another member until it ends, is idle for long, or gives way to
    /// others because too many are connected. Run it in a task of its own.
    ///
    /// The stream is from whom the caller lets in: requests are not authenticated here.
    pub fn serve(&self, stream: BoxStream) -> impl Future<Output = ()> + Send + use<M> {
        service::serve(self.inner().clone(), stream)
    }

    /// Accepts connections and serves each in a task of its own, until the replica stops.
    pub fn serve_all(
        &self,
        mut listener: Box<dyn Listener>,
    ) -> impl Future<Output = ()> + Send + use<M> {
        let stopping = self.inner().stopping.clone();
        let inner = Arc::downgrade(self.inner());
        let accept = async move {
            loop {
                match listener.accept().await {
                    Ok(connection) => {
                        let Some(inner) = inner.upgrade() else { return };
                        tokio::spawn(service::serve(inner, connection.stream));
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        async move {
            tokio::select! {
                () = accept => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Joins the cluster that some of `seeds` belong to, as a learner reached at `own_address`.
    /// Connections must be served meanwhile. Dropping the future does not interrupt it.
    ///
    /// After [`Unavailable`](ChangeError::Unavailable) it may be called again and goes on where it
    /// was.
    ///
    /// # Errors
    /// It is a member already, there is something in the directory, or no seed leads to a leader.
    /// Or the directory cannot be written: the replica has stopped, and goes on where it was when
    /// it is started and joins again.
    pub async fn join(&self, seeds: &[String], own_address: &str) -> Result<MemberId, ChangeError> {
        let (inner, seeds) = (self.inner().clone(), seeds.to_vec());
        inner.join(seeds, own_address.to_owned()).await
    }

    /// Carries out a command on all members, and returns once it is on the disks of a majority
    /// and applied here. Only the leader can.
    ///
    /// # Errors
    /// See [`ProposeError`]; after [`Unknown`](ProposeError::Unknown) it may have happened.
    pub async fn propose(&self, command: M::Command) -> Result<Applied<M::Reply>, ProposeError> {
        let node = self.proposer()?;
        let invalid = |e: Fatal| ProposeError::Invalid(e.to_string());
        let command = Bytes::from(command.to_bytes().map_err(invalid)?);
        let limit = self.inner().config.command_bytes_max;
        if command.len() > limit {
            let why = format!("a command of {} bytes exceeds {limit}", command.len());
            return Err(ProposeError::Invalid(why));
        }
        let time = node.env.clock.now();
        let (rev, outcome) = node.propose(Proposal::Command { time, command }).await?;
        let time = outcome.time;
        let Answer::Reply(reply) = outcome.answer else {
            return Err(ProposeError::Unknown("it has no reply".to_owned()));
        };
        match reply.downcast() {
            Ok(reply) => Ok(Applied {
                rev,
                time,
                reply: *reply,
            }),
            Err(_) => Err(ProposeError::Unknown("its reply is another's".to_owned())),
        }
    }

    fn proposer(&self) -> Result<Arc<Node<M>>, ProposeError> {
        match (self.inner().node(), self.inner().failure.reason()) {
            (_, Some(fatal)) => Err(ProposeError::Stopped(fatal)),
            (Some(node), None) => Ok(node),
            (None, None) => Err(ProposeError::Unavailable("not a member".to_owned())),
        }
    }

    /// Gives the state as it is here now, which may lack what was acknowledged.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_stale(&self) -> Result<Reading, ReadError> {
        self.reader()?.read_now()
    }

    pub(crate) fn reader(&self) -> Result<Arc<Node<M>>, ReadError> {
        let inner = self.inner();
        match (inner.failure.reason(), inner.node()) {
            (Some(fatal), _) => Err(ReadError::Stopped(fatal)),
            (None, Some(node)) => Ok(node),
            (None, None) => Err(ReadError::Unavailable("not a member".to_owned())),
        }
    }

    /// Gives a state to read from. A follower asks the leader up to where it must be.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, consistency: Consistency) -> Result<Reading, ReadError> {
        if consistency == Consistency::Stale {
            return self.read_stale();
        }
        let inner = self.inner();
        let node = self.reader()?;
        let unavailable = |why: &str| ReadError::Unavailable(why.to_owned());
        let (answer, reading) = oneshot::channel();
        let read = async {
            let queued = node.readers.send(answer).await;
            queued.map_err(|_| unavailable("the replica is stopping"))?;
            let answer = reading.await;
            answer.unwrap_or_else(|_| Err(unavailable("the replica is stopping")))
        };
        // A round may be running when the reader arrives, so two bound its wait.
        match timeout(inner.config.read_timeout * 2, read).await {
            Ok(result) => result,
            Err(_) => Err(unavailable("the deadline passed")),
        }
    }

    /// Who leads, as this replica sees it, now and whenever it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner().leadership.subscribe()
    }

    /// Why the replica stopped, once it does.
    pub fn failed(&self) -> watch::Receiver<Option<Fatal>> {
        self.inner().failure.watch()
    }

    /// Stops the replica for a fault of what is built on it; [`failed`](Self::failed) says why.
    pub fn fail(&self, reason: Fatal) {
        self.inner().failure.stop(reason);
    }

    /// What there is to know of this replica; `None` if it is not a member.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn status(&self) -> Result<Option<ReplicaStatus>, Fatal> {
        let leadership = self.inner().leadership.borrow().clone();
        let node = self.inner().node();
        node.map(|node| node.status(leadership)).transpose()
    }

    /// Whether a group has taken it in, as far as its own log tells. One that was interrupted while
    /// it joined has a member id and no group: it must [`join`](Self::join) again.
    pub async fn is_admitted(&self) -> bool {
        match self.inner().node() {
            Some(node) => node.is_admitted().await,
            None => false,
        }
    }

    /// Adds a member that receives the log and has no vote. Only the leader can.
    ///
    /// [`join`](Self::join) does this for itself; the id must have been given by a join.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn add_learner(&self, member: MemberId, address: &str) -> Result<(), ChangeError> {
        self.changer()?.add_learner(member, address).await
    }

    /// Gives a learner a vote, once it has nearly all of the log. Only the leader can.
    ///
    /// # Errors
    /// See [`ChangeError`]; [`Refused`](ChangeError::Refused) if it does not answer, does not catch
    /// up in time, or no majority of the voters would answer with it.
    pub async fn promote(&self, member: MemberId) -> Result<(), ChangeError> {
        self.changer()?.promote(member).await
    }

    /// Removes a member for ever; one that is no member any more is no error. Only the leader can.
    ///
    /// # Errors
    /// See [`ChangeError`]; [`Refused`](ChangeError::Refused) if the voters that would be left
    /// are not a majority of themselves, or it is the last.
    pub async fn remove(&self, member: MemberId) -> Result<(), ChangeError> {
        self.changer()?.remove(member).await
    }

    /// Hands leadership to another voter and waits until this replica no longer leads.
    ///
    /// # Errors
    /// See [`ChangeError`]; [`Refused`](ChangeError::Refused) if the other does not answer or is
    /// far behind.
    pub async fn transfer(&self, to: MemberId) -> Result<(), ChangeError> {
        self.changer()?.transfer(to).await
    }

    fn changer(&self) -> Result<Arc<Node<M>>, ChangeError> {
        match (self.inner().node(), self.inner().failure.reason()) {
            (_, Some(fatal)) => Err(ChangeError::Stopped(fatal)),
            (Some(node), None) => Ok(node),
            (None, None) => Err(ChangeError::Refused("not a member".to_owned())),
        }
    }

    /// Asks for an election now instead of after a silence, for a cluster that starts.
    ///
    /// # Errors
    /// It is not a member, or has stopped.
    pub async fn trigger_election(&self) -> Result<(), ChangeError> {
        let node = self.changer()?;
        let elect = node.raft.elect().await;
        elect.map_err(|e| node.change_stopped(&e))
    }

    /// Takes a snapshot soon, and makes durable what it includes. It cuts nothing from the log.
    ///
    /// # Errors
    /// It is not a member, or has stopped.
    pub async fn trigger_snapshot(&self) -> Result<(), ChangeError> {
        let node = self.changer()?;
        let snapshot = node.raft.snapshot().await;
        snapshot.map_err(|e| node.change_stopped(&e))
    }

    /// Cuts the log soon, up to an index or where the last snapshot ends if that is before it.
    /// Members that need what is gone are sent a snapshot; entries that are being sent are cut when
    /// they have arrived.
    ///
    /// # Errors
    /// It is not a member, or has stopped.
    pub async fn trigger_purge(&self, upto: u64) -> Result<(), ChangeError> {
        let node = self.changer()?;
        let purge = node.raft.purge_log(upto).await;
        purge.map_err(|e| node.change_stopped(&e))
    }

    /// Reads and verifies every row now, and compares their digest with the one kept.
    ///
    /// # Errors
    /// The state is damaged; the replica has stopped.
    pub async fn verify(&self) -> Result<(), Fatal> {
        match self.inner().node() {
            Some(node) => node.verify_state(None).await,
            None => Ok(()),
        }
    }

    /// Stops the replica: hands over leadership, makes everything durable, closes the files.
    pub async fn shutdown(&self) {
        self.inner().shutdown().await;
    }
}
