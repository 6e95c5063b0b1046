//! Sessions and remembered answers: every request changes the state at most once.
//!
//! ```text
//! session unknown, another's, or silent too long -> refused SessionExpired, never carried out
//! an answer is remembered                  -> that answer
//! sequence below what was forgotten        -> refused SessionExpired, never carried out
//! otherwise                                -> carried out, answer remembered, refusals too
//! ```
//!
//! `Busy` alone is not remembered: nothing was done, and the same request is carried out when it
//! comes again after a step of housekeeping.
//!
//! Two things are written late to keep requests cheap: the time of the last activity, which is
//! why a session lives an eighth longer than its silence allows, and what the client no longer
//! needs, which is forgotten in lots.

use std::ops::Range;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::subject::Subject;
use crate::meta::command::validate_request;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::namespace::purge::Budget;
use crate::meta::namespace::upload;
use crate::meta::tables::{Meta, Moment, REPLIES, SESSION_AGES, SESSIONS};
use crate::planted::{self, Bug};
use crate::types::limits::{REQUESTS_PER_CLIENT_MAX, SESSION_TTL};
use crate::types::{Caller, ClientId, Outcome, RefusalKind, RequestId, Rev, Timestamp, UserId};

/// How many answers may be remembered longer than the client needs them.
const FORGOTTEN_TOGETHER: u64 = 16;

/// Most answers remembered for one session.
pub(crate) const REPLIES_PER_CLIENT_MAX: u64 = REQUESTS_PER_CLIENT_MAX + FORGOTTEN_TOGETHER;

/// A row of SESSIONS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The last activity, to an eighth of the time a session may be silent.
    pub active: Timestamp,
    /// Whether the client has closed it.
    pub closed: bool,
    /// Answers to requests with sequences below this are forgotten.
    pub forgotten_below: u64,
    /// Whose it is: requests of others are refused.
    pub user: UserId,
}

/// A row of REPLIES.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The first answer.
    pub outcome: Outcome,
    /// The entry that gave it.
    pub rev: Rev,
}

dfs_raft::postcard_values!(2: Session);
dfs_raft::postcard_values!(3: Remembered);

impl Session {
    /// From when on it is expired.
    pub(crate) fn expires(&self) -> Timestamp {
        match self.closed {
            true => Timestamp(0),
            false => self.active.saturating_add(SESSION_TTL + SESSION_TTL / 8),
        }
    }

    /// Its key in SESSION_AGES: closed ones come first.
    pub(crate) fn age(&self, client: ClientId) -> (Moment, ClientId) {
        let active = if self.closed {
            Timestamp(0)
        } else {
            self.active
        };
        (Moment(active), client)
    }
}

/// Opens a session.
pub(crate) fn open(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    caller: Caller,
) -> Result<ClientId, Stop> {
    let user = Subject::of(state, caller)?.user;
    let client = ClientId(counters::take(state, Meta::NextClient, 1)?);
    let session = Session {
        active: now,
        closed: false,
        forgotten_below: 1,
        user,
    };
    state.put(SESSIONS, &client, &session)?;
    state.put(SESSION_AGES, &session.age(client), &())?;
    Ok(client)
}

/// Looks a request up before it is carried out: its first answer, if it had one.
pub(crate) fn begin(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    user: UserId,
    request: RequestId,
) -> Result<Option<Remembered>, Stop> {
    validate_request(&request)?;
    let RequestId {
        client,
        sequence,
        answered_below,
    } = request;
    let session = state.get(SESSIONS, &client)?;
    let Some(mut session) = session.filter(|session| session.user == user) else {
        return refuse(RefusalKind::SessionExpired, client);
    };
    if now >= session.expires() {
        return refuse(RefusalKind::SessionExpired, client);
    }
    if sequence < session.forgotten_below {
        return refuse(
            RefusalKind::SessionExpired,
            format!("{request}: answered and forgotten"),
        );
    }
    if let Some(remembered) = state.get(REPLIES, &(client, sequence))?
        && !planted::active(Bug::RepeatedRequestExecutedTwice)
    {
        return Ok(Some(remembered));
    }
    let needed_from = session.forgotten_below.max(answered_below);
    if sequence - needed_from >= REQUESTS_PER_CLIENT_MAX {
        return refuse(
            RefusalKind::Invalid,
            format!("{request}: too many unanswered requests"),
        );
    }
    let quiet = now.since(session.active) >= SESSION_TTL / 8;
    let forget = needed_from >= session.forgotten_below + FORGOTTEN_TOGETHER;
    if forget {
        forget_replies(
            state,
            client,
            session.forgotten_below..needed_from,
            usize::MAX,
        )?;
        session.forgotten_below = needed_from;
    }
    if quiet {
        state.remove(SESSION_AGES, &session.age(client))?;
        session.active = now;
        state.put(SESSION_AGES, &session.age(client), &())?;
    }
    if forget || quiet {
        state.put(SESSIONS, &client, &session)?;
    }
    Ok(None)
}

/// Remembers the answer to a request.
pub(crate) fn remember(
    state: &mut StateTxn<'_>,
    request: RequestId,
    answer: &Remembered,
) -> Result<(), Fatal> {
    state.put(REPLIES, &(request.client, request.sequence), answer)
}

/// Closes a session: whatever it asks from now on is refused, and housekeeping removes it.
pub(crate) fn close(state: &mut StateTxn<'_>, client: ClientId) -> Result<(), Fatal> {
    let Some(mut session) = state.get(SESSIONS, &client)? else {
        return Ok(());
    };
    state.remove(SESSION_AGES, &session.age(client))?;
    session.closed = true;
    state.put(SESSION_AGES, &session.age(client), &())?;
    state.put(SESSIONS, &client, &session)
}

/// Forgets at most `limit` answers to a range of sequences; gives how many there were.
fn forget_replies(
    state: &mut StateTxn<'_>,
    client: ClientId,
    sequences: Range<u64>,
    limit: usize,
) -> Result<usize, Fatal> {
    let rows = state
        .scan(REPLIES, (client, sequences.start)..(client, sequences.end))?
        .take(limit);
    let keys: Vec<_> = rows.map(|row| Ok(row?.0)).collect::<Result<_, Fatal>>()?;
    for key in &keys {
        state.remove(REPLIES, key)?;
    }
    Ok(keys.len())
}

/// The session that expires next, if it is due.
fn due(state: &impl ReadState, now: Timestamp) -> Result<Option<(ClientId, Session)>, Fatal> {
    let Some(row) = state.scan(SESSION_AGES, ..)?.next() else {
        return Ok(None);
    };
    let ((_, client), ()) = row?;
    let session = state
        .get(SESSIONS, &client)?
        .ok_or_else(|| Fatal::new(format!("session {client} has an age and does not exist")))?;
    Ok((now >= session.expires()).then_some((client, session)))
}

/// Whether a session is to be removed.
pub(crate) fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    Ok(due(state, now)?.is_some())
}

/// Removes expired sessions with their answers and uploads, as far as the budget goes.
pub(crate) fn expire(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    budget: &mut Budget,
) -> Result<(), Fatal> {
    while !budget.is_spent()
        && let Some((client, session)) = due(state, now)?
    {
        let forgotten = forget_replies(
            state,
            client,
            session.forgotten_below..u64::MAX,
            budget.left(),
        )?;
        budget.spend(forgotten);
        upload::abandon_all(state, now, client, budget)?;
        if budget.is_spent() {
            return Ok(());
        }
        state.remove(SESSION_AGES, &session.age(client))?;
        state.remove(SESSIONS, &client)?;
        budget.spend(2);
    }
    Ok(())
}
