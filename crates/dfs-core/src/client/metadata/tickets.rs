//! The ticket that is shown to masters: kept while it is good, exchanged in time.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::retry::Attempt;
use crate::client::access::{Access, Failed, Login, log_in_at};
use crate::env::{Env, Timestamp};
use crate::proto::error::RpcError;
use crate::proto::login::Proof;
use crate::types::{Refusal, RefusalKind};

/// A ticket is exchanged for a new one this long before it is void, for clocks that differ.
const EARLY: Duration = Duration::from_secs(60);
/// A ticket that cannot be exchanged is void if so many masters do not take it: the clock of one
/// may be wrong.
const REFUSALS: usize = 2;

/// The tickets of a client; none in a cluster without security.
pub(super) struct Tickets {
    access: Option<Access>,
    held: Mutex<Held>,
    /// Held by the one who logs in.
    login: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    ticket: Option<(Vec<u8>, Timestamp)>,
    /// The masters that did not take it since one did.
    refused_by: BTreeSet<String>,
}

impl Held {
    fn is(&self, shown: &[u8]) -> bool {
        let held = self.ticket.as_ref();
        held.is_some_and(|(ticket, _)| ticket == shown)
    }
}

impl Tickets {
    pub(super) fn new(access: Option<Access>) -> Tickets {
        let ticket = access.as_ref().and_then(|access| match access.login() {
            Login::Key(_) => None,
            Login::Ticket(held) => Some((held.ticket.clone(), held.expires)),
        });
        Tickets {
            access,
            held: Mutex::new(Held {
                ticket,
                ..Held::default()
            }),
            login: tokio::sync::Mutex::default(),
        }
    }

    /// A ticket that is good, got from the leader that a master at `address` knows if there is
    /// none. Callers at the same time wait for one attempt.
    pub(super) async fn get(
        &self,
        env: &Env,
        address: &str,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>, Attempt> {
        let Some(access) = &self.access else {
            return Ok(None);
        };
        if let Some(ticket) = self.good(env) {
            return Ok(Some(ticket));
        }
        let Login::Key(key) = access.login() else {
            return Err(login_required(access));
        };
        let _one_logs_in = self.login.lock().await;
        if let Some(ticket) = self.good(env) {
            return Ok(Some(ticket));
        }
        let proof = Proof::Key(key.secret());
        let who = (access.user(), &proof);
        match log_in_at(&*env.network, address, who, patience).await {
            Ok(got) => {
                self.held().ticket = Some((got.ticket.clone(), got.expires));
                Ok(Some(got.ticket))
            }
            Err(Failed::Refused(error)) => Err(Attempt::Answered(error)),
            Err(Failed::Unreached(why)) => Err(Attempt::Unreached(why)),
        }
    }

    fn good(&self, env: &Env) -> Option<Vec<u8>> {
        let now = env.clock.now();
        let held = self.held();
        let good = held.ticket.as_ref();
        let good = good.filter(|(_, expires)| now.saturating_add(EARLY) < *expires);
        good.map(|(ticket, _)| ticket.clone())
    }

    /// A master does what it is asked by whoever shows the ticket.
    pub(super) fn accepted(&self, shown: &[u8]) {
        let mut held = self.held();
        if held.is(shown) {
            held.refused_by.clear();
        }
    }

    /// Whether the leader, as another master knows it, has refused the ticket: then nobody else can
    /// do what is asked. The next request is taken to it once more.
    pub(super) fn was_refused_by(&self, leader: &str) -> bool {
        self.held().refused_by.remove(leader)
    }

    /// One master of so many does not take a ticket; says whether this one or another can still
    /// be shown.
    pub(super) fn refused(&self, shown: &[u8], address: &str, masters: usize) -> bool {
        if self.can_log_in() {
            return self.forget(shown);
        }
        let mut held = self.held();
        if held.is(shown) {
            held.refused_by.insert(address.to_owned());
            if held.refused_by.len() >= masters.min(REFUSALS) {
                held.ticket = None;
            }
        }
        held.ticket.is_some()
    }

    /// Forgets a ticket, which is void; says whether another can be got.
    pub(super) fn forget(&self, shown: &[u8]) -> bool {
        let mut held = self.held();
        if held.is(shown) {
            *held = Held::default();
        }
        self.can_log_in()
    }

    fn can_log_in(&self) -> bool {
        let access = self.access.as_ref();
        access.is_some_and(|access| matches!(access.login(), Login::Key(_)))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn login_required(access: &Access) -> Attempt {
    let what = format!("the user {}", access.user());
    let refusal = Refusal::new(RefusalKind::LoginRequired, what);
    Attempt::Answered(RpcError::from(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::access::HeldTicket;
    use crate::security::Fingerprint;

    const SHOWN: &[u8] = b"ticket";

    fn of_a_password() -> Tickets {
        let ticket = HeldTicket {
            key: [1; 32],
            ticket: SHOWN.to_vec(),
            expires: Timestamp(u64::MAX),
        };
        let user = "alice".parse().unwrap();
        Tickets::new(Some(Access::with_ticket(
            Fingerprint([1; 32]),
            user,
            ticket,
        )))
    }

    async fn shown(tickets: &Tickets) -> Result<Option<Vec<u8>>, Attempt> {
        tickets.get(&Env::real(), "m1", Duration::ZERO).await
    }

    #[tokio::test]
    async fn a_ticket_that_one_master_does_not_take_is_shown_to_the_others() {
        let tickets = of_a_password();
        assert!(tickets.refused(SHOWN, "m1", 3));
        assert!(tickets.refused(SHOWN, "m1", 3));
        tickets.accepted(SHOWN);
        assert!(tickets.refused(SHOWN, "m2", 3));
        assert_eq!(shown(&tickets).await, Ok(Some(SHOWN.to_vec())));
        assert!(!tickets.refused(SHOWN, "m1", 3));
        assert!(shown(&tickets).await.is_err());
    }

    #[tokio::test]
    async fn a_ticket_that_the_only_master_does_not_take_is_void() {
        let tickets = of_a_password();
        assert!(!tickets.refused(SHOWN, "m1", 1));
        assert!(shown(&tickets).await.is_err());
    }

    #[tokio::test]
    async fn a_ticket_that_the_leader_did_not_take_is_shown_to_it_again_by_the_next_request() {
        let tickets = of_a_password();
        assert!(!tickets.was_refused_by("m1"));
        assert!(tickets.refused(SHOWN, "m1", 3));
        assert!(tickets.was_refused_by("m1"));
        assert!(!tickets.was_refused_by("m1"));
        assert_eq!(shown(&tickets).await, Ok(Some(SHOWN.to_vec())));
    }

    #[tokio::test]
    async fn a_ticket_is_not_thrown_away_for_another_that_was_void() {
        let tickets = of_a_password();
        tickets.forget(b"another");
        assert!(tickets.refused(b"another", "m1", 1));
        assert_eq!(shown(&tickets).await, Ok(Some(SHOWN.to_vec())));
        tickets.forget(SHOWN);
        assert!(shown(&tickets).await.is_err());
    }
}
