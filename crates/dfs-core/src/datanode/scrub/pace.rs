//! How fast replicas are read through.
//!
//! Evenly: each byte that is left takes its share of the time that is left, so that the pass ends
//! shortly before its period does, however much is written or deleted meanwhile.

use std::time::Duration;

/// Settings of the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubConfig {
    /// Every replica is read through in this time.
    pub period: Duration,
    /// But at no more than so many bytes a second.
    pub rate_max: u64,
}

impl ScrubConfig {
    /// Two weeks, 64 MiB a second.
    pub const DEFAULT: ScrubConfig = ScrubConfig {
        period: Duration::from_secs(14 * 24 * 3600),
        rate_max: 64 << 20,
    };

    /// Checks that a pass can end.
    ///
    /// # Errors
    /// Names what makes no sense.
    pub(in crate::datanode) fn validate(&self) -> Result<(), String> {
        // A year: the arithmetic below has room for it, and who wants less wants none.
        let longest = Duration::from_secs(366 * 24 * 3600);
        if self.period.is_zero() || self.period > longest {
            return Err(format!(
                "scrub.period {:?} is not above 0 and at most a year",
                self.period
            ));
        }
        match self.rate_max {
            0 => Err("scrub.rate_max is 0".to_owned()),
            _ => Ok(()),
        }
    }

    /// What is left of the time for a pass. The last sixteenth of the period is for delays.
    pub(super) fn left(&self, elapsed: Duration) -> Duration {
        (self.period - self.period / 16).saturating_sub(elapsed)
    }

    /// How long to wait after `debt` bytes were read, when `remaining` bytes are to be read in
    /// the time `left`.
    pub(super) fn pause(&self, left: Duration, remaining: u64, debt: u64) -> Duration {
        let share = |time: u128, all: u128| match all {
            0 => 0,
            all => time.saturating_mul(u128::from(debt)) / all,
        };
        let all = u128::from(remaining) + u128::from(debt);
        let even = share(left.as_nanos(), all);
        let least = share(1_000_000_000, u128::from(self.rate_max));
        Duration::from_nanos(u64::try_from(even.max(least)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const RUN: u64 = 1 << 20;

    fn config(rate_max: u64) -> ScrubConfig {
        ScrubConfig {
            period: 16 * DAY,
            rate_max,
        }
    }

    /// Reads `total` bytes in runs, and says how long that takes.
    fn read(config: &ScrubConfig, total: u64, already: Duration) -> Duration {
        let (mut remaining, mut elapsed) = (total, already);
        while remaining > 0 {
            let run = remaining.min(RUN);
            let left = config.left(elapsed);
            remaining -= run;
            elapsed += config.pause(left, remaining, run);
        }
        elapsed
    }

    #[test]
    fn a_pass_takes_its_period_but_for_the_time_for_delays() {
        for total in [1, RUN - 1, 1000 * RUN] {
            let took = read(&config(u64::MAX), total, Duration::ZERO);
            let off = took.abs_diff(15 * DAY);
            assert!(off < Duration::from_secs(1), "{total}: {took:?}");
        }
    }

    #[test]
    fn bytes_are_spread_evenly() {
        let config = config(u64::MAX);
        let first = config.pause(config.left(Duration::ZERO), 999 * RUN, RUN);
        let half = config.pause(config.left(15 * DAY / 2), 499 * RUN, RUN);
        let off = first.abs_diff(half);
        assert!(off < Duration::from_millis(1), "{first:?} {half:?}");
    }

    #[test]
    fn a_pass_that_is_late_is_as_fast_as_it_may_be_and_no_faster() {
        let config = config(RUN);
        let took = read(&config, 100 * RUN, 20 * DAY) - 20 * DAY;
        assert_eq!(took, Duration::from_secs(100));
    }

    #[test]
    fn what_is_written_meanwhile_makes_it_faster() {
        let config = config(u64::MAX);
        let left = config.left(Duration::ZERO);
        let before = config.pause(left, 9 * RUN, RUN);
        assert!(config.pause(left, 99 * RUN, RUN) <= before / 9);
    }

    #[test]
    fn a_period_that_makes_no_sense_is_refused() {
        assert_eq!(ScrubConfig::DEFAULT.validate(), Ok(()));
        let never = ScrubConfig {
            period: Duration::ZERO,
            ..ScrubConfig::DEFAULT
        };
        assert!(never.validate().unwrap_err().contains("scrub.period"));
        let none = ScrubConfig {
            rate_max: 0,
            ..ScrubConfig::DEFAULT
        };
        assert!(none.validate().unwrap_err().contains("scrub.rate_max"));
    }
}
