//! Why a data node cannot go on, and what its store's errors mean to others.

use super::store::StoreError;
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::types::{NodeId, NodeKey};

/// Why a data node does not start, or has to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataNodeError {
    /// The settings contradict each other.
    #[error("settings: {0}")]
    Invalid(String),
    /// The directory cannot be used.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// It cannot prove who it is, and got no papers that say so.
    #[error("the data node in {directory} cannot prove who it is: {reason}")]
    Papers {
        /// Its directory.
        directory: String,
        /// Why not.
        reason: String,
        /// Which node it was by its stamp, if it was of a cluster: a join token that names it
        /// gives it new papers.
        was: Option<NodeKey>,
    },
    /// No master answered who could have given it papers.
    #[error("no master answered: {0}")]
    Unavailable(String),
    /// Nothing can listen at the address.
    #[error("listen at {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The masters do not want it: the directory belongs to another cluster or another node.
    #[error("refused by the masters: {0}")]
    Refused(String),
}

/// What an error of the store says to whoever asked for a stream.
pub(super) fn to_stream_error(node: NodeId, error: &StoreError) -> StreamError {
    let kind = match error {
        StoreError::NotFound(_) => StreamErrorKind::NotFound,
        StoreError::Corrupt { .. } => StreamErrorKind::Corrupt,
        StoreError::OutOfSpace(_) => StreamErrorKind::OutOfSpace,
        StoreError::Busy(_) => StreamErrorKind::Busy,
        StoreError::Exists(_)
        | StoreError::Empty(_)
        | StoreError::Missing { .. }
        | StoreError::Invalid(_) => StreamErrorKind::Invalid,
        StoreError::Failed(_) => StreamErrorKind::Failed,
    };
    StreamError::new(node, kind, error)
}
