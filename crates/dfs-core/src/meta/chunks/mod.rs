//! How files are made of chunks, and where the replicas of chunks are meant to be.
//!
//! ```text
//! reserved id ──Commit──▶ CHUNKS, named by extents ──last reference──▶ RECLAIM ──▶ gone
//!      │                  replicas: adopt, replace, drop surplus     ▲      node confirms
//!      └─ range expires ─▶ commits refused, replicas are orphans ────┘
//! ```
//!
//! A chunk belongs to the file that first committed it, and to the clones of that. The number of
//! its references is the number of extents that name it, and one more if it is a member of a
//! stripe.

pub(crate) mod clone;
pub(crate) mod commit;
pub mod concat;
pub mod extents;
pub mod grant;
pub(crate) mod reclaim;
pub mod references;
pub(crate) mod replicas;
pub(crate) mod shares;
pub(crate) mod stories;
pub mod stripes;
