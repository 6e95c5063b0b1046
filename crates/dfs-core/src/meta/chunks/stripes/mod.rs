//! Stripes: chunks of which any K give all the others.
//!
//! A stripe holds one reference on each of its members, so a data chunk that no extent names any
//! more stays as long as the others need it:
//!
//! ```text
//! Commit ─▶ live = K ──an extent is the last of its chunk──▶ live − 1 ─▶ … ─▶ 0 ─▶ all members go
//!                   ◀──an extent names such a chunk again──
//! ```
//!
//! A stripe is freed by the command that takes its last extent away: it has at most as many
//! members as limits allow, and each of its data chunks had an extent to take away once.

pub(crate) mod rewrite;

use std::collections::BTreeMap;
use std::sync::Arc;

use dfs_raft::Fatal;
use dfs_raft::state::{ReadState, StateTxn};
use serde::{Deserialize, Serialize};

use crate::meta::chunks::references::{self, Chunk};
use crate::meta::machine::{Stop, refuse};
use crate::meta::members::decisions::count_width;
use crate::meta::tables::{NODE_CHUNKS, STRIPES};
use crate::planted::{self, Bug};
use crate::types::stripe::{Code, StripeLayout, StripeMember, StripeShape};
use crate::types::{ChunkId, NewStripe, NodeId, Policy, RefusalKind, StripeId, Timestamp};

/// A row of STRIPES.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripe {
    /// How parity is computed.
    pub code: Code,
    /// Data and parity.
    pub shape: StripeShape,
    /// Bytes of each member; of the last data chunk the most.
    pub shard_length: u64,
    /// Data chunks in the order of the bytes, then parity chunks, with their lengths.
    pub members: Vec<(ChunkId, u64)>,
    /// Data chunks that extents name.
    pub live: u8,
}

impl Stripe {
    /// How many data nodes it is to be on.
    pub(crate) fn width(&self) -> u64 {
        self.members.len() as u64
    }
}

/// Of which stripe a chunk is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Which stripe.
    pub stripe: StripeId,
    /// Where among its members.
    pub index: u8,
}

dfs_raft::postcard_values!(1: Stripe);

/// The stripes of a commit, by the chunks that are their members.
pub(crate) fn memberships(stripes: &[NewStripe]) -> BTreeMap<ChunkId, Membership> {
    let mut found = BTreeMap::new();
    for new in stripes {
        let Some(first) = new.members.first() else {
            continue;
        };
        for (index, chunk) in (0..).zip(&new.members) {
            let stripe = StripeId(first.0);
            found.insert(*chunk, Membership { stripe, index });
        }
    }
    found
}

/// Adds the stripes of a commit, whose chunks are there already and still without extents.
pub(crate) fn insert(
    state: &mut StateTxn<'_>,
    stripes: &[NewStripe],
    policy: &Policy,
) -> Result<(), Stop> {
    for new in stripes {
        let mut members = Vec::new();
        let mut stored = 0_usize;
        for chunk in &new.members {
            let row = references::require(state, *chunk)?;
            stored += usize::from(!row.replicas.is_empty());
            members.push((*chunk, row.length));
        }
        let Some((first, _)) = members.first() else {
            return refuse(RefusalKind::Invalid, "a stripe without members");
        };
        require_policy(new.shape, stored, policy)?;
        let row = Stripe {
            code: new.code,
            shape: new.shape,
            shard_length: new.shard_length,
            live: 0,
            members: members.clone(),
        };
        state.put(STRIPES, &StripeId(first.0), &row)?;
        count_width(state, row.width(), |stripes| stripes.checked_add(1))?;
    }
    Ok(())
}

/// Refuses a stripe that is safe against less than the policy insists on: of one in stripes the
/// same parity, of one in copies as many losses as the copies it cannot do without.
fn require_policy(shape: StripeShape, stored: usize, policy: &Policy) -> Result<(), Stop> {
    let spare = stored.saturating_sub(shape.data());
    let (has, least) = match policy.ec {
        Some(wanted) => (shape.parity.into(), wanted.parity.into()),
        None => (spare, usize::from(policy.replicas_min.0).saturating_sub(1)),
    };
    if has >= least && spare > 0 {
        return Ok(());
    }
    let what = format!("a stripe of {shape} on {stored}");
    let subject = match policy.ec {
        Some(wanted) => format!("{what}, the policy insists on {wanted}"),
        None => format!(
            "{what}, the policy insists on {} copies",
            policy.replicas_min.0
        ),
    };
    refuse(RefusalKind::TooFewReplicas, subject)
}

/// A stripe that a chunk leads to.
///
/// # Errors
/// It is missing: the state is damaged.
pub(crate) fn require(state: &impl ReadState, id: StripeId) -> Result<Stripe, Fatal> {
    state
        .get(STRIPES, &id)?
        .ok_or_else(|| Fatal::new(format!("{id} is referred to and does not exist")))
}

/// The stripe that a chunk is a member of, with where its members are meant to be.
///
/// # Errors
/// The state cannot be read, or is damaged.
pub fn layout(state: &impl ReadState, id: StripeId) -> Result<StripeLayout, Fatal> {
    let stripe = require(state, id)?;
    let mut members = Vec::new();
    for (chunk, length) in stripe.members {
        let row = references::require(state, chunk)?;
        members.push(StripeMember {
            chunk,
            length,
            checksum: row.checksum,
            replicas: row.replicas,
        });
    }
    Ok(StripeLayout {
        code: stripe.code,
        shape: stripe.shape,
        shard_length: stripe.shard_length,
        members,
    })
}

/// Notes that a data chunk is named by an extent, and was by none.
pub(crate) fn revive(state: &mut StateTxn<'_>, id: StripeId) -> Result<(), Fatal> {
    let mut stripe = require(state, id)?;
    stripe.live = stripe
        .live
        .checked_add(1)
        .ok_or_else(|| Fatal::new(format!("{id} has more live members than members")))?;
    state.put(STRIPES, &id, &stripe)
}

/// Notes that no extent names a data chunk any longer. With the last one all members go. Gives
/// the number of rows changed.
pub(crate) fn bereave(
    state: &mut StateTxn<'_>,
    now: Timestamp,
    id: StripeId,
) -> Result<usize, Fatal> {
    let mut stripe = require(state, id)?;
    stripe.live = stripe
        .live
        .checked_sub(1)
        .ok_or_else(|| Fatal::new(format!("{id} has fewer live members than none")))?;
    if stripe.live > 0 && !planted::active(Bug::StripeReleasedEarly) {
        state.put(STRIPES, &id, &stripe)?;
        return Ok(1);
    }
    state.remove(STRIPES, &id)?;
    count_width(state, stripe.width(), |stripes| stripes.checked_sub(1))?;
    let mut rows = 2;
    for (chunk, _) in stripe.members {
        let row = references::require(state, chunk)?;
        rows += references::remove(state, now, chunk, &row)?;
    }
    Ok(rows)
}

/// The member of a stripe, another than `but`, that a data node is meant to have: two of them on
/// one node would be lost together.
pub(crate) fn member_on(
    state: &impl ReadState,
    id: StripeId,
    but: ChunkId,
    node: NodeId,
) -> Result<Option<ChunkId>, Fatal> {
    for (chunk, _) in require(state, id)?.members {
        if chunk != but && state.get(NODE_CHUNKS, &(node, chunk))?.is_some() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

/// Whether a chunk is parity, which no extent may name.
pub(crate) fn is_parity(state: &impl ReadState, chunk: &Chunk) -> Result<bool, Fatal> {
    let Some(Membership { stripe, index }) = chunk.stripe else {
        return Ok(false);
    };
    Ok(usize::from(index) >= require(state, stripe)?.shape.data())
}

/// All stripes that a page of chunks leads to are looked up once.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<StripeId, Arc<StripeLayout>>);

impl Known {
    /// The stripe that a chunk is a member of.
    ///
    /// # Errors
    /// The state cannot be read, or is damaged.
    pub fn of(
        &mut self,
        state: &impl ReadState,
        chunk: &Chunk,
    ) -> Result<Option<Arc<StripeLayout>>, Fatal> {
        let Some(Membership { stripe, .. }) = chunk.stripe else {
            return Ok(None);
        };
        if let Some(known) = self.0.get(&stripe) {
            return Ok(Some(known.clone()));
        }
        let found = Arc::new(layout(state, stripe)?);
        self.0.insert(stripe, found.clone());
        Ok(Some(found))
    }
}
