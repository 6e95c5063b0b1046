//! Errors of requests to a master.

use serde::{Deserialize, Serialize};

use crate::types::{Refusal, Rev};

/// Why a master did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RpcError {
    /// The request is refused, whoever is asked.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The point of history at which it was looked at; none if it cannot be right at any.
        rev: Option<Rev>,
    },
    /// This master does not lead; nothing was done.
    #[error("not the leader")]
    NotLeader {
        /// The leader's address, if known.
        leader: Option<String>,
    },
    /// It may or may not have been done; ask again with the same request id.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// It cannot be done now, and nothing was done: no quorum, too few data nodes, starting up.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// There is no room for it, on the data nodes or on the leader's disk. It was not done; an
    /// earlier attempt of the same request that was lost may still be.
    #[error("out of space: {0}")]
    OutOfSpace(String),
    /// The caller is of an older incarnation, or unknown: it must register anew.
    #[error("register again: {0}")]
    Fenced(String),
    /// The master found a fault in itself.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> RpcError {
        RpcError::Refused { refusal, rev: None }
    }
}
