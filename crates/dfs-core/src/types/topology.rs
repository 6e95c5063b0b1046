//! Where data nodes stand, and what people have decided about them.

use std::fmt;

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
    /// It is a data node no more, for good.
    Removed,
}

impl AdminState {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            AdminState::InService => "in service",
            AdminState::Draining => "draining",
            AdminState::Drained => "drained",
            AdminState::Maintenance => "maintenance",
            AdminState::Removed => "removed",
        }
    }
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
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
