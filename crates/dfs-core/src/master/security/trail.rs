//! What the audit log is told of requests: what was changed, who was let in as what, what was read,
//! and all that was refused for want of a right. Other questions and their answers are not in it.

use crate::master::security::admission::Guest;
use crate::master::shared::Shared;
use crate::meta::query;
use crate::node::audit::{Actor, Asked, Ending};
use crate::planted::{self, Bug};
use crate::proto::error::RpcError;
use crate::types::{Caller, Query, RefusalKind};
use dfs_raft::Consistency;
use dfs_raft::state::View;

/// Who a guest is, in words.
pub(in crate::master) async fn actor(shared: &Shared, guest: Guest, source: &str) -> Actor {
    match guest {
        Guest::Anybody => Actor::new("anybody", source),
        Guest::Node(node, _) => Actor::new(node, source),
        Guest::Key(peer) => Actor::new(peer, source),
        Guest::User { caller, .. } => Actor::new(user(shared, caller).await, source),
    }
}

/// The id of a user, which never is another's, and its name now.
async fn user(shared: &Shared, caller: Caller) -> String {
    let id = caller.user();
    let look = move |view: &View| query::user_name(view, id);
    let named = match shared.read(Consistency::Stale).await {
        Ok(reading) => shared.look(reading, look).await,
        Err(error) => Err(error),
    };
    match named {
        Ok(Some(name)) => format!("{id} {name}"),
        Ok(None) | Err(_) => id.to_string(),
    }
}

/// How something ended; none if nothing was done, and it can be asked for again.
fn ending<T>(ended: &Result<T, RpcError>, done: impl FnOnce(&T) -> Ending) -> Option<Ending> {
    match ended {
        Ok(value) => Some(done(value)),
        Err(RpcError::Refused { .. }) if planted::active(Bug::RefusalsNotAudited) => None,
        Err(RpcError::Refused { refusal, rev }) => Some(Ending::refused(refusal).at(*rev)),
        Err(RpcError::Unknown(why) | RpcError::Internal(why)) => Some(Ending::unknown(why)),
        Err(
            RpcError::NotLeader { .. }
            | RpcError::Unavailable(_)
            | RpcError::OutOfSpace(_)
            | RpcError::Fenced(_),
        ) => None,
    }
}

/// Writes down how something ended, before it is answered. What cannot be written is not
/// answered: whoever asks again finds it done.
pub(in crate::master) async fn told<T>(
    asked: Asked,
    ended: Result<T, RpcError>,
    done: impl FnOnce(&T) -> Ending,
) -> Result<T, RpcError> {
    let Some(ending) = ending(&ended, done) else {
        asked.forget();
        return ended;
    };
    match (asked.ended(ending).await, &ended) {
        (Ok(()), _) => ended,
        // Nothing was done.
        (Err(e), Err(RpcError::Refused { .. })) => Err(RpcError::Unavailable(e.to_string())),
        (Err(e), _) => Err(RpcError::Unknown(e.to_string())),
    }
}

/// The same of a question, by which nothing is done in any case.
pub(in crate::master) async fn answered<T>(
    asked: Asked,
    ended: Result<T, RpcError>,
    done: impl FnOnce(&T) -> Ending,
) -> Result<T, RpcError> {
    told(asked, ended, done).await.map_err(|error| match error {
        RpcError::Unknown(why) => RpcError::Unavailable(why),
        error => error,
    })
}

/// Whether the end of a question is worth a line: somebody is shown where the bytes of a file are,
/// or has no right to what it asks.
pub(in crate::master) fn is_worth_a_line<T>(query: &Query, ended: &Result<T, RpcError>) -> bool {
    match ended {
        Ok(_) => matches!(query, Query::Layout { .. }),
        Err(error) => lacks_a_right(error),
    }
}

/// Whether something was refused for want of a right.
pub(in crate::master) fn lacks_a_right(error: &RpcError) -> bool {
    let kinds = [
        RefusalKind::AccessDenied,
        RefusalKind::LoginRequired,
        RefusalKind::NotPermitted,
    ];
    matches!(error, RpcError::Refused { refusal, .. } if kinds.contains(&refusal.kind))
}

/// Whether somebody was told that something is not there.
pub(in crate::master) fn is_not_found(error: &RpcError) -> bool {
    matches!(error, RpcError::Refused { refusal, .. } if refusal.kind == RefusalKind::NotFound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use std::path::Path;

    use super::*;
    use crate::node::audit::{Audit, Deed};
    use crate::testing::{MemoryDisk, test_env};
    use crate::types::Refusal;

    type Ended = Result<(), RpcError>;

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_answered_and_unknown_only_if_it_was_done() {
        let disk = MemoryDisk::new(1);
        let env = test_env(1, &disk);
        let (audit, writing) = Audit::new(&env, Path::new("/m"), (1 << 20, 0));
        let writer = tokio::spawn(writing);
        let ask = || audit.ask(&Actor::new("u1 alice", ""), Deed::new("mkdir"));
        let refused = || Ended::Err(Refusal::new(RefusalKind::Exists, "/a").into());
        let done = |(): &()| Ending::done();
        for written in [true, false] {
            let tell = async |ended: Ended| {
                disk.fail_writes(u64::from(!written));
                told(ask(), ended, done).await
            };
            let (made, denied) = (tell(Ok(())).await, tell(refused()).await);
            disk.fail_writes(u64::from(!written));
            let seen = answered(ask(), Ok(()), done).await;
            if written {
                assert_eq!((made, denied, seen), (Ok(()), refused(), Ok(())));
            } else {
                assert!(matches!(made, Err(RpcError::Unknown(_))), "{made:?}");
                assert!(
                    matches!(denied, Err(RpcError::Unavailable(_))),
                    "{denied:?}"
                );
                assert!(matches!(seen, Err(RpcError::Unavailable(_))), "{seen:?}");
            }
        }
        // What can be asked for again has no line.
        let before = disk.written();
        let again = || Ended::Err(RpcError::NotLeader { leader: None });
        assert_eq!(told(ask(), again(), done).await, again());
        audit.close();
        writer.await.unwrap();
        assert_eq!(disk.written(), before);
    }
}
