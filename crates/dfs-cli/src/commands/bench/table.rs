//! What a bench found, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

use super::measure::{Measured, Unit};
use crate::text::size::human;
use crate::text::table::{Align, Table};

/// One line of the result.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// `floor`, `metadata`, `bulk`, `small`.
    pub(crate) area: &'static str,
    /// What was done.
    pub(crate) name: String,
    /// How many operations at a time.
    pub(crate) in_flight: usize,
    /// `operations` or `bytes`, a second.
    pub(crate) unit: &'static str,
    /// The median round.
    pub(crate) rate: f64,
    /// The slowest round.
    pub(crate) rate_min: f64,
    /// The fastest round.
    pub(crate) rate_max: f64,
    /// Microseconds that half of the operations did not exceed.
    pub(crate) p50_us: u64,
    /// Microseconds that 99 of 100 operations did not exceed.
    pub(crate) p99_us: u64,
    /// The floor it is held against.
    pub(crate) floor: Option<&'static str>,
    /// Its rate in rates of the floor.
    pub(crate) ratio: Option<f64>,
}

impl Row {
    /// The row of `measured`, held against a floor and its rate.
    pub(crate) fn new(
        area: &'static str,
        name: String,
        in_flight: usize,
        measured: &Measured,
        floor: Option<(&'static str, f64)>,
    ) -> Row {
        let rate = measured.median();
        let (rate_min, rate_max) = measured.spread();
        let micros = |share| u64::try_from(measured.quantile(share).as_micros());
        Row {
            area,
            name,
            in_flight,
            unit: match measured.unit {
                Unit::Operations => "operations",
                Unit::Bytes => "bytes",
            },
            rate,
            rate_min,
            rate_max,
            p50_us: micros(0.5).unwrap_or(u64::MAX),
            p99_us: micros(0.99).unwrap_or(u64::MAX),
            floor: floor.map(|(name, _)| name),
            ratio: floor.map(|(_, floor)| rate / floor.max(f64::MIN_POSITIVE)),
        }
    }

    fn shown(&self, rate: f64) -> String {
        match self.unit {
            "bytes" => format!("{}/s", human(rate as u64)),
            _ if rate < 100.0 => format!("{rate:.1}/s"),
            _ => format!("{rate:.0}/s"),
        }
    }

    fn cells(&self) -> Vec<String> {
        let micros = |us| latency(Duration::from_micros(us));
        vec![
            self.area.to_owned(),
            self.name.clone(),
            self.in_flight.to_string(),
            self.shown(self.rate),
            format!(
                "{} – {}",
                self.shown(self.rate_min),
                self.shown(self.rate_max)
            ),
            micros(self.p50_us),
            micros(self.p99_us),
            match (self.ratio, self.floor) {
                (Some(ratio), Some(floor)) => format!("{ratio:.2} × {floor}"),
                _ => String::new(),
            },
        ]
    }
}

/// The rows as an aligned table.
pub(crate) fn lines(rows: &[Row]) -> Vec<String> {
    let mut table = Table::with_head([
        ("area", Align::Left),
        ("what", Align::Left),
        ("in flight", Align::Right),
        ("rate", Align::Right),
        ("min – max of the rounds", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("rate / floor", Align::Left),
    ]);
    for row in rows {
        table.row(row.cells());
    }
    table.lines()
}

/// `85 µs`, `1.2 ms`, `3.4 s`.
fn latency(latency: Duration) -> String {
    let micros = latency.as_micros();
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{:.1} ms", latency.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", latency.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_shown_in_the_unit_that_suits_them() {
        assert_eq!(latency(Duration::from_micros(85)), "85 µs");
        assert_eq!(latency(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(latency(Duration::from_millis(3400)), "3.4 s");
    }
}
