//! When to ask a second replica: later than most answers come, and not too often.

use std::collections::VecDeque;
use std::time::Duration;

/// Before enough is known, and never later or sooner than these.
const DELAY_FIRST: Duration = Duration::from_millis(100);
const DELAY_MIN: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_millis(1000);
/// Reads that the delay is learned from.
const SAMPLES: usize = 128;
const SAMPLES_MIN: usize = 16;
/// Tenths of a token: a read earns one tenth, a hedge costs ten.
const TOKENS_MAX: u32 = 200;
const HEDGE_COST: u32 = 10;
/// Lengths of reads that are judged alike: up to these bytes.
const CLASSES: [u64; 3] = [128 * 1024, 1 << 20, u64::MAX];

/// What was learned from earlier reads.
#[derive(Debug)]
pub(in crate::client) struct Hedge {
    samples: [VecDeque<Duration>; CLASSES.len()],
    tokens: u32,
}

impl Hedge {
    pub(in crate::client) fn new() -> Hedge {
        Hedge {
            samples: Default::default(),
            tokens: TOKENS_MAX,
        }
    }

    /// How long to wait for a read of `length` bytes before another replica is asked: the time
    /// within which 95 of 100 were done.
    pub(super) fn delay(&self, length: u64) -> Duration {
        let samples = self.samples.get(class(length));
        let Some(samples) = samples.filter(|s| s.len() >= SAMPLES_MIN) else {
            return DELAY_FIRST;
        };
        let mut sorted: Vec<Duration> = samples.iter().copied().collect();
        sorted.sort_unstable();
        let p95 = sorted.get(sorted.len() * 95 / 100).copied();
        // A little later than the slowest of the usual, so that those are not asked twice.
        p95.map_or(DELAY_FIRST, |p95| (p95 * 3 / 2).clamp(DELAY_MIN, DELAY_MAX))
    }

    /// A read of `length` bytes took this long.
    pub(super) fn record(&mut self, length: u64, took: Duration) {
        self.tokens = (self.tokens + 1).min(TOKENS_MAX);
        if let Some(samples) = self.samples.get_mut(class(length)) {
            if samples.len() == SAMPLES {
                samples.pop_front();
            }
            samples.push_back(took);
        }
    }

    /// Whether one more may be asked now: a tenth of all reads, so that slowness everywhere does
    /// not double the load.
    pub(super) fn allow(&mut self) -> bool {
        match self.tokens.checked_sub(HEDGE_COST) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

fn class(length: u64) -> usize {
    CLASSES.iter().position(|max| length <= *max).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_the_slowest_of_the_usual() {
        let mut hedge = Hedge::new();
        assert_eq!(hedge.delay(1), DELAY_FIRST);
        for i in 0..100 {
            let outlier = i % 50 == 0;
            hedge.record(1, Duration::from_millis(if outlier { 900 } else { 40 }));
        }
        assert_eq!(hedge.delay(1), Duration::from_millis(60));
        assert_eq!(hedge.delay(1 << 20), DELAY_FIRST);
        (0..SAMPLES).for_each(|_| hedge.record(1, Duration::from_micros(300)));
        assert_eq!(hedge.delay(1), DELAY_MIN);
        (0..SAMPLES).for_each(|_| hedge.record(1, Duration::from_secs(9)));
        assert_eq!(hedge.delay(1), DELAY_MAX);
    }

    #[test]
    fn slowness_everywhere_does_not_double_the_load() {
        let mut hedge = Hedge::new();
        while hedge.allow() {}
        let asked_twice = (0..1000)
            .filter(|_| {
                hedge.record(1, DELAY_MAX);
                hedge.allow()
            })
            .count();
        assert_eq!(asked_twice, 100);
    }
}
