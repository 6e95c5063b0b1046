//! What vouches for an inode.

use std::fmt;

use serde::{Deserialize, Serialize};

/// That the masters have led somebody to an inode. It is shown when a request starts there
/// instead of at the root, so that the number of an inode alone opens nothing. It is not shown
/// to people, and there is none in a cluster without security.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handle(pub [u8; 32]);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}
