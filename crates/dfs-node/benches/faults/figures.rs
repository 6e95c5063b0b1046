//! What was measured, and how it is printed.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// What is good enough.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// No sample is above.
    AtMost(u64),
    /// No sample is below.
    AtLeast(u64),
}

impl Target {
    fn value(self) -> u64 {
        match self {
            Target::AtMost(value) | Target::AtLeast(value) => value,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Target::AtMost(_) => "at most",
            Target::AtLeast(_) => "at least",
        }
    }
}

/// One measured quantity.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<u64>,
    /// What is good enough.
    target: Option<Target>,
    /// How it was taken.
    pub(crate) how: &'static str,
}

impl Figure {
    /// Times, in milliseconds, rounded up.
    pub(crate) fn times(
        what: impl Into<String>,
        samples: &[Duration],
        how: &'static str,
    ) -> Figure {
        let millis = |d: &Duration| d.as_micros().div_ceil(1000) as u64;
        Figure {
            what: what.into(),
            unit: "ms",
            samples: samples.iter().map(millis).collect(),
            target: None,
            how,
        }
    }

    /// Amounts of something.
    pub(crate) fn amount(
        what: impl Into<String>,
        unit: &'static str,
        samples: Vec<u64>,
        how: &'static str,
    ) -> Figure {
        Figure {
            what: what.into(),
            unit,
            samples,
            target: None,
            how,
        }
    }

    /// Amounts of memory, in MiB.
    pub(crate) fn memory(what: impl Into<String>, samples: Vec<u64>, how: &'static str) -> Figure {
        Figure::amount(what, "MiB", samples, how)
    }

    /// A number of things.
    pub(crate) fn count(what: impl Into<String>, count: u64, how: &'static str) -> Figure {
        Figure::amount(what, "", vec![count], how)
    }

    pub(crate) fn at_most(mut self, target: u64) -> Figure {
        self.target = Some(Target::AtMost(target));
        self
    }

    pub(crate) fn at_least(mut self, target: u64) -> Figure {
        self.target = Some(Target::AtLeast(target));
        self
    }

    pub(crate) fn is_met(&self) -> bool {
        let all = |is_met: &dyn Fn(&u64) -> bool| {
            !self.samples.is_empty() && self.samples.iter().all(is_met)
        };
        match self.target {
            None => true,
            Some(Target::AtMost(most)) => all(&|sample| *sample <= most),
            Some(Target::AtLeast(least)) => all(&|sample| *sample >= least),
        }
    }

    /// Least, middle and largest.
    fn spread(&self) -> [u64; 3] {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        [
            at(0),
            at(sorted.len() / 2),
            at(sorted.len().saturating_sub(1)),
        ]
    }
}

/// The figures for people.
pub(crate) fn table(figures: &[Figure]) -> String {
    let wide = figures.iter().map(|f| f.what.chars().count()).max();
    let wide = wide.unwrap_or_default();
    let mut text = format!(
        "{:wide$}  {:>3}  {:>10}  {:>10}  {:>10}  {:>16}\n",
        "", "n", "min", "p50", "max", "target"
    );
    for figure in figures {
        let [min, p50, max] = figure.spread();
        let (what, n, unit) = (&figure.what, figure.samples.len(), figure.unit);
        let with_unit = |value: u64| format!("{value} {unit}");
        let target = |target: Target| format!("{} {}", target.name(), with_unit(target.value()));
        let target = figure.target.map(target).unwrap_or_default();
        let verdict = if figure.is_met() { "" } else { "  MISSED" };
        let (min, p50, max) = (with_unit(min), with_unit(p50), with_unit(max));
        let _ = writeln!(
            text,
            "{what:wide$}  {n:>3}  {min:>10}  {p50:>10}  {max:>10}  {target:>16}{verdict}"
        );
    }
    text.push_str("\nHow each was taken:\n");
    for figure in figures {
        let _ = writeln!(text, "- {}: {}", figure.what, figure.how);
    }
    text
}

/// The figures for programs.
pub(crate) fn json(seed: u64, figures: &[Figure]) -> Value {
    let one = |figure: &Figure| {
        json!({
            "what": figure.what,
            "unit": figure.unit,
            "samples": figure.samples,
            "target": figure.target.map(Target::value),
            "target_is": figure.target.map(Target::name),
            "met": figure.is_met(),
            "how": figure.how,
        })
    };
    json!({
        "schema": 1,
        "seed": seed,
        "figures": figures.iter().map(one).collect::<Vec<_>>(),
    })
}
