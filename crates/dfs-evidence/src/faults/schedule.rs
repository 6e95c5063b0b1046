//! When which fault begins, and how long it lasts.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::FaultKind;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number in the schedule it was made for: it keeps it when others are left out.
    pub id: u32,
    /// What.
    pub kind: FaultKind,
    /// When it begins, from the start of the run.
    pub at: Duration,
    /// When it is healed, from its beginning.
    pub lasts: Duration,
    /// Decides on whom it falls, and how hard.
    pub pick: u64,
}

/// The faults of a run, by time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// In the order in which they begin.
    pub faults: Vec<Fault>,
}

/// Which part of all kinds comes in a schedule.
const SHARES: [f64; 3] = [0.1, 0.25, 0.5];

/// What a schedule is made of.
#[derive(Debug, Clone)]
pub struct ScheduleConfig {
    /// Kinds that may happen.
    pub kinds: Vec<FaultKind>,
    /// How long faults may go on before everything is healed for good.
    pub length: Duration,
    /// The time between the beginnings of two faults, on average.
    pub gap: Duration,
    /// How long a fault lasts, at least and at most.
    pub lasts: (Duration, Duration),
}

impl Schedule {
    /// The schedule that a seed stands for. A seed has a taste: it picks few or many of the kinds
    /// and how often each of them comes (swarm testing, Groce et al., ISSTA 2012). Few kinds that
    /// come often find what many that come rarely do not, and the other way round.
    pub fn generate(seed: u64, config: &ScheduleConfig) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5c_4ed0_1e5c_4ed0);
        let share = *SHARES.choose(&mut random).unwrap_or(&0.5);
        let mut weighted: Vec<(FaultKind, u32)> = Vec::new();
        for kind in &config.kinds {
            if random.random_bool(share) {
                weighted.push((*kind, random.random_range(1..=4)));
            }
        }
        if weighted.is_empty() {
            let any = config.kinds.choose(&mut random);
            weighted.extend(any.map(|kind| (*kind, 1)));
        }
        let mut faults = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += config.gap.mul_f64(random.random_range(0.2..1.8));
            if at >= config.length {
                break;
            }
            let Ok((kind, _)) = weighted.choose_weighted(&mut random, |(_, weight)| *weight) else {
                break;
            };
            let (least, most) = config.lasts;
            let lasts = random.random_range(least..=most);
            faults.push(Fault {
                id: u32::try_from(faults.len()).unwrap_or(u32::MAX),
                kind: *kind,
                at,
                lasts: lasts.min(config.length.saturating_sub(at)),
                pick: random.random(),
            });
        }
        Schedule { faults }
    }

    /// The same without some faults: for finding the few that matter.
    #[must_use]
    pub fn without(&self, ids: &[u32]) -> Schedule {
        let kept = self.faults.iter().filter(|fault| !ids.contains(&fault.id));
        Schedule {
            faults: kept.copied().collect(),
        }
    }

    /// The same with these faults only.
    #[must_use]
    pub fn only(&self, ids: &[u32]) -> Schedule {
        let kept = self.faults.iter().filter(|fault| ids.contains(&fault.id));
        Schedule {
            faults: kept.copied().collect(),
        }
    }

    /// The kinds in it, each once, in the order of tables.
    pub fn kinds(&self) -> Vec<FaultKind> {
        let all = FaultKind::ALL.into_iter();
        all.filter(|kind| self.faults.iter().any(|fault| fault.kind == *kind))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScheduleConfig {
        ScheduleConfig {
            kinds: FaultKind::ALL.to_vec(),
            length: Duration::from_secs(60),
            gap: Duration::from_secs(2),
            lasts: (Duration::from_millis(500), Duration::from_secs(5)),
        }
    }

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        let first = Schedule::generate(7, &config());
        assert_eq!(Schedule::generate(7, &config()), first);
        assert_ne!(Schedule::generate(8, &config()), first);
    }

    #[test]
    fn faults_come_in_order_and_are_over_in_time() {
        let schedule = Schedule::generate(3, &config());
        assert!(schedule.faults.is_sorted_by_key(|fault| fault.at));
        let end = |fault: &Fault| fault.at + fault.lasts;
        assert!(schedule.faults.iter().all(|f| end(f) <= config().length));
    }

    #[test]
    fn seeds_together_use_every_kind_and_none_uses_all() {
        let schedules: Vec<Schedule> = (0..50).map(|s| Schedule::generate(s, &config())).collect();
        for kind in FaultKind::ALL {
            assert!(
                schedules.iter().any(|s| s.kinds().contains(&kind)),
                "{kind}"
            );
        }
        assert!(
            schedules
                .iter()
                .all(|s| s.kinds().len() < FaultKind::ALL.len())
        );
    }

    #[test]
    fn what_is_left_keeps_its_number() {
        let schedule = Schedule::generate(3, &config());
        let fewer = schedule.without(&[0, 2]);
        assert_eq!(fewer.faults.len(), schedule.faults.len() - 2);
        assert_eq!(fewer.faults.first().map(|f| f.id), Some(1));
    }
}
