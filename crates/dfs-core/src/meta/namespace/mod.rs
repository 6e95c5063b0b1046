//! The tree of directory entries over inodes.
//!
//! One file per operation, with its rules. All of them find their way with `resolve`, which is
//! where a check of permissions on the way belongs.

pub(crate) mod create;
pub mod dirent;
pub mod inode;
pub(crate) mod link;
pub mod purge;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod resolve;
pub(crate) mod setattr;
pub mod trash;
pub(crate) mod upload;
