//! The tree of directory entries over inodes.
//!
//! One file per operation, with its rules and with the rights that it takes. All of them find
//! their way with `resolve`, which checks the rights on the way.

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
