//! Who has become a node: by the key that its directory is stamped with.

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::tokens;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::ENROLLED;
use crate::types::node::TokenHash;
use crate::types::{NodeKey, NodeRole, RefusalKind, Timestamp};

/// A row of ENROLLED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    /// What it is.
    pub(crate) role: NodeRole,
    /// What was shown for it: its token, none for the founder of the cluster.
    pub(crate) token: Option<TokenHash>,
    /// When it became one.
    pub(crate) since: Timestamp,
    /// Whether it is one no more. Its key does not become one again.
    pub(crate) revoked: bool,
}

dfs_raft::postcard_values!(1: Enrolled);

/// Makes a node of whoever shows a token. Repeated, because its answer was lost, it takes no more
/// of the token.
pub(crate) fn enrol(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    (node, role): (NodeKey, NodeRole),
    token: TokenHash,
) -> Result<(), Stop> {
    let before = state.get(ENROLLED, &node)?;
    match &before {
        Some(before) if before.revoked => {
            return refuse(RefusalKind::NotPermitted, format!("{node} was revoked"));
        }
        Some(before) if before.role != role => {
            let subject = format!("{node} is a {}", before.role);
            return refuse(RefusalKind::Exists, subject);
        }
        Some(before) if before.token == Some(token) => return Ok(()),
        _ => {}
    }
    tokens::spend(state, now, token, role)?;
    let row = Enrolled {
        role,
        token: Some(token),
        since: now,
        revoked: false,
    };
    Ok(state.put(ENROLLED, &node, &row)?)
}

/// Makes a node of the founder of the cluster.
pub(crate) fn found(state: &mut StateTxn<'_>, now: Timestamp, node: NodeKey) -> Result<(), Fatal> {
    let row = Enrolled {
        role: NodeRole::Master,
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

/// Whether somebody is a node of this kind.
///
/// # Errors
/// The state cannot be read.
pub fn is_enrolled(state: &impl ReadState, node: NodeKey, role: NodeRole) -> Result<bool, Fatal> {
    let row = state.get(ENROLLED, &node)?;
    Ok(row.is_some_and(|row| row.role == role && !row.revoked))
}
