//! The bytes of everything the log and the notes store.
//!
//! ```text
//! value = version (1 byte), postcard, CRC-32C over key and all of that (4 bytes)
//! ```
//!
//! openraft's own types are never stored: they change between its versions. Variants are only
//! ever appended; a changed form gets a new version byte and the old one stays readable. The
//! tests hold the bytes of each form.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{BasicNode, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::env::Timestamp;
use crate::error::Fatal;
use crate::machine::Rev;
use crate::state::{decode_postcard, encode_postcard, seal, unseal};
use crate::types::{self, Entry, MemberId, Membership, Proposal, StoredMembership, Vote};

const VERSION: u8 = 1;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredEntry {
    term: u64,
    payload: StoredPayload,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum StoredPayload {
    Blank,
    Command { time: u64, command: Bytes },
    Members(StoredMembers),
    AllocateMember { time: u64 },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct StoredMembers {
    /// One set of voters, or two while one replaces the other.
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredVote {
    term: u64,
    candidate: u64,
    granted_by_quorum: bool,
}

/// An applied state's membership, and the entry it came with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredAppliedMembers {
    rev: Option<Rev>,
    members: StoredMembers,
}

fn encode<T: Serialize>(kind: &str, key: &[u8], value: &T) -> Result<Vec<u8>, Fatal> {
    let mut bytes = vec![VERSION];
    encode_postcard(value, &mut bytes)?;
    Ok(seal(kind, key, bytes))
}

fn decode<T: DeserializeOwned>(kind: &str, key: &[u8], stored: &[u8]) -> Result<T, Fatal> {
    match unseal(kind, key, stored)?.split_first() {
        Some((&VERSION, bytes)) => decode_postcard(bytes),
        Some((version, _)) => Err(Fatal::new(format!(
            "`{kind}` is stored in version {version}, this program knows {VERSION}: use the \
             newer program"
        ))),
        None => Err(Fatal::new(format!("`{kind}` is damaged: it is empty"))),
    }
}

pub(crate) fn encode_entry(entry: &Entry) -> Result<Vec<u8>, Fatal> {
    let payload = match &entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Normal(Proposal::Command { time, command }) => StoredPayload::Command {
            time: time.0,
            command: command.clone(),
        },
        EntryPayload::Normal(Proposal::AllocateMember { time }) => {
            StoredPayload::AllocateMember { time: time.0 }
        }
        EntryPayload::Membership(members) => StoredPayload::Members(to_stored(members)),
    };
    let stored = StoredEntry {
        term: entry.log_id.leader_id.term,
        payload,
    };
    encode("entry", &entry.log_id.index.to_be_bytes(), &stored)
}

pub(crate) fn decode_entry(index: u64, stored: &[u8]) -> Result<Entry, Fatal> {
    let StoredEntry { term, payload } = decode("entry", &index.to_be_bytes(), stored)?;
    let payload = match payload {
        StoredPayload::Blank => EntryPayload::Blank,
        StoredPayload::Command { time, command } => EntryPayload::Normal(Proposal::Command {
            time: Timestamp(time),
            command,
        }),
        StoredPayload::AllocateMember { time } => EntryPayload::Normal(Proposal::AllocateMember {
            time: Timestamp(time),
        }),
        StoredPayload::Members(members) => EntryPayload::Membership(from_stored(members)?),
    };
    Ok(Entry {
        log_id: types::log_id(Rev { term, index }),
        payload,
    })
}

pub(crate) fn encode_vote(vote: &Vote) -> Result<Vec<u8>, Fatal> {
    let stored = StoredVote {
        term: vote.leader_id.term,
        candidate: vote.leader_id.voted_for.0,
        granted_by_quorum: vote.committed,
    };
    encode("vote", &[], &stored)
}

pub(crate) fn decode_vote(stored: &[u8]) -> Result<Vote, Fatal> {
    let vote: StoredVote = decode("vote", &[], stored)?;
    let candidate = MemberId(vote.candidate);
    Ok(match vote.granted_by_quorum {
        true => Vote::new_committed(vote.term, candidate),
        false => Vote::new(vote.term, candidate),
    })
}

pub(crate) fn encode_rev(kind: &str, rev: Option<Rev>) -> Result<Vec<u8>, Fatal> {
    encode(kind, &[], &rev)
}

pub(crate) fn decode_rev(kind: &str, stored: &[u8]) -> Result<Option<Rev>, Fatal> {
    decode(kind, &[], stored)
}

/// A value that identifies or describes this replica alone.
pub(crate) fn encode_stamp<T: Serialize>(kind: &str, value: &T) -> Result<Vec<u8>, Fatal> {
    encode(kind, &[], value)
}

pub(crate) fn decode_stamp<T: DeserializeOwned>(kind: &str, stored: &[u8]) -> Result<T, Fatal> {
    decode(kind, &[], stored)
}

pub(crate) fn encode_members(members: &StoredMembership) -> Result<Vec<u8>, Fatal> {
    let stored = StoredAppliedMembers {
        rev: members.log_id().as_ref().map(types::rev),
        members: to_stored(members.membership()),
    };
    encode("members", &[], &stored)
}

pub(crate) fn decode_members(stored: &[u8]) -> Result<StoredMembership, Fatal> {
    let StoredAppliedMembers { rev, members } = decode("members", &[], stored)?;
    Ok(StoredMembership::new(
        rev.map(types::log_id),
        from_stored(members)?,
    ))
}

fn to_stored(members: &Membership) -> StoredMembers {
    let ids = |set: &BTreeSet<MemberId>| set.iter().map(|id| id.0).collect();
    StoredMembers {
        voters: members.get_joint_config().iter().map(ids).collect(),
        addresses: members
            .nodes()
            .map(|(id, node)| (id.0, node.addr.clone()))
            .collect(),
    }
}

fn from_stored(members: StoredMembers) -> Result<Membership, Fatal> {
    let ids = |set: BTreeSet<u64>| set.into_iter().map(MemberId).collect();
    let nodes: BTreeMap<_, _> = members
        .addresses
        .into_iter()
        .map(|(id, addr)| (MemberId(id), BasicNode { addr }))
        .collect();
    if members.voters.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(members.voters.into_iter().map(ids).collect(), nodes)
        .map_err(|e| Fatal::with_source("a stored membership is damaged", e))
}

#[cfg(test)]
mod tests;
