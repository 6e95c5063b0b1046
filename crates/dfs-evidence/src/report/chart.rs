//! Drawing: a history as SVG.

use std::fmt::Write;

use super::page::Band;
use super::series::Series;

/// Units across the drawing; the page scales it.
const WIDE: f64 = 1200.0;
/// Left of it stand the numbers.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const THROUGHPUT_HIGH: f64 = 190.0;
const LATENCY_HIGH: f64 = 190.0;
const GAP: f64 = 44.0;
const LANE_HIGH: f64 = 17.0;

/// The drawing of a run.
pub(super) struct Chart<'a> {
    series: &'a Series,
    bands: &'a [Band],
    svg: String,
}

impl<'a> Chart<'a> {
    /// The timeline: throughput, latency, faults.
    pub(super) fn timeline(series: &'a Series, bands: &'a [Band]) -> String {
        let lanes = lanes(bands);
        let lane_count = lanes.iter().map(|(_, lane)| lane + 1).max().unwrap_or(0);
        let throughput = 24.0;
        let latency = throughput + THROUGHPUT_HIGH + GAP;
        let faults = latency + LATENCY_HIGH + GAP;
        let bottom = faults + lane_count as f64 * LANE_HIGH;
        let high = bottom + 34.0;
        let mut chart = Chart {
            series,
            bands,
            svg: String::new(),
        };
        chart.put(&format!(
            "<svg viewBox=\"0 0 {WIDE} {high:.0}\" role=\"img\" \
             aria-label=\"throughput and latency over time, with faults\">"
        ));
        chart.shades(throughput, bottom);
        chart.throughput(throughput);
        chart.latency(latency);
        chart.faults(faults, &lanes);
        chart.seconds(bottom);
        chart.put("</svg>");
        chart.svg
    }

    fn put(&mut self, text: &str) {
        self.svg.push_str(text);
        self.svg.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.put(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>"
        ));
    }

    /// Where a time is, from the left.
    fn x(&self, time: u64) -> f64 {
        let span = (self.series.end() - self.series.begin).max(1) as f64;
        let passed = time.saturating_sub(self.series.begin) as f64;
        LEFT + (passed / span).min(1.0) * (WIDE - LEFT - RIGHT)
    }

    /// A pale stripe through both panels while a fault lasts.
    fn shades(&mut self, top: f64, bottom: f64) {
        for band in self.bands {
            let (x, end) = (self.x(band.begin), self.x(band.end));
            let wide = (end - x).max(1.0);
            self.put(&format!(
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" \
                 class=\"shade\"/>",
                bottom - top
            ));
        }
    }

    fn throughput(&mut self, top: f64) {
        let per_second = 1e9 / self.series.width as f64;
        let all = self.series.buckets.iter();
        let most = all.map(|b| b.answered.max(b.lost)).max().unwrap_or(0);
        let scale = round_up(most as f64 * per_second);
        let base = top + THROUGHPUT_HIGH;
        self.text(LEFT, top - 10.0, "title", "operations per second");
        for part in [0.0, 0.5, 1.0] {
            let y = base - part * THROUGHPUT_HIGH;
            self.rule(y, &number(scale * part));
        }
        let y = |count: u64| base - count as f64 * per_second / scale * THROUGHPUT_HIGH;
        let line = |count: fn(&super::Bucket) -> u64| {
            let buckets = self.series.buckets.iter().enumerate();
            let points = buckets.map(|(i, bucket)| {
                let middle = self.series.begin + self.series.width * i as u64;
                format!(
                    "{:.1},{:.1}",
                    self.x(middle + self.series.width / 2),
                    y(count(bucket))
                )
            });
            points.collect::<Vec<_>>().join(" ")
        };
        let done = line(|bucket| bucket.answered);
        let lost = line(|bucket| bucket.lost);
        let (from, to) = (self.x(self.series.begin), self.x(self.series.end()));
        self.put(&format!(
            "<polygon points=\"{from:.1},{base:.1} {done} {to:.1},{base:.1}\" class=\"done\"/>"
        ));
        self.put(&format!(
            "<polyline points=\"{done}\" class=\"done-line\"/>"
        ));
        self.put(&format!(
            "<polyline points=\"{lost}\" class=\"lost-line\"/>"
        ));
    }

    fn latency(&mut self, top: f64) {
        let base = top + LATENCY_HIGH;
        self.text(LEFT, top - 10.0, "title", "latency of answers");
        let all = self.series.buckets.iter();
        let most = all.map(|b| b.most).max().unwrap_or(0).max(10_000_000) as f64;
        // From a tenth of a millisecond, in powers of ten.
        let decades = (most / 1e5).log10().ceil().max(1.0);
        let y = move |nanos: u64| {
            let above = (nanos as f64 / 1e5).max(1.0).log10();
            base - above / decades * LATENCY_HIGH
        };
        let mut decade = 0.0;
        while decade <= decades {
            let nanos = 1e5 * 10f64.powf(decade);
            self.rule(base - decade / decades * LATENCY_HIGH, &duration(nanos));
            decade += 1.0;
        }
        for (class, pick) in [
            ("most", (|b| b.most) as fn(&super::Bucket) -> u64),
            ("p99", |b| b.p99),
            ("p50", |b| b.p50),
        ] {
            let line = self.line(pick, y);
            self.put(&format!("<path d=\"{line}\" class=\"{class}\"/>"));
        }
        self.legend(
            top,
            &[("p50", "half"), ("p99", "99 of 100"), ("most", "slowest")],
        );
    }

    /// What the lines of a panel are, at its right.
    fn legend(&mut self, top: f64, lines: &[(&str, &str)]) {
        for (i, (class, label)) in lines.iter().rev().enumerate() {
            let x = WIDE - RIGHT - 90.0 - i as f64 * 105.0;
            let line = format!("M{x:.0} {0:.0} h18", top - 14.0);
            self.put(&format!("<path d=\"{line}\" class=\"{class}\"/>"));
            self.text(x + 23.0, top - 10.0, "label", label);
        }
    }

    /// A line with gaps where nothing was done.
    fn line(&self, pick: fn(&super::Bucket) -> u64, y: impl Fn(u64) -> f64) -> String {
        let mut path = String::new();
        let mut pen = 'M';
        for (i, bucket) in self.series.buckets.iter().enumerate() {
            if bucket.answered == 0 {
                pen = 'M';
                continue;
            }
            let middle = self.series.begin + self.series.width * i as u64 + self.series.width / 2;
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(middle), y(pick(bucket)));
            // A lone point is seen, too.
            let _ = write!(path, "l0.1 0");
            pen = 'L';
        }
        path
    }

    fn faults(&mut self, top: f64, lanes: &[(usize, usize)]) {
        self.text(LEFT, top - 10.0, "title", "faults");
        for (index, lane) in lanes {
            let Some(band) = self.bands.get(*index) else {
                continue;
            };
            let (x, end) = (self.x(band.begin), self.x(band.end));
            let wide = (end - x).max(2.5);
            let y = top + *lane as f64 * LANE_HIGH;
            let hue = hue(&band.kind);
            let high = LANE_HIGH - 4.0;
            let told = escape(&format!("{} {}", band.kind, band.label));
            self.put(&format!(
                "<g><title>{told}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" \
                 height=\"{high:.1}\" rx=\"2\" fill=\"hsl({hue} 62% 52%)\"/>"
            ));
            let room_left = x > WIDE - 150.0;
            let anchor = if room_left { "end" } else { "start" };
            let at = if room_left { x - 4.0 } else { x + wide + 4.0 };
            let name = escape(&band.kind);
            self.put(&format!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" class=\"label\" text-anchor=\"{anchor}\">\
                 {name}</text></g>",
                y + high - 2.5
            ));
        }
    }

    fn seconds(&mut self, bottom: f64) {
        let span = (self.series.end() - self.series.begin) as f64 / 1e9;
        let step = round_up(span / 12.0).max(1.0);
        let mut second = 0.0;
        while second <= span {
            let x = self.x(self.series.begin + (second * 1e9) as u64);
            let tick = format!("M{x:.1} {bottom:.1} v6");
            self.put(&format!("<path d=\"{tick}\" class=\"rule\"/>"));
            self.text(x, bottom + 20.0, "middle label", &format!("{second:.0} s"));
            second += step;
        }
    }

    fn rule(&mut self, y: f64, label: &str) {
        let line = format!("M{LEFT} {y:.1} H{:.1}", WIDE - RIGHT);
        self.put(&format!("<path d=\"{line}\" class=\"rule\"/>"));
        self.text(LEFT - 8.0, y + 4.0, "end label", label);
    }
}

/// In which lane each band is, so that bands and their names do not cover each other.
fn lanes(bands: &[Band]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..bands.len()).collect();
    order.sort_by_key(|index| bands.get(*index).map(|band| band.begin));
    let span = bands.iter().map(|band| band.end).max().unwrap_or(0);
    // Room for a name, as a share of the run.
    let name = span / 9;
    let mut free: Vec<u64> = Vec::new();
    let mut placed = Vec::new();
    for index in order {
        let Some(band) = bands.get(index) else {
            continue;
        };
        let lane = free.iter().position(|free| *free <= band.begin);
        let lane = lane.unwrap_or(free.len());
        let until = band.end + name;
        match free.get_mut(lane) {
            Some(free) => *free = until,
            None => free.push(until),
        }
        placed.push((index, lane));
    }
    placed
}

/// A color for a name, the same in every run.
fn hue(name: &str) -> u32 {
    let sum = name.bytes().fold(7u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    sum % 360
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

fn number(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1000.0),
        v => format!("{v:.0}"),
    }
}

/// A time in nanoseconds as a person can read it: `2.5 ms`.
pub fn duration(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n => (n / 1e3, "µs"),
    };
    match value {
        v if v >= 10.0 || v.fract() < 0.05 => format!("{v:.0} {unit}"),
        v => format!("{v:.1} {unit}"),
    }
}

/// Text that stands in HTML.
pub(super) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(begin: u64, end: u64) -> Band {
        Band {
            kind: "kill-leader".to_owned(),
            label: "m1".to_owned(),
            begin,
            end,
        }
    }

    #[test]
    fn faults_at_one_time_are_in_lanes_of_their_own() {
        let bands = [band(0, 50), band(10, 20), band(90, 95)];
        let lanes = lanes(&bands);
        assert_eq!(lanes, [(0, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn scales_end_at_round_numbers_and_times_are_readable() {
        assert_eq!([1.2, 20.0, 230.0].map(round_up), [2.0, 20.0, 500.0]);
        assert_eq!([1e5, 2.5e6, 3e9].map(duration), ["100 µs", "2.5 ms", "3 s"]);
    }

    #[test]
    fn no_name_of_a_file_becomes_a_part_of_the_page() {
        assert_eq!(escape("<a>&\"b\""), "&lt;a&gt;&amp;&quot;b&quot;");
    }
}
