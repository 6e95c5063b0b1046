//! A stripe on its way to its data nodes.
//!
//! All its bytes are kept until they are stored; then parity is made of them, and every member is
//! sent to a data node of its own, all at a time:
//!
//! ```text
//! bytes ─▶ d0 ─▶ n1        p0 ─▶ n5        every data chunk, and one parity chunk at least: this
//!          d1 ─▶ n2 ✗ n7   p1 ─▶ n6 ✗      is committed, and what lacks is made from the rest
//! ```
//!
//! What is too short for a stripe goes the way of other chunks, in as many copies as keep it as
//! safe.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::mpsc;
use tracing::debug;

use super::super::Client;
use super::super::budget::Hold;
use super::chunk::{Failing, Job, Store, Stored};
use super::grants::{Grants, StripeGrant};
use crate::error::{Error, ErrorKind, Result};
use crate::planted::{self, Bug};
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::proto::erasure::{self, Member};
use crate::proto::metadata::NodeAddress;
use crate::types::limits::{FRAME_PAYLOAD_MAX, STRIPE_LEN_MIN};
use crate::types::stripe::{Code, StripeShape};
use crate::types::{ChunkId, NewChunk, NewStripe, Policy};

/// Bytes of a stripe and its parity, by its bytes.
pub(super) fn with_parity(shape: StripeShape, bytes: u64) -> u64 {
    let data = u64::from(shape.data).max(1);
    bytes.saturating_add(bytes.div_ceil(data).saturating_mul(shape.parity.into()))
}

/// Begins a stripe of at most `length_max` bytes. `hold` is what its bytes and parity take of a
/// budget.
pub(super) fn begin(
    client: Client,
    grants: Arc<Grants>,
    (policy, shape): (Policy, StripeShape),
    length_max: u64,
    hold: Option<Hold>,
) -> Job {
    Job::begin(move |input| {
        let filling = Filling {
            client,
            grants,
            policy,
            shape,
            length_max,
            hold,
        };
        filling.run(input)
    })
}

/// A stripe whose bytes come.
struct Filling {
    client: Client,
    grants: Arc<Grants>,
    policy: Policy,
    shape: StripeShape,
    length_max: u64,
    hold: Option<Hold>,
}

impl Filling {
    async fn run(mut self, mut input: mpsc::Receiver<Bytes>) -> Result<Stored> {
        let (mut kept, mut length) = (Vec::new(), 0);
        while let Some(bytes) = input.recv().await {
            length += bytes.len() as u64;
            kept.push(bytes);
        }
        if let Some(hold) = &mut self.hold {
            hold.shrink(with_parity(self.shape, length));
        }
        if length < STRIPE_LEN_MIN {
            let store = Store::of(
                (self.client, self.grants),
                self.policy,
                self.length_max,
                (kept, input),
                self.hold,
            );
            return store.run().await;
        }
        let (shape, shard_length) = (self.shape, self.shape.shard_length_of(length));
        let coding = move || erasure::members(Code::Leopard16, shape, shard_length, kept);
        let members = self.client.inner.env.run_blocking(coding).await;
        let members =
            members.map_err(|e| Error::with_source(ErrorKind::Internal, "no parity", e))?;
        let stripe = Stripe {
            client: self.client,
            grants: self.grants,
            shape,
            shard_length,
            members,
            _hold: self.hold,
        };
        stripe.run().await
    }
}

struct Stripe {
    client: Client,
    grants: Arc<Grants>,
    shape: StripeShape,
    shard_length: u64,
    /// Data in the order of the bytes, then parity.
    members: Vec<Member>,
    _hold: Option<Hold>,
}

impl Stripe {
    async fn run(self) -> Result<Stored> {
        let mut failing = Failing::begin();
        loop {
            let grant = self.grants.stripe(self.shape, self.shard_length).await?;
            let (stored, errors) = self.attempt(&grant).await;
            if let Some(done) = self.done(&grant, &stored) {
                return Ok(done);
            }
            let held = stored.iter().flatten().count();
            debug!(held, shape = %self.shape, ?errors, "a stripe is on too few data nodes");
            if !failing.may_go_on(&self.client).await {
                return Err(self.verdict(held, &errors));
            }
        }
    }

    /// Sends every member. Gives where each is now, and what failed.
    async fn attempt(&self, grant: &StripeGrant) -> (Vec<Option<NodeAddress>>, Vec<StreamError>) {
        let spares = Mutex::new(VecDeque::from(grant.spares.clone()));
        let places = grant.chunks.iter().zip(&grant.nodes).zip(&self.members);
        let sending = places.map(|((chunk, node), member)| {
            self.send(grant, (*chunk, node.clone()), member, &spares)
        });
        let (mut stored, mut errors) = (Vec::new(), Vec::new());
        for (node, failed) in join_all(sending).await {
            stored.push(node);
            errors.extend(failed);
        }
        (stored, errors)
    }

    /// Sends a member to its data node, or to a spare. The bytes under its id are the same
    /// wherever they come to be.
    async fn send(
        &self,
        grant: &StripeGrant,
        (chunk, mut node): (ChunkId, Option<NodeAddress>),
        member: &Member,
        spares: &Mutex<VecDeque<NodeAddress>>,
    ) -> (Option<NodeAddress>, Vec<StreamError>) {
        let mut errors = Vec::new();
        while let Some(to) = node.take() {
            match self.send_to(grant, chunk, &to, member).await {
                Ok(()) => {
                    self.client.inner.nodes.worked(to.node);
                    return (Some(to), errors);
                }
                Err(error) => {
                    self.client.node_failed(&error);
                    errors.push(error);
                }
            }
            let mut spares = spares.lock().unwrap_or_else(PoisonError::into_inner);
            node = spares.pop_front();
        }
        (None, errors)
    }

    async fn send_to(
        &self,
        grant: &StripeGrant,
        chunk: ChunkId,
        to: &NodeAddress,
        member: &Member,
    ) -> std::result::Result<(), StreamError> {
        let pool = &self.client.inner.pool;
        let target = std::slice::from_ref(to);
        let length = member.bytes.len() as u64;
        let mut writer = pool.write(target, (chunk, &grant.permit), length).await?;
        let mut rest = member.bytes.clone();
        while !rest.is_empty() {
            let part = rest.split_to(FRAME_PAYLOAD_MAX.min(rest.len()));
            writer.send(part).await?;
        }
        let stored = writer.finish().await?;
        if let Some(error) = stored.failed.into_iter().next() {
            return Err(error);
        }
        let is = (stored.length, stored.checksum, stored.nodes.as_slice());
        match is == (length, member.checksum, &[to.node]) {
            true => Ok(()),
            false => {
                let what = "it says that it stored something else";
                Err(StreamError::new(to.node, StreamErrorKind::Corrupt, what))
            }
        }
    }

    /// What is to be committed, if all of the data and one member more are stored.
    fn done(&self, grant: &StripeGrant, stored: &[Option<NodeAddress>]) -> Option<Stored> {
        let data = stored.get(..self.shape.data())?;
        let held = stored.iter().flatten().count();
        if held <= self.shape.data() || !data.iter().all(Option::is_some) {
            return None;
        }
        let new = grant.chunks.iter().zip(stored).zip(&self.members);
        let chunks: Vec<NewChunk> = new
            .map(|((chunk, node), member)| NewChunk {
                chunk: *chunk,
                length: member.bytes.len() as u64,
                checksum: member.checksum,
                replicas: node.iter().map(|node| node.node).collect(),
                permit: grant.permit.clone(),
            })
            .collect();
        let mut members: Vec<ChunkId> = grant.chunks.clone();
        if planted::active(Bug::ShardsSwapped) {
            members.swap(0, 1);
        }
        Some(Stored {
            degraded: held < self.shape.members(),
            chunks,
            stripe: Some(NewStripe {
                code: Code::Leopard16,
                shape: self.shape,
                shard_length: self.shard_length,
                members,
            }),
        })
    }

    fn verdict(&self, held: usize, errors: &[StreamError]) -> Error {
        let mut message = format!(
            "too few data nodes: a stripe of {} is on {held}, all of its data and one more must be",
            self.shape
        );
        for (index, error) in errors.iter().enumerate() {
            message.push_str(if index == 0 { ": " } else { "; " });
            message.push_str(&error.to_string());
        }
        let full = |e: &StreamError| e.kind == StreamErrorKind::OutOfSpace;
        match !errors.is_empty() && errors.iter().all(full) {
            true => Error::new(ErrorKind::OutOfSpace, message),
            false => Error::unavailable(message),
        }
    }
}
