//! Which master to ask: decided from what masters answered and how they failed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::proto::metadata::LeaderInfo;

/// For this long nobody is believed who says that a master leads which just failed us: the others
/// learn of its end later than we do.
const DISBELIEF: Duration = Duration::from_millis(300);
/// More addresses of masters than any cluster has.
const MASTERS_MAX: usize = 64;

/// The masters, and which of them is believed to lead.
#[derive(Debug)]
pub(super) struct Masters {
    /// Addresses given at the start: kept whatever masters say later.
    seeds: Vec<String>,
    /// All addresses, in the order in which they are tried.
    known: Vec<String>,
    leader: Option<String>,
    /// The next of `known` to try while no leader is believed in.
    next: usize,
    failed: BTreeMap<String, Instant>,
}

impl Masters {
    pub(super) fn new(seeds: &[String], first: usize) -> Masters {
        Masters {
            seeds: seeds.to_vec(),
            known: seeds.to_vec(),
            leader: None,
            next: first,
            failed: BTreeMap::new(),
        }
    }

    /// Whom to ask now: the leader, or the next in turn who did not fail just now. A machine that
    /// is off would cost the time of a connection in each round.
    pub(super) fn target(&self, now: Instant) -> String {
        let next = self.next.checked_rem(self.known.len()).unwrap_or(0);
        let (before, after) = self.known.split_at(next);
        let mut in_turn = after.iter().chain(before);
        let credible = in_turn
            .clone()
            .find(|address| self.is_credible(address, now));
        self.leader
            .as_ref()
            .or(credible)
            .or_else(|| in_turn.next())
            .cloned()
            .unwrap_or_default()
    }

    /// The believed leader.
    pub(super) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// All addresses.
    pub(super) fn all(&self) -> Vec<String> {
        self.known.clone()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// `from` acted as leader.
    pub(super) fn led(&mut self, from: &str) {
        self.failed.remove(from);
        if self.leader.as_deref() != Some(from) {
            self.leader = Some(from.to_owned());
        }
    }

    /// `from` says that it does not lead, and perhaps who does.
    pub(super) fn not_leader(&mut self, from: &str, hint: Option<&str>, now: Instant) {
        self.passed_over(from);
        if let Some(hint) = hint
            && hint != from
            && self.leader.is_none()
            && self.is_credible(hint, now)
        {
            self.add(hint);
            self.leader = Some(hint.to_owned());
        }
    }

    /// `from` could not be reached, or did not answer.
    pub(super) fn failed(&mut self, from: &str, now: Instant) {
        self.failed.insert(from.to_owned(), now);
        self.passed_over(from);
    }

    /// Somebody other than `than` leads, as that master says itself.
    pub(super) fn replaced(&mut self, than: &str, leader: &str) {
        if self.leader.as_deref().is_none_or(|l| l == than) {
            self.add(leader);
            self.failed.remove(leader);
            self.leader = Some(leader.to_owned());
        }
    }

    /// What a master says of the group.
    pub(super) fn learn(&mut self, info: &LeaderInfo, now: Instant) {
        if !info.masters.is_empty() {
            let gone =
                |address: &String| !info.masters.contains(address) && !self.seeds.contains(address);
            self.known.retain(|address| !gone(address));
            self.failed.retain(|address, _| !gone(address));
        }
        for address in &info.masters {
            self.add(address);
        }
        if let Some(leader) = &info.leader
            && self.leader.is_none()
            && self.is_credible(leader, now)
        {
            self.add(leader);
            self.leader = Some(leader.clone());
        }
    }

    fn passed_over(&mut self, from: &str) {
        if self.leader.as_deref() == Some(from) {
            self.leader = None;
        }
        if let Some(position) = self.known.iter().position(|address| address == from) {
            self.next = position.saturating_add(1);
        }
    }

    fn is_credible(&self, leader: &str, now: Instant) -> bool {
        self.failed
            .get(leader)
            .is_none_or(|at| now.saturating_duration_since(*at) >= DISBELIEF)
    }

    fn add(&mut self, address: &str) {
        if self.known.len() < MASTERS_MAX && !self.known.iter().any(|known| known == address) {
            self.known.push(address.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masters() -> Masters {
        Masters::new(&["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()], 0)
    }

    #[test]
    fn a_hint_is_followed_at_once() {
        let mut masters = masters();
        masters.not_leader("a:1", Some("c:1"), Instant::now());
        assert_eq!(masters.target(Instant::now()), "c:1");
    }

    #[test]
    fn a_hint_to_a_master_that_just_failed_is_not_believed_for_a_while() {
        let (mut masters, now) = (masters(), Instant::now());
        masters.led("a:1");
        masters.failed("a:1", now);
        masters.not_leader("b:1", Some("a:1"), now);
        assert_eq!(masters.target(now), "c:1");
        masters.not_leader("c:1", None, now);
        assert_eq!(masters.target(now), "b:1");
        masters.not_leader("b:1", Some("a:1"), now + DISBELIEF);
        assert_eq!(masters.target(now), "a:1");
    }

    #[test]
    fn when_all_have_failed_all_are_tried() {
        let (mut masters, now) = (masters(), Instant::now());
        let mut tried = Vec::new();
        for _ in 0..4 {
            let target = masters.target(now);
            masters.failed(&target, now);
            tried.push(target);
        }
        assert_eq!(tried, ["a:1", "b:1", "c:1", "a:1"]);
    }

    #[test]
    fn without_a_leader_all_are_tried_in_turn() {
        let (mut masters, now) = (masters(), Instant::now());
        let mut tried = Vec::new();
        for _ in 0..4 {
            let target = masters.target(now);
            masters.not_leader(&target, None, now);
            tried.push(target);
        }
        assert_eq!(tried, ["a:1", "b:1", "c:1", "a:1"]);
    }

    #[test]
    fn masters_that_left_the_group_are_forgotten_but_for_the_seeds() {
        let mut masters = masters();
        masters.not_leader("a:1", Some("d:1"), Instant::now());
        let info = LeaderInfo {
            cluster: None,
            leader: None,
            masters: vec!["b:1".to_owned(), "e:1".to_owned()],
        };
        masters.learn(&info, Instant::now());
        assert_eq!(masters.all(), ["a:1", "b:1", "c:1", "e:1"]);
    }
}
