//! Data nodes and their keys, sessions and their answers agree.

use std::collections::BTreeMap;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::Findings;
use crate::meta::counters::number;
use crate::meta::sessions::REPLIES_PER_CLIENT_MAX;
use crate::meta::tables::{Meta, NODE_KEYS, NODES, REPLIES, SESSION_AGES, SESSIONS, UPLOADS};
use crate::types::ClientId;

pub(super) fn check(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    nodes(state, findings)?;
    sessions(state, findings)
}

fn nodes(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let next = number(state, Meta::NextNode)?;
    let mut count = 0;
    for row in state.scan(NODES, ..)? {
        let (id, node) = row?;
        count += 1;
        findings.require(u64::from(id.0) < next, || {
            format!("{id} is not below {next}")
        });
        findings.equal(
            state.get(NODE_KEYS, &node.key)?,
            Some(id),
            format!("{id}: its key's node"),
        );
    }
    findings.equal(
        state.scan(NODE_KEYS, ..)?.count(),
        count,
        "rows of NODE_KEYS",
    );
    Ok(())
}

fn sessions(state: &impl ReadState, findings: &mut Findings) -> Result<(), Fatal> {
    let next = number(state, Meta::NextClient)?;
    let mut count = 0;
    for row in state.scan(SESSIONS, ..)? {
        let (id, session) = row?;
        count += 1;
        findings.require(id.0 < next, || {
            format!("{id} is not below the next id {next}")
        });
        let aged = state.get(SESSION_AGES, &session.age(id))?.is_some();
        findings.require(aged, || format!("{id} does not expire"));
    }
    findings.equal(
        state.scan(SESSION_AGES, ..)?.count(),
        count,
        "rows of SESSION_AGES",
    );

    let mut replies: BTreeMap<ClientId, u64> = BTreeMap::new();
    for row in state.scan(REPLIES, ..)? {
        let ((id, sequence), _) = row?;
        *replies.entry(id).or_default() += 1;
        let session = state.get(SESSIONS, &id)?;
        let remembered = session.is_some_and(|session| sequence >= session.forgotten_below);
        findings.require(remembered, || {
            format!("{id}/{sequence} is remembered for no one")
        });
    }
    for (id, count) in replies {
        let bounded = count <= REPLIES_PER_CLIENT_MAX;
        findings.require(bounded, || format!("{id} has {count} answers remembered"));
    }
    for row in state.scan(UPLOADS, ..)? {
        let ((id, inode), ()) = row?;
        let owned = state.get(SESSIONS, &id)?.is_some();
        findings.require(owned, || format!("the upload {inode} is of no session"));
    }
    Ok(())
}
