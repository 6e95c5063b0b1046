//! What belongs to the cluster: data nodes, who may become a node, and the cluster's secrets.

pub(crate) mod enrolled;
pub mod nodes;
pub(crate) mod secrets;
pub(crate) mod tokens;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use self::tokens::JoinToken;
use super::accounts::subject::Subject;
use super::machine::Stop;
use crate::types::node::{EnrolledNode, MemberChange, TokenInfo};
use crate::types::{Changed, NodeKey, Timestamp};

/// Changes who may be a node.
pub(crate) fn change(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    change: &MemberChange,
) -> Result<Changed, Stop> {
    by.require_administrator()?;
    let token = match change {
        MemberChange::CreateToken {
            hash,
            role,
            node,
            uses,
            ttl,
            label,
        } => {
            let token = JoinToken {
                hash: *hash,
                role: *role,
                node: *node,
                uses: *uses,
                expires: now.saturating_add(*ttl),
                label: label.clone(),
                by: by.user,
                created: now,
            };
            Some(tokens::add(state, now, &token)?)
        }
        MemberChange::RevokeToken { token } => {
            tokens::revoke(state, *token)?;
            Some(*token)
        }
        MemberChange::RevokeNode { node } => {
            enrolled::revoke(state, *node)?;
            None
        }
    };
    Ok(Changed {
        token,
        ..Changed::default()
    })
}

/// The join tokens that are good.
pub(crate) fn join_tokens(state: &impl ReadState, by: &Subject) -> Result<Vec<TokenInfo>, Stop> {
    by.require_administrator()?;
    let list: Result<_, Fatal> = tokens::list(state);
    Ok(list?)
}

/// The next nodes that got papers, by key.
pub(crate) fn enrolled_nodes(
    state: &impl ReadState,
    by: &Subject,
    after: Option<NodeKey>,
    limit: usize,
) -> Result<Vec<EnrolledNode>, Stop> {
    by.require_administrator()?;
    Ok(enrolled::page(state, after, limit)?)
}
