//! Tickets for users.

use std::sync::Arc;
use std::time::Duration;

use dfs_raft::Consistency;
use dfs_raft::state::View;
use tarpc::context::Context;
use tokio::time::Instant;

use crate::master::security::throttle::Who;
use crate::master::shared::Shared;
use crate::meta::query::{self, Credentials};
use crate::node::audit::{Actor, Deed, Ending};
use crate::node::lobby::source_of;
use crate::proto::error::RpcError;
use crate::proto::login::{LoggedIn, LoginRpc, Proof};
use crate::security::{Fingerprint, Password, Peer, Ticket};
use crate::types::account::AccountName;
use crate::types::limits::{SIGNING_KEY_LINGERS, SIGNING_KEY_REST};
use crate::types::{ClusterId, Refusal, RefusalKind};

/// How long a ticket is good for.
pub(crate) const TICKET_TTL: Duration = Duration::from_secs(12 * 60 * 60);
const _: () = assert!(
    TICKET_TTL.as_secs() + SIGNING_KEY_REST.as_secs() < SIGNING_KEY_LINGERS.as_secs(),
    "a ticket outlives the key that signed it"
);

/// Serves [`LoginRpc`] on one connection.
#[derive(Clone)]
pub(crate) struct LoginService {
    shared: Arc<Shared>,
    /// Who is at the other end.
    peer: Peer,
    /// Where that is.
    source: Who,
    /// The same, for the audit log.
    actor: Arc<Actor>,
}

impl LoginService {
    /// `address` is `host:port`; all ports of a host are one source.
    pub(crate) fn new(
        shared: Arc<Shared>,
        actor: Arc<Actor>,
        (peer, address): (Peer, &str),
    ) -> LoginService {
        LoginService {
            shared,
            peer,
            actor,
            source: Who::Source(source_of(address)),
        }
    }

    /// Whether it is that user. One that does not exist takes as long as one that does.
    async fn is_proven(&self, known: Option<&Credentials>, proof: Proof) -> Result<bool, RpcError> {
        match proof {
            Proof::Key(key) => {
                let hash = Fingerprint::of(&key).0;
                let has = |known: &Credentials| known.keys.iter().any(|key| key.0 == hash);
                Ok(known.is_some_and(has))
            }
            Proof::Password(password) => {
                // Each takes memory and a core, also when nobody waits for it any more.
                let turn = Arc::clone(&self.shared.verifying).acquire_owned().await;
                let Ok(turn) = turn else {
                    return Err(RpcError::Unavailable("stopping".to_owned()));
                };
                let kept = known.and_then(|known| known.password.clone());
                let password = Password::new(password);
                let verify = move || {
                    let is_it = password.is(kept.as_ref());
                    drop(turn);
                    is_it
                };
                Ok(self.shared.env.run_blocking(verify).await)
            }
        }
    }

    async fn ticket(&self, cluster: ClusterId, known: &Credentials) -> Result<LoggedIn, RpcError> {
        let shared = &self.shared;
        let (number, key) = shared.keys.signing(shared).await?;
        let expires = shared.now().saturating_add(TICKET_TTL);
        let who = (cluster, known.user, known.epoch);
        let ticket = Ticket::new(who, self.peer.key, expires);
        let ticket = ticket.sign((number, &key));
        Ok(LoggedIn {
            user: known.user,
            ticket: ticket.map_err(|e| RpcError::Internal(e.to_string()))?,
            expires,
        })
    }

    /// Whether that user is at the other end: it has failed until it is proven.
    async fn let_in(&self, user: AccountName, proof: Proof) -> Result<LoggedIn, NotIn> {
        let shared = &self.shared;
        shared.leading(|_| ())?;
        let cluster = shared.cluster().ok_or_else(|| shared.not_leading())?;
        // A key cannot be guessed, so nobody is made to wait by others who try in its name.
        let who = match &proof {
            Proof::Password(_) => vec![self.source.clone(), Who::User(user.to_string())],
            Proof::Key(_) => vec![self.source.clone()],
        };
        let is_password = matches!(&proof, Proof::Password(_));
        if is_password {
            let may_try = shared.throttle().may_try(&who, Instant::now());
            may_try.map_err(too_early)?;
        }
        let reading = shared.read(Consistency::Linearizable).await?;
        let look = move |view: &View| query::credentials(view, &user);
        let known = shared.look(reading, look).await?;
        // From here on it counts as failed until it is proven: a reader that lost its leader
        // has not tried.
        if is_password {
            let begun = shared.throttle().begin(&who, Instant::now());
            begun.map_err(too_early)?;
        }
        match (self.is_proven(known.as_ref(), proof).await?, known) {
            (true, Some(known)) => {
                if is_password {
                    shared.throttle().succeeded(&who);
                }
                Ok(self.ticket(cluster, &known).await?)
            }
            _ => {
                if !is_password {
                    shared.throttle().failed(&who, Instant::now());
                }
                let what = "no such user, or not its password or key";
                let refusal = Refusal::new(RefusalKind::AccessDenied, what);
                Err(NotIn::Denied(refusal.into()))
            }
        }
    }
}

/// Why somebody is not let in.
enum NotIn {
    /// It may try again.
    Failed(RpcError),
    /// It has not proven who it is, or tries too often.
    Denied(RpcError),
}

impl From<RpcError> for NotIn {
    fn from(error: RpcError) -> NotIn {
        NotIn::Failed(error)
    }
}

/// What somebody is told who failed often.
fn too_early(wait: Duration) -> NotIn {
    let seconds = wait.as_secs() + 1;
    let what = format!("too many failed logins; try again in {seconds} s");
    NotIn::Denied(RpcError::Unavailable(what))
}

impl LoginRpc for LoginService {
    async fn login(
        self,
        _: Context,
        user: AccountName,
        proof: Proof,
    ) -> Result<LoggedIn, RpcError> {
        let with = match &proof {
            Proof::Password(_) => "with a password",
            Proof::Key(_) => "with a key",
        };
        let deed = Deed::new("login").about(&user).with(with);
        let audit = &self.shared.audit;
        let written = match self.let_in(user, proof).await {
            Ok(logged_in) => {
                let asked = audit.ask(&self.actor, deed);
                asked.ended(Ending::done()).await.map(|()| Ok(logged_in))
            }
            Err(NotIn::Denied(error)) => {
                let noted = audit.not_let_in(&self.actor, deed, &error).await;
                noted.map(|()| Err(error))
            }
            Err(NotIn::Failed(error)) => Ok(Err(error)),
        };
        written.unwrap_or_else(|e| Err(RpcError::Unavailable(e.to_string())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use super::*;
    use crate::env::Env;
    use crate::master::tests::{elected, start_in};
    use crate::node::Security;
    use crate::security::KeyPair;

    #[tokio::test]
    async fn who_meets_a_master_that_cannot_tell_has_not_failed_to_log_in() {
        let (env, directory) = (Env::real(), tempfile::tempdir().unwrap());
        let master = start_in(&directory, env.clone(), Security::Found).await;
        master.found().await.unwrap();
        elected(&master).await;
        let peer = Peer {
            key: KeyPair::generate(&*env.random).unwrap().public(),
            node: None,
        };
        let shared = Arc::clone(&master.shared);
        let actor = Arc::new(Actor::new(peer, ""));
        let service = LoginService::new(Arc::clone(&shared), actor, (peer, "10.0.0.9:1"));
        // It leads, as far as it knows, and can read nothing.
        shared.replica.shutdown().await;
        for _ in 0..20 {
            let proof = Proof::Password("a guess".to_owned());
            let admin = "admin".parse().unwrap();
            let login = service
                .clone()
                .login(tarpc::context::current(), admin, proof);
            let error = login.await.unwrap_err();
            assert!(!matches!(error, RpcError::Refused { .. }), "{error}");
            assert!(!matches!(error, RpcError::NotLeader { .. }), "{error}");
        }
        let who = [service.source, Who::User("admin".to_owned())];
        assert_eq!(shared.throttle().begin(&who, Instant::now()), Ok(()));
    }
}
