//! The line to the leader: register, say "alive", report replicas, fetch tasks.
//!
//! ```text
//!          ┌────────────────────── Fenced: register again ──────────────────────┐
//!          ▼                                                                    │
//! find the leader ─▶ register ─▶ attached: heartbeat · full report · delta · finished
//!          ▲                                                                    │
//!          └──────────── no answer, or it does not lead: same epoch ────────────┘
//! ```
//!
//! One call at a time, so that what masters hear is in order; only heartbeats go on beside a long
//! one, and when they are not answered another master is looked for. Nothing here touches the
//! serving of chunks: without a leader the node goes on as it is.

pub(in crate::datanode) mod masters;
mod report;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use crate::datanode::error::DataNodeError;
use crate::datanode::tasks::Tasks;
use crate::datanode::{Identity, Shared};
use crate::planted::{self, Bug};
use crate::proto::cluster::{Heartbeat, HeartbeatReply, Registered, Registration};
use crate::proto::error::RpcError;
use crate::proto::peers::PeerList;
use crate::types::ChunkId;
use masters::{CALL_TIMEOUT, CallError, HEARTBEAT_TIMEOUT, Link, Masters};
use report::Incarnation;

/// Least time between two reports of changes: what happens in between goes into one.
const DELTA_INTERVAL: Duration = Duration::from_millis(50);
/// Bounds of what a master may ask for as heartbeat interval.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Who has to register again so often in a minute is not alone: answers that were lost explain one
/// or two times.
const FENCED_OFTEN: usize = 5;

/// Runs until the node stops, or the masters refuse it.
pub(super) async fn run(shared: Arc<Shared>) {
    let tasks = Tasks::new(Arc::clone(&shared));
    let mut line = Line {
        masters: Masters::new(shared.config.seeds()),
        registered: None,
        term: None,
        unwelcome: None,
        fenced_at: Vec::new(),
        full_from: Some(ChunkId(0)),
        tasks,
        shared: Arc::clone(&shared),
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        refused = line.keep_up() => {
            error!(error = %refused, "the masters refuse this data node");
            shared.refused.send_replace(Some(refused));
        }
    }
}

/// Why a leader is no longer talked to.
enum Lost {
    /// It does not answer, or cannot do anything now.
    Unavailable(String),
    /// Another leads, maybe known.
    NotLeader(Option<String>),
    /// It does not know this incarnation.
    Fenced(String),
    /// It does not let this node in.
    Unwelcome(String),
    /// It belongs to another cluster.
    Stranger(String),
    /// The node is not wanted.
    Refused(DataNodeError),
}

impl From<CallError> for Lost {
    fn from(error: CallError) -> Lost {
        match error {
            CallError::Silent(why) => Lost::Unavailable(why),
            CallError::Answered(RpcError::NotLeader { leader }) => Lost::NotLeader(leader),
            CallError::Answered(RpcError::Fenced(why)) => Lost::Fenced(why),
            CallError::Answered(RpcError::Refused { refusal, .. }) => {
                Lost::Refused(DataNodeError::Refused(refusal.to_string()))
            }
            CallError::Answered(other) => Lost::Unavailable(other.to_string()),
        }
    }
}

struct Line {
    shared: Arc<Shared>,
    masters: Masters,
    tasks: Arc<Tasks>,
    registered: Option<Attached>,
    /// The latest term of a leader that heard a heartbeat.
    term: Option<u64>,
    /// Why a master did not let it in, the last time that one did not.
    unwelcome: Option<String>,
    /// When it had to register again, lately.
    fenced_at: Vec<Instant>,
    /// Where the next part of a full report begins, if one is due.
    full_from: Option<ChunkId>,
}

#[derive(Debug, Clone, Copy)]
struct Attached {
    incarnation: Incarnation,
    interval: Duration,
}

impl Line {
    /// Goes from leader to leader; ends only with a refusal.
    async fn keep_up(&mut self) -> DataNodeError {
        loop {
            self.masters.hear(self.shared.peers.rumors());
            let address = self.masters.candidate();
            let lost = match self.attach(address.clone()).await {
                Ok(never) => match never {},
                Err(lost) => lost,
            };
            let pause = match lost {
                Lost::Refused(error) => return error,
                Lost::Stranger(why) => {
                    warn!(master = address, why, "a master of another cluster");
                    if self.masters.is_stranger() {
                        return DataNodeError::Refused(why);
                    }
                    Duration::ZERO
                }
                Lost::NotLeader(leader) => {
                    self.masters.answered(&address);
                    self.masters.failed(leader, &self.shared.env)
                }
                Lost::Unwelcome(why) => {
                    // Once, and not with every attempt.
                    if self.unwelcome.as_ref() != Some(&why) {
                        warn!(master = address, why, "a master does not let this node in");
                        self.unwelcome = Some(why);
                    }
                    self.masters.unanswered(address, &self.shared.env)
                }
                Lost::Unavailable(why) => {
                    debug!(master = address, why, "a master does not answer");
                    self.masters.unanswered(address, &self.shared.env)
                }
                Lost::Fenced(why) => {
                    info!(master = address, why, "has to register again");
                    self.fenced();
                    self.registered = None;
                    self.masters.failed(Some(address), &self.shared.env)
                }
            };
            sleep(pause).await;
        }
    }

    /// Talks to one master until it is lost.
    async fn attach(&mut self, address: String) -> Result<std::convert::Infallible, Lost> {
        let deadline = self.shared.config.deadlines.connect;
        let link = Link::connect(&self.shared.env, address, deadline)
            .await
            .map_err(|error| match error.kind() {
                // What the master said, and not that nobody listens.
                io::ErrorKind::ConnectionRefused if error.raw_os_error().is_none() => {
                    Lost::Unwelcome(error.to_string())
                }
                _ => Lost::Unavailable(error.to_string()),
            })?;
        if let (Some(ours), Some(theirs)) = (self.shared.identity(), link.cluster)
            && ours.cluster != theirs
        {
            return Err(Lost::Stranger(format!(
                "{} is a master of cluster {theirs}, this directory belongs to {}",
                link.address, ours.cluster
            )));
        }
        let attached = match self.registered {
            Some(attached) => attached,
            None => self.register(&link).await?,
        };
        let mut next_heartbeat = Instant::now();
        let mut next_delta = Instant::now();
        loop {
            let now = Instant::now();
            if next_heartbeat <= now {
                self.heartbeat(&link, attached).await?;
                self.masters.succeeded(&link.address);
                self.unwelcome = None;
                next_heartbeat = now + attached.interval;
            } else if let Some(from) = self.full_from {
                self.report_part(&link, attached, from).await?;
            } else if self.report_finished(&link, attached).await?
                || (next_delta <= now && self.report_delta(&link, attached).await?)
            {
                next_delta = now + DELTA_INTERVAL;
            } else {
                self.wait(next_heartbeat, next_delta).await;
            }
        }
    }

    /// Waits until there is something to say.
    async fn wait(&self, next_heartbeat: Instant, next_delta: Instant) {
        let changed = async {
            tokio::select! {
                () = self.shared.store.wait_for_changes() => {}
                () = self.shared.corrupt.wait() => {}
            }
            sleep_until(next_delta).await;
        };
        tokio::select! {
            biased;
            () = sleep_until(next_heartbeat) => {}
            () = self.tasks.wait_for_finished() => {}
            () = changed => {}
        }
    }

    async fn register(&mut self, link: &Link) -> Result<Attached, Lost> {
        let stamp = self.shared.store.stamp();
        let registration = Registration {
            key: stamp.key,
            node: stamp.node,
            address: self.shared.address.clone(),
            topology: self.shared.config.topology.clone(),
            space: self.shared.store.space().await,
        };
        let registered = link
            .call(CALL_TIMEOUT, |c, context| c.register(context, registration))
            .await?;
        let attached = self.adopt(&registered).await.map_err(Lost::Refused)?;
        let Incarnation { node, epoch } = attached.incarnation;
        info!(%node, %epoch, master = link.address, "registered");
        self.shared.signing.learn(registered.signing.clone());
        let now = registered.signing.now;
        self.shared.learn_masters(&registered.masters, now);
        let (version, peers) = (0, registered.peers);
        let list = PeerList { version, peers };
        self.shared.peers.list(node, list);
        self.masters.learn(registered.masters);
        self.registered = Some(attached);
        self.full_from = Some(ChunkId(0));
        Ok(attached)
    }

    /// Becomes who the masters say it is, if it was nobody else before.
    async fn adopt(&self, registered: &Registered) -> Result<Attached, DataNodeError> {
        let Registered {
            cluster,
            node,
            epoch,
            ..
        } = *registered;
        let identity = Identity { cluster, node };
        match self.shared.identity() {
            Some(ours) if ours != identity => {
                return Err(DataNodeError::Refused(format!(
                    "the directory is of {} of cluster {}, the masters say {node} of {cluster}",
                    ours.node, ours.cluster
                )));
            }
            _ => self.shared.store.set_stamp(cluster, node).await?,
        }
        self.shared.set_identity(identity);
        let interval = Duration::from_millis(u64::from(registered.heartbeat_interval_ms))
            .clamp(HEARTBEAT_INTERVAL_MIN, HEARTBEAT_INTERVAL_MAX);
        Ok(Attached {
            incarnation: Incarnation { node, epoch },
            interval,
        })
    }

    /// Says "alive".
    async fn beat(&self, link: &Link, attached: Attached) -> Result<HeartbeatReply, CallError> {
        let Incarnation { node, epoch } = attached.incarnation;
        let space = self.shared.store.space().await;
        let heartbeat = Heartbeat {
            node,
            epoch,
            space,
            replicas: self.shared.store.replicas(),
            streams: self.shared.serving.running(),
            failed: self.shared.store.failed(),
            volumes: self.shared.store.tell(self.shared.env.clock.now()).await,
            peers: self.shared.peers.version(),
            down: self.shared.peers.down(),
        };
        link.call(HEARTBEAT_TIMEOUT, |c, context| {
            c.heartbeat(context, heartbeat)
        })
        .await
    }

    /// Waits for the answer to a call that may take long, and says "alive" meanwhile.
    async fn beat_while<T>(
        &self,
        link: &Link,
        attached: Attached,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let mut call = Box::pin(call);
        loop {
            match timeout(attached.interval.min(HEARTBEAT_TIMEOUT), &mut call).await {
                Ok(answer) => return answer,
                // What it says is said again with the next one.
                Err(_) => drop(self.beat(link, attached).await?),
            }
        }
    }

    /// Notes that another incarnation of this node has registered.
    fn fenced(&mut self) {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        self.fenced_at.retain(|at| now.duration_since(*at) < minute);
        self.fenced_at.push(now);
        if self.fenced_at.len() >= FENCED_OFTEN {
            let times = std::mem::take(&mut self.fenced_at).len();
            error!(
                times,
                "had to register again and again within a minute: another process runs with a \
                 copy of this node's directory. Stop one of the two: what they have differs"
            );
        }
    }

    async fn heartbeat(&mut self, link: &Link, attached: Attached) -> Result<(), Lost> {
        let reply = self.beat(link, attached).await.map_err(known)?;
        if self.term.is_some_and(|newest| reply.term < newest)
            && !planted::active(Bug::DeposedLeaderObeyed)
        {
            // It was deposed and does not know: what it orders may be wrong by now.
            return Err(Lost::NotLeader(None));
        }
        if reply.report || self.term != Some(reply.term) {
            self.term = Some(reply.term);
            self.full_from = Some(ChunkId(0));
        }
        self.shared.learn_masters(&reply.masters, reply.signing.now);
        self.shared.signing.learn(reply.signing);
        if let Some(list) = reply.peers {
            self.shared.peers.list(attached.incarnation.node, list);
        }
        self.masters.learn(reply.masters);
        self.tasks.offer(reply.tasks, reply.permits, reply.rewrites);
        Ok(())
    }

    async fn report_part(
        &mut self,
        link: &Link,
        attached: Attached,
        from: ChunkId,
    ) -> Result<(), Lost> {
        let part = report::full_part(&self.shared, attached.incarnation, from).await;
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                // To be silent is right: less than all would read as loss.
                warn!(%error, "the store cannot say what it has");
                self.full_from = None;
                return Ok(());
            }
        };
        let (kind, corrupt) = (part.kind, part.corrupt.clone());
        let call = link.call(CALL_TIMEOUT, |c, context| c.report(context, part));
        self.beat_while(link, attached, call).await.map_err(known)?;
        self.shared.corrupt.set_reported(&corrupt);
        self.full_from = report::next_part(kind);
        Ok(())
    }

    /// Reports changes; false if there are none.
    async fn report_delta(&mut self, link: &Link, attached: Attached) -> Result<bool, Lost> {
        let Some(delta) = report::take_delta(&self.shared, attached.incarnation).await else {
            return Ok(false);
        };
        if delta.overflowed {
            self.full_from = Some(ChunkId(0));
        }
        let report = delta.report.clone();
        let call = link.call(CALL_TIMEOUT, |c, context| c.report(context, report));
        match self.beat_while(link, attached, call).await {
            Ok(_) => delta.delivered(&self.shared),
            Err(error) => {
                delta.put_back(&self.shared);
                return Err(known(error));
            }
        }
        Ok(true)
    }

    /// Reports ended tasks; false if there are none.
    async fn report_finished(&mut self, link: &Link, attached: Attached) -> Result<bool, Lost> {
        let finished = self.tasks.finished();
        if finished.is_empty() {
            return Ok(false);
        }
        let Incarnation { node, epoch } = attached.incarnation;
        let told = finished.clone();
        let call = link.call(CALL_TIMEOUT, |c, context| {
            c.finished(context, node, epoch, told)
        });
        self.beat_while(link, attached, call).await.map_err(known)?;
        self.tasks.acknowledged(&finished);
        Ok(true)
    }
}

/// What a failed call means for a node that has registered: a refusal is no verdict on the node.
fn known(error: CallError) -> Lost {
    match Lost::from(error) {
        Lost::Refused(why) => Lost::Fenced(why.to_string()),
        lost => lost,
    }
}
