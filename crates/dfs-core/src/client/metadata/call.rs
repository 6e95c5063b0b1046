//! One request: to whoever leads, until it is answered for good.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tarpc::client::RpcError as CallError;
use tarpc::context::Context;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::Metadata;
use super::connection::login_required;
use super::retry::{Attempt, Attempts, Next};
use crate::error::{Error, ErrorKind};
use crate::proto::error::RpcError;
use crate::proto::metadata::{LeaderInfo, MetadataRpcClient};
use crate::proto::rules::{DENIED, LOGIN_REQUIRED};
use crate::types::{Refusal, RefusalKind, Rev};

/// How long tarpc gives a request where nobody says otherwise.
const TARPC_DEADLINE: Duration = Duration::from_secs(10);
/// By how much tarpc's deadline is later than ours: it is in the machine's time, ours in tokio's,
/// and only ours is to decide.
const TARPC_SLACK: Duration = Duration::from_millis(250);
/// The pause before the other masters are asked once more who leads.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Times one operation leaves a silent master because another leads.
const MOVES_MAX: u32 = 2;

impl Metadata {
    /// Sends a request to the leader, whoever it is, until it is answered for good or the
    /// deadline passes.
    pub(super) async fn call<T, F, Fut>(
        self: &Arc<Self>,
        attempts: &mut Attempts,
        send: F,
    ) -> std::result::Result<T, Attempt>
    where
        F: Fn(MetadataRpcClient, Context) -> Fut,
        Fut: Future<Output = Reply<T>>,
    {
        let mut moves = 0;
        let mut first = true;
        loop {
            let address = self.masters().target(Instant::now());
            let left = attempts
                .deadline()
                .saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Attempt::Unreached("no time is left".to_owned()));
            }
            let timeout = attempts.timeout(self.deadlines.attempt).min(left);
            let result = tokio::select! {
                biased;
                result = self.attempt(&address, timeout, &send) => result,
                () = self.another_leads(&address), if moves < MOVES_MAX => {
                    moves += 1;
                    Err(Attempt::Lost(format!("{address} is silent, and another leads")))
                }
            };
            let failed = match result {
                Ok(value) => {
                    self.masters().led(&address);
                    if !first {
                        tokio::spawn(self.clone().learn_from(address));
                    }
                    return Ok(value);
                }
                Err(failed) => failed,
            };
            first = false;
            self.note(&address, &failed);
            let (masters, now) = (self.masters().count(), Instant::now());
            match attempts.ended(&failed, masters, now, &*self.env.random) {
                Next::Stop => return Err(failed),
                Next::Again(delay) => {
                    debug!(master = %address, reason = ?failed, ?delay, "trying again");
                    sleep(delay).await;
                }
            }
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        address: &str,
        limit: Duration,
        send: &F,
    ) -> std::result::Result<T, Attempt>
    where
        F: Fn(MetadataRpcClient, Context) -> Fut,
        Fut: Future<Output = Reply<T>>,
    {
        let masters = self.masters().count();
        let connection = timeout(limit, self.connections.get(address, masters)).await;
        let connection = connection.unwrap_or_else(|_| {
            let what = format!("{address}: no connection within {limit:?}");
            Err(Attempt::Unreached(what))
        })?;
        let answers = connection.answers();
        match timeout(limit, send(connection.rpc.clone(), context(limit))).await {
            Ok(Ok(answer)) => {
                connection.answered();
                match answer {
                    Err(error) if is_login_required(&error) => {
                        // Nothing was done, and whoever can proves again who it is.
                        match self.connections.let_in_again(address, &connection).await {
                            true => Err(Attempt::Unreached(format!("{address}: {error}"))),
                            false => Err(Attempt::Answered(error)),
                        }
                    }
                    Err(RpcError::NotLeader { leader }) => match leader {
                        Some(leader) if self.connections.was_refused_by(&leader) => {
                            Err(login_required(&leader))
                        }
                        leader => Err(Attempt::Answered(RpcError::NotLeader { leader })),
                    },
                    answer => {
                        self.connections.was_let_in(&connection);
                        answer.map_err(Attempt::Answered)
                    }
                }
            }
            Ok(Err(CallError::Server(error))) if error.detail.starts_with(LOGIN_REQUIRED) => {
                let asked = (address, masters);
                match self.connections.let_in_elsewhere(asked, &connection).await {
                    true => Err(Attempt::Unreached(format!("{address}: {error}"))),
                    false => Err(login_required(address)),
                }
            }
            Ok(Err(error)) => Err(unanswered(address, error)),
            Err(_) => {
                if connection.answers() == answers {
                    self.connections.discard(address, &connection).await;
                }
                Err(Attempt::Lost(format!(
                    "{address}: no answer within {limit:?}"
                )))
            }
        }
    }

    fn note(&self, address: &str, failed: &Attempt) {
        let now = Instant::now();
        let mut masters = self.masters();
        match failed {
            Attempt::Unreached(_) | Attempt::Lost(_) => masters.failed(address, now),
            Attempt::Answered(RpcError::NotLeader { leader }) => {
                masters.not_leader(address, leader.as_deref(), now);
            }
            Attempt::Answered(RpcError::Internal(_)) => masters.failed(address, now),
            Attempt::Answered(RpcError::Refused { .. } | RpcError::OutOfSpace(_)) => {
                masters.led(address);
            }
            Attempt::Answered(
                RpcError::Unknown(_) | RpcError::Unavailable(_) | RpcError::Fenced(_),
            ) => masters.not_leader(address, None, now),
        }
    }

    /// Returns when a master other than `silent` proves to lead. Asks only after a while, and
    /// then often: an election may be under way.
    async fn another_leads(&self, silent: &str) {
        let mut pause = self.deadlines.patience;
        loop {
            sleep(pause).await;
            pause = ASK_AGAIN;
            let _one_asks = self.asking.lock().await;
            let others: Vec<String> = {
                let masters = self.masters();
                if masters.leader().is_some_and(|leader| leader != silent) {
                    return;
                }
                masters.all().into_iter().filter(|a| a != silent).collect()
            };
            let patience = self.deadlines.patience;
            let answers = others
                .iter()
                .map(|address| self.leader_at(address, patience));
            for info in futures::future::join_all(answers)
                .await
                .into_iter()
                .flatten()
            {
                self.masters().learn(&info, Instant::now());
                let Some(leader) = info.leader.filter(|l| l != silent) else {
                    continue;
                };
                // What others say may be old; what it says of itself is not.
                let own = self.leader_at(&leader, patience).await;
                if own.is_ok_and(|own| own.leader.as_ref() == Some(&leader)) {
                    self.masters().replaced(silent, &leader);
                    return;
                }
            }
        }
    }

    pub(super) async fn leader_at(
        &self,
        address: &str,
        limit: Duration,
    ) -> std::result::Result<LeaderInfo, Attempt> {
        let send = |rpc: MetadataRpcClient, context| async move {
            rpc.leader(context).await.map(Ok::<_, RpcError>)
        };
        self.attempt(address, limit, &send).await
    }

    /// Brings the list of masters up to date after the leader has changed.
    async fn learn_from(self: Arc<Self>, address: String) {
        if let Ok(info) = self.leader_at(&address, self.deadlines.attempt).await {
            self.masters().learn(&info, Instant::now());
            let all = self.masters().all();
            self.connections.retain(&all);
        }
    }
}

/// What a master answers, if it does.
pub(super) type Reply<T> = std::result::Result<std::result::Result<T, RpcError>, CallError>;

/// What a master is told of a request: that nobody waits much longer than `limit` for its answer.
fn context(limit: Duration) -> Context {
    let mut context = tarpc::context::current();
    let sooner = TARPC_DEADLINE.saturating_sub(limit + TARPC_SLACK);
    context.deadline = context
        .deadline
        .checked_sub(sooner)
        .unwrap_or(context.deadline);
    context
}

fn is_login_required(error: &RpcError) -> bool {
    match error {
        RpcError::Refused { refusal, .. } => refusal.kind == RefusalKind::LoginRequired,
        _ => false,
    }
}

fn unanswered(address: &str, error: CallError) -> Attempt {
    match error {
        // The message could not be put in a frame: it never left.
        CallError::Send(reason) => Attempt::Answered(RpcError::from(Refusal::new(
            RefusalKind::TooLarge,
            format!("a request: {reason}"),
        ))),
        CallError::Server(error) => Attempt::Answered(match error.detail.strip_prefix(DENIED) {
            Some(why) => RpcError::from(Refusal::new(RefusalKind::NotPermitted, why)),
            None => RpcError::Unknown(error.to_string()),
        }),
        CallError::Shutdown | CallError::Channel(_) | CallError::DeadlineExceeded => {
            Attempt::Lost(format!("{address}: {error}"))
        }
    }
}

/// The error of an operation that masters do not remember, as they do changes: whatever the last
/// attempt was answered, one that was lost before may still be carried out.
pub(super) fn failure_unremembered(last: Attempt, uncertain: bool) -> Error {
    match (last, uncertain) {
        (Attempt::Answered(error), true) => Error::outcome_unknown(error),
        (last, uncertain) => failure(last, uncertain),
    }
}

/// Whether a refusal is the answer to a request, however often it is sent. Otherwise an attempt
/// that was lost may still be done: a master was busy, or did not let the client in any more.
fn is_remembered(refusal: &Refusal, rev: Option<Rev>) -> bool {
    let passes = matches!(refusal.kind, RefusalKind::Busy | RefusalKind::LoginRequired);
    rev.is_some() && !passes
}

/// The error of an operation whose last attempt ended so.
pub(super) fn failure(last: Attempt, uncertain: bool) -> Error {
    let last = match last {
        Attempt::Answered(RpcError::Refused { refusal, rev })
            if !uncertain || is_remembered(&refusal, rev) =>
        {
            return Error::refused(refusal, rev);
        }
        Attempt::Answered(RpcError::OutOfSpace(why)) if !uncertain => {
            return Error::new(ErrorKind::OutOfSpace, format!("out of space: {why}"));
        }
        Attempt::Answered(RpcError::Internal(why)) if !uncertain => {
            return Error::new(ErrorKind::Internal, format!("a master failed: {why}"));
        }
        Attempt::Answered(RpcError::Fenced(why)) => {
            let message = format!("a master takes this client for a data node: {why}");
            return Error::new(ErrorKind::Internal, message);
        }
        Attempt::Answered(error) => error.to_string(),
        Attempt::Unreached(why) | Attempt::Lost(why) => why,
    };
    match uncertain {
        true => Error::outcome_unknown(last),
        false => Error::unavailable(format!("no master could do it in time: {last}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_lost_and_then_met_a_busy_master_may_still_be_made() {
        let refused = |kind| {
            Attempt::Answered(RpcError::Refused {
                refusal: Refusal::new(kind, "/a"),
                rev: Some(Rev { term: 1, index: 1 }),
            })
        };
        assert!(failure(refused(RefusalKind::Busy), true).is_outcome_unknown());
        assert!(!failure(refused(RefusalKind::Busy), false).is_outcome_unknown());
        assert!(!failure(refused(RefusalKind::NotFound), true).is_outcome_unknown());
    }

    #[test]
    fn a_change_that_was_lost_by_whoever_is_then_shut_out_may_still_be_made() {
        for (kind, rev) in [
            (RefusalKind::LoginRequired, Some(Rev { term: 1, index: 1 })),
            (RefusalKind::AccessDenied, None),
        ] {
            let refusal = Refusal::new(kind, "alice");
            let last = || {
                let refusal = refusal.clone();
                Attempt::Answered(RpcError::Refused { refusal, rev })
            };
            assert!(failure(last(), true).is_outcome_unknown(), "{kind:?}");
            assert!(!failure(last(), false).is_outcome_unknown(), "{kind:?}");
        }
    }
}
