//! What a measurement is: rounds of timed operations, their median and their spread.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Operations.
    Operations,
    /// Bytes.
    Bytes,
}

/// One round: how much was done in how long, and how long each operation took.
#[derive(Debug)]
pub(crate) struct Round {
    /// Operations or bytes.
    pub(crate) amount: u64,
    /// From the first operation's start to the last one's end.
    pub(crate) elapsed: Duration,
    /// How long each operation took.
    pub(crate) latencies: Latencies,
}

/// How long operations took, in microseconds, to three digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// Several rounds of the same.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What its rates count.
    pub(crate) unit: Unit,
    /// Rates of the rounds, lowest first, in units a second.
    rates: Vec<f64>,
    latencies: Latencies,
}

/// Longer operations than this are recorded as this long.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never: the bounds are constants in range.
    pub(crate) fn new() -> io::Result<Latencies> {
        let micros = LATENCY_MAX.as_secs() * 1_000_000;
        let histogram = Histogram::new_with_bounds(1, micros, 3);
        histogram.map(Latencies).map_err(io::Error::other)
    }

    /// One more operation.
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.min(LATENCY_MAX).as_micros());
        self.0.saturating_record(micros.unwrap_or(u64::MAX).max(1));
    }

    /// Adds those of another.
    pub(crate) fn add(&mut self, other: &Latencies) {
        // Both have the same bounds, so nothing is refused.
        let _ = self.0.add(&other.0);
    }

    /// The time that `share` of the operations did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }
}

impl Measured {
    /// The rounds together.
    ///
    /// # Errors
    /// Never, see [`Latencies::new`].
    pub(crate) fn new(unit: Unit, rounds: &[Round]) -> io::Result<Measured> {
        let mut latencies = Latencies::new()?;
        for round in rounds {
            latencies.add(&round.latencies);
        }
        let rate = |round: &Round| round.amount as f64 / round.elapsed.as_secs_f64().max(1e-9);
        let mut rates: Vec<f64> = rounds.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        Ok(Measured {
            unit,
            rates,
            latencies,
        })
    }

    /// The rate of the middle round (of an even number, the lower of the two).
    pub(crate) fn median(&self) -> f64 {
        let middle = self.rates.len().saturating_sub(1) / 2;
        self.rates.get(middle).copied().unwrap_or(0.0)
    }

    /// The rates of the slowest and the fastest round.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let first = self.rates.first().copied().unwrap_or(0.0);
        (first, self.rates.last().copied().unwrap_or(0.0))
    }

    /// The time that `share` of all operations did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        self.latencies.quantile(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(amount: u64, millis: u64) -> Round {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_millis(millis));
        Round {
            amount,
            elapsed: Duration::from_secs(1),
            latencies,
        }
    }

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        let rounds = [round(100, 1), round(3, 50), round(110, 1)];
        let measured = Measured::new(Unit::Operations, &rounds).unwrap();
        assert_eq!(measured.median(), 100.0);
        assert_eq!(measured.spread(), (3.0, 110.0));
        assert!(measured.quantile(0.5) < Duration::from_millis(2));
        assert!(measured.quantile(0.99) >= Duration::from_millis(49));
    }

    #[test]
    fn nothing_measured_is_nothing() {
        let nothing = Measured::new(Unit::Bytes, &[]).unwrap();
        assert_eq!(nothing.median(), 0.0);
    }
}
