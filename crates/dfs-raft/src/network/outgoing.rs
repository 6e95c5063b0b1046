//! Who is being sent a snapshot, and at which entry it ends: what follows must be kept for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::types::MemberId;

/// Snapshots on their way, or sent to members that have not gone on from them yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    members: Mutex<BTreeMap<MemberId, (u64, Sent)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Partly,
    Wholly,
}

impl Outgoing {
    fn members(&self) -> MutexGuard<'_, BTreeMap<MemberId, (u64, Sent)>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a snapshot which ends at entry `last` is being sent, until the guard is dropped.
    pub(crate) fn begin(&self, member: MemberId, last: u64) -> Sending<'_> {
        self.members().insert(member, (last, Sent::Partly));
        Sending {
            outgoing: self,
            member,
        }
    }

    /// The entry at which the oldest of them ends. Members that `went_on` from the end of what
    /// they were sent are forgotten.
    pub(crate) fn oldest(&self, went_on: impl Fn(MemberId, u64) -> bool) -> Option<u64> {
        let mut members = self.members();
        members.retain(|member, (last, sent)| *sent == Sent::Partly || !went_on(*member, *last));
        members.values().map(|(last, _)| *last).min()
    }
}

/// A snapshot on its way.
pub(crate) struct Sending<'a> {
    outgoing: &'a Outgoing,
    member: MemberId,
}

impl Sending<'_> {
    /// It has arrived.
    pub(crate) fn done(self) {
        if let Some((_, sent)) = self.outgoing.members().get_mut(&self.member) {
            *sent = Sent::Wholly;
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let mut members = self.outgoing.members();
        if let Some((_, Sent::Partly)) = members.get(&self.member) {
            members.remove(&self.member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_counts_until_it_went_on_or_the_snapshot_was_given_up() {
        let outgoing = Outgoing::default();
        let sending = outgoing.begin(MemberId(2), 70);
        let other = outgoing.begin(MemberId(3), 50);
        assert_eq!(outgoing.oldest(|_, _| true), Some(50));
        drop(other);
        sending.done();
        assert_eq!(outgoing.oldest(|_, _| false), Some(70));
        assert_eq!(outgoing.oldest(|_, last| last <= 70), None);
    }
}
