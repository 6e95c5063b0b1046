//! What lets somebody read or write replicas, as it is handed on.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the masters have signed for whoever is to read or write replicas of chunks, to be shown
/// to data nodes. It is empty in a cluster without security, where none is asked for.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Permit(pub Bytes);

impl Permit {
    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({} bytes)", self.0.len())
    }
}
