//! When to try again, and when to give up: one operation's attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::env::Random;
use crate::proto::error::RpcError;
use crate::types::RefusalKind;

const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// While a leader may be elected any moment.
const BACKOFF_BRISK: Duration = Duration::from_millis(50);
/// After that.
const BACKOFF_MAX: Duration = Duration::from_millis(1000);
/// Rounds through all masters that stay brisk: some two seconds.
const BRISK_ROUNDS: u32 = 60;
/// With less time than this before the deadline nothing is sent any more: the answer would come
/// too late, and leave the outcome unknown for nothing.
const ATTEMPT_MIN: Duration = Duration::from_millis(20);
/// Times a fault that a master found in itself is taken elsewhere.
const FAULTS_MAX: u32 = 4;

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The master could not be reached: it never saw the request.
    Unreached(String),
    /// The request was sent, and no answer came.
    Lost(String),
    /// The master answered with an error.
    Answered(RpcError),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again after this time.
    Again(Duration),
    /// Give up: the answer stands.
    Stop,
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    deadline: Instant,
    /// Attempts since the last wait.
    streak: usize,
    /// Waits so far.
    rounds: u32,
    faults: u32,
    /// Whether an earlier attempt may have done it.
    uncertain: bool,
    /// Whether it may be sent again after that.
    repeats: bool,
    lost: u32,
}

impl Attempts {
    pub(super) fn new(deadline: Instant) -> Attempts {
        Attempts {
            deadline,
            streak: 0,
            rounds: 0,
            faults: 0,
            uncertain: false,
            repeats: true,
            lost: 0,
        }
    }

    /// Those of what would be done twice if it were sent again after it was perhaps done.
    pub(super) fn until_sent(deadline: Instant) -> Attempts {
        Attempts {
            repeats: false,
            ..Attempts::new(deadline)
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether an earlier attempt may have taken effect.
    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// How long the next attempt may take: more after each that was lost, in case nothing is
    /// broken but all is slow.
    pub(super) fn timeout(&self, base: Duration) -> Duration {
        base.saturating_mul(1 << self.lost.min(2))
    }

    /// Takes in how an attempt ended, and says what next. `masters` is how many there are.
    pub(super) fn ended(
        &mut self,
        attempt: &Attempt,
        masters: usize,
        now: Instant,
        random: &dyn Random,
    ) -> Next {
        let at_once = match attempt {
            Attempt::Unreached(_) => true,
            Attempt::Lost(_) => {
                self.uncertain = true;
                self.lost += 1;
                true
            }
            Attempt::Answered(RpcError::NotLeader { .. }) => true,
            Attempt::Answered(RpcError::Unknown(_)) => {
                self.uncertain = true;
                false
            }
            Attempt::Answered(RpcError::Unavailable(_)) => false,
            // Not remembered as an answer: the same request is carried out when it comes again.
            Attempt::Answered(RpcError::Refused { refusal, .. })
                if refusal.kind == RefusalKind::Busy =>
            {
                false
            }
            Attempt::Answered(RpcError::Internal(_)) => {
                self.uncertain = true;
                self.faults += 1;
                if self.faults >= FAULTS_MAX {
                    return Next::Stop;
                }
                false
            }
            // An attempt that was lost may still be carried out, and then there is an answer.
            Attempt::Answered(RpcError::OutOfSpace(_)) if self.uncertain => false,
            Attempt::Answered(
                RpcError::Refused { .. } | RpcError::OutOfSpace(_) | RpcError::Fenced(_),
            ) => return Next::Stop,
        };
        if self.uncertain && !self.repeats {
            return Next::Stop;
        }
        self.streak += 1;
        let delay = match at_once && self.streak < masters.max(1) {
            true => Duration::ZERO,
            false => {
                self.streak = 0;
                self.rounds += 1;
                backoff(self.rounds, random)
            }
        };
        match now + delay + ATTEMPT_MIN < self.deadline {
            true => Next::Again(delay),
            false => Next::Stop,
        }
    }
}

/// How long to wait before round `round` (from 1), between half and all of a doubling delay.
pub(in crate::client) fn backoff(round: u32, random: &dyn Random) -> Duration {
    let max = match round <= BRISK_ROUNDS {
        true => BACKOFF_BRISK,
        false => BACKOFF_MAX,
    };
    let delay = BACKOFF_MIN
        .saturating_mul(1 << round.saturating_sub(1).min(16))
        .min(max);
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 2 + random.below(micros / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;
    use crate::types::Refusal;

    fn attempts(now: Instant) -> Attempts {
        Attempts::new(now + Duration::from_secs(30))
    }

    #[test]
    fn the_other_masters_are_tried_at_once_and_then_there_is_a_pause() {
        let (now, random) = (Instant::now(), SeededRandom::new(1));
        let mut attempts = attempts(now);
        let broken = Attempt::Unreached("refused".to_owned());
        let next: Vec<Next> = (0..3)
            .map(|_| attempts.ended(&broken, 3, now, &random))
            .collect();
        let at_once = Next::Again(Duration::ZERO);
        assert!(matches!(next.as_slice(), [a, b, Next::Again(pause)]
            if *a == at_once && *b == at_once && !pause.is_zero()));
        assert!(!attempts.is_uncertain());
    }

    #[test]
    fn a_lost_answer_leaves_the_outcome_uncertain() {
        let (now, random) = (Instant::now(), SeededRandom::new(1));
        let mut attempts = attempts(now);
        attempts.ended(&Attempt::Lost("time".to_owned()), 3, now, &random);
        assert!(attempts.is_uncertain());
        assert_eq!(
            attempts.timeout(Duration::from_secs(1)),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn a_refusal_and_the_deadline_end_it() {
        let (now, random) = (Instant::now(), SeededRandom::new(1));
        let refused = RpcError::from(Refusal::new(RefusalKind::NotFound, "/a"));
        let next = attempts(now).ended(&Attempt::Answered(refused), 3, now, &random);
        assert_eq!(next, Next::Stop);
        let late = now + Duration::from_secs(30);
        let unavailable = Attempt::Answered(RpcError::Unavailable("no quorum".to_owned()));
        assert_eq!(
            attempts(now).ended(&unavailable, 3, late, &random),
            Next::Stop
        );
    }

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        let random = SeededRandom::new(7);
        for round in 1..100 {
            let delay = backoff(round, &random);
            assert!(delay >= BACKOFF_MIN / 2 && delay <= BACKOFF_MAX);
            assert!(round > BRISK_ROUNDS || delay <= BACKOFF_BRISK);
        }
    }
}
