//! How long what failed is left alone: longer each time, so that it keeps nobody else waiting.

use std::time::Duration;

/// The wait of something that failed, once or more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wait {
    /// When it is tried again.
    again: Duration,
    /// How long the last wait was.
    pause: Duration,
}

impl Wait {
    /// It failed once more: twice the last wait, at least and at most these.
    pub fn grow(&mut self, now: Duration, (least, most): (Duration, Duration)) {
        self.pause = self.pause.saturating_mul(2).clamp(least, most.max(least));
        self.again = now.saturating_add(self.pause);
    }

    /// What is left of it.
    pub fn left(&self, now: Duration) -> Duration {
        self.again.saturating_sub(now)
    }

    /// When it is over.
    pub fn again(&self) -> Duration {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_the_longest() {
        let seconds = Duration::from_secs;
        let (mut wait, mut now) = (Wait::default(), seconds(100));
        let mut waits = Vec::new();
        for _ in 0..4 {
            wait.grow(now, (seconds(3), seconds(10)));
            waits.push(wait.left(now).as_secs());
            now = wait.again();
            assert_eq!(wait.left(now), Duration::ZERO);
        }
        assert_eq!(waits, [3, 6, 10, 10]);
    }
}
