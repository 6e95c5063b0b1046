//! Looking for divergence and rot.
//!
//! Replicas that applied the same entries have the same rows, hence the same digest. The leader
//! compares digests kept at equal entries:
//!
//! ```text
//! all that answer agree                  nothing
//! a majority of all members agrees       who differs stops
//! no majority (one of three is away)     each verifies its own state; who fails stops;
//!                                        if none does all go on, in doubt, and say so
//! ```
//!
//! Who stops is not to run again: that is noted in its directory first.
//!
//! Each member also reads all its rows now and then, verifies their checksums, and compares their
//! digest with the one it keeps. The reasons are in ADR 7.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::Fatal;
use crate::machine::{Rev, StateMachine};
use crate::network::peers::Purpose;
use crate::replica::node::Node;
use crate::state::{Digest, DigestCursor};
use crate::types::MemberId;

/// What is said when a member that stops for good may start again.
const NOT_NOTED: &str = "it could not be noted that this member must not run again";
/// Bytes of rows verified in one step.
const STEP_BYTES: u64 = 1 << 20;

/// Compares digests now and then, while this member leads. One without a vote, by the last it
/// heard, asks the others for theirs: if it was removed they refuse, which ends it. It would not
/// hear of it otherwise, for it never asks for votes.
pub(super) async fn compare_digests<M: StateMachine>(node: Arc<Node<M>>) {
    loop {
        sleep(node.config.digest_compare_interval).await;
        let state = node.raft.metrics().borrow_watched().state;
        match state {
            ServerState::Leader => node.compare_with_others().await,
            ServerState::Learner => drop(node.digests_of(&node.others()).await),
            _ => {}
        }
    }
}

/// Verifies all rows now and then.
pub(super) async fn scrub<M: StateMachine>(node: Arc<Node<M>>) {
    let mut doubt = node.doubt.subscribe();
    loop {
        tokio::select! {
            () = sleep(node.config.scrub_interval) => {}
            changed = doubt.changed() => match changed {
                Ok(()) if doubt.borrow_and_update().is_some() => {}
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let pace = node.config.scrub_bytes_per_second;
        if node.verify_state(Some(pace)).await.is_err() {
            return;
        }
    }
}

impl<M: StateMachine> Node<M> {
    /// The other members, by the last this one heard.
    fn others(&self) -> Vec<(MemberId, String)> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let nodes = now.membership_config.nodes();
        nodes
            .filter(|(id, _)| **id != self.identity.member)
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect()
    }

    /// The digests that these keep, and by whom.
    async fn digests_of(&self, others: &[(MemberId, String)]) -> Vec<(Rev, (MemberId, u128))> {
        let mut digests = Vec::new();
        for (member, address) in others {
            let connection = self.peers.connection(*member, address, Purpose::Control);
            let deadline = self.config.rpc_timeout;
            let answer = connection.call(deadline, async move |client, context, header| {
                client.digests(context, header).await
            });
            // One that does not answer is compared another time.
            let answer = answer.await.unwrap_or_default().into_iter();
            digests.extend(answer.map(|(rev, digest)| (rev, (*member, digest))));
        }
        digests
    }

    async fn compare_with_others(&self) {
        let others = self.others();
        let mut found: BTreeMap<Rev, Vec<(MemberId, u128)>> = BTreeMap::new();
        for (rev, digest) in self.state.kept_digests() {
            let own = (self.identity.member, digest.0);
            found.entry(rev).or_default().push(own);
        }
        for (rev, digest) in self.digests_of(&others).await {
            found.entry(rev).or_default().push(digest);
        }
        let mut doubtful = None;
        for (rev, digests) in found {
            if !self.judge(rev, &digests, &others).await {
                doubtful = Some(rev);
            }
        }
        if let Some(rev) = doubtful {
            self.spread_doubt(rev, &others).await;
        }
    }

    /// Stops members that differ from a majority. False if they differ and there is none.
    async fn judge(
        &self,
        rev: Rev,
        digests: &[(MemberId, u128)],
        others: &[(MemberId, String)],
    ) -> bool {
        let Some((_, first)) = digests.first() else {
            return true;
        };
        if digests.iter().all(|(_, digest)| digest == first) {
            if digests.len() * 2 > others.len() + 1 {
                self.end_doubt(rev);
            }
            return true;
        }
        let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
        for (_, digest) in digests {
            *counts.entry(*digest).or_default() += 1;
        }
        let members = others.len() + 1;
        let majority = counts.into_iter().find(|(_, count)| count * 2 > members);
        let Some((majority, _)) = majority else {
            return false;
        };
        for (member, digest) in digests {
            if *digest == majority {
                continue;
            }
            if *member == self.identity.member {
                self.heed_majority(rev, Digest(majority)).await;
                continue;
            }
            tracing::error!(%rev, %member, "a member differs from the majority");
            let Some((_, address)) = others.iter().find(|(id, _)| id == member) else {
                continue;
            };
            let connection = self.peers.connection(*member, address, Purpose::Control);
            let deadline = self.config.rpc_timeout;
            let told = connection.call(deadline, async move |client, context, header| {
                client.diverged(context, header, rev, majority).await
            });
            if let Err(e) = told.await {
                tracing::warn!(%member, error = %e, "it could not be told");
            }
        }
        true
    }

    /// Lets every member verify itself, because members differ and nothing else can tell who is
    /// wrong.
    async fn spread_doubt(&self, rev: Rev, others: &[(MemberId, String)]) {
        tracing::error!(%rev, "members differ and no majority agrees; who is wrong is unknown");
        self.begin_doubt(rev);
        for (member, address) in others {
            let connection = self.peers.connection(*member, address, Purpose::Control);
            let deadline = self.config.rpc_timeout;
            let told = connection.call(deadline, async move |client, context, header| {
                client.doubt(context, header, rev).await
            });
            if let Err(e) = told.await {
                tracing::info!(%member, error = %e, "it could not be told");
            }
        }
    }

    /// Begins to verify this member's own state, unless it is in doubt already.
    pub(crate) fn begin_doubt(&self, rev: Rev) {
        self.doubt.send_if_modified(|doubt| {
            let first = doubt.is_none();
            if first {
                tracing::error!(%rev, "members differ; this one verifies its own state");
                *doubt = Some(rev);
            }
            first
        });
    }

    fn end_doubt(&self, agreed: Rev) {
        self.doubt.send_if_modified(|doubt| {
            let ends = doubt.is_some_and(|rev| rev < agreed);
            if ends {
                tracing::info!(%agreed, "a majority agrees again");
                *doubt = None;
            }
            ends
        });
    }

    /// Stops this member if its digest at an entry is not what a majority has.
    pub(crate) async fn heed_majority(&self, rev: Rev, majority: Digest) {
        let kept = self.state.kept_digests();
        let own = kept.into_iter().find(|(at, _)| *at == rev);
        if let Some((_, own)) = own
            && own != majority
        {
            self.condemn(Fatal::of_state(format!(
                "the state of {} differs from the majority's at entry {rev} (digest {own}, not \
                 {majority}): clear the directory and join as a new member",
                self.identity.member
            )))
            .await;
        }
    }

    /// Reads and verifies every row of the state, at most `pace` bytes per second.
    pub(in crate::replica) async fn verify_state(&self, pace: Option<u64>) -> Result<(), Fatal> {
        let result = self.verify_rows(pace).await;
        match &result {
            Err(fatal) if fatal.is_of_state() => self.condemn(fatal.clone()).await,
            Err(fatal) => self.failure.stop(fatal.clone()),
            Ok(()) => {}
        }
        result
    }

    /// Stops this member, once it is noted in its directory that it must not run again. It stops
    /// all the same if that cannot be noted, or if this future is dropped.
    async fn condemn(&self, fatal: Fatal) {
        let (env, failure) = (self.env.clone(), self.failure.clone());
        let (directory, why) = (self.state.directory().clone(), fatal.to_string());
        let limit = self.config.rpc_timeout * 5;
        let stopping = tokio::spawn(async move {
            let noted = env.run_blocking(move || directory.condemn(&why));
            match timeout(limit, noted).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(?error, "{NOT_NOTED}"),
                Err(_) => tracing::error!(?limit, "{NOT_NOTED}"),
            }
            failure.stop(fatal);
        });
        drop(stopping.await);
    }

    async fn verify_rows(&self, pace: Option<u64>) -> Result<(), Fatal> {
        let snapshot = self.state.snapshot()?;
        let mut cursor = DigestCursor::default();
        loop {
            let started = Instant::now();
            let view = snapshot.view.clone();
            let step = move || {
                let more = cursor.advance(&view, STEP_BYTES);
                (cursor, more)
            };
            let (advanced, more) = self.env.run_blocking(step).await;
            cursor = advanced;
            if !more? {
                break;
            }
            if let Some(pace) = pace {
                let micros = STEP_BYTES.saturating_mul(1_000_000) / pace.max(1);
                sleep_until(started + Duration::from_micros(micros)).await;
            }
        }
        cursor.digest().check(snapshot.digest)
    }
}
