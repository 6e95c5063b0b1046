//! Which data nodes are alive: live → suspect → dead, decided by missed heartbeats.
//!
//! ```text
//!            heartbeat                   misses `suspect_after`
//! live ◀──────────────── suspect ◀──────────────────────────── live
//!   ▲                       │ silent for `dead_after`, or says its disk failed
//!   └────── heartbeat ──── dead
//! ```
//!
//! Pure: time is an argument, counted from when this master began to lead. A node that has not
//! been heard of by this leader counts as heard when it began to lead, so that a change of
//! leaders buries nobody.
//!
//! Not done here: what follows from a verdict (repair, placement).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::planted::{self, Bug};
use crate::proto::metadata::Liveness;
use crate::types::{NodeEpoch, NodeId};

/// When a silent node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessConfig {
    /// How often nodes send heartbeats.
    pub heartbeat_interval: Duration,
    /// Silent for this long, a node is suspect: at least three heartbeats.
    pub suspect_after: Duration,
    /// Silent for this long, a node is dead and its chunks are repaired.
    pub dead_after: Duration,
}

impl LivenessConfig {
    /// A heartbeat a second, suspect after four, dead after two minutes.
    pub const DEFAULT: LivenessConfig = LivenessConfig {
        heartbeat_interval: Duration::from_secs(1),
        suspect_after: Duration::from_secs(4),
        dead_after: Duration::from_secs(120),
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
        Ok(())
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
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

    /// Takes in what happened at `now`.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
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
            } => self.heartbeat(now, node, epoch, failed),
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
        node: NodeId,
        epoch: NodeEpoch,
        failed: bool,
    ) -> Vec<Effect> {
        let Some(watched) = self.nodes.get_mut(&node) else {
            return vec![Effect::Fence(node)];
        };
        if watched.epoch != epoch && !planted::active(Bug::StaleEpochAccepted) {
            return vec![Effect::Fence(node)];
        }
        watched.heard = now;
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

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (&node, watched) in &mut self.nodes {
            let silent = now.saturating_sub(watched.heard);
            match watched.liveness {
                Liveness::Live | Liveness::Suspect if silent >= self.config.dead_after => {
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
        }
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

    fn heartbeat(epoch: NodeEpoch) -> Event {
        Event::Heartbeat {
            node: N,
            epoch,
            failed: false,
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
        };
        assert_eq!(watch.step(at(1), failed), [Effect::Bury(N)]);
        assert_eq!(watch.step(at(2), failed), []);
    }

    #[test]
    fn times_that_make_no_sense_together_are_refused() {
        let config = LivenessConfig {
            suspect_after: Duration::from_secs(2),
            ..LivenessConfig::DEFAULT
        };
        assert!(config.validate().is_err());
        assert!(LivenessConfig::DEFAULT.validate().is_ok());
    }
}
