//! Where data nodes stand, and what people have decided about them.

use serde::{Deserialize, Serialize};

/// The nested failure domains a data node is in, widest first. Empty is unknown, and unknown
/// hosts are each their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Topology {
    /// A data centre or the like.
    pub zone: String,
    /// A rack or the like.
    pub rack: String,
    /// A machine.
    pub host: String,
}

/// What people have decided about a data node.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum AdminState {
    /// It takes new replicas.
    #[default]
    InService,
    /// Its replicas are being moved away.
    Draining,
    /// It holds nothing any more.
    Drained,
    /// It may be away for a while, on purpose.
    Maintenance,
}

/// Room on a data node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Space {
    /// What its disks hold in all.
    pub total: u64,
    /// What chunks use.
    pub used: u64,
    /// What new chunks may use: what is free, less the reserve.
    pub available: u64,
}
