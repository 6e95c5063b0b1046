//! A history in slices of time: how much was done in each, and how long it took.

use std::collections::BTreeMap;

use crate::history::{Actor, Event, Kind};

/// What happened in one slice of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Operations that were answered: done, or refused by a master.
    pub answered: u64,
    /// Operations that got no answer.
    pub lost: u64,
    /// Half of those that were answered took no longer, in nanoseconds.
    pub p50: u64,
    /// Ninety-nine of a hundred took no longer.
    pub p99: u64,
    /// None took longer.
    pub most: u64,
}

/// Slices of one length, from the first event on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// When the first begins, in nanoseconds of the history.
    pub begin: u64,
    /// How long each is, in nanoseconds.
    pub width: u64,
    /// One after the other.
    pub buckets: Vec<Bucket>,
}

impl Series {
    /// Cuts a history into at most `count` slices, none shorter than a tenth of a second.
    pub fn of(history: &[Event], count: usize) -> Series {
        let begin = history.first().map_or(0, |event| event.time);
        let end = history.last().map_or(0, |event| event.time);
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        let width = ((end - begin) / count + 1).max(100_000_000);
        let slices = usize::try_from((end - begin) / width).unwrap_or(0) + 1;
        let mut buckets = vec![Bucket::default(); slices];
        let mut latencies = vec![Vec::new(); slices];
        let mut begun = BTreeMap::new();
        for event in history {
            if event.actor == Actor::Nemesis {
                continue;
            }
            if event.kind == Kind::Invoke {
                begun.insert(event.actor, event.time);
                continue;
            }
            let slice = usize::try_from((event.time - begin) / width).unwrap_or(usize::MAX);
            let since = begun.remove(&event.actor);
            let (Some(bucket), Some(took)) = (buckets.get_mut(slice), latencies.get_mut(slice))
            else {
                continue;
            };
            if event.kind == Kind::Ok || event.rev.is_some() {
                bucket.answered += 1;
                took.extend(since.map(|since| event.time - since));
            } else {
                bucket.lost += 1;
            }
        }
        for (bucket, took) in buckets.iter_mut().zip(&mut latencies) {
            took.sort_unstable();
            bucket.p50 = quantile(took, 50).unwrap_or(0);
            bucket.p99 = quantile(took, 99).unwrap_or(0);
            bucket.most = took.last().copied().unwrap_or(0);
        }
        Series {
            begin,
            width,
            buckets,
        }
    }

    /// When the last slice ends.
    pub fn end(&self) -> u64 {
        self.begin + self.width * self.buckets.len() as u64
    }
}

/// What so many of a hundred sorted values do not exceed.
pub fn quantile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;

    fn event(process: u64, seconds: u64, kind: Kind) -> Event {
        Event {
            index: 0,
            time: seconds * 1_000_000_000,
            actor: Actor::Process(process),
            kind,
            op: Op::Heal,
            output: None,
            rev: None,
            error: None,
        }
    }

    #[test]
    fn operations_are_counted_where_they_end() {
        let history = [
            event(1, 10, Kind::Invoke),
            event(2, 10, Kind::Invoke),
            event(2, 11, Kind::Info),
            event(1, 19, Kind::Ok),
        ];
        let series = Series::of(&history, 9);
        assert_eq!(series.begin, 10_000_000_000);
        let (first, last) = (&series.buckets[0], &series.buckets[8]);
        assert_eq!(
            (first.answered, series.buckets[1].lost + first.lost),
            (0, 1)
        );
        assert_eq!(
            (last.answered, last.p50, last.most),
            (1, 9_000_000_000, 9_000_000_000)
        );
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(
            [50, 99, 100].map(|percent| quantile(&values, percent)),
            [Some(50), Some(99), Some(100)]
        );
        assert_eq!(quantile::<u64>(&[], 50), None);
    }
}
