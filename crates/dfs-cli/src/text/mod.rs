//! What people type and what they are shown: paths, sizes, times, modes, owners.

pub(crate) mod acl;
pub(crate) mod attr;
pub(crate) mod mode;
pub(crate) mod owner;
pub(crate) mod remote;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod when;
