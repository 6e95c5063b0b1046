//! How soon somebody who failed to log in may try again.
//!
//! After some failures each makes the next attempt wait, twice as long every time: of a source up
//! to a minute, of a user up to a few seconds only, so that nobody keeps a user out by failing in
//! its name. An attempt that comes too soon is refused unseen, and costs nothing.

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
    /// How long each of these must wait yet, the longest of it; none if they may try.
    pub(crate) fn wait(&self, who: &[Who], now: Instant) -> Option<Duration> {
        let waits = who.iter().filter_map(|who| {
            let failures = self.0.get(who)?;
            let free = failures.last + delay(who, failures.count);
            Some(free.saturating_duration_since(now))
        });
        waits.max().filter(|wait| !wait.is_zero())
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

    /// Notes that a user is who it says. Its source may still be guessing others.
    pub(crate) fn succeeded(&mut self, user: &Who) {
        self.0.remove(user);
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
        for _ in 0..16 {
            throttle.failed(&source, start);
            waits.push(throttle.wait(&source, start).unwrap_or_default());
        }
        assert_eq!(waits[3], Duration::ZERO);
        assert_eq!(waits[4..7], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(waits[15], MOST_OF_SOURCE);
        assert_eq!(throttle.wait(&source, start + MOST_OF_SOURCE), None);
        let other = [Who::User("x".to_owned())];
        throttle.failed(&other, start + FORGOTTEN);
        assert_eq!(throttle.wait(&source, start), None);
    }

    #[test]
    fn a_user_is_never_kept_out_for_long_and_counts_anew_once_it_is_in() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let user = Who::User("alice".to_owned());
        for _ in 0..100 {
            throttle.failed(std::slice::from_ref(&user), now);
        }
        assert_eq!(
            throttle.wait(std::slice::from_ref(&user), now),
            Some(MOST_OF_USER)
        );
        throttle.succeeded(&user);
        assert_eq!(throttle.wait(std::slice::from_ref(&user), now), None);
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
