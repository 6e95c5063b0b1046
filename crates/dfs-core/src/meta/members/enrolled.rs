//! Who has become a node: by the key that its directory is stamped with.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::tokens;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{ENROLLED, NODE_KEYS, TOKEN_HASHES};
use crate::types::node::{EnrolledNode, TokenHash};
use crate::types::{NodeKey, NodeRole, RefusalKind, Timestamp};

/// A row of ENROLLED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    /// What it is.
    pub(crate) role: NodeRole,
    /// The public key that its papers are for.
    pub(crate) key: [u8; 32],
    /// What was shown for it, and until when the same may be shown again; none for the founder
    /// of the cluster.
    pub(crate) token: Option<(TokenHash, Timestamp)>,
    /// When it became one.
    pub(crate) since: Timestamp,
    /// Whether it is one no more. Its key does not become one again.
    pub(crate) revoked: bool,
}

dfs_raft::postcard_values!(1: Enrolled);

/// Makes a node of whoever shows a token. Repeated by the same key, because its answer was lost,
/// it takes no more of the token, and needs none: the key says who it is. A node that is there
/// already gets papers for another key only with a token that names it.
pub(crate) fn enrol(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (node, role, key): (NodeKey, NodeRole, [u8; 32]),
    shown: TokenHash,
) -> Result<(), Stop> {
    let before = state.get(ENROLLED, &node)?;
    if let Some(before) = &before
        && before.role == role
        && before.key == key
        && !before.revoked
    {
        return Ok(());
    }
    // Whoever shows no good token learns nothing of the node.
    let token = tokens::spend(state, now, shown, role)?;
    match (&before, token.node) {
        (None, None) => {}
        (Some(before), _) if before.revoked => {
            return refuse(RefusalKind::NotPermitted, format!("{node} was revoked"));
        }
        (Some(before), Some(named)) if named == node && before.role == role => {}
        (Some(_), None) => {
            let subject = format!("node {node}; a token that names it gives it new papers");
            return refuse(RefusalKind::Exists, subject);
        }
        _ => return tokens::not_good(),
    }
    let row = Enrolled {
        role,
        key,
        token: Some((shown, token.expires)),
        since: now,
        revoked: false,
    };
    Ok(state.put(ENROLLED, &node, &row)?)
}

/// Makes a node of the founder of the cluster.
pub(crate) fn found(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    node: NodeKey,
    key: [u8; 32],
) -> Result<(), Fatal> {
    let row = Enrolled {
        role: NodeRole::Master,
        key,
        token: None,
        since: now,
        revoked: false,
    };
    state.put(ENROLLED, &node, &row)
}

/// Takes a node's certificate away: it gets no other, and its present one is refused.
pub(crate) fn revoke(state: &mut StateTxn<'_>, node: NodeKey) -> Result<(), Stop> {
    let Some(mut row) = state.get(ENROLLED, &node)? else {
        return refuse(RefusalKind::NotFound, format!("node {node}"));
    };
    row.revoked = true;
    Ok(state.put(ENROLLED, &node, &row)?)
}

/// The same, if it ever had one: not in a cluster without security.
pub(super) fn revoke_if_enrolled(state: &mut StateTxn<'_>, node: NodeKey) -> Result<(), Stop> {
    match state.get(ENROLLED, &node)? {
        Some(_) => revoke(state, node),
        None => Ok(()),
    }
}

/// Whether a node of this kind has papers for a key.
///
/// # Errors
/// The state cannot be read.
pub fn is_enrolled(
    state: &impl ReadState,
    (node, role, key): (NodeKey, NodeRole, [u8; 32]),
) -> Result<bool, Fatal> {
    let row = state.get(ENROLLED, &node)?;
    Ok(row.is_some_and(|row| row.role == role && row.key == key && !row.revoked))
}

/// Whether a node was one and is one no more.
///
/// # Errors
/// The state cannot be read.
pub fn is_revoked(state: &impl ReadState, node: NodeKey) -> Result<bool, Fatal> {
    let row = state.get(ENROLLED, &node)?;
    Ok(row.is_some_and(|row| row.revoked))
}

/// Whether a node was one and is one no more, or has papers for another key by now.
///
/// # Errors
/// The state cannot be read.
pub fn is_out(state: &impl ReadState, node: NodeKey, key: [u8; 32]) -> Result<bool, Fatal> {
    let row = state.get(ENROLLED, &node)?;
    Ok(row.is_some_and(|row| row.revoked || row.key != key))
}

/// The next `limit` nodes after one, by key.
pub(super) fn page(
    state: &impl ReadState,
    after: Option<NodeKey>,
    limit: usize,
) -> Result<Vec<EnrolledNode>, Fatal> {
    let from = match after {
        Some(NodeKey(u128::MAX)) => return Ok(Vec::new()),
        Some(after) => NodeKey(after.0 + 1),
        None => NodeKey(0),
    };
    let mut page = Vec::new();
    for row in state.scan(ENROLLED, from..)?.take(limit) {
        let (key, row) = row?;
        let token = match row.token {
            Some((shown, _)) => state.get(TOKEN_HASHES, &shown)?,
            None => None,
        };
        page.push(EnrolledNode {
            key,
            role: row.role,
            since: row.since,
            token,
            registered: state.get(NODE_KEYS, &key)?,
            revoked: row.revoked,
        });
    }
    Ok(page)
}
