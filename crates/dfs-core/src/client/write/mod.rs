//! Writing: bytes to data nodes, then one commit.
//!
//! ```text
//! FileWriter, put, append ─▶ Upload ─▶ Job ─▶ pipeline of data nodes, or one for each member
//!                               │       ▲      of a stripe
//!                               │     Grants ◀── chunk ids and nodes from the leader
//!                               └──▶ Commit ──▶ leader
//! ```
//!
//! Rules:
//! - A chunk is acknowledged when as many nodes have it on stable storage as the policy insists
//!   on, and the commit names those nodes and no others. A stripe, when all of its data and one
//!   member more are each on one.
//! - Bytes are kept until then; what is kept is bounded by the budget. Who gets nothing of it,
//!   because files that stand still hold it all, goes on with one slice at a time.
//! - What has come is committed every few minutes, however slowly more comes: grants expire, and
//!   sessions take their uploads with them.
//! - A grant that expires early, because the masters' time jumps, is asked for once more where the
//!   bytes are still at hand: those of a stream are not.
//! - A chunk id is used for one try only; of a stripe, whose bytes are all there, for another data
//!   node too. What a try leaves on data nodes is never committed, and reclaimed when the grant has
//!   expired.
//!
//! Not done here: byte-range locks.

mod chunk;
mod clone;
mod grants;
mod stripe;
mod update;
mod upload;
mod writer;

pub(super) use update::Update;
pub(super) use upload::{Target, Upload, Written, is_grant_expired, is_too_few};
pub use writer::FileWriter;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::names::location::parent_of;
use crate::error::{Error, Result};
use crate::types::{FileKind, Location, Policy, Refusal, RefusalKind};

/// A directory's policy is taken to stay the same for so long; if it did not, masters refuse
/// what it no longer allows.
const POLICY_AGE_MAX: Duration = Duration::from_secs(5);
/// Directories whose policies are remembered.
const POLICIES_MAX: usize = 256;

/// Policies of directories, remembered for moments.
#[derive(Debug, Default)]
pub(super) struct Policies(Mutex<BTreeMap<String, (Policy, Instant)>>);

impl Policies {
    fn get(&self, directory: &str) -> Option<Policy> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (policy, since) = known.get(directory)?;
        (since.elapsed() < POLICY_AGE_MAX).then_some(*policy)
    }

    fn put(&self, directory: String, policy: Policy) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= POLICIES_MAX {
            known.clear();
        }
        known.insert(directory, (policy, Instant::now()));
    }

    pub(super) fn clear(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

impl Client {
    /// The policy that a new file at `at` gets.
    ///
    /// # Errors
    /// `NotFound` if the directory is missing; `Invalid` if it is none, or `at` has no name.
    pub(super) async fn policy_for(&self, at: &Location) -> Result<Policy> {
        let parent = parent_of(at)
            .ok_or_else(|| Error::from(Refusal::new(RefusalKind::IsADirectory, at)))?;
        let key = parent.to_string();
        if let Some(policy) = self.inner.policies.get(&key) {
            return Ok(policy);
        }
        let attr = self.metadata(&parent).await?;
        if attr.kind != FileKind::Directory {
            return Err(Refusal::new(RefusalKind::NotADirectory, &parent).into());
        }
        self.inner.policies.put(key, attr.policy);
        Ok(attr.policy)
    }
}
