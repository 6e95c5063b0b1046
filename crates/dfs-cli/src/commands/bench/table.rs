//! What a bench found, for people and for scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::floors::Floor;
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
    /// The same for every floor that counts the same.
    pub(crate) ratios: Vec<Ratio>,
}

/// A row held against a floor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The floor.
    pub(crate) floor: &'static str,
    /// The rate in rates of the floor.
    pub(crate) rate: f64,
    /// How long half of the operations took at most, in such times of the floor. Of bytes there
    /// is none: their operations are of any length.
    pub(crate) p50: Option<f64>,
}

impl Ratio {
    fn new(measured: &Measured, floor: Floor, of: &Measured) -> Ratio {
        let p50 = |measured: &Measured| measured.quantile(0.5).as_secs_f64();
        Ratio {
            floor: floor.name(),
            rate: measured.median() / of.median().max(f64::MIN_POSITIVE),
            p50: match measured.unit {
                Unit::Operations => Some(p50(measured) / p50(of).max(f64::MIN_POSITIVE)),
                Unit::Bytes => None,
            },
        }
    }
}

impl Row {
    /// The row of `measured`, held against `floors` and one of them above all.
    pub(crate) fn new(
        area: &'static str,
        name: String,
        in_flight: usize,
        measured: &Measured,
        floor: Option<Floor>,
        floors: &BTreeMap<Floor, Measured>,
    ) -> Row {
        let rate = measured.median();
        let (rate_min, rate_max) = measured.spread();
        let alike = floors.iter().filter(|(_, of)| of.unit == measured.unit);
        let ratios: Vec<Ratio> = alike
            .map(|(floor, of)| Ratio::new(measured, *floor, of))
            .collect();
        let floor = floor.map(Floor::name);
        let ratio = ratios.iter().find(|ratio| floor == Some(ratio.floor));
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
            floor,
            ratio: ratio.map(|ratio| ratio.rate),
            ratios,
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
        let mut ratios = self.ratios.iter();
        let ratio = ratios.find(|ratio| self.floor == Some(ratio.floor));
        let p50 = ratio.and_then(|ratio| ratio.p50);
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
            p50.map_or_else(String::new, |p50| format!("{p50:.1}")),
            ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.rate)),
            self.floor.unwrap_or_default().to_owned(),
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
        ("p50 / floor", Align::Right),
        ("rate / floor", Align::Right),
        ("floor", Align::Left),
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
    use super::super::measure::{Latencies, Round};
    use super::*;

    fn measured(unit: Unit, micros: u64) -> Measured {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_micros(micros));
        let round = Round {
            amount: 1,
            elapsed: Duration::from_micros(micros),
            latencies,
        };
        Measured::new(unit, &[round]).unwrap()
    }

    #[test]
    fn an_operation_is_held_against_its_floor_and_all_that_count_operations() {
        let floors = BTreeMap::from([
            (Floor::Fdatasync, measured(Unit::Operations, 250)),
            (Floor::RoundTrip, measured(Unit::Operations, 50)),
            (Floor::MemoryCopy, measured(Unit::Bytes, 1)),
        ]);
        let create = measured(Unit::Operations, 1000);
        let floor = Some(Floor::Fdatasync);
        let row = Row::new("metadata", "create".to_owned(), 1, &create, floor, &floors);
        assert_eq!(
            row.cells()[5..],
            ["1.0 ms", "1.0 ms", "4.0", "0.25", "fdatasync of 4 KiB"]
        );
        let against: Vec<_> = row.ratios.iter().map(|r| (r.floor, r.p50)).collect();
        let all = [
            ("fdatasync of 4 KiB", Some(4.0)),
            ("loopback round trip", Some(20.0)),
        ];
        assert_eq!(against, all);
    }

    #[test]
    fn latencies_are_shown_in_the_unit_that_suits_them() {
        assert_eq!(latency(Duration::from_micros(85)), "85 µs");
        assert_eq!(latency(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(latency(Duration::from_millis(3400)), "3.4 s");
    }
}
