//! Join tokens: who knows one may become a node. Only a hash of each is kept.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{JOIN_TOKENS, Meta, TOKEN_HASHES};
use crate::planted::{self, Bug};
use crate::types::limits::{JOIN_TOKEN_TTL_MAX, JOIN_TOKENS_MAX, LABEL_LEN_MAX};
use crate::types::node::{TokenHash, TokenId, TokenInfo};
use crate::types::{NodeKey, NodeRole, RefusalKind, Timestamp, UserId};

/// A row of JOIN_TOKENS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinToken {
    /// What is kept of it.
    pub(crate) hash: TokenHash,
    /// What one may become with it.
    pub(crate) role: NodeRole,
    /// The node that gets new papers with it; none for nodes that are new.
    pub(crate) node: Option<NodeKey>,
    /// How often it can be used yet.
    pub(crate) uses: u32,
    /// From when on it is void.
    pub(crate) expires: Timestamp,
    /// What it is for.
    pub(crate) label: String,
    /// Who made it.
    pub(crate) by: UserId,
    /// When it was made.
    pub(crate) created: Timestamp,
}

dfs_raft::postcard_values!(1: JoinToken, TokenId);

impl JoinToken {
    fn info(self, id: TokenId) -> TokenInfo {
        TokenInfo {
            id,
            role: self.role,
            node: self.node,
            uses: self.uses,
            expires: self.expires,
            label: self.label,
            by: self.by,
            created: self.created,
        }
    }
}

/// Makes a token.
pub(super) fn add(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    token: &JoinToken,
) -> Result<TokenId, Stop> {
    if token.label.len() > LABEL_LEN_MAX {
        let subject = format!("a label of {} bytes", token.label.len());
        return refuse(RefusalKind::NameTooLong, subject);
    }
    let ttl = token.expires.since(now);
    if ttl > JOIN_TOKEN_TTL_MAX || ttl.is_zero() || token.uses == 0 {
        let days = JOIN_TOKEN_TTL_MAX.as_secs() / (24 * 60 * 60);
        let subject = format!("a token is good for {days} days at most, and once at least");
        return refuse(RefusalKind::Invalid, subject);
    }
    forget_expired(state, now)?;
    if state.scan(JOIN_TOKENS, ..)?.count() >= JOIN_TOKENS_MAX {
        let subject = format!("{JOIN_TOKENS_MAX} tokens are good: revoke some");
        return refuse(RefusalKind::TooLarge, subject);
    }
    if state.get(TOKEN_HASHES, &token.hash)?.is_some() {
        return refuse(RefusalKind::Exists, "the token");
    }
    let next = counters::take(state, Meta::NextToken, 1)?;
    let Ok(id) = u32::try_from(next).map(TokenId) else {
        return refuse(RefusalKind::TooLarge, "all ids of tokens are used");
    };
    state.put(TOKEN_HASHES, &token.hash, &id)?;
    state.put(JOIN_TOKENS, &id, token)?;
    Ok(id)
}

/// Makes a token void.
pub(super) fn revoke(state: &mut StateTxn<'_>, id: TokenId) -> Result<(), Stop> {
    match state.get(JOIN_TOKENS, &id)? {
        Some(token) => Ok(remove(state, id, &token)?),
        None => refuse(RefusalKind::NotFound, id),
    }
}

fn remove(state: &mut StateTxn<'_>, id: TokenId, token: &JoinToken) -> Result<(), Fatal> {
    state.remove(TOKEN_HASHES, &token.hash)?;
    state.remove(JOIN_TOKENS, &id)
}

/// There are few, so all are looked at.
fn forget_expired(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    let rows: Vec<_> = state.scan(JOIN_TOKENS, ..)?.collect::<Result<_, _>>()?;
    for (id, token) in rows {
        if now >= token.expires {
            remove(state, id, &token)?;
        }
    }
    Ok(())
}

/// Whether a token is known; it may have expired.
///
/// # Errors
/// The state cannot be read.
pub fn is_known(state: &impl ReadState, hash: TokenHash) -> Result<bool, Fatal> {
    Ok(state.get(TOKEN_HASHES, &hash)?.is_some())
}

/// Uses a token once: gives what it said before.
///
/// # Errors
/// Refuses one that is unknown, expired, used up or for another role, all in the same words.
pub(super) fn spend(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    hash: TokenHash,
    role: NodeRole,
) -> Result<JoinToken, Stop> {
    let id = state.get(TOKEN_HASHES, &hash)?;
    let token = match id {
        Some(id) => state.get(JOIN_TOKENS, &id)?.map(|token| (id, token)),
        None => None,
    };
    let is_late =
        |token: &JoinToken| now >= token.expires && !planted::active(Bug::ExpiredTokenAccepted);
    let good = token.filter(|(_, token)| !is_late(token) && token.role == role);
    let Some((id, token)) = good else {
        return not_good();
    };
    let left = JoinToken {
        uses: token.uses.saturating_sub(1),
        ..token.clone()
    };
    match left.uses {
        0 => remove(state, id, &token)?,
        _ => state.put(JOIN_TOKENS, &id, &left)?,
    }
    Ok(token)
}

/// The one refusal of all tokens.
pub(super) fn not_good<T>() -> Result<T, Stop> {
    refuse(RefusalKind::AccessDenied, "the join token is not good")
}

/// The tokens that are good, by id.
pub(crate) fn list(state: &impl ReadState) -> Result<Vec<TokenInfo>, Fatal> {
    let rows = state.scan(JOIN_TOKENS, ..)?;
    rows.map(|row| row.map(|(id, token)| token.info(id)))
        .collect()
}
