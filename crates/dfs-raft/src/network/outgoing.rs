//! Who is being sent a snapshot, and at which entry it ends: what follows must be kept for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::types::MemberId;

/// How long a member that has its snapshot may take to go on from there. It answers nothing else
/// while it switches to the new state.
const GO_ON_WITHIN: Duration = Duration::from_secs(3);

/// Snapshots on their way, or sent to members that have not gone on from them yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    sendings: Mutex<Sendings>,
}

#[derive(Debug, Default)]
struct Sendings {
    next: u64,
    all: BTreeMap<u64, Sent>,
}

#[derive(Debug)]
struct Sent {
    member: MemberId,
    last: u64,
    /// When all of it had arrived.
    arrived: Option<Instant>,
}

impl Outgoing {
    fn sendings(&self) -> MutexGuard<'_, Sendings> {
        self.sendings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a snapshot which ends at entry `last` is being sent, until the guard is dropped.
    pub(crate) fn begin(&self, member: MemberId, last: u64) -> Sending<'_> {
        let mut sendings = self.sendings();
        let number = sendings.next;
        sendings.next += 1;
        let sent = Sent {
            member,
            last,
            arrived: None,
        };
        sendings.all.insert(number, sent);
        Sending {
            outgoing: self,
            number,
        }
    }

    /// The entry at which the oldest of them ends. Members that `went_on` from the end of what
    /// they were sent since it arrived are forgotten, and those that do not in time.
    pub(crate) fn oldest(&self, went_on: impl Fn(MemberId, u64, Instant) -> bool) -> Option<u64> {
        let mut sendings = self.sendings();
        sendings.all.retain(|_, sent| match sent.arrived {
            None => true,
            Some(at) => at.elapsed() < GO_ON_WITHIN && !went_on(sent.member, sent.last, at),
        });
        sendings.all.values().map(|sent| sent.last).min()
    }
}

/// A snapshot on its way.
pub(crate) struct Sending<'a> {
    outgoing: &'a Outgoing,
    number: u64,
}

impl Sending<'_> {
    /// It has arrived.
    pub(crate) fn done(self) {
        if let Some(sent) = self.outgoing.sendings().all.get_mut(&self.number) {
            sent.arrived = Some(Instant::now());
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let all = &mut self.outgoing.sendings().all;
        if all.get(&self.number).is_some_and(|s| s.arrived.is_none()) {
            all.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_member_counts_until_it_went_on_or_the_snapshot_was_given_up() {
        let outgoing = Outgoing::default();
        let sending = outgoing.begin(MemberId(2), 70);
        let other = outgoing.begin(MemberId(3), 50);
        assert_eq!(outgoing.oldest(|_, _, _| true), Some(50));
        drop(other);
        sending.done();
        assert_eq!(outgoing.oldest(|_, _, _| false), Some(70));
        assert_eq!(outgoing.oldest(|_, last, _| last <= 70), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_go_on_counts_for_a_while() {
        let outgoing = Outgoing::default();
        outgoing.begin(MemberId(2), 70).done();
        tokio::time::advance(GO_ON_WITHIN / 2).await;
        assert_eq!(outgoing.oldest(|_, _, _| false), Some(70));
        tokio::time::advance(GO_ON_WITHIN / 2).await;
        assert_eq!(outgoing.oldest(|_, _, _| false), None);
    }

    #[test]
    fn giving_up_one_sending_says_nothing_of_the_next_to_the_same_member() {
        let outgoing = Outgoing::default();
        let first = outgoing.begin(MemberId(2), 70);
        let _second = outgoing.begin(MemberId(2), 90);
        drop(first);
        assert_eq!(outgoing.oldest(|_, _, _| false), Some(90));
    }
}
