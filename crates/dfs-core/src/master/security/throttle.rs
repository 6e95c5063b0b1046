//! How soon somebody who failed to log in may try again.
//!
//! After some failures each makes the next attempt wait, twice as long every time: of a source up
//! to a minute, of a user up to a few seconds only, so that somebody who has few sources does not
//! keep a user out by failing in its name. An attempt that comes too soon is refused unseen, and
//! costs next to nothing. Keys cannot be guessed: who fails with one waits for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Failures that cost nothing yet: people mistype.
const FREE: u32 = 4;
const FIRST: Duration = Duration::from_millis(500);
const MOST_OF_SOURCE: Duration = Duration::from_secs(60);
const MOST_OF_USER: Duration = Duration::from_secs(5);
/// Failures are forgotten after this long without another.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);
/// Most sources and users that are remembered.
const REMEMBERED_MAX: usize = 4096;

/// Who tries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// From this address.
    Source(String),
    /// As this user.
    User(String),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Who failed lately, and how often.
#[derive(Debug, Default)]
pub(crate) struct Throttle(BTreeMap<Who, Failures>);

impl Throttle {
    /// Lets somebody try who is none of those that must wait; says how long it must otherwise.
    /// What is tried counts as failed from now on, so that nobody tries much at once.
    pub(crate) fn begin(&mut self, who: &[Who], now: Instant) -> Result<(), Duration> {
        self.may_try(who, now)?;
        self.failed(who, now);
        Ok(())
    }

    /// The same, and counts nothing.
    pub(crate) fn may_try(&self, who: &[Who], now: Instant) -> Result<(), Duration> {
        let waits = who.iter().filter_map(|who| {
            let failures = self.0.get(who)?;
            let free = failures.last + delay(who, failures.count);
            Some(free.saturating_duration_since(now))
        });
        match waits.max().filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    /// Notes that they failed.
    pub(crate) fn failed(&mut self, who: &[Who], now: Instant) {
        self.0
            .retain(|_, failures| now.duration_since(failures.last) < FORGOTTEN);
        for who in who {
            if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(who) {
                self.forget_oldest();
            }
            let failures = self.0.entry(who.clone());
            let failures = failures.or_insert(Failures {
                count: 0,
                last: now,
            });
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    /// Notes that a try did not fail. A user counts anew; a source may still be guessing others.
    pub(crate) fn succeeded(&mut self, who: &[Who]) {
        for who in who {
            if let (Who::Source(_), Some(failures)) = (who, self.0.get_mut(who)) {
                failures.count = failures.count.saturating_sub(1);
            } else {
                self.0.remove(who);
            }
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
        if let Some(who) = oldest.map(|(who, _)| who.clone()) {
            self.0.remove(&who);
        }
    }
}

fn delay(who: &Who, failures: u32) -> Duration {
    let Some(beyond) = failures.checked_sub(FREE + 1) else {
        return Duration::ZERO;
    };
    let most = match who {
        Who::Source(_) => MOST_OF_SOURCE,
        Who::User(_) => MOST_OF_USER,
    };
    FIRST.saturating_mul(1 << beyond.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_waits_longer_and_longer_and_is_forgotten() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let source = [Who::Source("10.0.0.9".to_owned())];
        let mut waits = Vec::new();
        let mut now = start;
        for _ in 0..16 {
            if let Err(wait) = throttle.begin(&source, now) {
                waits.push(wait);
                now += wait;
                assert_eq!(throttle.begin(&source, now), Ok(()));
            }
        }
        assert_eq!(waits[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits.last(), Some(&MOST_OF_SOURCE));
        let later = now + FORGOTTEN;
        throttle.failed(&[Who::User("x".to_owned())], later);
        assert_eq!(throttle.begin(&source, later), Ok(()));
    }

    #[test]
    fn a_user_is_never_kept_out_for_long_and_counts_anew_once_it_is_in() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let user = Who::User("alice".to_owned());
        let who = [user];
        for _ in 0..100 {
            throttle.failed(&who, now);
        }
        assert_eq!(throttle.begin(&who, now), Err(MOST_OF_USER));
        throttle.succeeded(&who);
        assert_eq!(throttle.begin(&who, now), Ok(()));
    }

    #[test]
    fn what_is_under_way_counts_until_it_succeeds() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let source = [Who::Source("10.0.0.9".to_owned())];
        let begun = (0..100).filter(|_| throttle.begin(&source, now).is_ok());
        let begun = u32::try_from(begun.count()).unwrap_or(u32::MAX);
        assert_eq!(begun, FREE + 1);
        for _ in 0..begun {
            throttle.succeeded(&source);
        }
        assert_eq!(throttle.begin(&source, now), Ok(()));
    }

    #[test]
    fn a_storm_from_everywhere_takes_bounded_memory() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for source in 0..2 * REMEMBERED_MAX {
            let later = now + Duration::from_micros(source as u64);
            throttle.failed(&[Who::Source(source.to_string())], later);
        }
        assert_eq!(throttle.0.len(), REMEMBERED_MAX);
    }
}
