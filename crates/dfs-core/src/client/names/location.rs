//! What the operations of a client accept as a path.

use crate::error::{Error, Result};
use crate::types::{Attr, DfsPath, InodeId, Location};

/// Anything that names a place in the tree: a path as text or checked, or an inode with names
/// to follow from there.
pub trait IntoLocation: Send {
    /// The place.
    ///
    /// # Errors
    /// The text is no path; says why.
    fn into_location(self) -> Result<Location>;
}

impl IntoLocation for &str {
    fn into_location(self) -> Result<Location> {
        self.parse::<DfsPath>()
            .map(Location::from)
            .map_err(Error::from)
    }
}

impl IntoLocation for String {
    fn into_location(self) -> Result<Location> {
        self.as_str().into_location()
    }
}

impl IntoLocation for &String {
    fn into_location(self) -> Result<Location> {
        self.as_str().into_location()
    }
}

impl IntoLocation for DfsPath {
    fn into_location(self) -> Result<Location> {
        Ok(Location::from(self))
    }
}

impl IntoLocation for &DfsPath {
    fn into_location(self) -> Result<Location> {
        Ok(Location::from(self.clone()))
    }
}

impl IntoLocation for Location {
    fn into_location(self) -> Result<Location> {
        Ok(self)
    }
}

impl IntoLocation for &Location {
    fn into_location(self) -> Result<Location> {
        Ok(self.clone())
    }
}

/// What attributes are of, whatever name it has by now.
impl IntoLocation for &Attr {
    fn into_location(self) -> Result<Location> {
        Ok(Location::from(self))
    }
}

/// In a cluster with security no number of an inode opens it: [`Attr`] does.
impl IntoLocation for InodeId {
    fn into_location(self) -> Result<Location> {
        Ok(Location::from(self))
    }
}

/// The directory that `at` is in; none for the root and for a bare inode.
pub(in crate::client) fn parent_of(at: &Location) -> Option<Location> {
    Some(Location {
        path: at.path.parent()?,
        ..at.clone()
    })
}
