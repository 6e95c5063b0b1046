//! What belongs to the cluster: data nodes, who may become a node, and the cluster's secrets.

pub(crate) mod decisions;
pub(crate) mod enrolled;
pub mod nodes;
pub(crate) mod restored;
pub(crate) mod secrets;
pub(crate) mod tokens;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};

use self::tokens::JoinToken;
use super::accounts::subject::Subject;
use super::machine::{Stop, refuse};
use crate::types::node::{EnrolledNode, MemberChange, NodeDuties, TokenInfo};
use crate::types::{AdminState, Changed, NodeId, NodeKey, RefusalKind, Timestamp};

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
        MemberChange::Decide {
            node,
            state: to,
            plan,
            rest,
        } => {
            if rest.is_some() && *to != AdminState::Maintenance {
                return refuse(
                    RefusalKind::Invalid,
                    format!("a time to rest for what is {to}"),
                );
            }
            if *to == AdminState::Drained {
                let subject = "drained: a node becomes so by itself, when it is empty";
                return refuse(RefusalKind::Invalid, subject);
            }
            let until = rest.map(|rest| now.saturating_add(rest));
            decisions::decide(state, *node, (*to, until), *plan)?;
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

/// What is to be known before something is decided about a data node.
pub(crate) fn node_duties(
    state: &impl ReadState,
    by: &Subject,
    node: NodeId,
) -> Result<NodeDuties, Stop> {
    by.require_administrator()?;
    decisions::duties(state, node)
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
