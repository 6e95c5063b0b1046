//! Who is at the other end: keys, certificates, and a network that makes sure.
//!
//! ```text
//! Authority ── issues ──▶ Certificate of a node: cluster, role, key of its directory
//!     ▲                        │
//!     └── its own certificate ─┴─▶ Credentials ──▶ TlsNetwork ──▶ env::Network
//! ```
//!
//! Every connection is TLS 1.3 (RFC 8446) and both ends show a certificate. A node's is issued by
//! the cluster's authority and says what it is. A client has none of the cluster's: it shows a
//! key of its own, in a certificate signed by that key, so that what it is given later, tokens
//! and capabilities, is of no use to whoever has not that key. All keys are Ed25519 (RFC 8032).
//!
//! What the masters sign ([`Ticket`], [`Capability`]) is verified by whoever has their public
//! keys, without asking them.

mod authority;
pub(crate) mod file;
mod handle;
mod identity;
mod join;
pub(crate) mod kept;
mod key;
pub(crate) mod password;
pub(crate) mod signed;
pub(crate) mod tls;

pub use authority::{Authority, Certificate, NODE_CERTIFICATE_TTL};
pub use file::NodeFile;
pub use handle::HandleKey;
pub use identity::{NodeIdentity, Peer};
pub use join::JoinToken;
pub use key::{Fingerprint, KeyPair, PublicKey};
pub use password::{ApiKey, PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, Password};
pub use signed::capability::{self, Capability};
pub use signed::ticket::Ticket;
pub use signed::{KeyNumber, NotSigned, SigningKeys};
pub use tls::{Credentials, TlsNetwork, Trust};

/// Why something is not what it should be: a key, a certificate, an identity.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecurityError(pub(crate) String);

impl SecurityError {
    pub(crate) fn new(what: impl std::fmt::Display) -> SecurityError {
        SecurityError(what.to_string())
    }
}
