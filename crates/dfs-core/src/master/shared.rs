//! What all parts of a master share.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dfs_raft::{Consistency, Fatal, LeaderHint, ProposeError, ReadError, Reading, ReplicaStatus};
use futures::FutureExt;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::MasterConfig;
use super::leader::Leading;
use super::security::dialer::Met;
use super::security::keys::Keys;
use super::security::throttle::Throttle;
use crate::env::Env;
use crate::meta::{Command, MetaMachine, Reply};
use crate::node::audit::Audit;
use crate::planted::{self, Bug};
use crate::proto::error::RpcError;
use crate::proto::metadata::Stamped;
use crate::types::{ClusterId, Refusal, RefusalKind, Timestamp};

pub(crate) type Replica = dfs_raft::Replica<MetaMachine>;

/// What all parts of a master share.
pub(crate) struct Shared {
    pub(crate) config: MasterConfig,
    pub(crate) env: Env,
    pub(crate) replica: Replica,
    /// Where others reach it.
    pub(crate) address: String,
    cluster: OnceLock<ClusterId>,
    leading: Mutex<Option<Leading>>,
    /// One reservation of chunk ids at a time.
    pub(crate) reserving: tokio::sync::Mutex<()>,
    /// Results came that the driver is to record.
    pub(crate) results: Notify,
    /// The log time of the last command that this master proposed.
    log_time: AtomicU64,
    /// Where it is written down who asked for what.
    pub(crate) audit: Audit,
    /// What it signs with.
    pub(crate) keys: Keys,
    /// Passwords are verified so many at a time.
    pub(crate) verifying: Arc<Semaphore>,
    throttle: Mutex<Throttle>,
    /// The other masters, and itself.
    pub(super) met: Met,
}

/// Passwords that are verified at a time: each takes 19 MiB.
const VERIFYING_MAX: usize = 2;

impl Shared {
    pub(crate) fn new(
        config: MasterConfig,
        env: Env,
        (replica, audit): (Replica, Audit),
        address: String,
    ) -> Shared {
        Shared {
            config,
            env,
            replica,
            address,
            cluster: OnceLock::new(),
            leading: Mutex::new(None),
            reserving: tokio::sync::Mutex::new(()),
            results: Notify::new(),
            log_time: AtomicU64::new(0),
            audit,
            keys: Keys::default(),
            verifying: Arc::new(Semaphore::new(VERIFYING_MAX)),
            throttle: Mutex::default(),
            met: Met::default(),
        }
    }

    /// Who failed to log in.
    pub(crate) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster it belongs to, once it does.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        if let Some(known) = self.cluster.get() {
            return Some(*known);
        }
        let status = self.replica.status().ok()??;
        Some(*self.cluster.get_or_init(|| ClusterId(status.cluster.0)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Leading>> {
        self.leading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins or ends leading.
    pub(crate) fn set_leading(&self, leading: Option<Leading>) {
        *self.lock() = leading;
    }

    /// Works with what the leader knows; nothing if this master does not lead.
    pub(crate) fn if_leading<T>(&self, work: impl FnOnce(&mut Leading) -> T) -> Option<T> {
        self.lock().as_mut().map(work)
    }

    /// Works with what the leader knows.
    ///
    /// # Errors
    /// This master does not lead, or does not yet know enough to.
    pub(crate) fn leading<T>(&self, work: impl FnOnce(&mut Leading) -> T) -> Result<T, RpcError> {
        self.if_leading(work).ok_or_else(|| self.not_leading())
    }

    /// Why this master cannot do what only a leader can.
    pub(crate) fn not_leading(&self) -> RpcError {
        let leadership = self.replica.leadership().borrow().clone();
        match leadership.is_leader {
            true => RpcError::Unavailable("the leader is taking over".to_owned()),
            false => not_leader(leadership.leader),
        }
    }

    /// What there is to know of the replica.
    pub(crate) fn status(&self) -> Result<ReplicaStatus, RpcError> {
        let status = self.replica.status().map_err(internal)?;
        status.ok_or_else(|| RpcError::Unavailable("not in a cluster yet".to_owned()))
    }

    /// The addresses of all masters.
    pub(crate) fn masters(&self) -> Vec<String> {
        let status = self.replica.status().ok().flatten();
        let members = status.map_or_else(Vec::new, |status| status.members);
        members.into_iter().map(|member| member.address).collect()
    }

    /// Proposes a command and waits until it is carried out.
    pub(crate) async fn propose(&self, command: Command) -> Result<Stamped<Reply>, RpcError> {
        let applied = self.replica.propose(command).await;
        let applied = applied.map_err(not_proposed)?;
        self.log_time.fetch_max(applied.time.0, Ordering::Relaxed);
        Ok(Stamped {
            rev: applied.rev,
            value: applied.reply,
        })
    }

    /// The time that a command would be given now, as far as is known: log time never goes back,
    /// so it may be ahead of the clock.
    pub(crate) fn now(&self) -> Timestamp {
        let logged = Timestamp(self.log_time.load(Ordering::Relaxed));
        logged.max(self.env.clock.now())
    }

    /// A state to read from.
    pub(crate) async fn read(&self, consistency: Consistency) -> Result<Reading, RpcError> {
        self.replica.read(consistency).await.map_err(|e| match e {
            ReadError::NotLeader(leader) => not_leader(leader),
            ReadError::Unavailable(why) => RpcError::Unavailable(why),
            ReadError::Stopped(fatal) => internal(fatal),
        })
    }

    /// Looks something up in a state, away from the async threads.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        reading: Reading,
        look: impl FnOnce(&dfs_raft::state::View) -> Result<T, Fatal> + Send + 'static,
    ) -> Result<T, RpcError> {
        let work = move || look(&reading.view);
        self.env.run_blocking(work).await.map_err(|fatal| {
            // What cannot be read is damaged, and a damaged master leads no longer.
            self.replica.fail(fatal.clone());
            internal(fatal)
        })
    }
}

/// Runs a part that a master cannot do without. If it ends, by a panic as a rule, the master
/// leads no longer and its replica stops. In an orderly stop the audit log is closed, last of all.
pub(crate) async fn vital(shared: Arc<Shared>, part: impl Future<Output = ()>) {
    let ended = AssertUnwindSafe(part).catch_unwind().await;
    shared.set_leading(None);
    if shared.audit.is_closed() {
        return;
    }
    let why = match ended {
        Ok(()) => "a part of the master has ended",
        Err(_) => "a part of the master has panicked",
    };
    shared.replica.fail(Fatal::new(why));
}

/// A fault of this master.
pub(crate) fn internal(fatal: Fatal) -> RpcError {
    tracing::error!(?fatal, "a request met a fault");
    RpcError::Internal(fatal.to_string())
}

/// What a caller is told of a command that was not, or perhaps was, carried out.
fn not_proposed(error: ProposeError) -> RpcError {
    match error {
        ProposeError::NotLeader(leader) => not_leader(leader),
        ProposeError::Unknown(why) if planted::active(Bug::UnknownReportedAsRefused) => {
            Refusal::new(RefusalKind::Conflict, why).into()
        }
        ProposeError::Unknown(why) => RpcError::Unknown(why),
        ProposeError::Unavailable(why) => RpcError::Unavailable(why),
        ProposeError::Invalid(why) => Refusal::new(RefusalKind::TooLarge, why).into(),
        ProposeError::Stopped(fatal) => internal(fatal),
    }
}

/// A reply to another command than was proposed: impossible, but not worth a panic.
pub(crate) fn unexpected(reply: &Reply) -> RpcError {
    RpcError::Internal(format!("unexpected reply {reply:?}"))
}

/// Another leads, or none.
pub(crate) fn not_leader(leader: Option<LeaderHint>) -> RpcError {
    RpcError::NotLeader {
        leader: leader.map(|hint| hint.address),
    }
}

/// Time as the driver passes it on: what passed, but never much more than a tick at once, so
/// that it stands still while this process does.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    most: std::time::Duration,
}

impl Pace {
    pub(crate) fn new(tick: std::time::Duration) -> Pace {
        Pace {
            last: Instant::now(),
            most: tick * 4,
        }
    }

    /// What passed since this was last asked.
    pub(crate) fn elapsed(&mut self) -> std::time::Duration {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last);
        self.last = now;
        elapsed.min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_unknown_outcome_is_never_reported_as_refused() {
        let told = not_proposed(ProposeError::Unknown("the deadline passed".to_owned()));
        assert!(matches!(told, RpcError::Unknown(_)), "{told:?}");
    }
}
