//! What crosses the network, and how.
//!
//! Every connection begins with a [`hello`] that names the service and the cluster. Control
//! messages are tarpc with postcard frames ([`transport`]); chunk bytes are a stream of frames
//! of their own ([`chunk_stream`]).
//!
//! ```text
//! client ────▶ MetadataRpc ─▶ master        change, query, grant, status
//! data node ─▶ ClusterRpc ──▶ master        register, heartbeat, report, finished
//! node ──────▶ EnrolRpc ────▶ master        enrol, renew
//! client ────▶ LoginRpc ────▶ master        login
//! master ◀───▶ Raft ────────▶ master        dfs_raft's own
//! client, data node ─▶ chunk stream ─▶ data node
//! data node ◀─▶ gossip ─────▶ data node  what they know of each other and of masters
//! ```

pub mod chunk_stream;
pub mod cluster;
pub mod enrol;
pub mod erasure;
pub mod error;
pub mod hello;
pub mod login;
pub mod metadata;
pub mod peers;
pub mod rules;
pub mod transport;

#[cfg(test)]
mod tests;
