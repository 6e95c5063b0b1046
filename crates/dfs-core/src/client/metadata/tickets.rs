//! The ticket that is shown to masters: kept while it is good, exchanged in time.

use std::time::Duration;

use tokio::sync::Mutex;

use super::retry::Attempt;
use crate::client::access::{Access, Failed, Login, log_in_at};
use crate::env::{Env, Timestamp};
use crate::proto::error::RpcError;
use crate::proto::login::Proof;
use crate::types::{Refusal, RefusalKind};

/// A ticket is exchanged for a new one this long before it is void, for clocks that differ.
const EARLY: Duration = Duration::from_secs(60);

/// The tickets of a client; none in a cluster without security.
pub(super) struct Tickets {
    access: Option<Access>,
    held: Mutex<Option<(Vec<u8>, Timestamp)>>,
}

impl Tickets {
    pub(super) fn new(access: Option<Access>) -> Tickets {
        let held = access.as_ref().and_then(|access| match access.login() {
            Login::Key(_) => None,
            Login::Ticket(held) => Some((held.ticket.clone(), held.expires)),
        });
        Tickets {
            access,
            held: Mutex::new(held),
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
        let mut held = self.held.lock().await;
        let now = env.clock.now();
        if let Some((ticket, expires)) = &*held
            && now.saturating_add(EARLY) < *expires
        {
            return Ok(Some(ticket.clone()));
        }
        *held = None;
        let Login::Key(key) = access.login() else {
            return Err(login_required(access));
        };
        let proof = Proof::Key(key.secret());
        let who = (access.user(), &proof);
        match log_in_at(&*env.network, address, who, patience).await {
            Ok(got) => {
                *held = Some((got.ticket.clone(), got.expires));
                Ok(Some(got.ticket))
            }
            Err(Failed::Refused(error)) => Err(Attempt::Answered(error)),
            Err(Failed::Unreached(why)) => Err(Attempt::Unreached(why)),
        }
    }

    /// Forgets the ticket, which masters no longer take; says whether another can be got.
    pub(super) async fn forget(&self) -> bool {
        *self.held.lock().await = None;
        let access = self.access.as_ref();
        access.is_some_and(|access| matches!(access.login(), Login::Key(_)))
    }
}

fn login_required(access: &Access) -> Attempt {
    let what = format!("the user {}", access.user());
    let refusal = Refusal::new(RefusalKind::LoginRequired, what);
    Attempt::Answered(RpcError::from(refusal))
}
