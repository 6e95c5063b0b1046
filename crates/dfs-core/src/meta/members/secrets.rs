//! The cluster's secrets: every master has them, nobody else.
//!
//! ```text
//! SECRETS   Authority    the key that certificates of nodes are signed with
//!           Handles      the key that vouches for inodes that were looked up
//!           Signing(n)   keys that tickets and permits are signed with, the newest last
//! ```
//!
//! Signing keys are exchanged:
//!
//! ```text
//! made ──60 s──▶ signs ──7 days──▶ next is made ──60 s──▶ verifies ──13 h──▶ dropped
//! ```
//!
//! They are made by a leader and come here with a command. Whoever can read a master's directory
//! has them; it is for its owner alone.

use std::fmt;

use dfs_raft::Fatal;
use dfs_raft::state::{Key, ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use super::enrolled;
use crate::meta::accounts::subject::Subject;
use crate::meta::counters;
use crate::meta::machine::{Stop, refuse};
use crate::meta::tables::{Meta, SECRETS};
use crate::types::limits::{SIGNING_KEY_AGE_MAX, SIGNING_KEY_LINGERS, SIGNING_KEYS_MAX};
use crate::types::{NodeKey, RefusalKind, Timestamp};

/// Which secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecretId {
    /// The authority's.
    Authority,
    /// That which vouches for inodes.
    Handles,
    /// A signing key's.
    Signing(SigningKeyId),
}

/// A signing key. Never used again for another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SigningKeyId(pub u32);

impl Key for SecretId {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, number) = match self {
            SecretId::Authority => (0_u8, 0),
            SecretId::Handles => (1, 0),
            SecretId::Signing(id) => (2, id.0),
        };
        kind.encode(out);
        number.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<SecretId, Fatal> {
        match (u8::decode(bytes)?, u32::decode(bytes)?) {
            (0, 0) => Ok(SecretId::Authority),
            (1, 0) => Ok(SecretId::Handles),
            (2, number) => Ok(SecretId::Signing(SigningKeyId(number))),
            (kind, _) => Err(Fatal::new(format!("a secret of the unknown kind {kind}"))),
        }
    }
}

/// Bytes that nobody may see. They are not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(pub [u8; 32]);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// A row of SECRETS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What nobody may see.
    pub secret: SecretBytes,
    /// What everybody may: the authority's certificate.
    pub public: Vec<u8>,
    /// When it was made.
    pub since: Timestamp,
}

dfs_raft::postcard_values!(1: Secret);

/// What a cluster is founded with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The master that founds it.
    pub node: NodeKey,
    /// The public key of its papers.
    pub key: [u8; 32],
    /// The authority's key.
    pub authority: SecretBytes,
    /// Its certificate.
    pub certificate: Vec<u8>,
    /// What vouches for inodes.
    pub handles: SecretBytes,
    /// The first signing key.
    pub signing: SecretBytes,
}

/// Takes in the secrets of a new cluster.
pub(crate) fn found(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    founding: &Founding,
) -> Result<(), Stop> {
    if state.get(SECRETS, &SecretId::Authority)?.is_some() {
        return refuse(RefusalKind::Exists, "the cluster's authority");
    }
    let row = |secret: &SecretBytes, public: &[u8]| Secret {
        secret: secret.clone(),
        public: public.to_vec(),
        since: now,
    };
    let authority = row(&founding.authority, &founding.certificate);
    state.put(SECRETS, &SecretId::Authority, &authority)?;
    state.put(SECRETS, &SecretId::Handles, &row(&founding.handles, &[]))?;
    add_signing_key(state, now, &founding.signing)?;
    Ok(enrolled::found(state, now, founding.node, founding.key)?)
}

/// Takes in a new signing key. Those before it verify for a while.
pub(crate) fn add_signing_key(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    secret: &SecretBytes,
) -> Result<SigningKeyId, Stop> {
    drop_former(state, now)?;
    if signing_keys(state)?.len() >= SIGNING_KEYS_MAX {
        let hours = SIGNING_KEY_LINGERS.as_secs() / 3600;
        let subject = format!(
            "{SIGNING_KEYS_MAX} signing keys still count, for {hours} hours after the next was made"
        );
        return refuse(RefusalKind::TooLarge, subject);
    }
    let next = counters::take(state, Meta::NextSigningKey, 1)?;
    let Ok(id) = u32::try_from(next).map(SigningKeyId) else {
        return refuse(RefusalKind::TooLarge, "all ids of signing keys are used");
    };
    let row = Secret {
        secret: secret.clone(),
        public: Vec::new(),
        since: now,
    };
    state.put(SECRETS, &SecretId::Signing(id), &row)?;
    Ok(id)
}

/// Takes in a new signing key for an administrator. If those before it are void, because somebody
/// else has them, so is all that they have signed: whoever was let in must log in again.
pub(crate) fn exchange_signing_key(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    by: &Subject,
    (secret, void_former): (&SecretBytes, bool),
) -> Result<SigningKeyId, Stop> {
    by.require_administrator()?;
    if void_former {
        for id in signing_key_ids(state)? {
            state.remove(SECRETS, &SecretId::Signing(id))?;
        }
        counters::add(state, Meta::LoginsVoided, 1)?;
    }
    add_signing_key(state, now, secret)
}

/// The signing keys that are needed no more: what they have signed has expired.
fn former(state: &impl ReadState, now: Timestamp) -> Result<Vec<SigningKeyId>, Fatal> {
    let keys = signing_keys(state)?;
    let pairs = keys.iter().zip(keys.iter().skip(1));
    let former = pairs.filter(|(_, (_, next))| {
        let until = next.since.saturating_add(SIGNING_KEY_LINGERS);
        until <= now
    });
    Ok(former.map(|((id, _), _)| *id).collect())
}

/// Whether there are such keys.
pub(crate) fn is_due(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    Ok(!former(state, now)?.is_empty())
}

/// Drops them.
pub(crate) fn drop_former(state: &mut StateTxn<'_>, now: Timestamp) -> Result<(), Fatal> {
    for id in former(state, now)? {
        state.remove(SECRETS, &SecretId::Signing(id))?;
    }
    Ok(())
}

/// Whether the newest signing key is so old that there should be another.
///
/// # Errors
/// The state cannot be read.
pub fn is_signing_key_old(state: &impl ReadState, now: Timestamp) -> Result<bool, Fatal> {
    let newest = signing_keys(state)?.pop();
    let old =
        |(_, key): (SigningKeyId, Secret)| key.since.saturating_add(SIGNING_KEY_AGE_MAX) <= now;
    Ok(newest.is_some_and(old))
}

/// All signing keys, the newest last.
///
/// # Errors
/// The state cannot be read.
pub fn signing_keys(state: &impl ReadState) -> Result<Vec<(SigningKeyId, Secret)>, Fatal> {
    let first = SecretId::Signing(SigningKeyId(0));
    let mut keys = Vec::new();
    for row in state.scan(SECRETS, first..)? {
        if let (SecretId::Signing(id), secret) = row? {
            keys.push((id, secret));
        }
    }
    Ok(keys)
}

/// The numbers of all signing keys, the newest last.
///
/// # Errors
/// The state cannot be read.
pub fn signing_key_ids(state: &impl ReadState) -> Result<Vec<SigningKeyId>, Fatal> {
    Ok(signing_keys(state)?.into_iter().map(|(id, _)| id).collect())
}

/// The authority's key and certificate, once there is one.
///
/// # Errors
/// The state cannot be read.
pub fn authority(state: &impl ReadState) -> Result<Option<Secret>, Fatal> {
    state.get(SECRETS, &SecretId::Authority)
}

/// What vouches for inodes, once there is one.
///
/// # Errors
/// The state cannot be read.
pub fn handles(state: &impl ReadState) -> Result<Option<Secret>, Fatal> {
    state.get(SECRETS, &SecretId::Handles)
}
