//! How fast copies are being made: what was made in the last half minute.

use std::collections::VecDeque;
use std::time::Duration;

/// How far it looks back.
const WINDOW: Duration = Duration::from_secs(30);

/// Counts bytes of copies as they are made.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    made: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Counts a copy.
    pub(crate) fn add(&mut self, now: Duration, bytes: u64) {
        match self.made.back_mut() {
            // Copies of one tick are one.
            Some((at, sum)) if *at == now => *sum = sum.saturating_add(bytes),
            _ => self.made.push_back((now, bytes)),
        }
        while let Some((at, _)) = self.made.front()
            && now.saturating_sub(*at) > WINDOW
        {
            self.made.pop_front();
        }
    }

    /// Bytes a second, over as much of the window as copies were made in; a second at least.
    pub(crate) fn bytes_per_second(&self, now: Duration) -> u64 {
        let lately = |(at, _): &&(Duration, u64)| now.saturating_sub(*at) <= WINDOW;
        let made = self.made.iter().filter(lately);
        let Some((first, _)) = made.clone().next() else {
            return 0;
        };
        let bytes: u64 = made.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        let seconds = now.saturating_sub(*first).as_secs().max(1);
        bytes / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let at = Duration::from_secs;
        let mut meter = Meter::default();
        assert_eq!(meter.bytes_per_second(at(7)), 0);
        meter.add(at(10), 500);
        meter.add(at(10), 500);
        assert_eq!(meter.bytes_per_second(at(10)), 1000);
        for second in 11..100 {
            meter.add(at(second), 100);
        }
        assert_eq!(meter.bytes_per_second(at(99)), 31 * 100 / 30);
        assert_eq!(meter.bytes_per_second(at(200)), 0);
    }
}
