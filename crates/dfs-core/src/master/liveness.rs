//! Which data nodes are alive: live → suspect → dead, decided by missed heartbeats.
//!
//! ```text
//!            heartbeat                   misses `suspect_after`
//! live ◀──────────────── suspect ◀──────────────────────────── live
//!   ▲                       │ silent for `dead_after`, or for `dead_after_agreed` and held for
//!   │                       │ down by its peers; or says its disk failed
//!   └────── heartbeat ──── dead
//! ```
//!
//! What peers say shortens the wait for a node that is silent, and does nothing else: one that is
//! heard lives, whatever they say. They are enough when they are most of the other live nodes, and
//! two. Nobody is given up early while more than a third of all are silent: then it is the network
//! that fails, or this master, and many would be repaired in vain.
//!
//! Pure: time is an argument, counted from when this master began to lead. A node that has not
//! been heard of by this leader counts as heard when it began to lead, so that a change of
//! leaders buries nobody.
//!
//! Not done here: what follows from a verdict (repair, placement).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::planted::{self, Bug};
use crate::proto::metadata::Liveness;
use crate::proto::peers::DOWN_MAX;
use crate::types::{NodeEpoch, NodeId};

/// So many nodes at least must agree that another is down.
const AGREED_MIN: usize = 2;
/// When more than one in so many is silent, nobody is given up early.
const SILENT_SHARE: usize = 3;

/// When a silent node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessConfig {
    /// How often nodes send heartbeats.
    pub heartbeat_interval: Duration,
    /// Silent for this long, a node is suspect: at least three heartbeats.
    pub suspect_after: Duration,
    /// Silent for this long, a node is dead and its chunks are repaired.
    pub dead_after: Duration,
    /// The same if most other nodes hold it for down as well.
    pub dead_after_agreed: Duration,
}

impl LivenessConfig {
    /// A heartbeat a second, suspect after four, dead after two minutes, or half a one if its peers
    /// agree.
    pub const DEFAULT: LivenessConfig = LivenessConfig {
        heartbeat_interval: Duration::from_secs(1),
        suspect_after: Duration::from_secs(4),
        dead_after: Duration::from_secs(120),
        dead_after_agreed: Duration::from_secs(30),
    };

    /// Checks that the times make sense together.
    ///
    /// # Errors
    /// Says which do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.heartbeat_interval.is_zero() {
            return Err("heartbeat_interval is zero".to_owned());
        }
        if self.suspect_after < self.heartbeat_interval * 3 {
            return Err("suspect_after is less than three heartbeats".to_owned());
        }
        if self.dead_after <= self.suspect_after {
            return Err("dead_after is not longer than suspect_after".to_owned());
        }
        if self.dead_after_agreed <= self.suspect_after {
            return Err("dead_after_agreed is not longer than suspect_after".to_owned());
        }
        Ok(())
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A node is in the map. Known already, nothing happens unless its epoch is newer.
    Known {
        /// Which.
        node: NodeId,
        /// Its incarnation.
        epoch: NodeEpoch,
    },
    /// A node has begun an incarnation with this leader.
    Registered {
        /// Which.
        node: NodeId,
        /// The new incarnation.
        epoch: NodeEpoch,
    },
    /// A node said "alive".
    Heartbeat {
        /// Which.
        node: NodeId,
        /// Its incarnation.
        epoch: NodeEpoch,
        /// Its directory failed: it is alive, its replicas are not.
        failed: bool,
        /// The nodes that it holds for down.
        down: &'a [NodeId],
    },
    /// Time passed.
    Tick,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The node is live again.
    Revive(NodeId),
    /// The node missed heartbeats.
    Suspect(NodeId),
    /// The node is dead.
    Bury(NodeId),
    /// The sender is of an older incarnation, or unknown: it must register.
    Fence(NodeId),
}

#[derive(Debug)]
struct Watched {
    epoch: NodeEpoch,
    liveness: Liveness,
    heard: Duration,
    /// The nodes that it holds for down.
    down: BTreeSet<NodeId>,
}

/// The watch over all data nodes.
#[derive(Debug)]
pub struct Watch {
    config: LivenessConfig,
    nodes: BTreeMap<NodeId, Watched>,
}

impl Watch {
    /// A watch over nobody yet.
    pub fn new(config: LivenessConfig) -> Watch {
        Watch {
            config,
            nodes: BTreeMap::new(),
        }
    }

    /// Forgets a node: it is one no more.
    pub fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// How a node is; dead if unknown.
    pub fn liveness(&self, node: NodeId) -> Liveness {
        self.nodes
            .get(&node)
            .map_or(Liveness::Dead, |watched| watched.liveness)
    }

    /// The live nodes that hold a node for down.
    pub fn accusers(&self, node: NodeId) -> Vec<NodeId> {
        let accuses = |watched: &Watched| watched.is_live() && watched.down.contains(&node);
        let all = self.nodes.iter().filter(|(_, watched)| accuses(watched));
        all.map(|(&accuser, _)| accuser).collect()
    }

    /// Takes in what happened at `now`.
    pub fn step(&mut self, now: Duration, event: Event<'_>) -> Vec<Effect> {
        match event {
            Event::Known { node, epoch } => self.known(now, node, epoch),
            Event::Registered { node, epoch } => {
                let before = self.nodes.insert(node, Watched::live(epoch, now));
                revived(node, before.map(|watched| watched.liveness))
            }
            Event::Heartbeat {
                node,
                epoch,
                failed,
                down,
            } => self.heartbeat(now, (node, epoch), failed, down),
            Event::Tick => self.tick(now),
        }
    }

    fn known(&mut self, now: Duration, node: NodeId, epoch: NodeEpoch) -> Vec<Effect> {
        let watched = self
            .nodes
            .entry(node)
            .or_insert_with(|| Watched::live(epoch, now));
        if watched.epoch < epoch {
            watched.epoch = epoch;
        }
        Vec::new()
    }

    fn heartbeat(
        &mut self,
        now: Duration,
        (node, epoch): (NodeId, NodeEpoch),
        failed: bool,
        down: &[NodeId],
    ) -> Vec<Effect> {
        let Some(watched) = self.nodes.get_mut(&node) else {
            return vec![Effect::Fence(node)];
        };
        if watched.epoch != epoch && !planted::active(Bug::StaleEpochAccepted) {
            return vec![Effect::Fence(node)];
        }
        watched.heard = now;
        watched.down = down.iter().take(DOWN_MAX).copied().collect();
        let before = watched.liveness;
        if failed {
            watched.liveness = Liveness::Dead;
            return match before {
                Liveness::Dead => Vec::new(),
                Liveness::Live | Liveness::Suspect => vec![Effect::Bury(node)],
            };
        }
        watched.liveness = Liveness::Live;
        revived(node, Some(before))
    }

    /// Whether the others agree that a node is down.
    fn agreed(&self, node: NodeId) -> bool {
        let others = self.nodes.iter().filter(|(other, _)| **other != node);
        let voters = others.filter(|(_, watched)| watched.is_live()).count();
        let accusers = self.accusers(node).len();
        accusers >= AGREED_MIN && accusers * 2 > voters
    }

    /// The nodes that are silent so long that it is enough if others agree, and do.
    fn agreed_dead(&self, now: Duration) -> BTreeSet<NodeId> {
        let silent = |watched: &Watched| now.saturating_sub(watched.heard);
        let is_suspect = |watched: &&Watched| silent(watched) >= self.config.suspect_after;
        let suspects = self.nodes.values().filter(is_suspect).count();
        if suspects * SILENT_SHARE > self.nodes.len() {
            return BTreeSet::new();
        }
        let long = |watched: &Watched| {
            watched.liveness == Liveness::Suspect
                && silent(watched) >= self.config.dead_after_agreed
        };
        let long = self.nodes.iter().filter(|(_, watched)| long(watched));
        let long = long.map(|(&node, _)| node);
        long.filter(|&node| self.agreed(node)).collect()
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let agreed = self.agreed_dead(now);
        let mut effects = Vec::new();
        for (&node, watched) in &mut self.nodes {
            let silent = now.saturating_sub(watched.heard);
            match watched.liveness {
                Liveness::Live | Liveness::Suspect
                    if silent >= self.config.dead_after || agreed.contains(&node) =>
                {
                    watched.liveness = Liveness::Dead;
                    effects.push(Effect::Bury(node));
                }
                Liveness::Live if silent >= self.config.suspect_after => {
                    watched.liveness = Liveness::Suspect;
                    effects.push(Effect::Suspect(node));
                }
                Liveness::Live | Liveness::Suspect | Liveness::Dead => {}
            }
        }
        effects
    }
}

impl Watched {
    fn live(epoch: NodeEpoch, now: Duration) -> Watched {
        Watched {
            epoch,
            liveness: Liveness::Live,
            heard: now,
            down: BTreeSet::new(),
        }
    }

    fn is_live(&self) -> bool {
        self.liveness == Liveness::Live
    }
}

fn revived(node: NodeId, before: Option<Liveness>) -> Vec<Effect> {
    match before {
        Some(Liveness::Live) => Vec::new(),
        Some(Liveness::Suspect | Liveness::Dead) | None => vec![Effect::Revive(node)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: NodeId = NodeId(1);
    const E: NodeEpoch = NodeEpoch(7);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watch() -> Watch {
        let mut watch = Watch::new(LivenessConfig::DEFAULT);
        watch.step(at(0), Event::Known { node: N, epoch: E });
        watch
    }

    fn heartbeat(epoch: NodeEpoch) -> Event<'static> {
        Event::Heartbeat {
            node: N,
            epoch,
            failed: false,
            down: &[],
        }
    }

    #[test]
    fn a_silent_node_is_suspect_and_then_dead() {
        let mut watch = watch();
        assert_eq!(watch.step(at(3), Event::Tick), []);
        assert_eq!(watch.step(at(4), Event::Tick), [Effect::Suspect(N)]);
        assert_eq!(watch.step(at(119), Event::Tick), []);
        assert_eq!(watch.step(at(120), Event::Tick), [Effect::Bury(N)]);
        assert_eq!(watch.step(at(121), Event::Tick), []);
        assert_eq!(watch.liveness(N), Liveness::Dead);
    }

    #[test]
    fn a_heartbeat_revives_a_dead_node() {
        let mut watch = watch();
        watch.step(at(120), Event::Tick);
        assert_eq!(watch.step(at(121), heartbeat(E)), [Effect::Revive(N)]);
        assert_eq!(watch.step(at(122), heartbeat(E)), []);
    }

    #[test]
    fn an_older_or_unknown_incarnation_is_fenced_and_does_not_count_as_life() {
        let mut watch = watch();
        let old = NodeEpoch(6);
        assert_eq!(watch.step(at(3), heartbeat(old)), [Effect::Fence(N)]);
        assert_eq!(watch.step(at(4), Event::Tick), [Effect::Suspect(N)]);
        let stranger = Event::Heartbeat {
            node: NodeId(9),
            epoch: E,
            failed: false,
            down: &[],
        };
        assert_eq!(watch.step(at(4), stranger), [Effect::Fence(NodeId(9))]);
    }

    #[test]
    fn a_registration_fences_the_incarnation_before_it() {
        let mut watch = watch();
        let epoch = NodeEpoch(8);
        watch.step(at(1), Event::Registered { node: N, epoch });
        assert_eq!(watch.step(at(2), heartbeat(E)), [Effect::Fence(N)]);
        assert_eq!(watch.step(at(2), heartbeat(epoch)), []);
    }

    #[test]
    fn a_node_whose_disk_failed_is_dead_at_once_although_it_talks() {
        let mut watch = watch();
        let failed = Event::Heartbeat {
            node: N,
            epoch: E,
            failed: true,
            down: &[],
        };
        assert_eq!(watch.step(at(1), failed), [Effect::Bury(N)]);
        assert_eq!(watch.step(at(2), failed), []);
    }

    /// Nodes 1 to `count`, of which each says every second until then what it holds for down.
    struct Peers(Watch, u32);

    impl Peers {
        fn new(count: u32) -> Peers {
            let mut watch = Watch::new(LivenessConfig::DEFAULT);
            for node in (1..=count).map(NodeId) {
                watch.step(at(0), Event::Known { node, epoch: E });
            }
            Peers(watch, count)
        }

        /// Lets seconds pass in which those that `says` has a list for are heard.
        fn pass(
            &mut self,
            seconds: std::ops::RangeInclusive<u64>,
            says: impl Fn(u32) -> Option<&'static [NodeId]>,
        ) -> Vec<(u64, NodeId)> {
            let mut dead = Vec::new();
            for second in seconds {
                for node in 1..=self.1 {
                    let Some(down) = says(node) else {
                        continue;
                    };
                    let heard = Event::Heartbeat {
                        node: NodeId(node),
                        epoch: E,
                        failed: false,
                        down,
                    };
                    self.0.step(at(second), heard);
                }
                for effect in self.0.step(at(second), Event::Tick) {
                    if let Effect::Bury(node) = effect {
                        dead.push((second, node));
                    }
                }
            }
            dead
        }
    }

    const NOBODY: &[NodeId] = &[];
    const ONE: &[NodeId] = &[NodeId(1)];

    #[test]
    fn a_silent_node_is_dead_sooner_when_most_others_hold_it_for_down() {
        let mut peers = Peers::new(5);
        let says = |node| match node {
            1 => None,
            2 => Some(NOBODY),
            _ => Some(ONE),
        };
        assert_eq!(peers.pass(1..=60, says), [(30, N)]);
        assert_eq!(peers.0.accusers(N), [NodeId(3), NodeId(4), NodeId(5)]);
        // It comes back all the same.
        assert_eq!(peers.0.step(at(61), heartbeat(E)), [Effect::Revive(N)]);
    }

    #[test]
    fn a_node_that_is_heard_lives_whatever_all_others_say() {
        let mut peers = Peers::new(4);
        let says = |node| Some(if node == 1 { NOBODY } else { ONE });
        assert_eq!(peers.pass(1..=300, says), []);
        assert_eq!(peers.0.liveness(N), Liveness::Live);
    }

    #[test]
    fn one_that_lies_and_half_of_the_others_shorten_nothing() {
        // One liar, where two nodes are left; one in three; two in four.
        for (count, accusers) in [(3, 1), (4, 1), (5, 2)] {
            let mut peers = Peers::new(count);
            let says = move |node| match node {
                1 => None,
                _ if node <= 1 + accusers => Some(ONE),
                _ => Some(NOBODY),
            };
            assert_eq!(
                peers.pass(1..=120, says),
                [(120, N)],
                "{accusers} of {count}"
            );
        }
    }

    #[test]
    fn a_node_that_the_master_alone_does_not_hear_is_given_its_time() {
        let mut peers = Peers::new(6);
        let says = |node| (node != 1).then_some(NOBODY);
        assert_eq!(peers.pass(1..=119, says), []);
    }

    #[test]
    fn a_master_that_is_cut_off_with_some_nodes_buries_none_early() {
        // Of six it hears three, and those hear none of the other three.
        const REST: &[NodeId] = &[NodeId(4), NodeId(5), NodeId(6)];
        let mut peers = Peers::new(6);
        let says = |node| (node <= 3).then_some(REST);
        assert_eq!(peers.pass(1..=119, says), []);
        // One that hears nobody at all.
        assert_eq!(Peers::new(6).pass(1..=119, |_| None), []);
    }

    #[test]
    fn early_deaths_are_a_third_of_all_at_most() {
        const TWO: &[NodeId] = &[NodeId(1), NodeId(2)];
        const THREE: &[NodeId] = &[NodeId(1), NodeId(2), NodeId(3)];
        let mut peers = Peers::new(6);
        let dead = peers.pass(1..=60, |node| (node > 2).then_some(TWO));
        assert_eq!(dead, [(30, NodeId(1)), (30, NodeId(2))]);
        let dead = peers.pass(61..=179, |node| (node > 3).then_some(THREE));
        assert_eq!(dead, []);
    }

    #[test]
    fn what_a_node_said_that_is_silent_itself_does_not_count() {
        let mut peers = Peers::new(9);
        let accuse = |node| match node {
            1 => None,
            2..=5 => Some(ONE),
            _ => Some(NOBODY),
        };
        assert_eq!(peers.pass(1..=10, accuse), []);
        // Two of the four are silent themselves, and the others are two of six.
        let dead = peers.pass(11..=119, |node| accuse(node).filter(|_| node > 3));
        assert_eq!(dead, []);
    }

    #[test]
    fn one_node_is_not_enough_though_no_other_has_a_say() {
        let mut peers = Peers::new(3);
        for second in 1..=119 {
            let failed = Event::Heartbeat {
                node: NodeId(3),
                epoch: E,
                failed: true,
                down: &[],
            };
            peers.0.step(at(second), failed);
            let dead = peers.pass(second..=second, |node| (node == 2).then_some(ONE));
            assert_eq!(dead, []);
        }
    }

    #[test]
    fn times_that_make_no_sense_together_are_refused() {
        let config = LivenessConfig {
            suspect_after: Duration::from_secs(2),
            ..LivenessConfig::DEFAULT
        };
        assert!(config.validate().is_err());
        let config = LivenessConfig {
            dead_after_agreed: Duration::from_secs(4),
            ..LivenessConfig::DEFAULT
        };
        assert!(config.validate().is_err());
        assert!(LivenessConfig::DEFAULT.validate().is_ok());
    }
}
